package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ggufArchitectures are the architectures that can be read and written, and what
// Hugging Face calls them. deepseek2 is DeepSeek-V2 or V3, see isV3.
var ggufArchitectures = map[string]struct{ class, modelType string }{
	"llama":      {"LlamaForCausalLM", "llama"},
	"qwen2":      {"Qwen2ForCausalLM", "qwen2"},
	"qwen3":      {"Qwen3ForCausalLM", "qwen3"},
	"deepseek2":  {"DeepseekV2ForCausalLM", "deepseek_v2"},
	"deepseek32": {"DeepseekV32ForCausalLM", "deepseek_v32"},
}

// The classes of a deepseek2 file that routes by sigmoid.
const v3Class, v3Type = "DeepseekV3ForCausalLM", "deepseek_v3"

// configMaker turns metadata into a config.json. The first thing that is missing or
// of another kind is kept as err.
type configMaker struct {
	path, arch string
	g          *GGUF
	tensors    map[string]Info // by llama.cpp's names
	out        object
	err        error
}

// object is a JSON object whose keys keep their order.
type object struct {
	keys   []string
	values map[string]any
}

func (o *object) set(key string, value any) {
	if o.values == nil {
		o.values = map[string]any{}
	}
	if _, ok := o.values[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.values[key] = value
}

// MarshalJSON writes the keys in the order in which they were set.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, k := range o.keys {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(k)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(o.values[k])
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// ggufConfig says in config.json's form what the metadata and the tensors of a GGUF
// file say. factors are the values of rope_freqs.weight, nil where there are none.
func ggufConfig(path string, g *GGUF, tensors []Info, factors []float32) ([]byte, error) {
	c := &configMaker{path: path, g: g, tensors: map[string]Info{}}
	for _, x := range tensors {
		c.tensors[x.Name] = x
	}
	if c.arch = c.str("general.architecture"); c.err != nil {
		return nil, c.err
	}
	known, ok := ggufArchitectures[c.arch]
	if !ok {
		return nil, &FormatError{Path: path, Problem: fmt.Sprintf("has the architecture %s", quote(c.arch)),
			Try: "Sonde runs GGUF files of the architectures deepseek2, deepseek32, llama, qwen2 and qwen3"}
	}
	class, modelType := known.class, known.modelType
	if c.arch == "deepseek2" && c.isV3() {
		class, modelType = v3Class, v3Type
	}
	c.out.set("architectures", []string{class})
	c.out.set("model_type", modelType)
	c.common()
	if strings.HasPrefix(c.arch, "deepseek") {
		c.deepseek(modelType)
	} else {
		c.dense()
	}
	c.rope(factors)
	c.ends()
	if c.err != nil {
		return nil, c.err
	}
	return json.MarshalIndent(c.out, "", "  ")
}

// fail keeps the first error.
func (c *configMaker) fail(try, format string, args ...any) {
	if c.err == nil {
		c.err = &FormatError{Path: c.path, Problem: fmt.Sprintf(format, args...), Try: try}
	}
}

// key adds the architecture to a key that begins with a dot.
func (c *configMaker) key(key string) string {
	if strings.HasPrefix(key, ".") {
		return c.arch + key
	}
	return key
}

func (c *configMaker) str(key string) string {
	key = c.key(key)
	v, ok := c.g.Values[key]
	if !ok {
		c.fail(ggufDamaged, "has no %s", key)
	}
	s, ok := v.(string)
	if !ok {
		c.fail(ggufDamaged, "%s is %v, expected a string", key, clipValue(v))
	}
	return s
}

// clipValue shows a value of the metadata in an error.
func clipValue(v any) string {
	const most = 80
	s := fmt.Sprintf("%T", v)
	switch v.(type) {
	case string, bool, float32, float64:
		s = fmt.Sprintf("%#v", v)
	default:
		if n, ok := ggufInteger(v); ok {
			s = strconv.FormatInt(n, 10)
		}
	}
	if len(s) > most {
		s = s[:most] + "..."
	}
	return s
}

// count reads a size that must be there. Some files list it per layer; then all
// must be equal.
func (c *configMaker) count(key string) int {
	n, ok := c.maybe(key)
	if !ok {
		c.fail(ggufDamaged, "has no %s", c.key(key))
	}
	return n
}

// maybe reads a size that may be missing.
func (c *configMaker) maybe(key string) (int, bool) {
	key = c.key(key)
	v, ok := c.g.Values[key]
	if !ok {
		return 0, false
	}
	n, ok := ggufInteger(v)
	if list := integersOf(v); len(list) > 0 {
		n, ok = list[0], true
		for _, other := range list {
			if other != n {
				c.fail("models whose layers differ are not built", "%s differs from layer to layer", key)
			}
		}
	}
	if !ok || n < 0 || n > math.MaxInt32 {
		c.fail(ggufDamaged, "%s is %s, expected a number from 0 to %d", key, clipValue(v), math.MaxInt32)
	}
	return int(n), ok
}

// integersOf reads a list of integers, nil for anything else.
func integersOf(v any) (list []int64) {
	switch x := v.(type) {
	case []uint32:
		for _, n := range x {
			list = append(list, int64(n))
		}
	case []int32:
		for _, n := range x {
			list = append(list, int64(n))
		}
	}
	return list
}

// number reads a number, or gives other where there is none.
func (c *configMaker) number(key string, other float64) float64 {
	key = c.key(key)
	v, ok := c.g.Values[key]
	if !ok {
		return other
	}
	x, ok := ggufFloat(v)
	if !ok {
		c.fail(ggufDamaged, "%s is %s, expected a finite number", key, clipValue(v))
	}
	return x
}

func (c *configMaker) flag(key string) bool {
	v, ok := c.g.Values[c.key(key)]
	b, isBool := v.(bool)
	if ok && !isBool {
		c.fail(ggufDamaged, "%s is %s, expected a boolean", c.key(key), clipValue(v))
	}
	return b
}

// isV3 tells V3's router from V2's: sigmoid, or a bias that only V3 has. The key is
// missing in old files of V2 and V2.5.
func (c *configMaker) isV3() bool {
	if n, ok := c.maybe(".expert_gating_func"); ok && n != 0 {
		return n == gatingSigmoid
	}
	for name := range c.tensors {
		if strings.HasSuffix(name, ".exp_probs_b.bias") {
			return true
		}
	}
	return false
}

// The values of expert_gating_func.
const gatingSoftmax, gatingSigmoid = 1, 2

// common are the keys of every architecture.
func (c *configMaker) common() {
	layers := c.count(".block_count")
	nextn, _ := c.maybe(".nextn_predict_layers")
	if nextn > layers {
		c.fail(ggufDamaged, "%s.nextn_predict_layers is %d of %d layers", c.arch, nextn, layers)
	}
	heads := c.count(".attention.head_count")
	kv, ok := c.maybe(".attention.head_count_kv")
	if !ok || c.isMLA() {
		kv = heads
	}
	c.out.set("vocab_size", c.vocab())
	c.out.set("hidden_size", c.count(".embedding_length"))
	c.out.set("intermediate_size", c.count(".feed_forward_length"))
	c.out.set("num_hidden_layers", layers-nextn)
	c.out.set("num_attention_heads", heads)
	c.out.set("num_key_value_heads", kv)
	c.out.set("max_position_embeddings", c.count(".context_length"))
	c.out.set("rms_norm_eps", c.number(".attention.layer_norm_rms_epsilon", 1e-6))
	c.out.set("rope_theta", c.number(".rope.freq_base", 10000))
	c.out.set("hidden_act", "silu")
	_, head := c.tensors["output.weight"]
	c.out.set("tie_word_embeddings", !head)
}

func (c *configMaker) isMLA() bool { return strings.HasPrefix(c.arch, "deepseek") }

// vocab is the number of rows of the embedding, which counts: some files have a
// vocabulary that is padded to it, some have no key.
func (c *configMaker) vocab() int {
	x, ok := c.tensors["token_embd.weight"]
	if !ok || len(x.Shape) != 2 {
		c.fail(ggufDamaged, "has no matrix token_embd.weight")
		return 0
	}
	return x.Shape[0]
}

// dense are the keys of llama, qwen2 and qwen3.
func (c *configMaker) dense() {
	if n, _ := c.maybe(".expert_count"); n > 0 {
		c.fail("Sonde runs the architectures deepseek2 and deepseek32 with experts", "has %d experts, and the architecture %s", n, c.arch)
	}
	heads := c.count(".attention.head_count")
	dim, ok := c.maybe(".attention.key_length")
	if !ok {
		if heads == 0 {
			c.fail(ggufDamaged, "%s.attention.head_count is 0", c.arch)
			return
		}
		dim = c.count(".embedding_length") / heads
	}
	if v, ok := c.maybe(".attention.value_length"); ok && v != dim {
		c.fail("such models are not built", "has keys of %d numbers and values of %d", dim, v)
	}
	if n, ok := c.maybe(".rope.dimension_count"); ok && n != dim {
		c.fail("such models are not built", "rotates %d of %d numbers of a head", n, dim)
	}
	c.out.set("head_dim", dim)
	if c.arch == "llama" {
		_, bias := c.tensors["blk.0.attn_q.bias"]
		_, mlp := c.tensors["blk.0.ffn_gate.bias"]
		c.out.set("attention_bias", bias)
		c.out.set("mlp_bias", mlp)
		c.out.set("rope_interleave", true)
	}
	if c.arch == "qwen3" {
		c.out.set("attention_bias", false)
	}
}

// deepseek are the keys of MLA and of experts. Files from before the split of kv_b
// have no key_length_mla: there key_length is the head's own.
func (c *configMaker) deepseek(modelType string) {
	keyKey, valueKey := ".attention.key_length_mla", ".attention.value_length_mla"
	if !c.g.has(c.key(keyKey)) {
		keyKey, valueKey = ".attention.key_length", ".attention.value_length"
	}
	rope := c.count(".rope.dimension_count")
	if rope > c.count(keyKey) {
		c.fail(ggufDamaged, "rotates %d of %d numbers of a head", rope, c.count(keyKey))
	}
	c.out.set("q_lora_rank", nil)
	if n, ok := c.maybe(".attention.q_lora_rank"); ok && n > 0 {
		c.out.set("q_lora_rank", n)
	}
	c.out.set("kv_lora_rank", c.count(".attention.kv_lora_rank"))
	c.out.set("qk_nope_head_dim", c.count(keyKey)-rope)
	c.out.set("qk_rope_head_dim", rope)
	c.out.set("v_head_dim", c.count(valueKey))
	c.out.set("attention_bias", false)
	c.experts(modelType)
	if n, _ := c.maybe(".nextn_predict_layers"); n > 0 {
		c.out.set("num_nextn_predict_layers", n)
	} else if modelType != "deepseek_v2" {
		c.out.set("num_nextn_predict_layers", 0)
	}
	if c.arch == "deepseek32" {
		c.out.set("index_n_heads", c.count(".attention.indexer.head_count"))
		c.out.set("index_head_dim", c.count(".attention.indexer.key_length"))
		c.out.set("index_topk", c.count(".attention.indexer.top_k"))
	}
}

func (c *configMaker) experts(modelType string) {
	shared, _ := c.maybe(".expert_shared_count")
	dense, _ := c.maybe(".leading_dense_block_count")
	c.out.set("n_routed_experts", c.count(".expert_count"))
	c.out.set("n_shared_experts", shared)
	c.out.set("num_experts_per_tok", c.count(".expert_used_count"))
	c.out.set("moe_intermediate_size", c.count(".expert_feed_forward_length"))
	c.out.set("first_k_dense_replace", dense)
	scale := c.number(".expert_weights_scale", 1)
	if scale == 0 { // how some files say that there is none
		scale = 1
	}
	c.out.set("routed_scaling_factor", scale)
	c.out.set("norm_topk_prob", c.flag(".expert_weights_norm"))
	groups, kept := c.groups()
	c.out.set("n_group", groups)
	c.out.set("topk_group", kept)
	switch {
	case modelType != "deepseek_v2":
		c.out.set("scoring_func", "sigmoid")
		c.out.set("topk_method", "noaux_tc")
	case groups > 1:
		c.out.set("topk_method", "group_limited_greedy")
	default:
		c.out.set("topk_method", "greedy")
	}
}

// groups are the groups of experts and how many of them are kept. Files made before
// llama.cpp had the keys leave them out; the published models are known by their
// shape, and without the limit they choose other experts than they were trained to.
func (c *configMaker) groups() (groups, kept int) {
	groups, ok := c.maybe(".expert_group_count")
	kept, _ = c.maybe(".expert_group_used_count")
	if ok && groups > 0 {
		return groups, max(kept, 1)
	}
	layers, _ := c.maybe(".block_count")
	nextn, _ := c.maybe(".nextn_predict_layers")
	experts, _ := c.maybe(".expert_count")
	switch [2]int{layers - nextn, experts} {
	case [2]int{61, 256}: // V3, R1, V3.1
		return 8, 4
	case [2]int{60, 160}: // V2, V2.5
		return 8, 3
	}
	return 1, 1
}

// rope says how frequencies are scaled.
func (c *configMaker) rope(factors []float32) {
	kind := "none"
	if c.g.has(c.key(".rope.scaling.type")) {
		kind = c.str(".rope.scaling.type")
	}
	factor := c.number(".rope.scaling.factor", c.number(".rope.scale_linear", 0))
	if kind == "none" && !c.g.has(c.key(".rope.scaling.type")) && factor > 0 {
		kind = "linear" // what the key's absence means
	}
	var o object
	switch {
	case factors != nil:
		list := make([]float64, len(factors))
		for i, f := range factors {
			list[i] = shortest(f)
		}
		o.set("rope_type", "factors")
		o.set("factors", list)
	case kind == "linear" && factor != 0 && factor != 1:
		o.set("rope_type", "linear")
		o.set("factor", factor)
	case kind == "yarn":
		c.yarn(&o, factor)
	case kind != "none" && kind != "linear":
		c.fail("such models are not built", "scales rotations by %s", quote(kind))
		return
	default:
		c.out.set("rope_scaling", nil)
		return
	}
	c.out.set("rope_scaling", o)
}

// yarn are YaRN's keys. Files give a tenth of mscale_all_dim as yarn_log_multiplier;
// in all of DeepSeek's models mscale is the same number.
func (c *configMaker) yarn(o *object, factor float64) {
	o.set("type", "yarn")
	o.set("factor", factor)
	original, ok := c.maybe(".rope.scaling.original_context_length")
	if !ok {
		original = c.count(".context_length")
	}
	o.set("original_max_position_embeddings", original)
	o.set("beta_fast", c.number(".rope.scaling.yarn_beta_fast", 32))
	o.set("beta_slow", c.number(".rope.scaling.yarn_beta_slow", 1))
	if x := c.number(".rope.scaling.yarn_log_multiplier", 0); x != 0 && c.isMLA() {
		m := shortest(float32(x / 0.1))
		o.set("mscale", m)
		o.set("mscale_all_dim", m)
	}
	if x := c.number(".rope.scaling.yarn_attn_factor", 1); x != 1 && !c.isMLA() {
		o.set("attention_factor", x)
	}
	if x := c.number(".rope.scaling.yarn_ext_factor", 1); x != 1 && x != -1 {
		c.fail("such models are not built", "%s.rope.scaling.yarn_ext_factor is %v", c.arch, x)
	}
	if x := c.number(".rope.scaling.attn_factor", 1); x != 1 {
		c.fail("such models are not built", "%s.rope.scaling.attn_factor is %v", c.arch, x)
	}
}

// ends are the ids of the tokens that begin and end a text.
func (c *configMaker) ends() {
	for _, e := range [][2]string{
		{"bos_token_id", "tokenizer.ggml.bos_token_id"}, {"eos_token_id", "tokenizer.ggml.eos_token_id"},
		{"pad_token_id", "tokenizer.ggml.padding_token_id"},
	} {
		if n, ok := c.maybe(e[1]); ok {
			c.out.set(e[0], n)
		}
	}
}

// shortest is the float64 with the fewest decimal digits that rounds to x: the number
// that whoever wrote x as a float32 meant.
func shortest(x float32) float64 {
	v, err := strconv.ParseFloat(strconv.FormatFloat(float64(x), 'g', -1, 32), 64)
	if err != nil {
		return float64(x)
	}
	return v
}
