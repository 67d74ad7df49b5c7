package plan

import (
	"encoding/json"
	"math"
	"runtime"
	"strings"
	"testing"

	"sonde/model/deepseek"
	"sonde/model/llama"
)

func preset(t *testing.T, name string) *deepseek.Config {
	t.Helper()
	c, err := deepseek.Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// near sees that got agrees with a published figure as far as that is given.
func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.Abs(got-want) > within {
		t.Errorf("%s: %.6g, the report has %.6g (within %.2g)", what, got, want, within)
	}
}

// The V3 report's figures (arXiv 2412.19437, table 1 and sections 1 and 4), those of
// its weights' README, and of arXiv 2505.09343.
func TestV3ReportsFigures(t *testing.T) {
	r := Of(preset(t, "v3"), V3Run())
	near(t, "parameters, 671 B", float64(r.Params.Total)/1e9, 671, 0.5)
	near(t, "active parameters, 37 B", float64(r.Params.Active)/1e9, 37, 0.5)
	near(t, "MTP's own parameters, 11.5 B", float64(r.Params.MTP)/1e9, 11.5, 0.15)
	near(t, "MTP module with embedding and head, 14 B", float64(r.Params.Checkpoint-r.Params.Total)/1e9, 14, 0.6)
	near(t, "checkpoint, 685 B", float64(r.Params.Checkpoint)/1e9, 685, 0.7)
	near(t, "FP8 checkpoint, 689 GB", float64(r.Weights.FP8)/1e9, 689, 1)
	near(t, "latent KV, 70.3 kB a token", float64(r.KV.Latent)/1e3, 70.272, 1e-9)
	near(t, "expanded KV, 5.0 MB a token", float64(r.KV.Expanded)/1e6, 5.0, 0.01)
	near(t, "training, 250 GFLOP a token", r.FLOPs.Training/1e9, 250, 1)
	c := r.Estimates[0]
	near(t, "H800 hours per trillion tokens, 180 K", c.HoursPerTrillion/1e3, 180, 0.5)
	near(t, "H800 hours of pre-training, 2.664 M", c.DeviceHours/1e6, 2.664, 0.001)
	near(t, "days per trillion tokens on 2048, 3.7", c.Days/14.8, 3.7, 0.05)
	near(t, "dollars of pre-training, 5.328 M", c.Dollars/1e6, 5.328, 0.002)
	near(t, "dollars in all, 5.576 M", c.DollarsInAll/1e6, 5.576, 0.002)
	near(t, "tokens per second and GPU, 1543", c.TokensPerSecond, 1543, 2)
	near(t, "TFLOPS by 6N, 343 with 37 B", c.TFLOPS6N*37/36.63, 343, 1)
	near(t, "causal utilisation, 38.9 %", 100*c.Utilisation, 38.9, 0.3)
}

// What is counted part by part here must be what the model counts for itself.
func TestPartsAddUp(t *testing.T) {
	for _, name := range deepseek.PresetNames() {
		c := preset(t, name)
		r := Of(c)
		if r.Params.Total != c.TotalParams() || r.Params.Active != c.ActiveParams() || r.Params.MTP != c.MTPParams() {
			t.Errorf("%s: %d total, %d active, %d MTP; the model counts %d, %d, %d", name, r.Params.Total, r.Params.Active, r.Params.MTP,
				c.TotalParams(), c.ActiveParams(), c.MTPParams())
		}
		var sum int64
		for _, p := range r.Breakdown {
			sum += p.Params
		}
		if sum != r.Params.Total {
			t.Errorf("%s: the breakdown adds up to %d of %d", name, sum, r.Params.Total)
		}
	}
}

func TestFP8ScalesOfRaggedBlocks(t *testing.T) {
	p := part{attention, 576, 7168, 2, 2, true} // kv_a_proj_with_mqa: 5 x 56 blocks
	if got, want := p.fp8Bytes(), int64(2*(576*7168+4*5*56)); got != want {
		t.Errorf("%d bytes, expected %d", got, want)
	}
}

func TestTrainingMemory(t *testing.T) {
	c := preset(t, "nano")
	r := Of(c)
	n := c.TotalParams() + c.MTPParams()
	if r.Training.F32 != 16*n || r.Training.BF16 != 18*n {
		t.Errorf("%d and %d bytes for %d weights, expected 16 and 18 a weight", r.Training.F32, r.Training.BF16, n)
	}
}

func TestTextAndJSON(t *testing.T) {
	r := Of(preset(t, "v3"), V3Run())
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"671.0 B", "36.63 B", "684.5 B", "70.27 kB latent", "4.997 MB expanded", "83.49 GFLOP", "250.5 GFLOP",
		"2.664 M (180.0 K per trillion tokens)", "$5.328 M at $2.00 an hour", "$5.576 M"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, b.String())
		}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Params Params `json:"params"`
	}
	if err := json.Unmarshal(raw, &back); err != nil || back.Params != r.Params {
		t.Errorf("JSON gives %+v (%v), expected %+v", back.Params, err, r.Params)
	}
}

func TestScaled(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 7: "7", 999: "999", 999.96: "1.000 K", 1234: "1.234 K", 9.9996e6: "10.00 M", 123456: "123.5 K", 2e15: "2000.0 T"} {
		if got := count(v); got != want {
			t.Errorf("%v prints as %q, expected %q", v, got, want)
		}
	}
}

// Nothing is allocated for the weights: a report on 671 B parameters takes a few kB.
func TestNothingIsAllocated(t *testing.T) {
	c := preset(t, "v3")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	Of(c)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10 {
		t.Errorf("a report takes %d bytes", got)
	}
}

// TestLlamasFigures: Llama 3.1 8B's card (8.03 B parameters) and its cache of 128 KiB a
// token in 16 bit; the parts add up to what the model counts, with a tied head too.
func TestLlamasFigures(t *testing.T) {
	for _, config := range []string{
		`{"architectures":["LlamaForCausalLM"],"vocab_size":128256,"hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"max_position_embeddings":131072}`,
		`{"architectures":["LlamaForCausalLM"],"vocab_size":512,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":99,"attention_bias":true,"mlp_bias":true}`,
		`{"architectures":["Qwen3ForCausalLM"],"vocab_size":512,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":99,"tie_word_embeddings":true}`,
	} {
		c, _, err := llama.ParseConfig([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		r := Of(c)
		if r.Params.Total != c.TotalParams() || r.Params.Active != c.ActiveParams() || r.Params.Checkpoint != c.TotalParams() {
			t.Errorf("%s: %+v; the model counts %d, %d", config, r.Params, c.TotalParams(), c.ActiveParams())
		}
		if r.KV.Cache != c.KVBytesPerToken() || r.KV.Expanded*2 != r.KV.Cache || r.FLOPs.Forward != c.FlopsPerToken(r.FLOPs.SeqLen, true) {
			t.Errorf("%s: %+v, %+v", config, r.KV, r.FLOPs)
		}
		if r.Params.Total < 1e9 {
			continue
		}
		near(t, "parameters, 8.03 B", float64(r.Params.Total)/1e9, 8.03, 0.005)
		near(t, "KV, 128 KiB a token", float64(r.KV.Expanded)/1024, 128, 1e-9)
		var b strings.Builder
		if err := r.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"32 heads over 8 of keys", "8.030 B", "131.1 kB (16 bit; f32 262.1 kB)"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("the text lacks %q:\n%s", want, b.String())
			}
		}
	}
}

// TestOtherDeepSeeks: V2's router without a bias and V3.2's indexer are counted as the
// models count them.
func TestOtherDeepSeeks(t *testing.T) {
	for _, arch := range []string{deepseek.V2, deepseek.V32} {
		c, err := deepseek.Preset("v3")
		if err != nil {
			t.Fatal(err)
		}
		c.Arch = arch
		if arch == deepseek.V32 {
			c.IndexNHeads, c.IndexHeadDim, c.IndexTopK = 64, 128, 2048
		}
		r := Of(c)
		if r.Params.Total != c.TotalParams() || r.Params.Active != c.ActiveParams() || r.Params.MTP != c.MTPParams() {
			t.Errorf("%s: %+v; the model counts %d, %d, %d", arch, r.Params, c.TotalParams(), c.ActiveParams(), c.MTPParams())
		}
	}
}
