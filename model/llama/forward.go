package llama

import (
	"fmt"

	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// layerRecord is what a decoder layer's backward needs.
type layerRecord struct {
	in, mid, out    compute.Tensor // residual stream before, between and after
	inNorm, midNorm nn.NormRecord
	h1, h2          compute.Tensor // normed inputs
	attn            nn.GQARecord
	mlp             nn.MLPRecord

	dh1, dh2 compute.Tensor
}

// pass is one forward through the model with its records.
type pass struct {
	m     *Model
	ar    *compute.Arena
	o     model.StepOptions
	pack  nn.Packing
	t     int // rows
	pos   compute.Tensor
	table compute.Tensor
	ids   compute.Tensor
	recs  []layerRecord
	norm  nn.NormRecord
	hn    compute.Tensor // after the final norm
}

func (m *Model) newPass(ar *compute.Arena, lens, prefix []int, tokens []int32, o model.StepOptions) *pass {
	pack, pos, longest := model.Packing(m.be, ar, lens, prefix)
	if len(tokens) != len(pos) || longest > m.cfg.MaxPositionEmbedding {
		panic(fmt.Sprintf("llama: %d tokens for sequences of %d together, the longest of %d (at most %d)", len(tokens), len(pos), longest, m.cfg.MaxPositionEmbedding))
	}
	p := &pass{m: m, ar: ar, o: o, pack: pack, t: len(pos), table: m.rope.Upto(longest)}
	p.pos, p.ids = p.upload(pos), p.upload(tokens)
	return p
}

func (p *pass) upload(v []int32) compute.Tensor {
	t := p.ar.I32(1, p.t)
	p.m.be.UploadI32(t, v)
	return t
}

// forward runs the model up to the final norm; whole says that all rows meet the head.
func (p *pass) forward(whole bool) {
	m, d := p.m, p.m.cfg.HiddenSize
	x := p.ar.F32(p.t, d)
	m.be.Embed(x, m.Embed, p.ids)
	m.tap.Hidden(0, x)
	p.recs = make([]layerRecord, len(m.Layers))
	for i, l := range m.Layers {
		x = p.layer(l, x, &p.recs[i], i)
		if i+1 < len(m.Layers) {
			m.tap.Hidden(i+1, x)
		}
	}
	p.hn = p.ar.F32(p.t, d)
	nn.Norm(m.be, p.ar, p.hn, x, m.Norm, m.eps(), &p.norm)
	m.tap.Hidden(len(m.Layers), p.hn)
	if whole {
		m.showHead(p.hn)
	}
}

// layer runs a layer and returns its output; with Recompute the rest of the record is
// given back and only the input kept.
func (p *pass) layer(l *Layer, x compute.Tensor, rec *layerRecord, i int) compute.Tensor {
	out := p.ar.F32(p.t, x.NumCols())
	mark := p.ar.Mark()
	p.runLayer(l, x, out, rec)
	p.m.showAttention(i, &rec.attn)
	p.m.showMLP(i, &rec.mlp)
	if p.o.Recompute {
		p.ar.Release(mark)
	}
	return out
}

func (p *pass) runLayer(l *Layer, x, out compute.Tensor, rec *layerRecord) {
	m, be, d := p.m, p.m.be, x.NumCols()
	rec.in, rec.mid, rec.out = x, p.ar.F32(p.t, d), out
	rec.h1, rec.h2 = p.ar.F32(p.t, d), p.ar.F32(p.t, d)
	nn.Norm(be, p.ar, rec.h1, x, l.InputNorm, m.eps(), &rec.inNorm)
	be.Copy(rec.mid, x)
	l.Attn.Forward(be, p.ar, m.cfg.gqa(), p.pack, rec.mid, rec.h1, p.pos, p.table, &rec.attn)
	nn.Norm(be, p.ar, rec.h2, rec.mid, l.PostNorm, m.eps(), &rec.midNorm)
	be.Copy(out, rec.mid)
	l.MLP.Forward(be, p.ar, out, rec.h2, &rec.mlp)
}

func (p *pass) logProb(targets compute.Tensor) compute.Tensor {
	logp := p.ar.F32(1, p.t)
	w, _ := p.m.head()
	p.m.be.LogProb(compute.LogProbArgs{H: p.hn, W: w, Targets: targets, LogP: logp, BF16: w.DType() == compute.BF16})
	return logp
}

// Loss is LossAndGrad without gradients.
func (m *Model) Loss(ar *compute.Arena, b model.Batch, o model.StepOptions) model.StepResult {
	mark := ar.Mark()
	defer ar.Release(mark)
	p := m.newPass(ar, b.Lens(), nil, b.Tokens, o)
	p.forward(true)
	n := model.CountTargets(b.Targets[0])
	return model.StepResult{Loss: p.meanLoss(p.logProb(p.upload(b.Targets[0])), n), Tokens: n}
}

func (p *pass) meanLoss(logp compute.Tensor, n int) float64 {
	v := make([]float32, p.t)
	p.m.be.DownloadF32(v, logp)
	sum := 0.0
	for _, l := range v {
		sum -= float64(l)
	}
	return sum / float64(max(n, 1))
}
