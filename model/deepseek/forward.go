package deepseek

import (
	"fmt"
	"slices"

	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// layerRecord is what a decoder layer's backward needs.
type layerRecord struct {
	in, mid, out    compute.Tensor // residual stream before, between and after
	inNorm, midNorm nn.NormRecord
	h1, h2          compute.Tensor // normed inputs
	attn            nn.MLARecord
	mlp             nn.MLPRecord
	moe             nn.MoERecord

	dh1, dh2 compute.Tensor
}

// pass is one forward through the model with its records.
type pass struct {
	m     *Model
	ar    *compute.Arena
	o     model.StepOptions
	lens  []int // of the sequences, what they share not counted
	pack  nn.Packing
	t     int // rows
	pos   compute.Tensor
	ids   []compute.Tensor // ids[d]: tokens shifted by d, -1 where there is none
	next  []compute.Tensor // ids[d+1] for the MTP modules' embeddings, 0 where there is none
	embed compute.Tensor
	recs  []layerRecord
	norm  nn.NormRecord
	hn    compute.Tensor // after the final norm
	mtp   []mtpRecord
	rope  compute.Tensor
	// given are the experts of each layer that has some [T, K], where the routers' choice
	// is not to be followed.
	given []compute.Tensor
}

type mtpRecord struct {
	prev         compute.Tensor // hidden state that enters
	embed        compute.Tensor // [T, D] embedding of the next token
	cat          compute.Tensor // [T, 2D]
	enorm, hnorm nn.NormRecord
	layer        layerRecord
	norm         nn.NormRecord
	hn           compute.Tensor
}

func (m *Model) newPass(ar *compute.Arena, lens, prefix []int, tokens []int32, targets [][]int32, o model.StepOptions) *pass {
	pack, pos, longest := model.Packing(m.be, ar, lens, prefix)
	if len(tokens) != len(pos) || longest > m.cfg.MaxPositionEmbedding {
		panic(fmt.Sprintf("deepseek: %d tokens for sequences of %d together, the longest of %d (at most %d)", len(tokens), len(pos), longest, m.cfg.MaxPositionEmbedding))
	}
	p := &pass{m: m, ar: ar, o: o, lens: lens, pack: pack, t: len(pos), rope: m.rope.Upto(longest)}
	p.pos = p.upload(pos)
	p.ids = append(p.ids, p.upload(tokens))
	for _, target := range targets {
		p.ids = append(p.ids, p.upload(target))
	}
	for d := range m.MTP {
		if o.MTPLambda != 0 {
			p.next = append(p.next, p.upload(clipped(targets[d])))
		}
	}
	return p
}

// clipped replaces missing tokens by token 0: the rows that see it have no target.
func clipped(ids []int32) []int32 {
	out := slices.Clone(ids)
	for i := range out {
		out[i] = max(out[i], 0)
	}
	return out
}

func (p *pass) upload(ids []int32) compute.Tensor {
	t := p.ar.I32(1, p.t)
	p.m.be.UploadI32(t, ids)
	return t
}

// forward runs the main model up to the final norm and the MTP modules up to theirs;
// whole says that all rows meet the head.
func (p *pass) forward(whole bool) {
	m, d := p.m, p.m.cfg.HiddenSize
	p.embed = p.ar.F32(p.t, d)
	m.be.Embed(p.embed, m.Embed, p.ids[0])
	m.showHidden(0, p.embed)
	x := p.embed
	p.recs = make([]layerRecord, len(m.Layers))
	for i, l := range m.Layers {
		x = p.layer(l, x, &p.recs[i], i)
		if i+1 < len(m.Layers) {
			m.showHidden(i+1, x)
		}
	}
	p.hn = p.ar.F32(p.t, d)
	nn.Norm(m.be, p.ar, p.hn, x, m.Norm, float32(m.cfg.RMSNormEps), &p.norm)
	m.showHidden(len(m.Layers), p.hn)
	if whole {
		m.showLogits(0, p.hn)
	}
	p.forwardMTP()
}

// layer runs a decoder layer into memory that lives on, or, under recomputation,
// keeps the output alone.
func (p *pass) layer(l *Layer, x compute.Tensor, rec *layerRecord, index int) compute.Tensor {
	out := p.ar.F32(p.t, x.NumCols())
	mark := p.ar.Mark()
	p.m.watchIndexer(index, rec)
	if i := index - p.m.cfg.FirstKDenseReplace; i >= 0 && i < len(p.given) {
		rec.moe.Given = p.given[i]
	}
	p.runLayer(l, x, out, rec)
	p.m.showAttention(l, index, rec)
	p.m.showFeedForward(l, index, rec)
	if p.o.Recompute {
		p.keepLoads(rec)
		p.ar.Release(mark)
	}
	return out
}

// keepLoads saves the routing counts of a layer whose record is about to be dropped.
func (p *pass) keepLoads(rec *layerRecord) {
	if rec.moe.Route.Offsets.IsZero() {
		return
	}
	rec.moe.Route.Offsets = p.copyI32(rec.moe.Route.Offsets)
}

// copyI32 moves ids to the host; they are few.
func (p *pass) copyI32(t compute.Tensor) compute.Tensor {
	v := make([]int32, t.Len())
	p.m.be.DownloadI32(v, t)
	return compute.WrapI32(v, t.NumRows(), t.NumCols())
}

func (p *pass) runLayer(l *Layer, x, out compute.Tensor, rec *layerRecord) {
	m, be, d := p.m, p.m.be, x.NumCols()
	eps := float32(m.cfg.RMSNormEps)
	rec.in, rec.mid, rec.out = x, p.ar.F32(p.t, d), out
	rec.h1, rec.h2 = p.ar.F32(p.t, d), p.ar.F32(p.t, d)
	nn.Norm(be, p.ar, rec.h1, x, l.InputNorm, eps, &rec.inNorm)
	be.Copy(rec.mid, x)
	l.Attn.Forward(be, p.ar, m.cfg.mla(), p.pack, rec.mid, rec.h1, p.pos, p.rope, &rec.attn)
	nn.Norm(be, p.ar, rec.h2, rec.mid, l.PostNorm, eps, &rec.midNorm)
	be.Copy(out, rec.mid)
	if l.MLP != nil {
		l.MLP.Forward(be, p.ar, out, rec.h2, &rec.mlp)
		return
	}
	l.MoE.Forward(be, p.ar, m.cfg.moe(), out, rec.h2, &rec.moe)
}

func (p *pass) forwardMTP() {
	if p.o.MTPLambda == 0 {
		return
	}
	m, d, eps := p.m, p.m.cfg.HiddenSize, float32(p.m.cfg.RMSNormEps)
	prev := p.hn
	p.mtp = make([]mtpRecord, len(m.MTP))
	for i, mod := range m.MTP {
		r := &p.mtp[i]
		r.prev, r.embed, r.cat, r.hn = prev, p.ar.F32(p.t, d), p.ar.F32(p.t, 2*d), p.ar.F32(p.t, d)
		m.be.Embed(r.embed, m.Embed, p.next[i])
		nn.Norm(m.be, p.ar, r.cat.Cols(0, d), r.embed, mod.ENorm, eps, &r.enorm)
		nn.Norm(m.be, p.ar, r.cat.Cols(d, 2*d), prev, mod.HNorm, eps, &r.hnorm)
		x := p.ar.F32(p.t, d)
		nn.Linear(m.be, x, r.cat, mod.Proj, false)
		x = p.layer(&mod.Layer, x, &r.layer, len(m.Layers)+i)
		nn.Norm(m.be, p.ar, r.hn, x, mod.Norm, eps, &r.norm)
		m.showLogits(i+1, r.hn)
		prev = r.hn
	}
}

// loads reads how many tokens chose each expert.
func (p *pass) loads() [][]int32 {
	var out [][]int32
	read := func(rec *layerRecord) {
		o := rec.moe.Route.Offsets
		if o.IsZero() {
			return
		}
		off := make([]int32, o.NumCols())
		p.m.be.DownloadI32(off, o)
		n := make([]int32, len(off)-1)
		for e := range n {
			n[e] = off[e+1] - off[e]
		}
		out = append(out, n)
	}
	for i := range p.recs {
		read(&p.recs[i])
	}
	for i := range p.mtp {
		read(&p.mtp[i].layer)
	}
	for len(out) < len(p.m.Biases()) {
		out = append(out, make([]int32, p.m.cfg.NRoutedExperts))
	}
	return out
}
