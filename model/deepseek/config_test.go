package deepseek

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sonde/compute"
	"sonde/model"
)

// edit is the v3 preset with keys replaced (or removed, where the value is "").
func edit(t *testing.T, changes map[string]string) []byte {
	t.Helper()
	raw, err := presets.ReadFile("presets/v3.json")
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		t.Fatal(err)
	}
	for k, v := range changes {
		if v == "" {
			delete(keys, k)
			continue
		}
		keys[k] = json.RawMessage(v)
	}
	out, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestConfigRefusals(t *testing.T) {
	cases := []struct {
		name    string
		changes map[string]string
		want    string // must be part of the error
	}{
		{"another architecture", map[string]string{"architectures": `["LlamaForCausalLM"]`}, `"architectures"`},
		{"another model type", map[string]string{"model_type": `"deepseek_v2"`}, `"model_type"`},
		{"softmax gate", map[string]string{"scoring_func": `"softmax"`}, `"scoring_func"`},
		{"greedy routing", map[string]string{"topk_method": `"greedy"`}, `"topk_method"`},
		{"tied embeddings", map[string]string{"tie_word_embeddings": "true"}, `"tie_word_embeddings"`},
		{"attention bias", map[string]string{"attention_bias": "true"}, `"attention_bias"`},
		{"half-rotated rope", map[string]string{"rope_interleave": "false"}, `"rope_interleave"`},
		{"gelu", map[string]string{"hidden_act": `"gelu"`}, `"hidden_act"`},
		{"sparse layers", map[string]string{"moe_layer_freq": "2"}, `"moe_layer_freq"`},
		{"missing size", map[string]string{"hidden_size": ""}, `"hidden_size" is missing`},
		{"wrong type", map[string]string{"hidden_size": `"big"`}, `"hidden_size"`},
		{"negative", map[string]string{"vocab_size": "-5"}, `"vocab_size"`},
		{"huge", map[string]string{"vocab_size": "99999999999"}, `"vocab_size"`},
		{"odd rope", map[string]string{"qk_rope_head_dim": "63"}, `"qk_rope_head_dim"`},
		{"groups do not divide", map[string]string{"n_group": "7"}, `"n_group"`},
		{"more groups than there are", map[string]string{"topk_group": "9"}, `"topk_group"`},
		{"more experts than kept", map[string]string{"num_experts_per_tok": "200"}, `"num_experts_per_tok"`},
		{"grouped keys", map[string]string{"num_key_value_heads": "8"}, `"num_key_value_heads"`},
		{"another rope", map[string]string{"rope_scaling": `{"type":"longrope","factor":2}`}, `"longrope"`},
		{"unknown yarn key", map[string]string{"rope_scaling": `{"type":"yarn","factor":2,"slope":3}`}, `rope_scaling.slope`},
		{"factor without kind", map[string]string{"rope_scaling": `{"factor":2}`}, "factor"},
		{"yarn that shrinks", map[string]string{"rope_scaling": `{"type":"yarn","factor":0.5}`}, "factor"},
		{"awq", map[string]string{"quantization_config": `{"quant_method":"awq"}`}, `"quantization_config"`},
		{"token outside", map[string]string{"eos_token_id": "129280"}, `eos_token_id`},
		{"two ropes", map[string]string{"rope_parameters": `{"rope_type":"yarn","factor":8,"original_max_position_embeddings":4096}`}, `"rope_parameters" contradicts "rope_scaling"`},
		{"yarn and none", map[string]string{"rope_parameters": `{"rope_type":"default"}`}, `contradicts`},
		{"two bases", map[string]string{"rope_scaling": "", "rope_parameters": `{"rope_type":"default","rope_theta":5e5}`}, `rope_theta`},
		{"another sum", map[string]string{"qk_head_dim": "200"}, `"qk_head_dim"`},
		{"experts that overflow", map[string]string{"n_routed_experts": "65536", "moe_intermediate_size": "16777216"}, "beyond any model"},
		{"heads that overflow", map[string]string{"num_attention_heads": "16777216", "num_key_value_heads": "16777216"}, "beyond any model"},
		{"zero eps", map[string]string{"rms_norm_eps": "0"}, "rms_norm_eps"},
	}
	for _, c := range cases {
		_, _, err := ParseConfig(edit(t, c.changes))
		if !errors.Is(err, model.ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, expected an error with %s", c.name, err, c.want)
		}
	}
	if _, _, err := ParseConfig([]byte("[1")); !errors.Is(err, model.ErrConfig) {
		t.Errorf("not JSON: %v", err)
	}
}

func TestConfigUnknownKeyWarns(t *testing.T) {
	_, warnings, err := ParseConfig(edit(t, map[string]string{"surprise": "1", "use_cache": "false"}))
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], `"surprise"`) {
		t.Errorf("got %v, %v", warnings, err)
	}
}

func TestConfigNewRopeForm(t *testing.T) {
	old, _, err := ParseConfig(edit(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	renamed, _, err := ParseConfig(edit(t, map[string]string{"rope_theta": "", "rope_scaling": "",
		"rope_parameters": `{"rope_type":"yarn","rope_theta":10000.0,"factor":40,"beta_fast":32,"beta_slow":1,"mscale":1.0,"mscale_all_dim":1.0,"original_max_position_embeddings":4096}`}))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(old, renamed); d != "" {
		t.Error(d)
	}
}

func TestConfigRoundTrip(t *testing.T) {
	for _, name := range PresetNames() {
		c, err := Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, warnings, err := ParseConfig(raw)
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%s: %v, %v", name, warnings, err)
		}
		if d := cmp.Diff(c, again); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	c, _, err := ParseConfig(edit(t, map[string]string{"qk_head_dim": "192", "rope_parameters": `{"rope_type":"yarn","rope_theta":10000,"factor":40.0,"attention_factor":1.25,"original_max_position_embeddings":4096}`,
		"rope_scaling": `{"type":"yarn","factor":40,"attention_factor":1.25,"original_max_position_embeddings":4096}`}))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := ParseConfig(raw); err != nil || !cmp.Equal(again.Rope, c.Rope) || again.Rope.AttentionFactor != 1.25 {
		t.Errorf("the rope scaling %+v came back as %+v, %v", c.Rope, again.Rope, err)
	}
	if _, err := Preset("../config_test"); err == nil {
		t.Error("a preset outside the list was found")
	}
}

// TestConfigSoftmaxScale: V3's scale with YaRN at factor 40 (mscale 1) and V2's
// (mscale_all_dim 0.707).
func TestConfigSoftmaxScale(t *testing.T) {
	c, err := Preset("v3")
	if err != nil {
		t.Fatal(err)
	}
	check := func(want float64) {
		t.Helper()
		if got := c.softmaxScale(); math.Abs(got-want) > 1e-6 {
			t.Errorf("softmax scale %.6f, expected %.6f", got, want)
		}
	}
	check(0.135234)
	c.Rope.MScale, c.Rope.MScaleAllDim = 0.707, 0.707
	check(0.114721)
	freq, mag := c.Rope.Frequencies(c.QKRopeHeadDim)
	if mag != 1 {
		t.Errorf("cosines are scaled by %v, expected 1", mag)
	}
	// The ramp runs over pairs 10 to 23: before it frequencies stay, after it
	// they are divided by the factor.
	for i, f := range freq {
		plain := math.Pow(10000, -float64(i)/32)
		ratio := float64(f) / plain
		if i <= 10 && math.Abs(ratio-1) > 1e-5 || i >= 23 && math.Abs(ratio-1.0/40) > 1e-5 {
			t.Errorf("pair %d has %.4f of the plain frequency", i, ratio)
		}
	}
}

// TestParamCounts: the V3 report's figures, and that a model has as many weights as
// its config says.
func TestParamCounts(t *testing.T) {
	v3, err := Preset("v3")
	if err != nil {
		t.Fatal(err)
	}
	if n := float64(v3.TotalParams()) / 1e9; math.Abs(n-671) > 0.1 {
		t.Errorf("V3 has %.2fB parameters", n)
	}
	if n := float64(v3.ActiveParams()) / 1e9; math.Abs(n-36.6) > 0.1 {
		t.Errorf("V3 has %.2fB active parameters, embedding aside", n)
	}
	nano, err := Preset("nano")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*Config{"nano": nano, "V2": toyV2(), "V3.2": toyV32()} {
		be := compute.NewReference()
		ar := be.NewArena("test")
		defer ar.Free()
		got := int64(0)
		for _, p := range New(c, be, ar).Params() {
			if !p.Shared {
				got += int64(p.T.Len())
			}
		}
		if want := c.TotalParams() + c.MTPParams(); got != want {
			t.Errorf("%s has %d weights, its config says %d", name, got, want)
		}
	}
}

// v2Lite is DeepSeek-V2-Lite's config.json.
const v2Lite = `{"architectures": ["DeepseekV2ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
	"auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config"}, "aux_loss_alpha": 0.001, "bos_token_id": 100000, "eos_token_id": 100001,
	"first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 10944, "kv_lora_rank": 512,
	"max_position_embeddings": 163840, "model_type": "deepseek_v2", "moe_intermediate_size": 1408, "moe_layer_freq": 1, "n_group": 1,
	"n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": false, "num_attention_heads": 16, "num_experts_per_tok": 6,
	"num_hidden_layers": 27, "num_key_value_heads": 16, "pretraining_tp": 1, "q_lora_rank": null, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
	"rms_norm_eps": 1e-06, "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
	"original_max_position_embeddings": 4096, "type": "yarn"}, "rope_theta": 10000, "routed_scaling_factor": 1.0, "scoring_func": "softmax",
	"seq_aux": true, "tie_word_embeddings": false, "topk_group": 1, "topk_method": "greedy", "torch_dtype": "bfloat16", "transformers_version": "4.33.1",
	"use_cache": true, "v_head_dim": 128, "vocab_size": 102400}`

// TestConfigV2: V2's files in the form in which they were published, and what of them is
// refused.
func TestConfigV2(t *testing.T) {
	c, warnings, err := ParseConfig([]byte(v2Lite))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if n := float64(c.TotalParams()) / 1e9; math.Abs(n-15.7) > 0.05 {
		t.Errorf("V2-Lite has %.2fB parameters", n)
	}
	if n := float64(c.ActiveParams()+int64(c.VocabSize*c.HiddenSize)) / 1e9; math.Abs(n-2.66) > 0.05 {
		t.Errorf("V2-Lite has %.2fB active parameters, embedding included", n)
	}
	if math.Abs(c.softmaxScale()-0.114721) > 1e-6 {
		t.Errorf("the softmax scale is %.6f", c.softmaxScale())
	}
	if d := c.moe(); !d.Softmax || d.Groups != 1 || d.Normalize || d.Scale != 1 {
		t.Errorf("the router is %+v", d)
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := ParseConfig(raw); err != nil || !cmp.Equal(again, c) {
		t.Errorf("it came back as %+v, %v", again, err)
	}
	for old, with := range map[string]string{
		`"softmax"`: `"sigmoid"`, `"greedy"`: `"noaux_tc"`, `"deepseek_v2"`: `"deepseek_v3"`, `"seq_aux": true`: `"index_topk": 4`,
		`"moe_layer_freq": 1`: `"moe_layer_freq": 2`,
	} {
		if _, _, err := ParseConfig([]byte(strings.Replace(v2Lite, old, with, 1))); !errors.Is(err, model.ErrConfig) {
			t.Errorf("with %s: %v", with, err)
		}
	}
}

// TestConfigV32: V3.2's keys beside V3's, and what of them is refused.
func TestConfigV32(t *testing.T) {
	with := map[string]string{"architectures": `["DeepseekV32ForCausalLM"]`, "model_type": `"deepseek_v32"`, "index_n_heads": "64", "index_head_dim": "128",
		"index_topk": "2048", "quantization_config": `{"quant_method":"fp8","fmt":"e4m3","scale_fmt":"ue8m0","activation_scheme":"dynamic","weight_block_size":[128,128]}`}
	c, warnings, err := ParseConfig(edit(t, with))
	if err != nil || len(warnings) > 0 || c.Architecture() != V32 || c.FP8Block != [2]int{128, 128} {
		t.Fatal(c, err, warnings)
	}
	if c.KVBytesPerToken() != 61*4*(576+128) {
		t.Errorf("a token takes %d bytes", c.KVBytesPerToken())
	}
	for name, change := range map[string]map[string]string{
		"no top k": {"index_topk": ""}, "narrow heads": {"index_head_dim": "32"}, "no low rank": {"q_lora_rank": "null"},
		"another layer": {"layer_types": `["full_attention"]`}, "fewer layers": {"mlp_layer_types": `["dense"]`},
		"another scale": {"quantization_config": `{"quant_method":"fp8","scale_fmt":"e5m2","weight_block_size":[128,128]}`},
	} {
		for k, v := range with {
			if _, ok := change[k]; !ok {
				change[k] = v
			}
		}
		if _, _, err := ParseConfig(edit(t, change)); !errors.Is(err, model.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
