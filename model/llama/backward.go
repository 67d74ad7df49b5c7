package llama

import (
	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// LossAndGrad runs forward and backward over one micro-batch and adds the gradients of
// Scale*loss to grads, a Twin of m; weights that grads lacks are passed over. Of the
// options MTPLambda and AuxAlpha say nothing here: there are neither MTP modules nor
// routers. Records live in ar, which is returned to where it stood.
func (m *Model) LossAndGrad(ar *compute.Arena, b model.Batch, grads model.Weights, o model.StepOptions) model.StepResult {
	mark := ar.Mark()
	defer ar.Release(mark)
	return m.newPass(ar, b.Lens(), nil, b.Tokens, o).lossAndGrad(b, grads.(*Model))
}

func (p *pass) lossAndGrad(b model.Batch, g *Model) model.StepResult {
	p.forward(true)
	dhn := p.ar.F32(p.t, p.m.cfg.HiddenSize)
	res := p.vocab(b.Targets[0], dhn, g)
	p.backward(dhn, g)
	return res
}

// backward goes from dhn, the gradient after the final norm, to the embedding.
func (p *pass) backward(dhn compute.Tensor, g *Model) {
	m := p.m
	dx := p.ar.F32(p.t, m.cfg.HiddenSize)
	nn.NormBackwardInput(m.be, dx, dhn, m.Norm, &p.norm, false)
	nn.NormBackwardWeight(m.be, g.Norm, dhn, &p.norm)
	for i := len(m.Layers) - 1; i >= 0; i-- {
		p.backwardLayer(m.Layers[i], g.Layers[i], dx, &p.recs[i])
	}
	if !g.Embed.IsZero() {
		m.be.EmbedBackward(g.Embed, dx, p.ids)
	}
}

// vocab runs head and cross-entropy: it writes dh, adds to the head's gradient (the
// embedding's where they are one) and returns the mean loss and the number of targets.
func (p *pass) vocab(target []int32, dh compute.Tensor, g *Model) model.StepResult {
	n := model.CountTargets(target)
	coef := make([]float32, p.t)
	for i, t := range target {
		if t >= 0 {
			coef[i] = -p.o.Scale / float32(n)
		}
	}
	c, logp := p.ar.F32(1, p.t), p.ar.F32(1, p.t)
	p.m.be.UploadF32(c, coef)
	w, _ := p.m.head()
	p.m.be.LogProbBackward(compute.LogProbBackwardArgs{
		LogProbArgs: compute.LogProbArgs{H: p.hn, W: w, Targets: p.upload(target), LogP: logp, BF16: w.DType() == compute.BF16},
		Coef:        c, DH: dh, DW: p.m.headGradient(g)})
	return model.StepResult{Loss: p.meanLoss(logp, n), Tokens: n}
}

// headGradient is the head's gradient in g, which is the embedding's where they are one.
func (m *Model) headGradient(g *Model) compute.Tensor {
	if m.Head.IsZero() {
		return g.Embed
	}
	return g.Head
}

// backwardLayer turns dx, the gradient after a layer, into the gradient before it, and
// adds the weights' gradients to g.
func (p *pass) backwardLayer(l, g *Layer, dx compute.Tensor, rec *layerRecord) {
	mark := p.ar.Mark()
	defer p.ar.Release(mark)
	if p.o.Recompute {
		*rec = layerRecord{in: rec.in}
		p.runLayer(l, rec.in, p.ar.F32(p.t, dx.NumCols()), rec)
	}
	p.backwardLayerInput(l, dx, rec)
	p.backwardLayerWeight(l, g, rec)
}

// backwardLayerInput is the input part: dx in place, intermediate gradients into rec.
func (p *pass) backwardLayerInput(l *Layer, dx compute.Tensor, rec *layerRecord) {
	m, be := p.m, p.m.be
	rec.dh1, rec.dh2 = p.ar.F32(p.t, dx.NumCols()), p.ar.F32(p.t, dx.NumCols())
	// The layers keep dy for their weight part, while dx moves on: a copy each.
	l.MLP.BackwardInput(be, p.ar, rec.dh2, p.clone(dx), &rec.mlp, false)
	nn.NormBackwardInput(be, dx, rec.dh2, l.PostNorm, &rec.midNorm, true)
	l.Attn.BackwardInput(be, p.ar, m.cfg.gqa(), rec.dh1, p.clone(dx), p.pos, p.table, &rec.attn)
	nn.NormBackwardInput(be, dx, rec.dh1, l.InputNorm, &rec.inNorm, true)
}

func (p *pass) clone(t compute.Tensor) compute.Tensor {
	c := p.ar.F32(t.NumRows(), t.NumCols())
	p.m.be.Copy(c, t)
	return c
}

// backwardLayerWeight is the weight part.
func (p *pass) backwardLayerWeight(l, g *Layer, rec *layerRecord) {
	be := p.m.be
	nn.NormBackwardWeight(be, g.InputNorm, rec.dh1, &rec.inNorm)
	nn.NormBackwardWeight(be, g.PostNorm, rec.dh2, &rec.midNorm)
	l.Attn.BackwardWeight(be, p.m.cfg.gqa(), &g.Attn, &rec.attn)
	l.MLP.BackwardWeight(be, &g.MLP, &rec.mlp)
}
