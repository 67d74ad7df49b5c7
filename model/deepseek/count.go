package deepseek

// attnParams is the number of attention weights of one layer, norms aside.
func (c *Config) attnParams() int64 {
	d, m := int64(c.HiddenSize), c.mla()
	h := int64(m.Heads)
	kv := d*int64(m.Latent()) + int64(m.KVLora)*h*int64(m.Nope+m.V)
	out := h * int64(m.V) * d
	if m.QLora == 0 {
		return kv + out + d*h*int64(m.QK())
	}
	return kv + out + int64(m.QLora)*(d+h*int64(m.QK())) + c.indexerParams()
}

// indexerParams is the number of weights of one layer's indexer, norm included.
func (c *Config) indexerParams() int64 {
	heads, dim := int64(c.IndexNHeads), int64(c.IndexHeadDim)
	return heads*dim*int64(c.QLoraRank) + dim*int64(c.HiddenSize+2) + heads*int64(c.HiddenSize)
}

// expertParams is the number of weights of one routed expert.
func (c *Config) expertParams() int64 { return 3 * int64(c.HiddenSize) * int64(c.MoEIntermediateSize) }

// layerParams counts one layer with the given number of routed experts (all of
// them, or those that one token meets).
func (c *Config) layerParams(dense bool, experts int) int64 {
	d := int64(c.HiddenSize)
	n := c.attnParams() + 2*d + int64(c.KVLoraRank) + int64(c.QLoraRank)
	if dense {
		return n + 3*d*int64(c.IntermediateSize)
	}
	n += int64(experts+c.NSharedExperts)*c.expertParams() + int64(c.NRoutedExperts)*d
	if c.Arch != V2 {
		n += int64(c.NRoutedExperts) // the selection bias
	}
	return n
}

func (c *Config) bodyParams(experts int) int64 {
	dense := int64(c.FirstKDenseReplace)
	return dense*c.layerParams(true, 0) + (int64(c.NumHiddenLayers)-dense)*c.layerParams(false, experts) + int64(c.HiddenSize)
}

// TotalParams is the number of weights of the main model, MTP modules not counted
// (671B for V3).
func (c *Config) TotalParams() int64 {
	return c.bodyParams(c.NRoutedExperts) + 2*int64(c.VocabSize)*int64(c.HiddenSize)
}

// ActiveParams is the number of weights that one token meets: its experts, the
// shared ones, attention, and the head (37B for V3). The embedding is a look-up and
// is not counted.
func (c *Config) ActiveParams() int64 {
	return c.bodyParams(c.NumExpertsPerTok) + int64(c.VocabSize)*int64(c.HiddenSize)
}

// MTPParams is the number of weights that the MTP modules add, shared embedding and
// head not counted.
func (c *Config) MTPParams() int64 {
	d := int64(c.HiddenSize)
	return int64(c.NumNextnPredict) * (c.layerParams(false, c.NRoutedExperts) + 2*d*d + 3*d)
}

// mtpActive is what one token meets in the MTP modules, the head included.
func (c *Config) mtpActive() int64 {
	d := int64(c.HiddenSize)
	return int64(c.NumNextnPredict) * (c.layerParams(false, c.NumExpertsPerTok) + 2*d*d + int64(c.VocabSize)*d)
}

// FlopsPerToken is the floating-point operations of a forward pass for one token of
// a sequence of seqLen, averaged over its places, MTP left out. causal counts the
// keys that a token sees; otherwise every token meets all keys. Training costs three
// times as much.
func (c *Config) FlopsPerToken(seqLen int, causal bool) float64 {
	keys := float64(seqLen)
	if causal {
		keys = float64(seqLen+1) / 2
	}
	return 2*float64(c.ActiveParams()) + float64(c.NumHiddenLayers)*c.attnFlops(keys)
}

// MTPFlopsPerToken is what the MTP modules add to FlopsPerToken (causal).
func (c *Config) MTPFlopsPerToken(seqLen int) float64 {
	return 2*float64(c.mtpActive()) + float64(c.NumNextnPredict)*c.attnFlops(float64(seqLen+1)/2)
}

// attnFlops is one layer's scores and values of a token that meets so many keys; an
// indexer meets them all, and attention those it picks.
func (c *Config) attnFlops(keys float64) float64 {
	index := 2 * float64(c.IndexNHeads) * float64(c.IndexHeadDim) * keys
	if c.IndexTopK > 0 {
		keys = min(keys, float64(c.IndexTopK))
	}
	return index + 2*float64(c.NumAttentionHeads)*float64(c.QKNopeHeadDim+c.QKRopeHeadDim+c.VHeadDim)*keys
}

// KVBytesPerToken is what a token takes of a sequence's cache, all layers together:
// latents, roped keys and the indexer's keys, in float32.
func (c *Config) KVBytesPerToken() int64 {
	return 4 * int64(c.NumHiddenLayers) * int64(c.mla().Latent()+c.IndexHeadDim)
}

// Vocab is the number of logits.
func (c *Config) Vocab() int { return c.VocabSize }

// Context is the most tokens of a sequence.
func (c *Config) Context() int { return c.MaxPositionEmbedding }

// Layers is the number of decoder layers, MTP's not counted.
func (c *Config) Layers() int { return c.NumHiddenLayers }

// Hidden is the width of the residual stream.
func (c *Config) Hidden() int { return c.HiddenSize }
