package llama

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

// The config.json of models that people have, as far as they matter here.
var configs = map[string]string{
	"Llama-3.1-8B": `{"architectures":["LlamaForCausalLM"],"attention_bias":false,"bos_token_id":128000,"eos_token_id":[128001,128008,128009],
		"hidden_act":"silu","hidden_size":4096,"initializer_range":0.02,"intermediate_size":14336,"max_position_embeddings":131072,"mlp_bias":false,
		"model_type":"llama","num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":8,"pretraining_tp":1,"rms_norm_eps":1e-05,
		"rope_scaling":{"factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192,"rope_type":"llama3"},
		"rope_theta":500000.0,"tie_word_embeddings":false,"torch_dtype":"bfloat16","transformers_version":"4.42.3","use_cache":true,"vocab_size":128256}`,
	"SmolLM2-135M": `{"architectures":["LlamaForCausalLM"],"attention_bias":false,"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":576,
		"initializer_range":0.041666666666666664,"intermediate_size":1536,"is_llama_config":true,"max_position_embeddings":8192,"mlp_bias":false,"model_type":"llama",
		"num_attention_heads":9,"num_hidden_layers":30,"num_key_value_heads":3,"pad_token_id":2,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_interleaved":false,
		"rope_scaling":null,"rope_theta":100000,"tie_word_embeddings":true,"torch_dtype":"bfloat16","use_cache":true,"vocab_size":49152}`,
	"DeepSeek-R1-Distill-Qwen-1.5B": `{"architectures":["Qwen2ForCausalLM"],"attention_dropout":0.0,"bos_token_id":151643,"eos_token_id":151643,"hidden_act":"silu",
		"hidden_size":1536,"initializer_range":0.02,"intermediate_size":8960,"max_position_embeddings":131072,"max_window_layers":21,"model_type":"qwen2",
		"num_attention_heads":12,"num_hidden_layers":28,"num_key_value_heads":2,"rms_norm_eps":1e-06,"rope_theta":10000,"sliding_window":4096,
		"tie_word_embeddings":false,"torch_dtype":"bfloat16","use_cache":true,"use_mrope":false,"use_sliding_window":false,"vocab_size":151936}`,
	"DeepSeek-R1-0528-Qwen3-8B": `{"architectures":["Qwen3ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":151643,"eos_token_id":151645,
		"head_dim":128,"hidden_act":"silu","hidden_size":4096,"initializer_range":0.02,"intermediate_size":12288,"max_position_embeddings":131072,"max_window_layers":36,
		"model_type":"qwen3","num_attention_heads":32,"num_hidden_layers":36,"num_key_value_heads":8,"rms_norm_eps":1e-06,
		"rope_scaling":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32768,"attn_factor":0.8782488562869419},
		"rope_theta":1000000,"sliding_window":null,"tie_word_embeddings":false,"torch_dtype":"bfloat16","use_cache":true,"use_sliding_window":false,"vocab_size":151936}`,
	"Mistral-7B-v0.3": `{"architectures":["MistralForCausalLM"],"attention_dropout":0.0,"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":4096,
		"initializer_range":0.02,"intermediate_size":14336,"max_position_embeddings":32768,"model_type":"mistral","num_attention_heads":32,"num_hidden_layers":32,
		"num_key_value_heads":8,"rms_norm_eps":1e-05,"rope_theta":1000000.0,"sliding_window":null,"tie_word_embeddings":false,"torch_dtype":"bfloat16","use_cache":true,"vocab_size":32768}`,
}

// edit is one of configs with keys replaced (or removed, where the value is "").
func edit(t *testing.T, name string, changes map[string]string) []byte {
	t.Helper()
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(configs[name]), &keys); err != nil {
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

func parse(t *testing.T, name string, changes map[string]string) *Config {
	t.Helper()
	c, warnings, err := ParseConfig(edit(t, name, changes))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%s: %v, %v", name, warnings, err)
	}
	return c
}

// TestConfigKnownModels: parameters as their cards give them, and that a config written
// and read again is the same.
func TestConfigKnownModels(t *testing.T) {
	for name, want := range map[string]struct {
		total, active, kv float64
	}{
		"Llama-3.1-8B": {8.030e9, 7.505e9, 2 * 4 * 32 * 1024}, "SmolLM2-135M": {134.5e6, 134.5e6, 2 * 4 * 30 * 192},
		"DeepSeek-R1-Distill-Qwen-1.5B": {1.777e9, 1.544e9, 2 * 4 * 28 * 256}, "DeepSeek-R1-0528-Qwen3-8B": {8.191e9, 7.568e9, 2 * 4 * 36 * 1024},
		"Mistral-7B-v0.3": {7.248e9, 7.114e9, 2 * 4 * 32 * 1024},
	} {
		c := parse(t, name, nil)
		if n := float64(c.TotalParams()); math.Abs(n/want.total-1) > 1e-3 {
			t.Errorf("%s has %.4g parameters, expected %.4g", name, n, want.total)
		}
		if n := float64(c.ActiveParams()); math.Abs(n/want.active-1) > 1e-3 {
			t.Errorf("%s has %.4g active parameters, expected %.4g", name, n, want.active)
		}
		if n := float64(c.KVBytesPerToken()); n != want.kv {
			t.Errorf("%s keeps %v bytes a token, expected %v", name, n, want.kv)
		}
		roundTrip(t, c)
	}
}

func roundTrip(t *testing.T, c *Config) {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	again, warnings, err := ParseConfig(raw)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%s: %v, %v", raw, warnings, err)
	}
	if d := cmp.Diff(c, again); d != "" {
		t.Errorf("%s: %s", raw, d)
	}
}

func TestConfigRoundTripDetails(t *testing.T) {
	for _, changes := range []map[string]string{
		{"attention_bias": "true", "mlp_bias": "true", "eos_token_id": "null", "bos_token_id": "null"},
		{"rope_interleave": "true", "tie_word_embeddings": "true", "rope_scaling": `{"rope_type":"linear","factor":4}`},
		{"rope_scaling": `{"type":"yarn","factor":2,"original_max_position_embeddings":65536,"truncate":false,"mscale":1,"mscale_all_dim":0.7,"beta_fast":20}`},
		{"head_dim": "4", "num_attention_heads": "2", "num_key_value_heads": "2", "rope_scaling": `{"rope_type":"factors","factors":[1,2.5]}`},
		{"quantization_config": `{"quant_method":"fp8","fmt":"e4m3","activation_scheme":"dynamic","weight_block_size":[128,128]}`},
	} {
		roundTrip(t, parse(t, "Llama-3.1-8B", changes))
	}
}

// TestConfigFamilies: what follows from the architecture alone.
func TestConfigFamilies(t *testing.T) {
	for name, want := range map[string][4]bool{ // QKVBias, OutBias, MLPBias, QKNorm
		"Llama-3.1-8B": {}, "DeepSeek-R1-Distill-Qwen-1.5B": {true, false, false, false}, "DeepSeek-R1-0528-Qwen3-8B": {false, false, false, true}, "Mistral-7B-v0.3": {},
	} {
		c := parse(t, name, nil)
		if got := [4]bool{c.QKVBias, c.OutBias, c.MLPBias, c.QKNorm}; got != want {
			t.Errorf("%s has %v, expected %v", name, got, want)
		}
	}
	biased := parse(t, "Llama-3.1-8B", map[string]string{"attention_bias": "true", "mlp_bias": "true"})
	if !biased.QKVBias || !biased.OutBias || !biased.MLPBias {
		t.Errorf("Llama with biases is %+v", biased)
	}
	// Qwen3's width of a head is its own: hidden_size / num_attention_heads is another
	// number (0.6B: 64), and where the key is missing it is 128 all the same.
	if c := parse(t, "DeepSeek-R1-0528-Qwen3-8B", map[string]string{"hidden_size": "2048"}); c.HeadDim != 128 {
		t.Errorf("Qwen3's heads are %d wide", c.HeadDim)
	}
	if c := parse(t, "DeepSeek-R1-0528-Qwen3-8B", map[string]string{"hidden_size": "2048", "head_dim": ""}); c.HeadDim != 128 {
		t.Errorf("Qwen3's heads are %d wide by default", c.HeadDim)
	}
	if c := parse(t, "Llama-3.1-8B", map[string]string{"num_key_value_heads": ""}); c.HeadDim != 128 || c.NumKeyValueHeads != 32 {
		t.Errorf("Llama's defaults give %+v", c)
	}
	byType := parse(t, "DeepSeek-R1-Distill-Qwen-1.5B", map[string]string{"architectures": ""})
	if byType.Class != "Qwen2ForCausalLM" {
		t.Errorf("model_type alone gives %s", byType.Class)
	}
	if c := parse(t, "Llama-3.1-8B", nil); !cmp.Equal(c.EOSTokenIDs, []int{128001, 128008, 128009}) || c.BOSTokenID != 128000 {
		t.Errorf("special tokens are %v, %v", c.BOSTokenID, c.EOSTokenIDs)
	}
}

func TestConfigRefusals(t *testing.T) {
	const llama, qwen2, qwen3, mistral = "Llama-3.1-8B", "DeepSeek-R1-Distill-Qwen-1.5B", "DeepSeek-R1-0528-Qwen3-8B", "Mistral-7B-v0.3"
	cases := []struct {
		base    string
		changes map[string]string
		want    string // must be part of the error
	}{
		{llama, map[string]string{"architectures": `["GemmaForCausalLM"]`}, "LlamaForCausalLM, MistralForCausalLM"},
		{llama, map[string]string{"architectures": "", "model_type": ""}, `"architectures"`},
		{llama, map[string]string{"model_type": `"qwen2"`}, `"model_type"`},
		{llama, map[string]string{"hidden_act": `"gelu"`}, `"hidden_act"`},
		{llama, map[string]string{"hidden_size": ""}, `"hidden_size" is missing`},
		{llama, map[string]string{"hidden_size": `"big"`}, `"hidden_size"`},
		{llama, map[string]string{"vocab_size": "-5"}, `"vocab_size"`},
		{llama, map[string]string{"vocab_size": "99999999999"}, `"vocab_size"`},
		{llama, map[string]string{"num_attention_heads": "0"}, `"num_attention_heads"`},
		{llama, map[string]string{"num_attention_heads": "16777216", "head_dim": "128"}, `beyond any model`},
		{llama, map[string]string{"num_key_value_heads": "7"}, `"num_key_value_heads"`},
		{llama, map[string]string{"head_dim": "3", "rope_scaling": ""}, `"head_dim"`},
		{llama, map[string]string{"rms_norm_eps": "0"}, `rms_norm_eps`},
		{llama, map[string]string{"bos_token_id": "[1]"}, `"bos_token_id"`},
		{llama, map[string]string{"eos_token_id": `"x"`}, `"eos_token_id"`},
		{llama, map[string]string{"partial_rotary_factor": "0.5"}, `"partial_rotary_factor"`},
		{llama, map[string]string{"quantization_config": `{"quant_method":"awq"}`}, `"quantization_config"`},
		{llama, map[string]string{"compression_config": `{}`}, `"compression_config"`},
		{llama, map[string]string{"rope_scaling": `{"rope_type":"longrope"}`}, `"longrope"`},
		{qwen2, map[string]string{"head_dim": "96"}, `"head_dim"`},
		{qwen2, map[string]string{"use_mrope": "true"}, `"use_mrope"`},
		{qwen2, map[string]string{"mlp_bias": "true"}, `"mlp_bias"`},
		{qwen2, map[string]string{"use_sliding_window": "true"}, `"sliding_window"`},
		{qwen3, map[string]string{"layer_types": `["full_attention","sliding_attention"]`, "sliding_window": "4096"}, `"layer_types"`},
		{mistral, map[string]string{"attention_bias": "true"}, `"attention_bias"`},
		{mistral, map[string]string{"sliding_window": "4096"}, `"sliding_window" of 4096`},
		{mistral, map[string]string{"sliding_window": ""}, `"sliding_window" of 4096`}, // transformers' default
	}
	for _, c := range cases {
		_, _, err := ParseConfig(edit(t, c.base, c.changes))
		if !errors.Is(err, model.ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, expected an error with %s", c.changes, err, c.want)
		}
	}
	if _, _, err := ParseConfig([]byte("[1")); !errors.Is(err, model.ErrConfig) {
		t.Errorf("not JSON: %v", err)
	}
}

// TestConfigWindowOutOfUse: windows that no sequence reaches or no layer has are passed
// over.
func TestConfigWindowOutOfUse(t *testing.T) {
	parse(t, "Mistral-7B-v0.3", map[string]string{"sliding_window": "4096", "max_position_embeddings": "4096"})
	parse(t, "DeepSeek-R1-Distill-Qwen-1.5B", map[string]string{"use_sliding_window": "true", "max_window_layers": "28"})
}

func TestConfigUnknownKeyWarns(t *testing.T) {
	_, warnings, err := ParseConfig(edit(t, "Llama-3.1-8B", map[string]string{"surprise": "1", "use_cache": "false"}))
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], `"surprise"`) {
		t.Errorf("got %v, %v", warnings, err)
	}
}

// TestConfigTokensOutside: special tokens without an embedding (of models cut down for
// tests) are passed over with a warning each.
func TestConfigTokensOutside(t *testing.T) {
	c, warnings, err := ParseConfig(edit(t, "Llama-3.1-8B", map[string]string{"vocab_size": "128008", "bos_token_id": "200000"}))
	if err != nil || len(warnings) != 3 || !strings.Contains(warnings[0], "bos_token_id 200000") || !strings.Contains(warnings[2], "eos_token_id 128009") {
		t.Fatalf("got %q, %v", warnings, err)
	}
	if c.BOSTokenID != -1 || !cmp.Equal(c.EOSTokenIDs, []int{128001}) {
		t.Errorf("kept %d, %v", c.BOSTokenID, c.EOSTokenIDs)
	}
}

// TestWeightsAsManyAsCounted: a model has as many weights as its config says.
func TestWeightsAsManyAsCounted(t *testing.T) {
	for _, c := range toys() {
		be := compute.NewReference()
		ar := be.NewArena("test")
		got := int64(0)
		for _, p := range New(c, be, ar).Params() {
			got += int64(p.T.Len())
		}
		if got != c.TotalParams() {
			t.Errorf("%+v has %d weights, its config says %d", c, got, c.TotalParams())
		}
		ar.Free()
	}
}
