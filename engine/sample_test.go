package engine

import (
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// logs are logits whose softmax is the given probabilities.
func logs(p ...float64) []float32 {
	out := make([]float32, len(p))
	for i, v := range p {
		out[i] = float32(math.Log(v))
	}
	return out
}

func TestDistribution(t *testing.T) {
	logits := logs(0.1, 0.4, 0.2, 0.25, 0.05)
	tests := []struct {
		name string
		p    Params
		want map[int32]float64
	}{
		{"plain", Params{Temperature: 1}, map[int32]float64{0: .1, 1: .4, 2: .2, 3: .25, 4: .05}},
		// Temperature 1/2 squares: 1, 16, 4, 6.25, 0.25 of 27.5.
		{"cold", Params{Temperature: .5}, map[int32]float64{0: 1 / 27.5, 1: 16 / 27.5, 2: 4 / 27.5, 3: 6.25 / 27.5, 4: .25 / 27.5}},
		{"top-k", Params{Temperature: 1, TopK: 2}, map[int32]float64{1: .4 / .65, 3: .25 / .65}},
		// 0.4 + 0.25 = 0.65 < 0.7 <= 0.85.
		{"top-p", Params{Temperature: 1, TopP: .7}, map[int32]float64{1: .4 / .85, 2: .2 / .85, 3: .25 / .85}},
		{"top-p small", Params{Temperature: 1, TopP: .1}, map[int32]float64{1: 1}},
		// Of the three that top-k leaves, 0.4 and 0.25 are 0.76 of the weight.
		{"top-k, top-p", Params{Temperature: 1, TopK: 3, TopP: .75}, map[int32]float64{1: .4 / .65, 3: .25 / .65}},
		// Less than 0.45*0.4 = 0.18 goes.
		{"min-p", Params{Temperature: 1, MinP: .45}, map[int32]float64{1: .4 / .85, 2: .2 / .85, 3: .25 / .85}},
		{"min-p, top-p", Params{Temperature: 1, MinP: .6, TopP: .7}, map[int32]float64{1: .4 / .65, 3: .25 / .65}},
		{"nothing cut", Params{Temperature: 1, TopK: 5, TopP: 1, MinP: .01}, map[int32]float64{0: .1, 1: .4, 2: .2, 3: .25, 4: .05}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s := newSampler(tc.p)
			cands := s.distribution(logits, logits[1])
			sum := 0.0
			for _, c := range cands {
				sum += c.weight
			}
			if len(cands) != len(tc.want) {
				t.Fatalf("%d candidates, want %d: %v", len(cands), len(tc.want), cands)
			}
			for _, c := range cands {
				if got := c.weight / sum; math.Abs(got-tc.want[c.id]) > 1e-6 {
					t.Errorf("token %d: %.6f, want %.6f", c.id, got, tc.want[c.id])
				}
			}
			if !slices.IsSortedFunc(cands, func(a, b candidate) int { return int(a.id - b.id) }) {
				t.Errorf("not ordered by id: %v", cands)
			}
		})
	}
}

func TestTiesGoToTheFirst(t *testing.T) {
	s := newSampler(Params{Temperature: 1, TopK: 2})
	cands := s.distribution([]float32{1, 1, 1, 1}, 1)
	if len(cands) != 2 || cands[0].id != 0 || cands[1].id != 1 {
		t.Errorf("top-2 of equals: %v", cands)
	}
	if id, _ := newSampler(Params{}).next([]float32{0, 2, 2}); id != 1 {
		t.Errorf("greedy among equals took %d", id)
	}
}

func TestDrawsFollowTheDistribution(t *testing.T) {
	logits := logs(0.1, 0.4, 0.2, 0.25, 0.05)
	s := newSampler(Params{Temperature: 1, Seed: 3})
	const n = 40000
	var count [5]float64
	for range n {
		id, err := s.next(logits)
		if err != nil {
			t.Fatal(err)
		}
		count[id]++
	}
	chi := 0.0
	for i, p := range []float64{0.1, 0.4, 0.2, 0.25, 0.05} {
		chi += (count[i] - n*p) * (count[i] - n*p) / (n * p)
	}
	if chi > 18.47 { // 0.1 % of the chi-squared distribution with 4 degrees of freedom
		t.Errorf("chi-squared %.1f for counts %v", chi, count)
	}
}

func TestSeeds(t *testing.T) {
	logits := logs(.2, .2, .2, .2, .2)
	draw := func(seed uint64, p Params) (out []int32) {
		p.Seed, p.Temperature = seed, 1
		s := newSampler(p)
		for range 32 {
			id, _ := s.next(logits)
			out = append(out, id)
		}
		return out
	}
	if !slices.Equal(draw(7, Params{}), draw(7, Params{})) {
		t.Error("one seed gave two texts")
	}
	if slices.Equal(draw(7, Params{}), draw(8, Params{})) {
		t.Error("two seeds gave one text")
	}
	if !slices.Equal(draw(7, Params{}), draw(7, Params{TopK: 5, MinP: .1})) {
		t.Error("filters that remove nothing changed the draws")
	}
}

func TestOddLogits(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, bad := range [][]float32{{0, nan}, {nan, 0}, {inf, 0}, {-inf, -inf}, {}} {
		for _, temp := range []float64{0, 1} {
			if _, err := newSampler(Params{Temperature: temp}).next(bad); !errors.Is(err, ErrNotFinite) {
				t.Errorf("%v at temperature %v: %v", bad, temp, err)
			}
		}
	}
	for _, temp := range []float64{5e-324, 1e-9, 1e300} {
		id, err := newSampler(Params{Temperature: temp, TopP: .5}).next([]float32{-inf, 3, 1})
		if err != nil || id == 0 {
			t.Errorf("temperature %v drew %d, %v", temp, id, err)
		}
	}
}

func TestSelectTopProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vals := rapid.SliceOfN(rapid.IntRange(0, 6), 1, 60).Draw(t, "weights")
		k := rapid.IntRange(1, len(vals)).Draw(t, "k")
		c := make([]candidate, len(vals))
		for i, v := range vals {
			c[i] = candidate{int32(i), float64(v)}
		}
		want := slices.Clone(c)
		slices.SortFunc(want, byWeight)
		selectTop(c, k)
		slices.SortFunc(c[:k], byWeight)
		if !slices.Equal(c[:k], want[:k]) {
			t.Fatalf("top %d: %v, want %v", k, c[:k], want[:k])
		}
	})
}

func TestNucleusProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vals := rapid.SliceOfN(rapid.Float64Range(1e-9, 1), 1, 80).Draw(t, "weights")
		p := rapid.Float64Range(0.01, 0.999).Draw(t, "p")
		c := make([]candidate, len(vals))
		total := 0.0
		for i, v := range vals {
			c[i] = candidate{int32(i), v}
			total += v
		}
		want := slices.Clone(c)
		slices.SortFunc(want, byWeight)
		n, sum := 0, 0.0
		for n < len(want) && sum < p*total {
			sum += want[n].weight
			n++
		}
		if got := cutNucleus(c, p); len(got) != n {
			t.Fatalf("kept %d of %d, want %d", len(got), len(vals), n)
		}
	})
}

func TestValidate(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for name, p := range map[string]Params{
		"temperature":  {Temperature: -1},
		"top_p":        {TopP: nan},
		"min_p":        {MinP: 1.1},
		"top_k":        {TopK: -1},
		"max_tokens":   {MaxTokens: -5},
		"top_logprobs": {TopLogProbs: 21},
		"stop":         {Stop: []string{""}},
	} {
		var pe *ParamError
		if err := p.Validate(); !errors.As(err, &pe) || pe.Name != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, temp := range []float64{nan, inf} {
		if (Params{Temperature: temp}).Validate() == nil {
			t.Errorf("temperature %v passed", temp)
		}
	}
	if err := (Params{Temperature: 1, TopP: 1, MinP: 1, TopK: 1}).Validate(); err != nil {
		t.Error(err)
	}
}

func BenchmarkSample(b *testing.B) {
	logits := make([]float32, 129280)
	for i := range logits {
		logits[i] = float32(math.Sin(float64(i)) * 8)
	}
	for name, p := range map[string]Params{
		"greedy": {}, "plain": {Temperature: 1}, "top-p": {Temperature: 1, TopP: .95}, "top-k": {Temperature: 1, TopK: 40},
	} {
		b.Run(name, func(b *testing.B) {
			s := newSampler(p)
			for b.Loop() {
				if _, err := s.next(logits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
