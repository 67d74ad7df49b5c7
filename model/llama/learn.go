package llama

import (
	"fmt"

	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

var _ model.Trainer = (*Model)(nil)

// NewTwin is Twin.
func (m *Model) NewTwin(ar *compute.Arena) model.Weights { return m.Twin(ar) }

// Biases is empty: there are no routers.
func (m *Model) Biases() []compute.Tensor { return nil }

// learning is a pass whose backward is to come.
type learning struct {
	*pass
	*model.Vocabulary
}

// Learn begins a pass over p; see model.Learner. Routes and the balance loss say nothing
// here. Lengths that do not add up, tokens outside the vocabulary and sequences longer
// than the context are the caller's mistakes and panic.
func (m *Model) Learn(ar *compute.Arena, p model.Packed, o model.StepOptions) model.Pass {
	q := m.newPass(ar, p.Lens, p.Prefix, p.Tokens, o)
	q.forward(false)
	head, _ := m.head()
	return &learning{q, model.NewVocabulary(m.be, ar, &p, q.hn, head, m.showHead)}
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
	l.Vocabulary.Backward(coef, dhn, l.m.headGradient(g))
	l.pass.backward(dhn, g)
}

// frozen is a twin that lacks every weight.
func (m *Model) frozen() *Model {
	t := &Model{}
	for range m.Layers {
		t.Layers = append(t.Layers, &Layer{})
	}
	return t
}

// Loads is empty: there are no experts.
func (*learning) Loads() [][]int32 { return nil }

// NewRollout is NewSequence with memory that the model's rollouts share, which is given
// back when the last of them is closed, and with the head's activations in float32, as
// Learn has them, where the head is of a format that would have them in int8.
func (m *Model) NewRollout(maxLen int) model.Sequence {
	if m.rollouts == nil {
		m.rollouts = nn.NewCachePool(m.be, "rollouts' keys and values", m.cacheWidths()...)
	}
	n := m.sequenceLen(maxLen)
	return &sequence{m: m, max: n, rollout: true, cache: m.rollouts.NewCache(n)}
}

// Fork makes the sequence the first n tokens of from, one of the same model's; see
// model.Forker. It panics where from has fewer, or they do not fit.
func (s *sequence) Fork(from model.Sequence, n int) {
	f, ok := from.(*sequence)
	if !ok || f.m != s.m || n < 0 || n > f.len || n > s.max {
		panic(fmt.Sprintf("llama: a sequence of at most %d tokens cannot begin as the first %d of another's %d", s.max, n, from.Len()))
	}
	if f != s {
		s.cache.CopyFrom(f.cache, n)
	}
	s.len = n
}
