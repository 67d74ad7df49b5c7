package deepseek

import "encoding/json"

// MarshalJSON writes the config as transformers reads it (old rope keys, which every
// version understands).
func (c *Config) MarshalJSON() ([]byte, error) {
	type plain Config
	rope := c.Rope.Scaling()
	if m, ok := rope.(map[string]any); ok {
		m["type"] = m["rope_type"] // what older readers look for
	}
	var qlora any
	if c.QLoraRank > 0 {
		qlora = c.QLoraRank
	}
	scoring := "sigmoid"
	if c.Arch == V2 {
		scoring = "softmax"
	}
	arch := c.Architecture()
	return json.Marshal(struct {
		Architectures []string `json:"architectures"`
		ModelType     string   `json:"model_type"`
		*plain
		QLora         any     `json:"q_lora_rank"`
		RopeTheta     float64 `json:"rope_theta"`
		RopeScaling   any     `json:"rope_scaling"`
		HeadDim       int     `json:"head_dim"`
		QKHeadDim     int     `json:"qk_head_dim"`
		AttentionBias bool    `json:"attention_bias"`
		Dropout       float64 `json:"attention_dropout"`
		HiddenAct     string  `json:"hidden_act"`
		MoEFreq       int     `json:"moe_layer_freq"`
		Interleave    bool    `json:"rope_interleave"`
		Scoring       string  `json:"scoring_func"`
		Tie           bool    `json:"tie_word_embeddings"`
		UseCache      bool    `json:"use_cache"`
		DType         string  `json:"torch_dtype"`
	}{[]string{arch}, modelTypes[arch], (*plain)(c), qlora, c.Rope.Theta, rope, c.QKRopeHeadDim, c.QKNopeHeadDim + c.QKRopeHeadDim,
		false, 0, "silu", 1, true, scoring, false, true, "float32"})
}
