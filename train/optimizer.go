package train

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// The constants of AdamW (V3 report, section 4.2).
const (
	beta1   = 0.9
	beta2   = 0.95
	epsilon = 1e-8
)

// Optimizer is AdamW (arXiv 1711.05101) over a Learner's trained weights: their
// gradients, both moments and, where a weight is BF16, its float32 master, from which
// the weight that passes read is rounded anew in every step. All of it lies in one arena
// outside Go's heap.
type Optimizer struct {
	l       model.Learner
	be      compute.Backend
	ar      *compute.Arena
	masters model.Weights // the Learner itself where all is float32
	grads   model.Weights
	steps   int

	working, blocks, g, m, v []nn.Param // of the learner, the masters, gradients, moments
}

// NewOptimizer allocates the optimiser's memory for l: 12 bytes a trained weight, 16
// where weights are BF16. Masters begin as the weights are, everything else at zero.
func NewOptimizer(l model.Learner) *Optimizer {
	o := &Optimizer{l: l, be: l.Backend(), ar: l.Backend().NewArena("gradients and moments"), masters: l}
	o.working = l.Blocks()
	if slices.ContainsFunc(o.working, func(p nn.Param) bool { return p.T.DType() != compute.F32 }) {
		o.masters = l.NewTwin(o.ar)
	}
	o.grads = l.NewTwin(o.ar)
	o.blocks, o.g = o.masters.Blocks(), o.grads.Blocks()
	o.m, o.v = l.NewTwin(o.ar).Blocks(), l.NewTwin(o.ar).Blocks()
	if o.mastered() {
		for i, p := range o.blocks {
			o.be.Copy(p.T, o.working[i].T)
		}
	}
	return o
}

// mastered says whether there are masters beside the weights.
func (o *Optimizer) mastered() bool { return o.masters != model.Weights(o.l) }

// Free gives back the memory; the weights are the Learner's own.
func (o *Optimizer) Free() { o.ar.Free() }

// Bytes is the memory that the optimiser holds.
func (o *Optimizer) Bytes() int { return o.ar.Used() }

// Grads are where a pass's Backward adds its gradients.
func (o *Optimizer) Grads() model.Weights { return o.grads }

// Steps is the number of steps done since the moments were zero.
func (o *Optimizer) Steps() int { return o.steps }

// SetSteps says how many steps had been done when what Load loaded was saved.
func (o *Optimizer) SetSteps(n int) { o.steps = n }

// Init draws the weights anew, as model.Drawn does, the masters of BF16 weights in
// float32, and forgets gradients, moments and steps. It panics where they cannot be
// drawn: adapters begin as they are.
func (o *Optimizer) Init(seed uint64) {
	if o.mastered() {
		for _, b := range o.l.Biases() {
			o.be.Zero(b)
		}
	}
	o.masters.(model.Drawn).Init(seed)
	o.refresh()
	o.ZeroGrads()
	for i := range o.m {
		o.be.Zero(o.m[i].T)
		o.be.Zero(o.v[i].T)
	}
	o.steps = 0
}

// refresh makes the weights from their masters.
func (o *Optimizer) refresh() {
	if !o.mastered() {
		return
	}
	for i, p := range o.blocks {
		o.be.Copy(o.working[i].T, p.T)
	}
}

// GradNorm is the Euclidean norm of all gradients.
func (o *Optimizer) GradNorm() float64 { return o.norm(o.g) }

// Norm is that of all trained weights.
func (o *Optimizer) Norm() float64 { return o.norm(o.blocks) }

func (o *Optimizer) norm(blocks []nn.Param) float64 {
	sum := 0.0
	for _, b := range blocks {
		sum += o.be.SumSquares(b.T)
	}
	return math.Sqrt(sum)
}

// ZeroGrads forgets the gradients.
func (o *Optimizer) ZeroGrads() {
	for _, g := range o.g {
		o.be.Zero(g.T)
	}
}

// Step is a step of AdamW at learning rate lr, with weight decay on matrices alone and
// the gradients times scale (a norm that they are clipped to over GradNorm, or 1), which
// are forgotten then.
func (o *Optimizer) Step(lr, decay, scale float64) {
	o.steps++
	a := compute.AdamWArgs{LR: float32(lr), Beta1: beta1, Beta2: beta2, Eps: epsilon, GradScale: float32(scale),
		Correct1: float32(1 - math.Pow(beta1, float64(o.steps))), Correct2: float32(1 - math.Pow(beta2, float64(o.steps)))}
	for i, p := range o.blocks {
		w := o.working[i].T
		a.P, a.G, a.M, a.V = p.T, o.g[i].T, o.m[i].T, o.v[i].T
		a.WeightDecay, a.Working = 0, compute.Tensor{}
		if p.Decay {
			a.WeightDecay = float32(decay)
		}
		if w.DType() == compute.BF16 {
			a.Working = w
		}
		o.be.AdamW(a)
		if w.DType() == compute.F32 && o.mastered() {
			o.be.Copy(w, p.T)
		}
	}
	o.ZeroGrads()
}

// Culprit names the tensor to look at when a step went wrong: the first whose weights
// or gradient are not finite, else the one with the largest gradient for its size.
func (o *Optimizer) Culprit() string {
	worst, name := -1.0, ""
	for i, g := range o.g {
		if p := o.be.SumSquares(o.blocks[i].T); !finite(p) {
			return fmt.Sprintf("weights of %s (not finite)", g.Name)
		}
		s := o.be.SumSquares(g.T)
		if !finite(s) {
			return fmt.Sprintf("gradient of %s (not finite)", g.Name)
		}
		if r := math.Sqrt(s / float64(g.T.Len())); r > worst {
			worst, name = r, g.Name
		}
	}
	return fmt.Sprintf("gradient of %s (largest, root mean square %.3g)", name, worst)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// State is what checkpoint.SaveState keeps of the optimiser: the masters, the routers'
// biases, both moments under the weights' names after "m." and "v.", and the caller's
// values, which should say Steps.
func (o *Optimizer) State(values json.RawMessage) checkpoint.State {
	masters, moments := o.state()
	return checkpoint.State{Weights: masters, Moments: moments, Values: values, Backend: o.be}
}

// Load takes over what State gave, bit for bit, and rounds the weights anew; beside are
// what the caller had added to the State's Weights. The caller calls SetSteps.
func (o *Optimizer) Load(s *checkpoint.Saved, beside ...nn.Param) error {
	masters, moments := o.state()
	if err := s.Load(append(masters, beside...), moments, o.be); err != nil {
		return err
	}
	o.refresh()
	return nil
}

func (o *Optimizer) state() (masters, moments []nn.Param) {
	for i, p := range o.blocks {
		masters = append(masters, p.Each()...)
		for prefix, t := range map[string]nn.Param{"m.": o.m[i], "v.": o.v[i]} {
			for _, x := range t.Each() {
				x.Name = prefix + x.Name
				moments = append(moments, x)
			}
		}
	}
	for _, p := range o.l.Params() {
		if p.Buffer && !p.Shared {
			masters = append(masters, p)
		}
	}
	slices.SortFunc(moments, func(a, b nn.Param) int { return strings.Compare(a.Name, b.Name) })
	return masters, moments
}
