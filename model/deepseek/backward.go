package deepseek

import (
	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// LossAndGrad runs forward and backward over one micro-batch and adds the gradients
// of Scale*(loss + MTPLambda*mean MTP loss + balance loss) to grads, a Twin of m.
// Records live in ar, which is returned to where it stood.
func (m *Model) LossAndGrad(ar *compute.Arena, b model.Batch, grads model.Weights, o model.StepOptions) model.StepResult {
	mark := ar.Mark()
	defer ar.Release(mark)
	p := m.newPass(ar, b.Lens(), nil, b.Tokens, b.Targets, o)
	return p.lossAndGrad(b, grads.(*Model))
}

func (p *pass) lossAndGrad(b model.Batch, g *Model) model.StepResult {
	p.forward(true)
	res := model.StepResult{Loads: p.loads()}
	dhn := p.ar.F32(p.t, p.m.cfg.HiddenSize)
	res.Loss, res.Tokens = p.vocab(p.hn, b.Targets[0], p.ids[1], dhn, g.Head, p.o.Scale)
	res.MTPLoss = p.backwardMTP(b, g, dhn)
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
	p.embedBackward(g, dx, p.ids[0])
}

// embedBackward adds to the embedding's gradient, where it has one.
func (p *pass) embedBackward(g *Model, dx, ids compute.Tensor) {
	if !g.Embed.IsZero() {
		p.m.be.EmbedBackward(g.Embed, dx, ids)
	}
}

// vocab runs head and cross-entropy for rows h: it writes dh, adds to the head's
// gradient and returns the mean loss and the number of targets.
func (p *pass) vocab(h compute.Tensor, target []int32, ids, dh, dhead compute.Tensor, scale float32) (float64, int) {
	n := model.CountTargets(target)
	coef := make([]float32, p.t)
	for i, t := range target {
		if t >= 0 {
			coef[i] = -scale / float32(n)
		}
	}
	c, logp := p.ar.F32(1, p.t), p.ar.F32(1, p.t)
	p.m.be.UploadF32(c, coef)
	p.m.be.LogProbBackward(compute.LogProbBackwardArgs{
		LogProbArgs: compute.LogProbArgs{H: h, W: p.m.Head, Targets: ids, LogP: logp, BF16: p.m.Head.DType() == compute.BF16},
		Coef:        c, DH: dh, DW: dhead})
	return p.meanLoss(logp, n), n
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

// backwardMTP goes back through the MTP modules, adds their gradient to dhn and
// returns their mean loss.
func (p *pass) backwardMTP(b model.Batch, g *Model, dhn compute.Tensor) float64 {
	m, d := p.m, p.m.cfg.HiddenSize
	if len(p.mtp) == 0 {
		return 0
	}
	scale := p.o.Scale * p.o.MTPLambda / float32(len(p.mtp))
	dh, dx, dcat := p.ar.F32(p.t, d), p.ar.F32(p.t, d), p.ar.F32(p.t, 2*d)
	dprev, dembed := p.ar.F32(p.t, d), p.ar.F32(p.t, d)
	loss := 0.0
	for i := len(p.mtp) - 1; i >= 0; i-- {
		r, mod, gm := &p.mtp[i], m.MTP[i], g.MTP[i]
		l, _ := p.vocab(r.hn, b.Targets[i+1], p.ids[i+2], dh, g.Head, scale)
		loss += l
		if i+1 < len(p.mtp) {
			m.be.Add(dh, dprev)
		}
		nn.NormBackwardInput(m.be, dx, dh, mod.Norm, &r.norm, false)
		nn.NormBackwardWeight(m.be, gm.Norm, dh, &r.norm)
		p.backwardLayer(&mod.Layer, &gm.Layer, dx, &r.layer)
		nn.LinearBackwardInput(m.be, dcat, dx, mod.Proj, false)
		nn.LinearBackwardWeight(m.be, gm.Proj, dx, r.cat, mod.Proj)
		nn.NormBackwardInput(m.be, dembed, dcat.Cols(0, d), mod.ENorm, &r.enorm, false)
		nn.NormBackwardWeight(m.be, gm.ENorm, dcat.Cols(0, d), &r.enorm)
		p.embedBackward(g, dembed, p.next[i])
		nn.NormBackwardInput(m.be, dprev, dcat.Cols(d, 2*d), mod.HNorm, &r.hnorm, false)
		nn.NormBackwardWeight(m.be, gm.HNorm, dcat.Cols(d, 2*d), &r.hnorm)
	}
	m.be.Add(dhn, dprev)
	return loss / float64(len(p.mtp))
}

// backwardLayer turns dx, the gradient after a layer, into the gradient before it,
// and adds the weights' gradients to g.
func (p *pass) backwardLayer(l, g *Layer, dx compute.Tensor, rec *layerRecord) {
	mark := p.ar.Mark()
	defer p.ar.Release(mark)
	if p.o.Recompute {
		chosen, given := rec.attn.Chosen, rec.moe.Given
		*rec = layerRecord{in: rec.in}
		rec.attn.Chosen, rec.moe.Given = chosen, given
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
	dy := p.clone(dx)
	if l.MLP != nil {
		l.MLP.BackwardInput(be, p.ar, rec.dh2, dy, &rec.mlp, false)
	} else {
		bal := nn.Balance{Alpha: p.o.AuxAlpha, Scale: p.o.Scale, Lens: p.lens}
		l.MoE.BackwardInput(be, p.ar, m.cfg.moe(), rec.dh2, dy, &rec.moe, bal)
	}
	nn.NormBackwardInput(be, dx, rec.dh2, l.PostNorm, &rec.midNorm, true)
	dy = p.clone(dx)
	l.Attn.BackwardInput(be, p.ar, m.cfg.mla(), rec.dh1, dy, p.pos, p.rope, &rec.attn)
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
	l.Attn.BackwardWeight(be, p.m.cfg.mla(), &g.Attn, &rec.attn)
	if l.MLP != nil {
		l.MLP.BackwardWeight(be, g.MLP, &rec.mlp)
		return
	}
	l.MoE.BackwardWeight(be, g.MoE, &rec.moe)
}

// Loss is LossAndGrad without gradients.
func (m *Model) Loss(ar *compute.Arena, b model.Batch, o model.StepOptions) model.StepResult {
	mark := ar.Mark()
	defer ar.Release(mark)
	p := m.newPass(ar, b.Lens(), nil, b.Tokens, b.Targets, o)
	p.forward(true)
	res := model.StepResult{Loads: p.loads()}
	res.Loss, res.Tokens = p.lossOnly(p.hn, b.Targets[0], p.ids[1])
	for i := range p.mtp {
		l, _ := p.lossOnly(p.mtp[i].hn, b.Targets[i+1], p.ids[i+2])
		res.MTPLoss += l / float64(len(p.mtp))
	}
	return res
}

func (p *pass) lossOnly(h compute.Tensor, target []int32, ids compute.Tensor) (float64, int) {
	n := model.CountTargets(target)
	return p.meanLoss(p.logProb(h, ids), n), n
}

func (p *pass) logProb(h, ids compute.Tensor) compute.Tensor {
	logp := p.ar.F32(1, p.t)
	p.m.be.LogProb(compute.LogProbArgs{H: h, W: p.m.Head, Targets: ids, LogP: logp, BF16: p.m.Head.DType() == compute.BF16})
	return logp
}
