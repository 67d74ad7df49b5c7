package reason

import (
	"math"
	"math/rand/v2"
	"slices"

	"sonde/compute"
	"sonde/model"
	"sonde/train"
)

// learned is what the updates of a step found.
type learned struct {
	Measures
	ratio    float64 // the largest of the first mini-batch: 1 unless something is broken
	updates  int
	gradNorm float64 // the mean of the updates'
	loads    [][]int64
	rows     int // that went through the model
}

// learn makes a step's updates.
func (r *grpo) learn(b *batch) (*learned, error) {
	l := &learned{Measures: Measures{RatioMax: 1}, ratio: 1}
	if len(b.samples) == 0 {
		return l, nil
	}
	if r.ref != nil {
		r.refer(b.samples)
	}
	for epoch := range r.o.Epochs {
		order := b.samples
		if r.o.Updates > 1 {
			order = shuffled(b, r.o.Updates, rand.New(rand.NewPCG(mixSeeds(*r.o.Seed, seedShuffle, uint64(r.step)), uint64(epoch))))
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

// shuffled are the samples in random order: group by group, so that a mini-batch reads the
// prompt of a group once, or one by one where there are fewer groups than mini-batches.
func shuffled(b *batch, updates int, rng *rand.Rand) []*sample {
	together := 1
	if b.groups >= updates {
		together = len(b.samples) / b.groups
	}
	order := make([]*sample, 0, len(b.samples))
	for _, i := range rng.Perm(len(b.samples) / together) {
		order = append(order, b.samples[i*together:(i+1)*together]...)
	}
	return order
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
	packs := r.pack(busy)
	var loads [][]int64
	for _, k := range packs {
		loads = train.AddLoads(loads, r.pass(k, n, fresh, 1/float32(len(packs)), l))
	}
	l.loads = train.AddLoads(l.loads, loads)
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

// pack is samples laid side by side for one pass. The prompt of a group stands there once,
// but for its last token, after which its samples differ: they continue it.
type pack struct {
	model.Packed
	samples []*sample
	at      []int       // the row of each sample's first target
	prompts map[int]int // the sequence that a group's prompt is
	keep    *GRPOOptions
}

// pack cuts samples into passes of at most Micro rows, or one sample. There is no padding,
// so their order costs nothing as long as groups stay together.
func (r *grpo) pack(samples []*sample) []*pack {
	var out []*pack
	for i, s := range samples {
		if i == 0 || out[len(out)-1].rowsWith(s) > r.o.Micro {
			out = append(out, &pack{Packed: model.Packed{Temperature: float32(r.o.Temperature)}, prompts: map[int]int{}, keep: r.o})
		}
		out[len(out)-1].add(s)
	}
	return out
}

// rowsWith is how many rows there are with s.
func (k *pack) rowsWith(s *sample) int {
	n := len(k.Tokens) + len(s.Tokens)
	if _, there := k.prompts[s.group]; !there {
		n += len(s.prompt) - 1
	}
	return n
}

// add lays a sample beside the others, after its prompt where that is there.
func (k *pack) add(s *sample) {
	shared := len(s.prompt) - 1
	prompt, there := k.prompts[s.group]
	if !there {
		prompt = -1
		if shared > 0 {
			prompt = len(k.Lens)
			k.sequence(s, -1, 0, s.prompt[:shared], nil)
		}
		k.prompts[s.group] = prompt
	}
	k.at, k.samples = append(k.at, len(k.Tokens)), append(k.samples, s)
	k.sequence(s, prompt, shared, append(s.prompt[shared:len(s.prompt):len(s.prompt)], s.Tokens[:len(s.Tokens)-1]...), s.Tokens)
}

// sequence adds rows, of which those of s's that stand before place from are elsewhere.
// Without targets it is a prompt.
func (k *pack) sequence(s *sample, prefix, from int, ids, targets []int32) {
	k.Lens, k.Prefix, k.Tokens = append(k.Lens, len(ids)), append(k.Prefix, prefix), append(k.Tokens, ids...)
	allowed := s.Allowed
	if targets == nil {
		targets, allowed = slices.Repeat([]int32{-1}, len(ids)), make([][]int32, len(ids))
	}
	k.Targets = append(k.Targets, targets...)
	if k.keep.KeepMask {
		k.Allowed = append(k.Allowed, allowed...)
	}
	for i, routes := range s.Routes {
		if k.Routes == nil {
			k.Routes = make([][]int32, len(s.Routes))
		}
		per := len(routes) / s.rows()
		k.Routes[i] = append(k.Routes[i], routes[from*per:(from+len(ids))*per]...)
	}
}

// each calls f with the samples' places among the rows.
func (k *pack) each(f func(s *sample, from, to int)) {
	for i, s := range k.samples {
		f(s, k.at[i], k.at[i]+len(s.Tokens))
	}
}

// pass learns from samples. Where the weights are still those of the rollouts, the new
// log-probabilities are known to be the old ones, so that coefficients are known before
// the pass and one is enough; that the pass then finds the very same is looked at, and
// reported as the largest ratio.
func (r *grpo) pass(k *pack, n Whole, fresh bool, scale float32, l *learned) [][]int32 {
	mark := r.act.Mark()
	defer r.act.Release(mark)
	p := r.model.Net.Learn(r.act, k.Packed, model.StepOptions{AuxAlpha: float32(r.o.Alpha), Scale: scale, Recompute: r.o.Recompute})
	coef := make([]float32, len(k.Tokens))
	var logp []float32
	if !fresh {
		logp, _ = p.LogProbs()
	}
	k.each(func(s *sample, from, to int) {
		x := Scored{New: s.LogProbs, Old: s.LogProbs, Ref: s.ref, Advantage: s.advantage}
		if !fresh {
			x.New = logp[from:to]
		}
		l.Add(r.objective.Coefficients(coef[from:to], x, n))
	})
	p.Backward(coef, r.opt.Grads())
	if fresh {
		logp, _ = p.LogProbs()
		k.each(func(s *sample, from, to int) {
			for t, old := range s.LogProbs {
				if new := logp[from+t]; new != old {
					l.ratio = max(l.ratio, math.Exp(math.Abs(float64(new)-float64(old))))
				}
			}
		})
	}
	l.rows += len(k.Tokens)
	return p.Loads()
}

// refer finds the samples' log-probabilities under the reference: its weights change
// places with the model's for the while.
func (r *grpo) refer(samples []*sample) {
	r.ref.with(func() {
		for _, k := range r.pack(samples) {
			mark := r.act.Mark()
			logp, _ := r.model.Net.Learn(r.act, k.Packed, model.StepOptions{}).LogProbs()
			k.each(func(s *sample, from, to int) { s.ref = append([]float32(nil), logp[from:to]...) })
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
