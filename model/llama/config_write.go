package llama

import "encoding/json"

// MarshalJSON writes the config as transformers reads it (old rope keys, which every
// version understands). rope_interleave, and scaling by factors per pair, are only
// there for weights that came from llama.cpp's files.
func (c *Config) MarshalJSON() ([]byte, error) {
	type plain Config
	out := struct {
		Architectures []string `json:"architectures"`
		ModelType     string   `json:"model_type"`
		*plain
		RopeTheta       float64 `json:"rope_theta"`
		RopeScaling     any     `json:"rope_scaling"`
		RopeInterleaved bool    `json:"rope_interleave,omitempty"`
		AttentionBias   *bool   `json:"attention_bias,omitempty"`
		MLPBias         *bool   `json:"mlp_bias,omitempty"`
		UseWindow       *bool   `json:"use_sliding_window,omitempty"`
		Window          any     `json:"sliding_window,omitempty"`
		HiddenAct       string  `json:"hidden_act"`
		BOS             any     `json:"bos_token_id"`
		EOS             any     `json:"eos_token_id"`
		UseCache        bool    `json:"use_cache"`
		DType           string  `json:"torch_dtype"`
		FP8             any     `json:"quantization_config,omitempty"`
	}{Architectures: []string{c.Class}, ModelType: families[c.Class].modelType, plain: (*plain)(c), RopeTheta: c.Rope.Theta, RopeScaling: c.Rope.Scaling(),
		RopeInterleaved: c.RopeInterleaved, HiddenAct: "silu", UseCache: true, DType: "float32"}
	f := families[c.Class]
	if f.attentionBias {
		out.AttentionBias = &c.OutBias
	}
	if f.mlpBias {
		out.MLPBias = &c.MLPBias
	}
	if f.window && c.Class != "MistralForCausalLM" {
		out.UseWindow = new(bool)
	}
	if c.Class == "MistralForCausalLM" {
		out.Window = json.RawMessage("null")
	}
	out.BOS, out.EOS = c.tokens()
	if c.FP8Block != [2]int{} {
		out.FP8 = map[string]any{"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": c.FP8Block}
	}
	return json.Marshal(out)
}

// tokens are the special tokens' values in the file.
func (c *Config) tokens() (bos, eos any) {
	if c.BOSTokenID >= 0 {
		bos = c.BOSTokenID
	}
	switch len(c.EOSTokenIDs) {
	case 0:
	case 1:
		eos = c.EOSTokenIDs[0]
	default:
		eos = c.EOSTokenIDs
	}
	return bos, eos
}
