package deepseek

import (
	"errors"
	"slices"
	"strings"

	"sonde/model"
)

// The architectures that this room runs, by their classes in transformers.
const (
	V2  = "DeepseekV2ForCausalLM"  // V2, V2-Lite
	V3  = "DeepseekV3ForCausalLM"  // V3, R1, V3.1
	V32 = "DeepseekV32ForCausalLM" // V3.2: sparse attention
)

// modelTypes are the architectures' names in model_type.
var modelTypes = map[string]string{V2: "deepseek_v2", V3: "deepseek_v3", V32: "deepseek_v32"}

// Config is a DeepSeek model's config.json, by the names Hugging Face gives.
type Config struct {
	// Arch is one of V2, V3 and V32; "" is V3.
	Arch                 string  `json:"-"`
	VocabSize            int     `json:"vocab_size"`
	HiddenSize           int     `json:"hidden_size"`
	IntermediateSize     int     `json:"intermediate_size"`     // width of the dense layers' feed-forward
	MoEIntermediateSize  int     `json:"moe_intermediate_size"` // width of one expert
	NumHiddenLayers      int     `json:"num_hidden_layers"`
	NumNextnPredict      int     `json:"num_nextn_predict_layers"` // depth of MTP
	NumAttentionHeads    int     `json:"num_attention_heads"`
	NumKeyValueHeads     int     `json:"num_key_value_heads"`
	NSharedExperts       int     `json:"n_shared_experts"`
	NRoutedExperts       int     `json:"n_routed_experts"`
	RoutedScalingFactor  float64 `json:"routed_scaling_factor"`
	KVLoraRank           int     `json:"kv_lora_rank"`
	QLoraRank            int     `json:"-"` // null or absent in the file: 0
	QKRopeHeadDim        int     `json:"qk_rope_head_dim"`
	QKNopeHeadDim        int     `json:"qk_nope_head_dim"`
	VHeadDim             int     `json:"v_head_dim"`
	NGroup               int     `json:"n_group"`
	TopKGroup            int     `json:"topk_group"`
	NumExpertsPerTok     int     `json:"num_experts_per_tok"`
	FirstKDenseReplace   int     `json:"first_k_dense_replace"`
	NormTopKProb         bool    `json:"norm_topk_prob"`
	MaxPositionEmbedding int     `json:"max_position_embeddings"`
	InitializerRange     float64 `json:"initializer_range"`
	RMSNormEps           float64 `json:"rms_norm_eps"`
	BOSTokenID           int     `json:"bos_token_id"`
	EOSTokenID           int     `json:"eos_token_id"`
	// TopKMethod is how the router chooses: "noaux_tc" (V3), "greedy" or
	// "group_limited_greedy" (V2); "" is V3's.
	TopKMethod string `json:"topk_method"`
	// The indexer of V3.2: heads, their width, and how many keys a token reads. Zero
	// elsewhere.
	IndexNHeads  int `json:"index_n_heads,omitempty"`
	IndexHeadDim int `json:"index_head_dim,omitempty"`
	IndexTopK    int `json:"index_topk,omitempty"`

	Rope model.Rope `json:"-"`
	// FP8Block is the block of an FP8 checkpoint's scales, [0, 0] where weights
	// are not FP8.
	FP8Block [2]int `json:"-"`
}

// harmless keys do not change what this program computes.
var harmless = strings.Fields(`_name_or_path architectures attention_dropout auto_map aux_loss_alpha dtype ep_size
	head_dim model_type output_attentions output_hidden_states output_router_logits pad_token_id pretraining_tp
	return_dict router_aux_loss_coef seq_aux torch_dtype transformers_version unsloth_fixed use_cache
	chunk_size_feed_forward id2label label2id is_encoder_decoder problem_type tokenizer_class`)

// fixed keys would change the result if they had another value than the one given.
var fixed = map[string]string{
	"attention_bias": "false", "mlp_bias": "false", "hidden_act": `"silu"`, "moe_layer_freq": "1", "rope_interleave": "true",
	"tie_word_embeddings": "false",
}

// special keys are read by code of their own.
var special = strings.Fields(`q_lora_rank rope_scaling rope_parameters rope_theta quantization_config compression_config
	qk_head_dim scoring_func topk_method layer_types mlp_layer_types eos_token_id`)

// ParseConfig reads a config.json of a DeepSeek model, V2 to V3.2. What would change
// the result and is not supported is an error that names the key; unknown keys are
// returned as warnings; contradictory values are errors.
func ParseConfig(data []byte) (*Config, []string, error) {
	keys, err := model.ReadKeys(data)
	if err != nil {
		return nil, nil, err
	}
	c := &Config{RoutedScalingFactor: 1, NGroup: 1, TopKGroup: 1,
		InitializerRange: 0.02, RMSNormEps: 1e-6, EOSTokenID: 1, MaxPositionEmbedding: 4096}
	if c.Arch, err = architecture(keys); err != nil {
		return nil, nil, err
	}
	c.NormTopKProb = c.Arch != V2
	if err := c.readPlain(keys); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(c.readSpecial(keys)...); err != nil {
		return nil, nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, nil, err
	}
	return c, c.unknown(keys), nil
}

// architecture is the class that the file names, or the one of its model_type.
func architecture(keys model.Keys) (string, error) {
	var archs []string
	var kind string
	if err := errors.Join(keys.Read("architectures", &archs), keys.Read("model_type", &kind)); err != nil {
		return "", err
	}
	arch := V3
	for a, t := range modelTypes {
		if slices.Contains(archs, a) || len(archs) == 0 && kind == t {
			arch = a
		}
	}
	switch {
	case len(archs) > 0 && !slices.Contains(archs, arch):
		return "", model.BadKey("architectures", "is %q; here run %s, %s and %s", archs[0], V2, V3, V32)
	case kind != "" && kind != modelTypes[arch]:
		return "", model.BadKey("model_type", "is %q, but %s is %q; the file belongs to another model", kind, arch, modelTypes[arch])
	}
	return arch, nil
}

// readPlain reads the keys that the struct's tags name, one by one so that an error
// can name its key, and checks the fixed ones.
func (c *Config) readPlain(keys model.Keys) error {
	for _, f := range c.fields() {
		read := keys.Read
		if f.required {
			read = keys.Need
		}
		if err := read(f.key, f.ptr); err != nil {
			return err
		}
	}
	if !keys.Has("num_key_value_heads") {
		c.NumKeyValueHeads = c.NumAttentionHeads
	}
	for _, key := range keys.Names() {
		if want, ok := fixed[key]; ok && keys.Has(key) && keys.Show(key) != want {
			return model.BadKey(key, "is %s; only %s is supported, and another value changes the result", keys.Show(key), want)
		}
	}
	return nil
}

type field struct {
	key      string
	ptr      any
	required bool
}

func (c *Config) fields() []field {
	v32 := c.Arch == V32
	return []field{
		{"vocab_size", &c.VocabSize, true}, {"hidden_size", &c.HiddenSize, true},
		{"intermediate_size", &c.IntermediateSize, true}, {"moe_intermediate_size", &c.MoEIntermediateSize, true},
		{"num_hidden_layers", &c.NumHiddenLayers, true}, {"num_nextn_predict_layers", &c.NumNextnPredict, false},
		{"num_attention_heads", &c.NumAttentionHeads, true}, {"num_key_value_heads", &c.NumKeyValueHeads, false},
		{"n_shared_experts", &c.NSharedExperts, false}, {"n_routed_experts", &c.NRoutedExperts, true},
		{"routed_scaling_factor", &c.RoutedScalingFactor, false}, {"kv_lora_rank", &c.KVLoraRank, true},
		{"qk_rope_head_dim", &c.QKRopeHeadDim, true}, {"qk_nope_head_dim", &c.QKNopeHeadDim, true},
		{"v_head_dim", &c.VHeadDim, true}, {"n_group", &c.NGroup, false}, {"topk_group", &c.TopKGroup, false},
		{"num_experts_per_tok", &c.NumExpertsPerTok, true}, {"first_k_dense_replace", &c.FirstKDenseReplace, false},
		{"norm_topk_prob", &c.NormTopKProb, false}, {"max_position_embeddings", &c.MaxPositionEmbedding, false},
		{"initializer_range", &c.InitializerRange, false}, {"rms_norm_eps", &c.RMSNormEps, false},
		{"bos_token_id", &c.BOSTokenID, false},
		{"index_n_heads", &c.IndexNHeads, v32}, {"index_head_dim", &c.IndexHeadDim, v32}, {"index_topk", &c.IndexTopK, v32},
	}
}

// unknown warns of keys that nothing here reads.
func (c *Config) unknown(keys model.Keys) []string {
	var known []string
	for _, f := range c.fields() {
		known = append(known, f.key)
	}
	for k := range fixed {
		known = append(known, k)
	}
	return keys.Unknown(known, harmless, special)
}

// Architecture is the class in transformers.
func (c *Config) Architecture() string {
	if c.Arch == "" {
		return V3
	}
	return c.Arch
}
