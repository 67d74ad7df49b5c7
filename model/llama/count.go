package llama

import "math"

// layerParams is the number of weights of one layer.
func (c *Config) layerParams() int64 {
	d, f, h := int64(c.HiddenSize), int64(c.IntermediateSize), int64(c.HeadDim)
	q, kv := int64(c.NumAttentionHeads)*h, int64(c.NumKeyValueHeads)*h
	n := 2*d*q + 2*d*kv + 3*d*f + 2*d
	if c.QKVBias {
		n += q + 2*kv
	}
	if c.OutBias {
		n += d
	}
	if c.MLPBias {
		n += 2*f + d
	}
	if c.QKNorm {
		n += 2 * h
	}
	return n
}

// ActiveParams is the number of weights that one token meets: all but the embedding,
// which is a look-up; a tied head counts as the head that it is.
func (c *Config) ActiveParams() int64 {
	d := int64(c.HiddenSize)
	return int64(c.NumHiddenLayers)*c.layerParams() + d + int64(c.VocabSize)*d
}

// TotalParams is the number of weights.
func (c *Config) TotalParams() int64 {
	if c.TieEmbeddings {
		return c.ActiveParams()
	}
	return c.ActiveParams() + int64(c.VocabSize)*int64(c.HiddenSize)
}

// FlopsPerToken is the floating-point operations of a forward pass for each of seqLen
// tokens: two for each active weight, and those of attention, over all keys or, when
// causal is set, over the visible ones alone. Training costs three times as much.
func (c *Config) FlopsPerToken(seqLen int, causal bool) float64 {
	keys := float64(seqLen)
	if causal {
		keys = (keys + 1) / 2
	}
	return 2*float64(c.ActiveParams()) + 4*float64(c.NumHiddenLayers*c.NumAttentionHeads*c.HeadDim)*keys
}

// KVBytesPerToken is what a token's keys and values take, in F32; where activations are
// rounded to 8 bits it is half of that.
func (c *Config) KVBytesPerToken() int64 {
	return 2 * 4 * int64(c.NumHiddenLayers) * int64(c.NumKeyValueHeads) * int64(c.HeadDim)
}

// Architecture is the class in transformers.
func (c *Config) Architecture() string { return c.Class }

// Vocab is the number of logits.
func (c *Config) Vocab() int { return c.VocabSize }

// Context is the most tokens of a sequence.
func (c *Config) Context() int { return c.MaxPositionEmbedding }

// Layers is the number of decoder layers.
func (c *Config) Layers() int { return c.NumHiddenLayers }

// Hidden is the width of the residual stream.
func (c *Config) Hidden() int { return c.HiddenSize }

// softmaxScale is HeadDim^-0.5.
func (c *Config) softmaxScale() float32 { return float32(1 / math.Sqrt(float64(c.HeadDim))) }
