package deepseek

import (
	"fmt"
	"slices"

	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// chunkRows bounds the rows of one pass, and with them the memory.
const chunkRows = 512

// Forward appends each part's tokens to its sequence; see model.Net. All parts' rows
// meet the weights together, in chunks of bounded size; attention is each sequence's
// own. The sequences of a call are all NewSequence's or all NewRollout's.
func (m *Model) Forward(parts []model.Part) error {
	own := func(s model.Sequence) bool {
		q, ok := s.(*sequence)
		return ok && q.m == m
	}
	if err := model.CheckParts(parts, m.cfg.VocabSize, own); err != nil {
		return err
	}
	if len(parts) == 0 {
		return nil
	}
	if m.work == nil {
		m.work = m.be.NewArena("activations")
	}
	f := &m.feeding
	f.parts, f.seqs = parts, slices.Grow(f.seqs[:0], len(parts))
	most := 0
	for i, p := range parts {
		s := p.Sequence.(*sequence)
		if f.seqs = append(f.seqs, s); s.expanded != f.seqs[0].expanded {
			return fmt.Errorf("%w: part %d's sequence is a rollout and part 0's is not, or the other way round", model.ErrPart, i)
		}
		most = max(most, s.len+len(p.IDs))
	}
	for i, p := range parts {
		f.seqs[i].cache.Reserve(f.seqs[i].len+len(p.IDs), f.seqs[i].len)
		m.wantRoutes(&parts[i])
	}
	table, head := m.rope.Upto(most), m.Head
	if f.seqs[0].expanded {
		head = head.WithActivations(compute.ActF32) // as the operation at the vocabulary has it
	}
	for _, c := range model.Chunks(parts, chunkRows) {
		m.work.Reset()
		h := m.extend(c, table)
		c.Head(m.be, m.work, parts, h, head, func(rows compute.Tensor) { m.showLogits(0, rows) })
	}
	for i, p := range parts {
		f.seqs[i].len += len(p.IDs)
	}
	return nil
}

// feeding is a Forward under way. Its slices are kept for the next: with hundreds of
// sequences a pass is short, and should not leave garbage.
type feeding struct {
	parts    []model.Part
	seqs     []*sequence
	latent   []nn.LatentSeq
	expanded []compute.MLASeq
	keys     []compute.Tensor
	routes   []int32
}

// extend runs one chunk of rows and returns them after the final norm.
func (m *Model) extend(c model.Chunk, table compute.Tensor) compute.Tensor {
	be, ar, n, d := m.be, m.work, len(c.IDs), m.cfg.HiddenSize
	tok, pos := ar.I32(1, n), ar.I32(1, n)
	be.UploadI32(tok, c.IDs)
	be.UploadI32(pos, c.Pos)
	x, h := ar.F32(n, d), ar.F32(n, d)
	be.Embed(x, m.Embed, tok)
	m.showHidden(0, x)
	for i, l := range m.Layers {
		mark := ar.Mark()
		m.extendLayer(l, i, x, h, pos, table, c)
		ar.Release(mark)
	}
	nn.Norm(be, ar, h, x, m.Norm, float32(m.cfg.RMSNormEps), nil)
	m.showHidden(len(m.Layers), h)
	return h
}

// extendLayer runs decoder layer i on the residual stream x in place; h is scratch of
// the same shape.
func (m *Model) extendLayer(l *Layer, i int, x, h, pos, table compute.Tensor, c model.Chunk) {
	be, ar, eps := m.be, m.work, float32(m.cfg.RMSNormEps)
	var rec layerRecord
	m.watchIndexer(i, &rec)
	nn.Norm(be, ar, h, x, l.InputNorm, eps, nil)
	m.extendAttention(l, i, x, h, pos, table, c, &rec.attn)
	m.showAttention(l, i, &rec)
	nn.Norm(be, ar, h, x, l.PostNorm, eps, nil)
	if l.MLP != nil {
		l.MLP.Forward(be, ar, x, h, &rec.mlp)
	} else {
		l.MoE.Forward(be, ar, m.cfg.moe(), x, h, &rec.moe)
		m.keepRoutes(i-m.cfg.FirstKDenseReplace, c, rec.moe.Route.Experts)
	}
	m.showFeedForward(l, i, &rec)
	if i+1 < len(m.Layers) {
		m.showHidden(i+1, x)
	}
}

// extendAttention is x += attention(h) in the form of the sequences.
func (m *Model) extendAttention(l *Layer, i int, x, h, pos, table compute.Tensor, c model.Chunk, rec *nn.MLARecord) {
	f := &m.feeding
	if !f.seqs[0].expanded {
		f.latent = f.latent[:0]
		for _, s := range c.Spans {
			f.latent = append(f.latent, f.seqs[s.Part].latent(i, s))
		}
		l.Attn.Extend(m.be, m.work, m.cfg.mla(), x, h, pos, table, f.latent, rec)
		return
	}
	f.expanded, f.keys = f.expanded[:0], f.keys[:0]
	for _, s := range c.Spans {
		q := f.seqs[s.Part]
		f.expanded = append(f.expanded, q.expand(i, s))
		if m.cfg.IndexTopK > 0 {
			f.keys = append(f.keys, q.cache.T(2*m.cfg.NumHiddenLayers+i))
		}
	}
	l.Attn.ExtendExpanded(m.be, m.work, m.cfg.mla(), x, h, pos, table, f.expanded, f.keys, rec)
}

// wantRoutes makes room for a part's routes, where they are asked for.
func (m *Model) wantRoutes(p *model.Part) {
	if !p.WantRoutes {
		return
	}
	layers, n := m.cfg.moeLayers(), len(p.IDs)*m.cfg.NumExpertsPerTok
	p.Routes = slices.Grow(p.Routes[:0], layers)[:layers]
	for i, r := range p.Routes {
		p.Routes[i] = slices.Grow(r[:0], n)[:n]
	}
}

// keepRoutes hands the experts [rows, K] that a chunk's rows chose in layer, of those
// with experts, to the parts that ask for them.
func (m *Model) keepRoutes(layer int, c model.Chunk, experts compute.Tensor) {
	f, k := &m.feeding, experts.NumCols()
	known := false
	for _, s := range c.Spans {
		p := &f.parts[s.Part]
		if !p.WantRoutes {
			continue
		}
		if !known {
			known = true
			f.routes = slices.Grow(f.routes[:0], experts.Len())[:experts.Len()]
			m.be.DownloadI32(f.routes, experts)
		}
		copy(p.Routes[layer][s.From*k:(s.From+s.Rows)*k], f.routes[s.Row*k:])
	}
}
