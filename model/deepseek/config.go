package deepseek

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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

// readPositions reads what the rotary positions are made from, in either form. Both
// forms may be there, and then must agree.
func (c *Config) readPositions(keys map[string]json.RawMessage) error {
	if raw, ok := keys["rope_theta"]; ok && !isNull(raw) {
		if err := json.Unmarshal(raw, &c.RopeTheta); err != nil {
			return bad("rope_theta", "is %s, expected a number", clip(raw))
		}
	}
	outer, first := c.RopeTheta, ""
	for _, key := range []string{"rope_scaling", "rope_parameters"} {
		raw, ok := keys[key]
		if !ok || isNull(raw) {
			continue
		}
		before := c.Rope
		c.Rope = Yarn{}
		if err := c.readRope(key, raw); err != nil {
			return err
		}
		if raw, ok := keys["rope_theta"]; ok && !isNull(raw) && c.RopeTheta != outer {
			return bad(key, "has the rope_theta %v, but beside it rope_theta is %v; keep the right one", c.RopeTheta, outer)
		}
		if first != "" && c.Rope != before {
			return bad(key, "contradicts %q; keep the right one", first)
		}
		first = key
	}
	return nil
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

// readRope reads both the old form (rope_scaling with "type" beside rope_theta) and
// the new one (rope_parameters with "rope_type" and rope_theta inside).
func (c *Config) readRope(key string, raw json.RawMessage) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return bad(key, "should be an object: %v", err)
	}
	var kind string
	for _, k := range []string{"type", "rope_type"} {
		if v, ok := keys[k]; ok {
			if err := json.Unmarshal(v, &kind); err != nil {
				return bad(key+"."+k, "is %s, expected a name", clip(v))
			}
		}
	}
	if v, ok := keys["rope_theta"]; ok {
		if err := json.Unmarshal(v, &c.RopeTheta); err != nil {
			return bad(key+".rope_theta", "is %s, expected a number", clip(v))
		}
	}
	switch kind {
	case "", "default":
		return rejectScaling(key, keys)
	case "yarn", "deepseek_yarn":
		return c.readYarn(key, keys)
	}
	return bad(key, "asks for the scaling %q; only yarn is supported", kind)
}

func rejectScaling(key string, keys map[string]json.RawMessage) error {
	if v, ok := keys["factor"]; ok && string(v) != "1" && string(v) != "1.0" {
		return bad(key, "has the factor %s but names no kind of scaling", clip(v))
	}
	return nil
}

func (c *Config) readYarn(key string, keys map[string]json.RawMessage) error {
	y := Yarn{BetaFast: 32, BetaSlow: 1}
	targets := map[string]any{"factor": &y.Factor, "beta_fast": &y.BetaFast, "beta_slow": &y.BetaSlow, "mscale": &y.MScale,
		"mscale_all_dim": &y.MScaleAllDim, "original_max_position_embeddings": &y.OriginalMax, "attention_factor": &y.AttentionFact}
	for _, k := range sortedKeys(keys) {
		v := keys[k]
		p, ok := targets[k]
		switch {
		case ok && isNull(v), k == "type", k == "rope_type", k == "rope_theta":
		case ok:
			if err := json.Unmarshal(v, p); err != nil {
				return bad(key+"."+k, "is %s: %v", clip(v), err)
			}
		case k == "truncate" && string(v) == "true":
		default:
			return bad(key+"."+k, "is not known for yarn, and could change the result")
		}
	}
	if !(y.Factor >= 1) || math.IsInf(y.Factor, 0) {
		return bad(key+".factor", "is %v, expected a number of at least 1", y.Factor)
	}
	if y.BetaFast <= y.BetaSlow || y.BetaSlow <= 0 {
		return bad(key, "has beta_fast %v and beta_slow %v; expected beta_fast > beta_slow > 0", y.BetaFast, y.BetaSlow)
	}
	if y.OriginalMax == 0 {
		y.OriginalMax = c.MaxPositionEmbedding
	}
	if y.OriginalMax < 1 {
		return bad(key+".original_max_position_embeddings", "is %d, expected a positive number", y.OriginalMax)
	}
	c.Rope = y
	return nil
}

// limit bounds every size, so that products of two fit easily in 64 bits.
const limit = 1 << 24

// Validate reports values that contradict each other.
func (c *Config) Validate() error {
	sizes := []field{{"vocab_size", &c.VocabSize, true}, {"hidden_size", &c.HiddenSize, true}, {"intermediate_size", &c.IntermediateSize, true},
		{"moe_intermediate_size", &c.MoEIntermediateSize, true}, {"num_hidden_layers", &c.NumHiddenLayers, true},
		{"num_attention_heads", &c.NumAttentionHeads, true}, {"n_routed_experts", &c.NRoutedExperts, true}, {"kv_lora_rank", &c.KVLoraRank, true},
		{"qk_rope_head_dim", &c.QKRopeHeadDim, true}, {"qk_nope_head_dim", &c.QKNopeHeadDim, true}, {"v_head_dim", &c.VHeadDim, true},
		{"n_group", &c.NGroup, true}, {"topk_group", &c.TopKGroup, true}, {"num_experts_per_tok", &c.NumExpertsPerTok, true},
		{"max_position_embeddings", &c.MaxPositionEmbedding, true}, {"num_nextn_predict_layers", &c.NumNextnPredict, false},
		{"n_shared_experts", &c.NSharedExperts, false}, {"first_k_dense_replace", &c.FirstKDenseReplace, false}, {"q_lora_rank", &c.QLoraRank, false}}
	for _, s := range sizes {
		if v := *s.ptr.(*int); v < 0 || v > limit || (s.required && v == 0) {
			return bad(s.key, "is %d; expected a number between %d and %d", v, b2i(s.required), limit)
		}
	}
	switch {
	case c.NumHiddenLayers > 10000 || c.NumNextnPredict > 64 || c.NRoutedExperts > 1<<16:
		return fmt.Errorf("%w: %d layers, %d MTP modules, %d experts: beyond any model", ErrConfig, c.NumHiddenLayers, c.NumNextnPredict, c.NRoutedExperts)
	case c.NRoutedExperts*c.MoEIntermediateSize > limit || c.NumAttentionHeads*(c.QKNopeHeadDim+max(c.QKRopeHeadDim, c.VHeadDim)) > limit || c.NSharedExperts*c.MoEIntermediateSize > limit:
		return fmt.Errorf("%w: %d experts of width %d, %d heads of width %d+%d+%d: beyond any model", ErrConfig, c.NRoutedExperts, c.MoEIntermediateSize,
			c.NumAttentionHeads, c.QKNopeHeadDim, c.QKRopeHeadDim, c.VHeadDim)
	case c.NumKeyValueHeads != c.NumAttentionHeads:
		return bad("num_key_value_heads", "is %d but num_attention_heads is %d; MLA has one key per head", c.NumKeyValueHeads, c.NumAttentionHeads)
	case c.QKRopeHeadDim%2 != 0:
		return bad("qk_rope_head_dim", "is %d; rotary positions need pairs", c.QKRopeHeadDim)
	case c.NRoutedExperts%c.NGroup != 0:
		return bad("n_group", "is %d, which does not divide the %d routed experts", c.NGroup, c.NRoutedExperts)
	case c.NGroup > 1 && c.NRoutedExperts/c.NGroup < 2:
		return bad("n_group", "leaves %d experts a group; a group's score needs two", c.NRoutedExperts/c.NGroup)
	case c.TopKGroup > c.NGroup:
		return bad("topk_group", "is %d of only %d groups", c.TopKGroup, c.NGroup)
	case c.NumExpertsPerTok > c.TopKGroup*(c.NRoutedExperts/c.NGroup):
		return bad("num_experts_per_tok", "is %d, but the %d kept groups hold %d experts", c.NumExpertsPerTok, c.TopKGroup, c.TopKGroup*(c.NRoutedExperts/c.NGroup))
	case c.FirstKDenseReplace > c.NumHiddenLayers:
		return bad("first_k_dense_replace", "is %d of only %d layers", c.FirstKDenseReplace, c.NumHiddenLayers)
	case c.BOSTokenID >= c.VocabSize || c.EOSTokenID >= c.VocabSize:
		return bad("eos_token_id", "or bos_token_id (%d, %d) is outside the vocabulary of %d", c.EOSTokenID, c.BOSTokenID, c.VocabSize)
	case !(c.RMSNormEps > 0) || !(c.RopeTheta > 0) || !(c.RoutedScalingFactor > 0) || !(c.InitializerRange > 0):
		return fmt.Errorf("%w: rms_norm_eps, rope_theta, routed_scaling_factor and initializer_range must be positive", ErrConfig)
	}
	return nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

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

//go:embed presets/*.json
var presets embed.FS

// PresetNames lists the built-in configs, smallest first.
func PresetNames() []string { return []string{"nano", "mini", "small", "v3"} }

// Preset is a built-in config by name.
func Preset(name string) (*Config, error) {
	data, err := presets.ReadFile("presets/" + name + ".json")
	if err != nil || !slices.Contains(PresetNames(), name) {
		return nil, fmt.Errorf("no preset is named %q; there are %s", name, strings.Join(PresetNames(), ", "))
	}
	c, _, err := ParseConfig(data)
	return c, err
}
