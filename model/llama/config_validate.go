package llama

import (
	"fmt"

	"sonde/model"
)

// limit bounds every size, so that products of two fit easily in 64 bits.
const limit = 1 << 24

// Validate reports values that contradict each other.
func (c *Config) Validate() error {
	if _, ok := families[c.Class]; !ok {
		return model.BadKey("architectures", "is %q, which is not built here", c.Class)
	}
	for _, s := range []struct {
		key string
		v   int
	}{{"vocab_size", c.VocabSize}, {"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize}, {"num_hidden_layers", c.NumHiddenLayers},
		{"num_attention_heads", c.NumAttentionHeads}, {"num_key_value_heads", c.NumKeyValueHeads}, {"head_dim", c.HeadDim}, {"max_position_embeddings", c.MaxPositionEmbedding}} {
		if s.v < 1 || s.v > limit {
			return model.BadKey(s.key, "is %d; expected a number between 1 and %d", s.v, limit)
		}
	}
	switch {
	case c.NumHiddenLayers > 10000 || c.NumAttentionHeads*c.HeadDim > limit:
		return fmt.Errorf("%w: %d layers, %d heads of width %d: beyond any model", model.ErrConfig, c.NumHiddenLayers, c.NumAttentionHeads, c.HeadDim)
	case c.NumAttentionHeads%c.NumKeyValueHeads != 0:
		return model.BadKey("num_key_value_heads", "is %d, which does not divide the %d heads", c.NumKeyValueHeads, c.NumAttentionHeads)
	case c.HeadDim%2 != 0:
		return model.BadKey("head_dim", "is %d; rotary positions need pairs", c.HeadDim)
	case !(c.RMSNormEps > 0) || !(c.InitializerRange > 0):
		return fmt.Errorf("%w: rms_norm_eps and initializer_range must be positive", model.ErrConfig)
	}
	return nil
}
