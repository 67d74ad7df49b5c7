package llama

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sonde/model"
)

// Config is a config.json of one of the architectures built here, by the names Hugging
// Face gives.
type Config struct {
	// Class is the architecture's name in transformers, one of Architectures().
	Class                string  `json:"-"`
	VocabSize            int     `json:"vocab_size"`
	HiddenSize           int     `json:"hidden_size"`
	IntermediateSize     int     `json:"intermediate_size"`
	NumHiddenLayers      int     `json:"num_hidden_layers"`
	NumAttentionHeads    int     `json:"num_attention_heads"`
	NumKeyValueHeads     int     `json:"num_key_value_heads"`
	HeadDim              int     `json:"head_dim"`
	MaxPositionEmbedding int     `json:"max_position_embeddings"`
	InitializerRange     float64 `json:"initializer_range"`
	RMSNormEps           float64 `json:"rms_norm_eps"`
	// TieEmbeddings makes the embedding the head's weights too.
	TieEmbeddings bool `json:"tie_word_embeddings"`
	// QKVBias and OutBias are biases of the attention's projections, MLPBias those of
	// the feed-forward, QKNorm norms of every head's queries and keys; they follow from
	// the architecture and attention_bias and mlp_bias.
	QKVBias bool `json:"-"`
	OutBias bool `json:"-"`
	MLPBias bool `json:"-"`
	QKNorm  bool `json:"-"`
	// RopeInterleaved rotates adjacent pairs of columns: the rows of queries and keys
	// stand in the order of llama.cpp's files.
	RopeInterleaved bool       `json:"-"`
	Rope            model.Rope `json:"-"`
	// BOSTokenID is -1 and EOSTokenIDs is empty where the file has none.
	BOSTokenID  int   `json:"-"`
	EOSTokenIDs []int `json:"-"`
	// FP8Block is the block of an FP8 checkpoint's scales, [0, 0] where weights are not
	// FP8.
	FP8Block [2]int `json:"-"`
}

// family is what the code of an architecture in transformers fixes.
type family struct {
	modelType       string
	qkvBias, qkNorm bool
	// Keys that the architecture reads.
	attentionBias, mlpBias, headDim, window bool
	defaultHeadDim                          int // 0: hidden_size / num_attention_heads
}

var families = map[string]family{
	"LlamaForCausalLM":   {modelType: "llama", attentionBias: true, mlpBias: true, headDim: true},
	"MistralForCausalLM": {modelType: "mistral", headDim: true, window: true},
	"Qwen2ForCausalLM":   {modelType: "qwen2", qkvBias: true, window: true},
	"Qwen3ForCausalLM":   {modelType: "qwen3", qkNorm: true, attentionBias: true, headDim: true, window: true, defaultHeadDim: 128},
}

// Architectures lists what this package builds.
func Architectures() []string {
	return []string{"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
}

// harmless keys do not change what this program computes.
var harmless = strings.Fields(`_name_or_path architectures attention_dropout auto_map dtype pad_token_id pretraining_tp
	output_attentions output_hidden_states return_dict torch_dtype transformers_version unsloth_fixed use_cache
	chunk_size_feed_forward id2label label2id is_encoder_decoder is_llama_config problem_type tokenizer_class
	unsloth_version rope_interleaved`)

// read lists the keys that ParseConfig reads.
var read = strings.Fields(`model_type vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads
	head_dim max_position_embeddings initializer_range rms_norm_eps tie_word_embeddings attention_bias mlp_bias rope_interleave
	rope_theta rope_scaling rope_parameters partial_rotary_factor bos_token_id eos_token_id hidden_act quantization_config
	compression_config use_mrope sliding_window use_sliding_window max_window_layers layer_types`)

// ParseConfig reads a config.json. What would change the result and is not supported is
// an error that names the key; unknown keys are returned as warnings; contradictory
// values are errors.
func ParseConfig(data []byte) (*Config, []string, error) {
	keys, err := model.ReadKeys(data)
	if err != nil {
		return nil, nil, err
	}
	c := &Config{InitializerRange: 0.02, RMSNormEps: 1e-6, BOSTokenID: -1}
	f, err := c.readClass(keys)
	if err != nil {
		return nil, nil, err
	}
	for _, step := range []func(model.Keys, family) error{c.readSizes, c.readBiases, c.readRope, c.readWindow, c.readTokens, c.readRest} {
		if err := step(keys, f); err != nil {
			return nil, nil, err
		}
	}
	if err := c.Validate(); err != nil {
		return nil, nil, err
	}
	return c, append(keys.Unknown(harmless, read), c.dropTokens()...), nil
}

func (c *Config) readClass(keys model.Keys) (family, error) {
	var archs []string
	var mt string
	if err := errors.Join(keys.Read("architectures", &archs), keys.Read("model_type", &mt)); err != nil {
		return family{}, err
	}
	for _, name := range Architectures() {
		f := families[name]
		if len(archs) > 0 && !slices.Contains(archs, name) || len(archs) == 0 && mt != f.modelType {
			continue
		}
		if mt != "" && mt != f.modelType {
			return f, model.BadKey("model_type", "is %q, but architectures has %s, which is %q", mt, name, f.modelType)
		}
		c.Class = name
		return f, nil
	}
	return family{}, model.BadKey("architectures", "is %q (model_type %q); built here are %s", archs, mt, strings.Join(Architectures(), ", "))
}

func (c *Config) readSizes(keys model.Keys, f family) error {
	err := errors.Join(keys.Need("vocab_size", &c.VocabSize), keys.Need("hidden_size", &c.HiddenSize), keys.Need("intermediate_size", &c.IntermediateSize),
		keys.Need("num_hidden_layers", &c.NumHiddenLayers), keys.Need("num_attention_heads", &c.NumAttentionHeads))
	if err != nil {
		return err
	}
	c.NumKeyValueHeads, c.HeadDim = c.NumAttentionHeads, f.defaultHeadDim
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	if derived := c.HeadDim; !f.headDim && keys.Has("head_dim") {
		if err := keys.Read("head_dim", &c.HeadDim); err != nil || c.HeadDim != derived {
			return model.BadKey("head_dim", "is %s, but hidden_size / num_attention_heads is %d, and %s has no other", keys.Show("head_dim"), derived, c.Class)
		}
	}
	return errors.Join(keys.Read("num_key_value_heads", &c.NumKeyValueHeads), keys.Read("head_dim", &c.HeadDim),
		keys.Need("max_position_embeddings", &c.MaxPositionEmbedding), keys.Read("initializer_range", &c.InitializerRange),
		keys.Read("rms_norm_eps", &c.RMSNormEps), keys.Read("tie_word_embeddings", &c.TieEmbeddings))
}

// readBiases reads the keys that an architecture's code looks at and refuses the others
// when they are set.
func (c *Config) readBiases(keys model.Keys, f family) error {
	var attn, mlp bool
	if err := errors.Join(keys.Read("attention_bias", &attn), keys.Read("mlp_bias", &mlp)); err != nil {
		return err
	}
	if attn && !f.attentionBias && !f.qkvBias {
		return model.BadKey("attention_bias", "is true; %s has no such biases", c.Class)
	}
	if mlp && !f.mlpBias {
		return model.BadKey("mlp_bias", "is true; %s has no such biases", c.Class)
	}
	c.QKVBias, c.OutBias, c.MLPBias, c.QKNorm = f.qkvBias || attn, attn && f.attentionBias, mlp, f.qkNorm
	return nil
}

func (c *Config) readRope(keys model.Keys, _ family) error {
	if err := keys.Read("rope_interleave", &c.RopeInterleaved); err != nil {
		return err
	}
	part := 1.0
	if err := keys.Read("partial_rotary_factor", &part); err != nil || part != 1 {
		return model.BadKey("partial_rotary_factor", "is %s; only whole heads are rotated here", keys.Show("partial_rotary_factor"))
	}
	var err error
	c.Rope, err = model.ReadRope(keys, 10000, c.MaxPositionEmbedding, c.HeadDim/2)
	return err
}

// readWindow refuses sliding windows that a sequence could outgrow. The defaults are
// those of transformers.
func (c *Config) readWindow(keys model.Keys, f family) error {
	if !f.window {
		return nil
	}
	mistral := c.Class == "MistralForCausalLM"
	window, use, full := 4096, mistral, 28
	var types []string
	if err := errors.Join(keys.Read("sliding_window", &window), keys.Read("use_sliding_window", &use), keys.Read("max_window_layers", &full),
		keys.Read("layer_types", &types)); err != nil {
		return err
	}
	_, there := keys["sliding_window"]
	if there && !keys.Has("sliding_window") || window >= c.MaxPositionEmbedding {
		return nil
	}
	for i, t := range types {
		if t != "full_attention" {
			return model.BadKey("layer_types", "has %q at place %d; only full_attention is supported", t, i)
		}
	}
	if use && len(types) == 0 && (mistral || full < c.NumHiddenLayers) {
		return model.BadKey("sliding_window", "of %d tokens is in use, which is not supported; set max_position_embeddings to %d to run shorter sequences", window, window)
	}
	return nil
}

func (c *Config) readTokens(keys model.Keys, _ family) error {
	if err := keys.Read("bos_token_id", &c.BOSTokenID); err != nil {
		return err
	}
	var one int
	if !keys.Has("eos_token_id") {
		return nil
	}
	if json.Unmarshal(keys["eos_token_id"], &one) == nil {
		c.EOSTokenIDs = []int{one}
		return nil
	}
	return keys.Read("eos_token_id", &c.EOSTokenIDs)
}

// dropTokens passes over special tokens that the model has no embedding of, which
// generates as well without them, and warns.
func (c *Config) dropTokens() []string {
	var out []string
	outside := func(key string, id int) bool {
		if id >= 0 && id < c.VocabSize {
			return false
		}
		out = append(out, fmt.Sprintf("config.json: %s %d is outside the vocabulary of %d and is passed over", key, id, c.VocabSize))
		return true
	}
	if c.BOSTokenID != -1 && outside("bos_token_id", c.BOSTokenID) {
		c.BOSTokenID = -1
	}
	c.EOSTokenIDs = slices.DeleteFunc(c.EOSTokenIDs, func(id int) bool { return outside("eos_token_id", id) })
	if len(c.EOSTokenIDs) == 0 {
		c.EOSTokenIDs = nil
	}
	return out
}

func (c *Config) readRest(keys model.Keys, _ family) error {
	act := "silu"
	if err := keys.Read("hidden_act", &act); err != nil || act != "silu" {
		return model.BadKey("hidden_act", "is %s; only \"silu\" is supported, and another value changes the result", keys.Show("hidden_act"))
	}
	var mrope bool
	if err := keys.Read("use_mrope", &mrope); err != nil || mrope {
		return model.BadKey("use_mrope", "is %s; positions in several dimensions are not supported", keys.Show("use_mrope"))
	}
	if keys.Has("compression_config") {
		return model.BadKey("compression_config", "is not supported; use a checkpoint in bf16, FP8 blocks or GGUF")
	}
	if !keys.Has("quantization_config") {
		return nil
	}
	var q struct {
		Method string `json:"quant_method"`
		Format string `json:"fmt"`
		Block  []int  `json:"weight_block_size"`
	}
	if err := keys.Read("quantization_config", &q); err != nil {
		return err
	}
	if q.Method != "fp8" || (q.Format != "" && q.Format != "e4m3") || len(q.Block) != 2 || q.Block[0] <= 0 || q.Block[1] <= 0 {
		return model.BadKey("quantization_config", "is %s; only block-scaled fp8 e4m3 is supported (a GGUF of the model runs in its own format)", keys.Show("quantization_config"))
	}
	c.FP8Block = [2]int{q.Block[0], q.Block[1]}
	return nil
}
