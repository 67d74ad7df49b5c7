package train

import (
	"fmt"
	"math"

	"sonde/compute"
	"sonde/model/deepseek"
	"sonde/nn"
)

// The constants of AdamW (V3 report, section 4.2).
const (
	beta1   = 0.9
	beta2   = 0.95
	epsilon = 1e-8
)

// weights is all memory of a model in training: the working copy that passes read, the
// float32 masters (the working copy itself in float32 compute), gradients, and AdamW's
// moments. Everything lies in one arena outside Go's heap.
type weights struct {
	be     compute.Backend
	ar     *compute.Arena
	model  *deepseek.Model
	master *deepseek.Model
	grads  *deepseek.Model
	m, v   *deepseek.Model

	blocks, gBlocks, mBlocks, vBlocks []nn.Param // of master, grads, m, v
	working                           []nn.Param // of model
}

func newWeights(cfg *deepseek.Config, be compute.Backend, dt compute.DType) *weights {
	w := &weights{be: be, ar: be.NewArena("weights, gradients and moments")}
	w.model = deepseek.NewWith(cfg, be, w.ar, dt)
	w.master = w.model
	if dt != compute.F32 {
		w.master = w.model.Twin(w.ar)
	}
	w.grads, w.m, w.v = w.model.Twin(w.ar), w.model.Twin(w.ar), w.model.Twin(w.ar)
	w.working, w.blocks = w.model.Blocks(), w.master.Blocks()
	w.gBlocks, w.mBlocks, w.vBlocks = w.grads.Blocks(), w.m.Blocks(), w.v.Blocks()
	return w
}

// init draws the masters and rounds the working copy from them.
func (w *weights) init(seed uint64) {
	w.master.Init(seed)
	w.refresh()
}

// refresh makes the working copy from the masters; the selection biases are the
// working model's own.
func (w *weights) refresh() {
	if w.master == w.model {
		return
	}
	for i := range w.blocks {
		w.be.Copy(w.working[i].T, w.blocks[i].T)
	}
	from := w.master.Biases()
	for i, b := range w.model.Biases() {
		w.be.Copy(b, from[i])
	}
}

// keepBiases writes the biases to the masters, so that these are a whole model.
func (w *weights) keepBiases() {
	if w.master == w.model {
		return
	}
	from := w.model.Biases()
	for i, b := range w.master.Biases() {
		w.be.Copy(b, from[i])
	}
}

// gradNorm is the Euclidean norm of all gradients.
func (w *weights) gradNorm() float64 { return w.normOf(w.gBlocks) }

// norm is that of all weights.
func (w *weights) norm() float64 { return w.normOf(w.blocks) }

func (w *weights) normOf(blocks []nn.Param) float64 {
	sum := 0.0
	for _, b := range blocks {
		sum += w.be.SumSquares(b.T)
	}
	return math.Sqrt(sum)
}

func (w *weights) zeroGrads() {
	for _, g := range w.gBlocks {
		w.be.Zero(g.T)
	}
}

// update is step t (from 1) of AdamW with the gradients scaled, then forgotten.
func (w *weights) update(t int, lr, decay, gradScale float64) {
	a := compute.AdamWArgs{LR: float32(lr), Beta1: beta1, Beta2: beta2, Eps: epsilon, GradScale: float32(gradScale),
		Correct1: float32(1 - math.Pow(beta1, float64(t))), Correct2: float32(1 - math.Pow(beta2, float64(t)))}
	for i, p := range w.blocks {
		a.P, a.G, a.M, a.V = p.T, w.gBlocks[i].T, w.mBlocks[i].T, w.vBlocks[i].T
		a.WeightDecay, a.Working = 0, compute.Tensor{}
		if p.Decay {
			a.WeightDecay = float32(decay)
		}
		if w.working[i].T.DType() == compute.BF16 {
			a.Working = w.working[i].T
		}
		w.be.AdamW(a)
		if w.working[i].T.DType() == compute.F32 && w.master != w.model {
			w.be.Copy(w.working[i].T, p.T)
		}
	}
	w.zeroGrads()
}

// culprit names the tensor to look at when a step went wrong: the first whose weights
// or gradient are not finite, else the one with the largest gradient for its size.
func (w *weights) culprit() string {
	worst, name := -1.0, ""
	for i, g := range w.gBlocks {
		if p := w.be.SumSquares(w.blocks[i].T); !finite(p) {
			return fmt.Sprintf("weights of %s (not finite)", g.Name)
		}
		s := w.be.SumSquares(g.T)
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

func (w *weights) free() { w.ar.Free() }
