package plan

import "sonde/model/deepseek"

func deepseekSheet(c *deepseek.Config, seq int) sheet {
	layers, heads := int64(c.NumHiddenLayers), int64(c.NumAttentionHeads)
	latent := layers * int64(c.KVLoraRank+c.QKRopeHeadDim)
	expanded := layers * heads * int64(c.QKNopeHeadDim+c.QKRopeHeadDim+c.VHeadDim)
	return sheet{
		shape: Shape{Layers: c.NumHiddenLayers, DenseLayers: c.FirstKDenseReplace, Hidden: c.HiddenSize, Heads: c.NumAttentionHeads, KVHeads: c.NumAttentionHeads,
			Experts: c.NRoutedExperts, SharedExperts: c.NSharedExperts, ExpertsPerTok: c.NumExpertsPerTok, MTPDepth: c.NumNextnPredict, Vocab: c.VocabSize},
		kv:   KV{Latent: 2 * latent, LatentF32: 4 * latent, Expanded: 2 * expanded},
		main: mainParts(c), mtp: mtpParts(c),
		copies:   2 * int64(c.NumNextnPredict) * int64(c.VocabSize) * int64(c.HiddenSize),
		mtpFLOPs: 3 * c.MTPFlopsPerToken(seq),
	}
}

// mainParts are the weights of the model without its MTP modules.
func mainParts(c *deepseek.Config) []part {
	d := c.HiddenSize
	ps := []part{{embedding, c.VocabSize, d, 1, 0, false}, {head, c.VocabSize, d, 1, 1, false}, {norms, 1, d, 1, 1, false}}
	ps = append(ps, attentionParts(c, c.NumHiddenLayers)...)
	ps = append(ps, feedForward(dense, d, c.IntermediateSize, c.FirstKDenseReplace, c.FirstKDenseReplace)...)
	return append(ps, expertParts(c, c.NumHiddenLayers-c.FirstKDenseReplace)...)
}

// mtpParts are the weights that the MTP modules add; embedding and head are the main
// model's.
func mtpParts(c *deepseek.Config) []part {
	n, d := c.NumNextnPredict, c.HiddenSize
	ps := []part{{joining, d, 2 * d, n, n, false}, {norms, 1, d, 3 * n, 3 * n, false}}
	return append(append(ps, attentionParts(c, n)...), expertParts(c, n)...)
}

func attentionParts(c *deepseek.Config, layers int) []part {
	d, h := c.HiddenSize, c.NumAttentionHeads
	qk := c.QKNopeHeadDim + c.QKRopeHeadDim
	add := func(rows, cols int) part { return part{attention, rows, cols, layers, layers, true} }
	ps := []part{
		{norms, 1, d, 2 * layers, 2 * layers, false}, {norms, 1, c.KVLoraRank, layers, layers, false},
		add(c.KVLoraRank+c.QKRopeHeadDim, d), add(h*(c.QKNopeHeadDim+c.VHeadDim), c.KVLoraRank), add(d, h*c.VHeadDim),
	}
	if c.QLoraRank == 0 {
		return append(ps, add(h*qk, d))
	}
	ps = append(ps, add(c.QLoraRank, d), add(h*qk, c.QLoraRank), part{norms, 1, c.QLoraRank, layers, layers, false})
	if c.IndexTopK == 0 {
		return ps
	}
	return append(ps, add(c.IndexNHeads*c.IndexHeadDim, c.QLoraRank), add(c.IndexHeadDim, d),
		part{attention, c.IndexNHeads, d, layers, layers, false}, part{norms, 2, c.IndexHeadDim, layers, layers, false})
}

func expertParts(c *deepseek.Config, layers int) []part {
	e, width := c.NRoutedExperts, c.HiddenSize
	if c.Architecture() != deepseek.V2 {
		width++ // the bias beside it
	}
	ps := []part{{router, e, width, layers, layers, false}}
	ps = append(ps, feedForward(experts, c.HiddenSize, c.MoEIntermediateSize, layers*e, layers*c.NumExpertsPerTok)...)
	if c.NSharedExperts == 0 {
		return ps
	}
	return append(ps, feedForward(shared, c.HiddenSize, c.MoEIntermediateSize*c.NSharedExperts, layers, layers)...)
}
