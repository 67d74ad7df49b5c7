package deepseek

import (
	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// chunkRows bounds the rows of one pass, and with them the memory.
const chunkRows = 512

// Forward appends each part's tokens to its sequence; see model.Net. All parts' rows
// meet the weights together, in chunks of bounded size; attention is each sequence's
// own.
func (m *Model) Forward(parts []model.Part) error {
	own := func(s model.Sequence) bool {
		q, ok := s.(*sequence)
		return ok && q.m == m
	}
	if err := model.CheckParts(parts, m.cfg.VocabSize, own); err != nil {
		return err
	}
	if m.work == nil {
		m.work = m.be.NewArena("activations")
	}
	seqs, most := make([]*sequence, len(parts)), 0
	for i, p := range parts {
		seqs[i] = p.Sequence.(*sequence)
		n := seqs[i].len + len(p.IDs)
		seqs[i].cache.Reserve(n, seqs[i].len)
		most = max(most, n)
	}
	table := m.rope.Upto(most)
	for _, c := range model.Chunks(parts, chunkRows) {
		m.work.Reset()
		h := m.extend(c, seqs, table)
		c.Head(m.be, m.work, parts, h, m.Head, func(rows compute.Tensor) { m.showLogits(0, rows) })
	}
	for i, p := range parts {
		seqs[i].len += len(p.IDs)
	}
	return nil
}

// extend runs one chunk of rows and returns them after the final norm.
func (m *Model) extend(c model.Chunk, seqs []*sequence, table compute.Tensor) compute.Tensor {
	be, ar, n, d := m.be, m.work, len(c.IDs), m.cfg.HiddenSize
	tok, pos := ar.I32(1, n), ar.I32(1, n)
	be.UploadI32(tok, c.IDs)
	be.UploadI32(pos, c.Pos)
	x, h := ar.F32(n, d), ar.F32(n, d)
	be.Embed(x, m.Embed, tok)
	m.showHidden(0, x)
	latent := make([]nn.LatentSeq, len(c.Spans))
	for i, l := range m.Layers {
		mark := ar.Mark()
		for j, s := range c.Spans {
			latent[j] = nn.LatentSeq{Row: s.Row, Rows: s.Rows, Start: s.Start, Cache: seqs[s.Part].cache.T(i), Keys: seqs[s.Part].keys(i)}
		}
		m.extendLayer(l, i, x, h, pos, table, latent)
		ar.Release(mark)
	}
	nn.Norm(be, ar, h, x, m.Norm, float32(m.cfg.RMSNormEps), nil)
	m.showHidden(len(m.Layers), h)
	return h
}

// extendLayer runs decoder layer i on the residual stream x in place; h is scratch of
// the same shape.
func (m *Model) extendLayer(l *Layer, i int, x, h, pos, table compute.Tensor, seqs []nn.LatentSeq) {
	be, ar, eps := m.be, m.work, float32(m.cfg.RMSNormEps)
	var rec layerRecord
	m.watchIndexer(i, &rec)
	nn.Norm(be, ar, h, x, l.InputNorm, eps, nil)
	l.Attn.Extend(be, ar, m.cfg.mla(), x, h, pos, table, seqs, &rec.attn)
	m.showAttention(l, i, &rec)
	nn.Norm(be, ar, h, x, l.PostNorm, eps, nil)
	if l.MLP != nil {
		l.MLP.Forward(be, ar, x, h, &rec.mlp)
	} else {
		l.MoE.Forward(be, ar, m.cfg.moe(), x, h, &rec.moe)
	}
	m.showFeedForward(l, i, &rec)
	if i+1 < len(m.Layers) {
		m.showHidden(i+1, x)
	}
}
