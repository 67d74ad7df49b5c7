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
	return kv + out + int64(m.QLora)*(d+h*int64(m.QK()))
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
	return n + int64(experts+c.NSharedExperts)*c.expertParams() + int64(c.NRoutedExperts)*(d+1)
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
// a sequence of seqLen, causal attention counted as its average, MTP included where
// mtp is set. Training costs three times as much.
func (c *Config) FlopsPerToken(seqLen int, mtp bool) float64 {
	layers, n := c.NumHiddenLayers, c.ActiveParams()
	if mtp {
		layers, n = layers+c.NumNextnPredict, n+c.mtpActive()
	}
	attn := float64(c.NumAttentionHeads) * float64(c.QKNopeHeadDim+c.QKRopeHeadDim+c.VHeadDim) * float64(seqLen+1)
	return 2*float64(n) + float64(layers)*attn
}
