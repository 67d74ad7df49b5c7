package model

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"sonde/compute"
)

func ropeOf(t *testing.T, config string, context, dim int) Rope {
	t.Helper()
	keys, err := ReadKeys([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ReadRope(keys, 10000, context, dim/2)
	if err != nil {
		t.Fatalf("%s: %v", config, err)
	}
	return r
}

// TestRopeLlama3: Llama 3.1's frequencies. Of 64 pairs those up to 28 turn as they did,
// those from 36 on an eighth as fast, pair 32 (2 pi * 500000^0.5 = 4443 tokens a turn,
// 1.8438 turns over 8192, which is 0.2813 of the way from 1 to 4) at
// 0.7187/8 + 0.2813 of its speed.
func TestRopeLlama3(t *testing.T) {
	r := ropeOf(t, `{"rope_theta":500000.0,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192}}`, 131072, 128)
	freq, mag := r.Frequencies(128)
	if mag != 1 {
		t.Errorf("cosines are scaled by %v", mag)
	}
	for i, f := range freq {
		ratio := float64(f) * math.Pow(500000, float64(i)/64)
		switch {
		case i <= 28 && math.Abs(ratio-1) > 1e-6, i >= 36 && math.Abs(ratio-0.125) > 1e-6, i == 32 && math.Abs(ratio-0.37113) > 1e-4:
			t.Errorf("pair %d turns at %.5f of its speed", i, ratio)
		}
	}
}

// TestRopeYarn: Qwen's long context (factor 4 over 32768): the ramp runs over pairs 23
// to 40 of 64, and cosines are scaled by 0.1 ln 4 + 1, unless the file says otherwise.
func TestRopeYarn(t *testing.T) {
	const base = `{"rope_theta":1000000,"rope_scaling":{"type":"yarn","factor":4.0,"original_max_position_embeddings":32768`
	freq, mag := ropeOf(t, base+`}}`, 131072, 128).Frequencies(128)
	if math.Abs(float64(mag)-1.138629) > 1e-6 {
		t.Errorf("cosines are scaled by %v", mag)
	}
	for i, f := range freq {
		ratio := float64(f) * math.Pow(1e6, float64(i)/64)
		want := 1 - 0.75*min(max(float64(i-23)/(40-23), 0), 1)
		if math.Abs(ratio-want) > 1e-5 {
			t.Errorf("pair %d turns at %.5f of its speed, expected %.5f", i, ratio, want)
		}
	}
	for extra, want := range map[string]float64{
		`,"attention_factor":1.25}}`:                                 1.25,
		`,"attn_factor":0.8782488562869419}}`:                        1, // DeepSeek-R1-0528-Qwen3-8B: it takes YaRN's factor away
		`,"mscale":0.707,"mscale_all_dim":0.707}}`:                   1,
		`,"mscale":1.0,"mscale_all_dim":0.5}}`:                       1.138629 / 1.069315,
		`,"mscale":2.0}}`:                                            1.138629,
		`,"attention_factor":1.25,"attn_factor":0.8,"beta_slow":2}}`: 1.25,
	} {
		if _, mag := ropeOf(t, base+extra, 131072, 128).Frequencies(128); math.Abs(float64(mag)-want) > 1e-6 {
			t.Errorf("%s: cosines are scaled by %v, expected %v", extra, mag, want)
		}
	}
	// Unrounded, the ramp begins at 23.6 and ends at 39.7.
	freq, _ = ropeOf(t, base+`,"truncate":false}}`, 131072, 128).Frequencies(128)
	at := func(turns float64) float64 { return 128 * math.Log(32768/(turns*2*math.Pi)) / (2 * math.Log(1e6)) }
	if ratio, want := float64(freq[30])*math.Pow(1e6, 30.0/64), 1-0.75*(30-at(32))/(at(1)-at(32)); math.Abs(ratio-want) > 1e-5 {
		t.Errorf("unrounded, pair 30 turns at %.5f of its speed, expected %.5f", ratio, want)
	}
}

// TestRopeOthers: linear and by factors; both forms of the keys; dynamic scaling where
// nothing is scaled.
func TestRopeOthers(t *testing.T) {
	plain, _ := ropeOf(t, `{"rope_theta":10000}`, 100, 8).Frequencies(8)
	if want := []float32{1, 0.1, 0.01, 0.001}; !slices.EqualFunc(plain, want, func(a, b float32) bool { return math.Abs(float64(a/b-1)) < 1e-6 }) {
		t.Errorf("plain frequencies are %v", plain)
	}
	for config, divisor := range map[string][]float32{
		`{"rope_scaling":{"type":"linear","factor":4}}`:                                      {4, 4, 4, 4},
		`{"rope_parameters":{"rope_type":"linear","rope_theta":10000,"factor":4}}`:           {4, 4, 4, 4},
		`{"rope_scaling":{"rope_type":"factors","factors":[1,2,3,4]}}`:                       {1, 2, 3, 4},
		`{"rope_scaling":{"rope_type":"dynamic","factor":4}}`:                                {1, 1, 1, 1},
		`{"rope_scaling":{"rope_type":"default"}}`:                                           {1, 1, 1, 1},
		`{"rope_scaling":null,"rope_parameters":{"rope_type":"default","rope_theta":10000}}`: {1, 1, 1, 1},
		`{"rope_scaling":{"type":"linear","rope_type":"linear","factor":2}}`:                 {2, 2, 2, 2},
	} {
		r := ropeOf(t, config, 100, 8)
		got, mag := r.Frequencies(8)
		for i := range got {
			if got[i] != plain[i]/divisor[i] || mag != 1 {
				t.Errorf("%s: pair %d turns at %v, expected %v", config, i, got[i], plain[i]/divisor[i])
			}
		}
		raw, err := json.Marshal(map[string]any{"rope_theta": r.Theta, "rope_scaling": r.Scaling()})
		if err != nil {
			t.Fatal(err)
		}
		if again := ropeOf(t, string(raw), 100, 8); !again.equal(r) {
			t.Errorf("%+v came back as %+v", r, again)
		}
	}
}

func TestRopeRefusals(t *testing.T) {
	for config, want := range map[string]string{
		`{"rope_theta":"x"}`: "rope_theta", `{"rope_theta":1}`: "rope_theta", `{"rope_theta":-5}`: "rope_theta", `{"rope_scaling":7}`: "rope_scaling",
		`{"rope_scaling":{"factor":2}}`:                                                       "names no kind",
		`{"rope_scaling":{"type":"su","factor":2}}`:                                           `"su"`,
		`{"rope_scaling":{"type":3}}`:                                                         "rope_scaling.type",
		`{"rope_scaling":{"type":"linear","rope_type":"yarn","factor":2}}`:                    "keep the right one",
		`{"rope_scaling":{"type":"linear"}}`:                                                  "factor",
		`{"rope_scaling":{"type":"linear","factor":0.5}}`:                                     "factor",
		`{"rope_scaling":{"type":"linear","factor":2,"slope":3}}`:                             "rope_scaling.slope",
		`{"rope_scaling":{"type":"default","mrope_section":[16,24,24]}}`:                      "mrope_section",
		`{"rope_parameters":{"rope_type":"default","partial_rotary_factor":0.5}}`:             "partial_rotary_factor",
		`{"rope_scaling":{"rope_type":"dynamic","original_max_position_embeddings":50}}`:      "dynamic",
		`{"rope_scaling":{"rope_type":"llama3","factor":8}}`:                                  "low_freq_factor",
		`{"rope_scaling":{"rope_type":"yarn","factor":2,"beta_fast":1,"beta_slow":2}}`:        "beta_fast",
		`{"rope_scaling":{"rope_type":"yarn","factor":2,"attention_factor":-1}}`:              "-1",
		`{"rope_scaling":{"rope_type":"factors","factors":[1,2,3]}}`:                          "3 numbers for 4",
		`{"rope_scaling":{"rope_type":"factors","factors":[1,2,3,0]}}`:                        "place 3",
		`{"rope_theta":10000,"rope_parameters":{"rope_type":"default","rope_theta":5e5}}`:     "rope_theta",
		`{"rope_scaling":{"type":"linear","factor":2},"rope_parameters":{"rope_theta":9999}}`: "contradicts",
	} {
		keys, err := ReadKeys([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRope(keys, 10000, 100, 4); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, expected an error with %s", config, err, want)
		}
	}
}

// TestRopeTableGrows: however it grew, the table holds the cosines of every position.
func TestRopeTableGrows(t *testing.T) {
	be := compute.NewReference()
	r := NewRopeTable(be, []float32{1, 0.01}, 1.5, 1500)
	defer r.Close()
	for _, n := range []int{1, 512, 513, 700, 1500} {
		table := r.Upto(n)
		if rows := table.NumRows(); rows < n || rows > 1500 {
			t.Fatalf("%d rows for %d positions", rows, n)
		}
		for p := range table.NumRows() {
			for i, f := range []float32{1, 0.01} {
				s, c := math.Sincos(float64(float32(p) * f))
				if row := table.RowF32(p); row[i] != float32(c)*1.5 || row[2+i] != float32(s)*1.5 {
					t.Fatalf("position %d holds %v", p, row)
				}
			}
		}
	}
	r.Close()
	if r.Upto(3).NumRows() < 3 {
		t.Error("a closed table was not filled anew")
	}
}
