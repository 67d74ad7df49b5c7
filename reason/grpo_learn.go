package reason

import (
	"math"
	"math/rand/v2"

	"sonde/compute"
	"sonde/model"
)

// learned is what the updates of a step found.
type learned struct {
	Measures
	updates  int
	gradNorm float64 // the mean of the updates'
	loads    [][]int64
	rows     int // that went through the model
	tokens   int // of samples that were learned from, passes over them counted
}

// learn makes a step's updates.
func (r *grpo) learn(b *batch) (*learned, error) {
	l := &learned{Measures: Measures{RatioMax: 1}}
	if len(b.samples) == 0 {
		return l, nil
	}
	if r.ref != nil {
		r.refer(b.samples)
	}
	for epoch := range r.o.Epochs {
		order := b.samples
		if r.o.Updates > 1 {
			order = append([]*sample(nil), order...)
			rng := rand.New(rand.NewPCG(mixSeeds(*r.o.Seed, seedShuffle, uint64(r.step)), uint64(epoch)))
			rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		for u := range r.o.Updates {
			part := order[u*len(order)/r.o.Updates : (u+1)*len(order)/r.o.Updates]
			if len(part) == 0 {
				continue
			}
			if err := r.update(part, epoch == 0 && u == 0, l); err != nil {
				return nil, err
			}
		}
	}
	l.gradNorm /= float64(max(l.updates, 1))
	return l, nil
}

// update is one mini-batch. fresh says that the weights are those of the rollouts.
func (r *grpo) update(samples []*sample, fresh bool, l *learned) error {
	n := Whole{Samples: len(samples)}
	var busy []*sample
	for _, s := range samples {
		n.Tokens += len(s.Tokens)
		if r.o.Alpha > 0 || !r.objective.Idle(s.advantage) {
			busy = append(busy, s)
		}
	}
	micro := r.pack(busy)
	var loads [][]int64
	for _, m := range micro {
		loads = addLoads(loads, r.pass(m, n, fresh, 1/float32(len(micro)), l))
	}
	l.loads = addLoads(l.loads, loads)
	norm := r.opt.GradNorm()
	if math.IsNaN(norm) || math.IsInf(norm, 0) || math.IsNaN(l.Loss) {
		return r.trouble("the gradient is not finite")
	}
	l.gradNorm += norm
	l.updates++
	if len(busy) == 0 {
		return nil // there is nothing to learn, and momentum alone must not move the weights
	}
	scale := 1.0
	if norm > r.o.Clip {
		scale = r.o.Clip / norm
	}
	r.opt.Step(r.o.rate().At(r.step), r.o.Decay, scale)
	if r.o.Gamma > 0 {
		model.UpdateBiases(r.model.Net, loads, float32(r.o.Gamma))
	}
	return nil
}

// pack cuts samples into passes of at most Micro rows, or one sample. There is no padding,
// so their order costs nothing.
func (r *grpo) pack(samples []*sample) [][]*sample {
	var out [][]*sample
	rows := 0
	for i, s := range samples {
		if rows += s.rows(); i == 0 || rows > r.o.Micro {
			out, rows = append(out, nil), s.rows()
		}
		last := len(out) - 1
		out[last] = append(out[last], s)
	}
	return out
}

// packed lays samples side by side. Their tokens' own targets begin after the prompt.
func (r *grpo) packed(samples []*sample) model.Packed {
	p := model.Packed{Temperature: float32(r.o.Temperature)}
	for _, s := range samples {
		p.Lens = append(p.Lens, s.rows())
		p.Tokens = append(append(p.Tokens, s.prompt...), s.Tokens[:len(s.Tokens)-1]...)
		for range len(s.prompt) - 1 {
			p.Targets = append(p.Targets, -1)
		}
		p.Targets = append(p.Targets, s.Tokens...)
		if r.o.KeepMask {
			p.Allowed = append(append(p.Allowed, make([][]int32, len(s.prompt)-1)...), s.Allowed...)
		}
		for i, routes := range s.Routes {
			if p.Routes == nil {
				p.Routes = make([][]int32, len(s.Routes))
			}
			p.Routes[i] = append(p.Routes[i], routes...)
		}
	}
	return p
}

// each calls f with the samples' places among the rows of their pack.
func each(samples []*sample, f func(s *sample, from, to int)) {
	at := 0
	for _, s := range samples {
		at += s.rows()
		f(s, at-len(s.Tokens), at)
	}
}

// pass learns from samples. Where the weights are still those of the rollouts, the new
// log-probabilities are known to be the old ones, so that coefficients are known before
// the pass and one is enough; that the pass then finds the very same is looked at, and
// reported as the largest ratio.
func (r *grpo) pass(samples []*sample, n Whole, fresh bool, scale float32, l *learned) [][]int32 {
	mark := r.act.Mark()
	defer r.act.Release(mark)
	packed := r.packed(samples)
	p := r.model.Net.Learn(r.act, packed, model.StepOptions{AuxAlpha: float32(r.o.Alpha), Scale: scale, Recompute: r.o.Recompute})
	coef := make([]float32, len(packed.Tokens))
	var logp []float32
	if !fresh {
		logp, _ = p.LogProbs()
	}
	each(samples, func(s *sample, from, to int) {
		x := Scored{New: s.LogProbs, Old: s.LogProbs, Ref: s.ref, Advantage: s.advantage}
		if !fresh {
			x.New = logp[from:to]
		}
		l.Add(r.objective.Coefficients(coef[from:to], x, n))
	})
	p.Backward(coef, r.opt.Grads())
	if fresh {
		logp, _ = p.LogProbs()
		each(samples, func(s *sample, from, to int) {
			for t, old := range s.LogProbs {
				if new := logp[from+t]; new != old {
					l.RatioMax = max(l.RatioMax, math.Exp(math.Abs(float64(new)-float64(old))))
				}
			}
		})
	}
	l.rows += len(packed.Tokens)
	return p.Loads()
}

// refer finds the samples' log-probabilities under the reference: its weights change
// places with the model's for the while.
func (r *grpo) refer(samples []*sample) {
	r.ref.with(func() {
		for _, m := range r.pack(samples) {
			mark := r.act.Mark()
			logp, _ := r.model.Net.Learn(r.act, r.packed(m), model.StepOptions{}).LogProbs()
			each(m, func(s *sample, from, to int) { s.ref = append([]float32(nil), logp[from:to]...) })
			r.act.Release(mark)
		}
	})
}

// reference is the model that the divergence is measured from: the trained weights as
// they once were, and the model whose place they take.
type reference struct {
	be         compute.Backend
	net        model.Learner
	old, spare model.Weights
}

func newReference(be compute.Backend, ar *compute.Arena, net model.Learner) *reference {
	r := &reference{be: be, net: net, old: net.NewTwin(ar), spare: net.NewTwin(ar)}
	r.refresh()
	return r
}

// refresh makes the model as it is now the reference.
func (r *reference) refresh() { r.copy(r.old, r.net) }

func (r *reference) copy(to, from model.Weights) {
	src := from.Blocks()
	for i, b := range to.Blocks() {
		r.be.Copy(b.T, src[i].T)
	}
}

// with runs f while the model has the reference's weights.
func (r *reference) with(f func()) {
	r.copy(r.spare, r.net)
	r.copy(r.net, r.old)
	defer r.copy(r.net, r.spare)
	f()
}

// addLoads sums the tokens per expert of several passes.
func addLoads[T int32 | int64](sum [][]int64, loads [][]T) [][]int64 {
	if sum == nil {
		sum = make([][]int64, len(loads))
	}
	for i, l := range loads {
		if sum[i] == nil {
			sum[i] = make([]int64, len(l))
		}
		for e, n := range l {
			sum[i][e] += int64(n)
		}
	}
	return sum
}

// worstLoad is the busiest expert's load over the mean, in the layer where that is
// largest; 0 without experts.
func worstLoad(loads [][]int64) float64 {
	worst := 0.0
	for _, l := range loads {
		total, top := int64(0), int64(0)
		for _, n := range l {
			total, top = total+n, max(top, n)
		}
		if total > 0 {
			worst = max(worst, float64(top)*float64(len(l))/float64(total))
		}
	}
	return worst
}
