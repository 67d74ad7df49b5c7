package plan

import "sonde/model/llama"

func llamaSheet(c *llama.Config) sheet {
	n, d := c.NumHiddenLayers, c.HiddenSize
	q, kv := c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	own := 1
	if c.TieEmbeddings {
		own = 0
	}
	ps := []part{{embedding, c.VocabSize, d, 1, 0, false}, {head, c.VocabSize, d, own, 1, false}, {norms, 1, d, 2*n + 1, 2*n + 1, false},
		{attention, q, d, n, n, true}, {attention, kv, d, 2 * n, 2 * n, true}, {attention, d, q, n, n, true}}
	ps = append(ps, feedForward(dense, d, c.IntermediateSize, n, n)...)
	add := func(there bool, group string, width int) {
		if there {
			ps = append(ps, part{group, 1, width, n, n, false})
		}
	}
	add(c.QKVBias, attention, q+2*kv)
	add(c.OutBias, attention, d)
	add(c.MLPBias, dense, 2*c.IntermediateSize+d)
	add(c.QKNorm, norms, 2*c.HeadDim)
	return sheet{shape: Shape{Layers: n, DenseLayers: n, Hidden: d, Heads: c.NumAttentionHeads, KVHeads: c.NumKeyValueHeads, Vocab: c.VocabSize},
		kv: KV{Expanded: 2 * 2 * int64(n) * int64(kv)}, main: ps}
}
