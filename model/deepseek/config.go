package deepseek

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Config is a DeepSeek-V3 model's config.json, by the names Hugging Face gives.
type Config struct {
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
	RopeTheta            float64 `json:"rope_theta"`
	BOSTokenID           int     `json:"bos_token_id"`
	EOSTokenID           int     `json:"eos_token_id"`
	Rope                 Yarn    `json:"-"`
	// FP8Block is the block of an FP8 checkpoint's scales, [0, 0] where weights
	// are not FP8.
	FP8Block [2]int `json:"-"`
}

// Yarn is the rope scaling of YaRN (arXiv 2309.00071). A zero Factor means none.
type Yarn struct {
	Factor        float64 `json:"factor"`
	BetaFast      float64 `json:"beta_fast"`
	BetaSlow      float64 `json:"beta_slow"`
	MScale        float64 `json:"mscale"`
	MScaleAllDim  float64 `json:"mscale_all_dim"`
	OriginalMax   int     `json:"original_max_position_embeddings"`
	AttentionFact float64 `json:"-"` // attention_factor, 0 where the file has none
}

// ErrConfig is wrapped by every error of ParseConfig.
var ErrConfig = errors.New("config.json")

// harmless keys do not change what this program computes.
var harmless = strings.Fields(`_name_or_path architectures attention_dropout auto_map aux_loss_alpha dtype ep_size
	head_dim model_type output_attentions output_hidden_states output_router_logits pad_token_id pretraining_tp
	qk_head_dim return_dict router_aux_loss_coef seq_aux torch_dtype transformers_version unsloth_fixed use_cache
	chunk_size_feed_forward id2label label2id is_encoder_decoder problem_type tokenizer_class`)

// fixed keys would change the result if they had another value than the one given.
var fixed = map[string]string{
	"attention_bias": "false", "hidden_act": `"silu"`, "moe_layer_freq": "1", "rope_interleave": "true",
	"scoring_func": `"sigmoid"`, "tie_word_embeddings": "false", "topk_method": `"noaux_tc"`,
}

// special keys are read by code of their own.
var special = strings.Fields("q_lora_rank rope_scaling rope_parameters rope_theta quantization_config compression_config")

// ParseConfig reads a config.json of DeepseekV3ForCausalLM. What would change the
// result and is not supported is an error that names the key; unknown keys are
// returned as warnings; contradictory values are errors.
func ParseConfig(data []byte) (*Config, []string, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return nil, nil, fmt.Errorf("%w is not a JSON object: %v", ErrConfig, err)
	}
	c := &Config{NumNextnPredict: 0, NSharedExperts: 0, RoutedScalingFactor: 1, NGroup: 1, TopKGroup: 1, NormTopKProb: true,
		InitializerRange: 0.02, RMSNormEps: 1e-6, RopeTheta: 10000, BOSTokenID: 0, EOSTokenID: 1, MaxPositionEmbedding: 4096}
	if err := checkArchitecture(keys); err != nil {
		return nil, nil, err
	}
	if err := c.readPlain(keys); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(c.readSpecial(keys)...); err != nil {
		return nil, nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, nil, err
	}
	return c, unknownKeys(keys), nil
}

func bad(key, format string, args ...any) error {
	return fmt.Errorf("%w: %q %s", ErrConfig, key, fmt.Sprintf(format, args...))
}

func checkArchitecture(keys map[string]json.RawMessage) error {
	var archs []string
	if raw, ok := keys["architectures"]; ok {
		if err := json.Unmarshal(raw, &archs); err != nil {
			return bad("architectures", "should be a list of names, found %s", clip(raw))
		}
	}
	if len(archs) > 0 && !slices.Contains(archs, "DeepseekV3ForCausalLM") {
		return bad("architectures", "is %q; this model room runs DeepseekV3ForCausalLM alone", archs[0])
	}
	var mt string
	if raw, ok := keys["model_type"]; ok {
		if err := json.Unmarshal(raw, &mt); err != nil || mt != "deepseek_v3" {
			return bad("model_type", "is %s, expected \"deepseek_v3\"", clip(raw))
		}
	}
	return nil
}

func clip(raw []byte) string {
	if len(raw) > 60 {
		return string(raw[:60]) + "..."
	}
	return string(raw)
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// readPlain reads the keys that the struct's tags name, one by one so that an error
// can name its key, and checks the fixed ones.
func (c *Config) readPlain(keys map[string]json.RawMessage) error {
	for _, f := range c.fields() {
		raw, ok := keys[f.key]
		if !ok || isNull(raw) {
			if f.required {
				return bad(f.key, "is missing")
			}
			continue
		}
		if err := json.Unmarshal(raw, f.ptr); err != nil {
			return bad(f.key, "has the value %s: %v", clip(raw), err)
		}
	}
	if _, ok := keys["num_key_value_heads"]; !ok {
		c.NumKeyValueHeads = c.NumAttentionHeads
	}
	for _, key := range sortedKeys(fixed) {
		raw, ok := keys[key]
		if ok && !isNull(raw) && string(bytes.TrimSpace(raw)) != fixed[key] {
			return bad(key, "is %s; only %s is supported, and another value changes the result", clip(raw), fixed[key])
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
		{"bos_token_id", &c.BOSTokenID, false}, {"eos_token_id", &c.EOSTokenID, false},
	}
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func unknownKeys(keys map[string]json.RawMessage) []string {
	known := map[string]bool{}
	for _, f := range (&Config{}).fields() {
		known[f.key] = true
	}
	var out []string
	for _, k := range sortedKeys(keys) {
		if _, f := fixed[k]; !known[k] && !f && !slices.Contains(harmless, k) && !slices.Contains(special, k) {
			out = append(out, fmt.Sprintf("config.json: unknown key %q is passed over", k))
		}
	}
	return out
}

func (c *Config) readSpecial(keys map[string]json.RawMessage) []error {
	var errs []error
	if raw, ok := keys["q_lora_rank"]; ok && !isNull(raw) {
		if err := json.Unmarshal(raw, &c.QLoraRank); err != nil || c.QLoraRank <= 0 {
			errs = append(errs, bad("q_lora_rank", "is %s, expected null or a positive number", clip(raw)))
		}
	}
	if raw, ok := keys["quantization_config"]; ok && !isNull(raw) {
		errs = append(errs, c.readQuantization(raw))
	}
	if raw, ok := keys["compression_config"]; ok && !isNull(raw) {
		errs = append(errs, bad("compression_config", "is not supported; use a checkpoint in bf16 or DeepSeek's FP8"))
	}
	return append(errs, c.readPositions(keys), c.checkHeadDim(keys))
}

// checkHeadDim compares a value that follows from others with them.
func (c *Config) checkHeadDim(keys map[string]json.RawMessage) error {
	raw, ok := keys["qk_head_dim"]
	if !ok || isNull(raw) {
		return nil
	}
	var n int
	if err := json.Unmarshal(raw, &n); err != nil || n != c.QKNopeHeadDim+c.QKRopeHeadDim {
		return bad("qk_head_dim", "is %s, but qk_nope_head_dim and qk_rope_head_dim make %d; leave it out", clip(raw), c.QKNopeHeadDim+c.QKRopeHeadDim)
	}
	return nil
}

// readQuantization accepts DeepSeek's FP8: e4m3 in blocks with float32 scales.
func (c *Config) readQuantization(raw json.RawMessage) error {
	var q struct {
		Method string `json:"quant_method"`
		Format string `json:"fmt"`
		Block  []int  `json:"weight_block_size"`
	}
	if err := json.Unmarshal(raw, &q); err != nil {
		return bad("quantization_config", "cannot be read: %v", err)
	}
	if q.Method != "fp8" || (q.Format != "" && q.Format != "e4m3") || len(q.Block) != 2 || q.Block[0] <= 0 || q.Block[1] <= 0 {
		return bad("quantization_config", "is %s; only block-scaled fp8 e4m3 is supported", clip(raw))
	}
	c.FP8Block = [2]int{q.Block[0], q.Block[1]}
	return nil
}
