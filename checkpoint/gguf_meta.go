package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"sonde/text"
)

// hfConfig is the part of a config.json that a GGUF file repeats.
type hfConfig struct {
	path, arch string

	Architectures []string `json:"architectures"`
	Vocab         int      `json:"vocab_size"`
	Hidden        int      `json:"hidden_size"`
	Intermediate  int      `json:"intermediate_size"`
	Layers        int      `json:"num_hidden_layers"`
	Heads         int      `json:"num_attention_heads"`
	KVHeads       *int     `json:"num_key_value_heads"`
	HeadDim       int      `json:"head_dim"`
	Context       int      `json:"max_position_embeddings"`
	Eps           float64  `json:"rms_norm_eps"`
	Theta         float64  `json:"rope_theta"`
	Scaling       *scaling `json:"rope_scaling"`
	Parameters    *scaling `json:"rope_parameters"` // newer than rope_scaling and rope_theta
	BOS           *int     `json:"bos_token_id"`
	EOS           any      `json:"eos_token_id"` // a number, or a list of them

	QLora        *int    `json:"q_lora_rank"`
	KVLora       int     `json:"kv_lora_rank"`
	Nope         int     `json:"qk_nope_head_dim"`
	Rope         int     `json:"qk_rope_head_dim"`
	V            int     `json:"v_head_dim"`
	Experts      int     `json:"n_routed_experts"`
	Shared       int     `json:"n_shared_experts"`
	Used         int     `json:"num_experts_per_tok"`
	Expert       int     `json:"moe_intermediate_size"`
	Dense        int     `json:"first_k_dense_replace"`
	Scale        float64 `json:"routed_scaling_factor"`
	Norm         *bool   `json:"norm_topk_prob"`
	Groups       *int    `json:"n_group"`
	GroupsKept   *int    `json:"topk_group"`
	IndexHeads   int     `json:"index_n_heads"`
	IndexHeadDim int     `json:"index_head_dim"`
	IndexTopK    int     `json:"index_topk"`
}

// scaling is how frequencies of rotations are scaled.
type scaling struct {
	Type       string    `json:"type"`
	RopeType   string    `json:"rope_type"`
	Theta      float64   `json:"rope_theta"`
	Factor     float64   `json:"factor"`
	Original   int       `json:"original_max_position_embeddings"`
	BetaFast   float64   `json:"beta_fast"`
	BetaSlow   float64   `json:"beta_slow"`
	MScaleAll  float64   `json:"mscale_all_dim"`
	Attention  float64   `json:"attention_factor"`
	Low        float64   `json:"low_freq_factor"`
	High       float64   `json:"high_freq_factor"`
	FactorList []float64 `json:"factors"`
}

// readHFConfig reads a source's config. A model that llama.cpp has no architecture for
// is an error that names it.
func readHFConfig(s *Source) (*hfConfig, error) {
	c := &hfConfig{path: s.Path, Eps: 1e-6, Scale: 1}
	if err := json.Unmarshal(s.Config, c); err != nil {
		return nil, &FormatError{Path: s.Path, Problem: "its config is not understood", Try: "fetch it again", Err: err}
	}
	if p := c.Parameters; p != nil {
		if p.Theta != 0 {
			c.Theta = p.Theta
		}
		c.Scaling = p
	}
	if c.Theta == 0 {
		c.Theta = 10000
	}
	if c.Scaling != nil && c.Scaling.RopeType == "" {
		c.Scaling.RopeType = c.Scaling.Type
	}
	for arch, known := range ggufArchitectures {
		if slices.Contains(c.Architectures, known.class) || arch == "deepseek2" && slices.Contains(c.Architectures, v3Class) {
			c.arch = arch
		}
	}
	if c.arch == "" {
		return nil, &FormatError{Path: s.Path, Problem: fmt.Sprintf("its architecture is %.200q", c.Architectures),
			Try: "GGUF files are written of DeepSeek-V2, V3 and V3.2, Llama, Qwen2 and Qwen3"}
	}
	if c.HeadDim == 0 && c.Heads > 0 {
		c.HeadDim = c.Hidden / c.Heads
	}
	return c, nil
}

func (c *hfConfig) isMLA() bool { return strings.HasPrefix(c.arch, "deepseek") }

// scalingType is "" where frequencies are not scaled.
func (c *hfConfig) scalingType() string {
	if c.Scaling == nil || c.Scaling.RopeType == "default" {
		return ""
	}
	return c.Scaling.RopeType
}

// factors divide the frequencies of rotations: Llama 3.1's (its reference code's
// apply_scaling) or those of another GGUF file. nil where there are none.
func (c *hfConfig) factors() []float64 {
	switch c.scalingType() {
	case "factors":
		return c.Scaling.FactorList
	case "llama3":
	default:
		return nil
	}
	s := c.Scaling
	list := make([]float64, c.HeadDim/2)
	for i := range list {
		wave := 2 * math.Pi * math.Pow(c.Theta, 2*float64(i)/float64(c.HeadDim))
		turns := float64(s.Original) / wave
		switch smooth := (turns - s.Low) / (s.High - s.Low); {
		case turns > s.High:
			list[i] = 1
		case turns < s.Low:
			list[i] = s.Factor
		default:
			list[i] = 1 / ((1-smooth)/s.Factor + smooth)
		}
	}
	return list
}

// ggufShape is the shape of a tensor in a GGUF file: experts and heads are a
// dimension of their own.
func (c *hfConfig) ggufShape(t outTensor) ([]int, error) {
	n := 0
	switch {
	case strings.Contains(t.name, ".experts.*."):
		n = c.Experts
	case strings.HasSuffix(t.name, ".k_b_proj.weight"), strings.HasSuffix(t.name, ".v_b_proj.weight"):
		n = c.Heads
	default:
		return t.shape, nil
	}
	if len(t.shape) != 2 || n < 1 || t.shape[0]%n != 0 {
		return nil, &FormatError{Path: c.path, Tensor: t.name, Problem: fmt.Sprintf("has the shape %v, expected rows of %d experts or heads", t.shape, n), Try: tryLoad}
	}
	return []int{n, t.shape[0] / n, t.shape[1]}, nil
}

// ggufMetadata are the metadata of the file to be written.
func ggufMetadata(s *Source, fileType uint32, tensors []outTensor) (*GGUF, error) {
	c, err := readHFConfig(s)
	if err != nil {
		return nil, err
	}
	m := &GGUF{Values: map[string]any{}}
	m.set("general.architecture", c.arch)
	m.set("general.type", "model")
	m.set("general.name", strings.TrimSuffix(filepath.Base(s.Path), ".gguf"))
	if s.GGUF != nil {
		for _, k := range s.GGUF.Keys {
			m.set(k, s.GGUF.Values[k])
		}
		for _, k := range []string{splitNo, splitCount, splitTensors, "general.alignment"} {
			m.drop(k)
		}
	}
	m.set("general.file_type", fileType)
	m.set("general.quantization_version", uint32(2))
	if err := c.common(m, tensors); err != nil {
		return nil, err
	}
	if s.GGUF != nil {
		return m, nil // the vocabulary is there
	}
	vocabulary, err := c.vocabulary(s)
	for _, v := range vocabulary {
		m.set(v.Key, v.Value)
	}
	return m, err
}

// common sets the keys of the architecture.
func (c *hfConfig) common(m *GGUF, tensors []outTensor) error {
	size := func(key string, n int) { m.set(c.arch+key, uint32(n)) }
	number := func(key string, x float64) { m.set(c.arch+key, float32(x)) }
	nextn := 0
	for _, t := range tensors {
		if strings.HasSuffix(t.name, ".eh_proj.weight") {
			nextn++
		}
	}
	kv := c.Heads
	if c.KVHeads != nil {
		kv = *c.KVHeads
	}
	if c.isMLA() {
		kv = 1 // keys and values are one latent
	}
	size(".block_count", c.Layers+nextn)
	if nextn > 0 || m.has(c.arch+".nextn_predict_layers") {
		size(".nextn_predict_layers", nextn)
	}
	size(".context_length", c.Context)
	size(".embedding_length", c.Hidden)
	size(".feed_forward_length", c.Intermediate)
	size(".attention.head_count", c.Heads)
	size(".attention.head_count_kv", kv)
	number(".attention.layer_norm_rms_epsilon", c.Eps)
	number(".rope.freq_base", c.Theta)
	size(".vocab_size", c.Vocab)
	if c.isMLA() {
		c.deepseek(m, size, number)
	} else {
		size(".attention.key_length", c.HeadDim)
		size(".attention.value_length", c.HeadDim)
		size(".rope.dimension_count", c.HeadDim)
	}
	return c.rope(m, size, number)
}

// deepseek sets the keys of MLA, which llama.cpp sees as attention with one head of
// keys as wide as the latent, and of experts.
func (c *hfConfig) deepseek(m *GGUF, size func(string, int), number func(string, float64)) {
	q := 0
	if c.QLora != nil {
		q = *c.QLora
	}
	size(".attention.q_lora_rank", q)
	size(".attention.kv_lora_rank", c.KVLora)
	size(".attention.key_length", c.KVLora+c.Rope)
	size(".attention.value_length", c.KVLora)
	size(".attention.key_length_mla", c.Nope+c.Rope)
	size(".attention.value_length_mla", c.V)
	size(".rope.dimension_count", c.Rope)
	size(".leading_dense_block_count", c.Dense)
	size(".expert_count", c.Experts)
	size(".expert_used_count", c.Used)
	size(".expert_shared_count", c.Shared)
	size(".expert_feed_forward_length", c.Expert)
	number(".expert_weights_scale", c.Scale)
	v3 := !slices.Contains(c.Architectures, ggufArchitectures["deepseek2"].class)
	norm := v3
	if c.Norm != nil {
		norm = *c.Norm
	}
	m.set(c.arch+".expert_weights_norm", norm)
	if c.Groups != nil && c.GroupsKept != nil {
		size(".expert_group_count", *c.Groups)
		size(".expert_group_used_count", *c.GroupsKept)
	}
	gating := gatingSoftmax
	if v3 {
		gating = gatingSigmoid
	}
	size(".expert_gating_func", gating)
	if c.arch == "deepseek32" {
		size(".attention.indexer.head_count", c.IndexHeads)
		size(".attention.indexer.key_length", c.IndexHeadDim)
		size(".attention.indexer.top_k", c.IndexTopK)
	}
}

// rope sets the keys of scaling; Llama 3.1's is a tensor.
func (c *hfConfig) rope(m *GGUF, size func(string, int), number func(string, float64)) error {
	kind := c.scalingType()
	switch kind {
	case "", "llama3", "factors":
		return nil
	case "linear", "yarn":
	default:
		return &FormatError{Path: c.path, Problem: fmt.Sprintf("its config scales rotations by %s, which a GGUF file cannot say", quote(kind)), Try: "write the model as a folder"}
	}
	m.set(c.arch+".rope.scaling.type", kind)
	number(".rope.scaling.factor", c.Scaling.Factor)
	if kind == "linear" {
		return nil
	}
	size(".rope.scaling.original_context_length", c.Scaling.Original)
	if c.Scaling.BetaFast != 0 {
		number(".rope.scaling.yarn_beta_fast", c.Scaling.BetaFast)
	}
	if c.Scaling.BetaSlow != 0 {
		number(".rope.scaling.yarn_beta_slow", c.Scaling.BetaSlow)
	}
	if c.isMLA() && c.Scaling.MScaleAll != 0 {
		number(".rope.scaling.yarn_log_multiplier", 0.1*c.Scaling.MScaleAll)
	}
	if !c.isMLA() && c.Scaling.Attention != 0 {
		number(".rope.scaling.yarn_attn_factor", c.Scaling.Attention)
	}
	return nil
}

// vocabulary is the tokenizer's files as metadata.
func (c *hfConfig) vocabulary(s *Source) ([]text.GGUFValue, error) {
	if s.Tokenizer == nil {
		return c.ends(text.NoVocabulary()), nil
	}
	tok, err := text.LoadTokenizer(s.Tokenizer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Path, err)
	}
	cfg := &text.TokenizerConfig{BOS: tok.Token(tok.BOS()), EOS: tok.Token(tok.EOS())}
	if s.TokenizerConfig != nil {
		if cfg, err = text.ParseTokenizerConfig(s.TokenizerConfig); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Path, err)
		}
	}
	if len(bytes.TrimSpace(s.ChatTemplate)) > 0 {
		cfg.ChatTemplate = string(s.ChatTemplate)
	}
	list, err := tok.GGUF(cfg, c.Vocab)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Path, err)
	}
	return append(list, otherEnds(s.GenerationConfig, c.Vocab, list)...), nil
}

// otherEnds are the tokens of generation_config.json that end an answer beside the
// end-of-text one: a GGUF file has room for two.
func otherEnds(generation []byte, vocab int, list []text.GGUFValue) (more []text.GGUFValue) {
	var g struct {
		EOS []uint32 `json:"eos_token_id"`
	}
	if json.Unmarshal(generation, &g) != nil {
		return nil // none, or a single one
	}
	keys := []string{ggufEOT, ggufEOM}
	for _, id := range slices.Backward(g.EOS) {
		known := slices.ContainsFunc(list, func(v text.GGUFValue) bool { return v.Key == "tokenizer.ggml.eos_token_id" && v.Value == id })
		if !known && int64(id) < int64(vocab) && len(keys) > 0 {
			more = append(more, text.GGUFValue{Key: keys[0], Value: id})
			keys = keys[1:]
		}
	}
	return more
}

// ends adds the ids that the config itself says begin and end a text.
func (c *hfConfig) ends(list []text.GGUFValue) []text.GGUFValue {
	if c.BOS != nil && *c.BOS >= 0 {
		list = append(list, text.GGUFValue{Key: "tokenizer.ggml.bos_token_id", Value: uint32(*c.BOS)})
	}
	if n, ok := c.EOS.(float64); ok && n >= 0 && n < math.MaxUint32 {
		list = append(list, text.GGUFValue{Key: "tokenizer.ggml.eos_token_id", Value: uint32(n)})
	}
	return list
}
