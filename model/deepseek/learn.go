package deepseek

import (
	"fmt"

	"sonde/compute"
	"sonde/model"
)

var _ model.Trainer = (*Model)(nil)

// NewTwin is Twin.
func (m *Model) NewTwin(ar *compute.Arena) model.Weights { return m.Twin(ar) }

// learning is a pass whose backward is to come.
type learning struct {
	*pass
	*model.Vocabulary
	chose [][]int32
}

// Learn begins a pass over p in the expanded form; see model.Learner. The MTP modules
// are left out: what is learned from here was written by the main model. Lengths that do
// not add up, tokens outside the vocabulary and sequences longer than the context are
// the caller's mistakes and panic.
func (m *Model) Learn(ar *compute.Arena, p model.Packed, o model.StepOptions) model.Pass {
	o.MTPLambda = 0
	q := m.newPass(ar, p.Lens, p.Prefix, p.Tokens, nil, o)
	q.follow(p.Routes)
	q.forward(false)
	return &learning{q, model.NewVocabulary(m.be, ar, &p, q.hn, m.Head, func(rows compute.Tensor) { m.showLogits(0, rows) }), q.loads()}
}

// Backward adds the gradient to grads, a NewTwin's; see model.Pass.
func (l *learning) Backward(coef []float32, grads model.Weights) {
	g := l.m.frozen()
	if grads != nil {
		g = grads.(*Model)
	}
	mark := l.ar.Mark()
	defer l.ar.Release(mark)
	dhn := l.ar.F32(l.t, l.m.cfg.HiddenSize)
	l.Vocabulary.Backward(coef, dhn, g.Head)
	l.pass.backward(dhn, g)
}

// Loads are the tokens that chose each expert, per MoE layer; those of MTP modules,
// which took no part, are zeros.
func (l *learning) Loads() [][]int32 { return l.chose }

// follow has the layers of experts take the given ones, per layer [T*K] ascending,
// instead of their routers' choice; nil changes nothing.
func (p *pass) follow(routes [][]int32) {
	if routes == nil {
		return
	}
	if n := p.m.cfg.moeLayers(); len(routes) != n {
		panic(fmt.Sprintf("deepseek: routes of %d layers, the model has %d with experts", len(routes), n))
	}
	for _, r := range routes {
		t := p.ar.I32(p.t, p.m.cfg.NumExpertsPerTok)
		if len(r) != t.Len() {
			panic(fmt.Sprintf("deepseek: routes of %d choices for %d tokens of %d each", len(r), p.t, p.m.cfg.NumExpertsPerTok))
		}
		p.m.be.UploadI32(t, r)
		p.given = append(p.given, t)
	}
}

// moeLayers is the number of the main model's layers that have experts.
func (c *Config) moeLayers() int { return max(0, c.NumHiddenLayers-c.FirstKDenseReplace) }
