package deepseek

import "encoding/json"

// MarshalJSON writes the config as transformers reads it (old rope keys, which every
// version understands).
func (c *Config) MarshalJSON() ([]byte, error) {
	type plain Config
	var rope any
	if c.Rope.Factor > 0 {
		yarn := map[string]any{"type": "yarn", "factor": c.Rope.Factor, "beta_fast": c.Rope.BetaFast, "beta_slow": c.Rope.BetaSlow,
			"mscale": c.Rope.MScale, "mscale_all_dim": c.Rope.MScaleAllDim, "original_max_position_embeddings": c.Rope.OriginalMax}
		if c.Rope.AttentionFact != 0 {
			yarn["attention_factor"] = c.Rope.AttentionFact
		}
		rope = yarn
	}
	var qlora any
	if c.QLoraRank > 0 {
		qlora = c.QLoraRank
	}
	return json.Marshal(struct {
		Architectures []string `json:"architectures"`
		ModelType     string   `json:"model_type"`
		*plain
		QLora         any     `json:"q_lora_rank"`
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
		TopKMethod    string  `json:"topk_method"`
		UseCache      bool    `json:"use_cache"`
		DType         string  `json:"torch_dtype"`
	}{[]string{"DeepseekV3ForCausalLM"}, "deepseek_v3", (*plain)(c), qlora, rope, c.QKRopeHeadDim, c.QKNopeHeadDim + c.QKRopeHeadDim,
		false, 0, "silu", 1, true, "sigmoid", false, "noaux_tc", true, "float32"})
}
