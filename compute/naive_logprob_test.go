package compute_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"sonde/compute"
)

// naiveLogProb gives log-probability and entropy of each row.
func naiveLogProb(h, w vec, targets []int32, d int) (logp, entropy vec) {
	v := len(w) / d
	logp, entropy = make(vec, len(targets)), make(vec, len(targets))
	for t, target := range targets {
		if target < 0 {
			continue
		}
		x, sum := make(vec, v), 0.0
		for j := range x {
			x[j] = inner(h[t*d:(t+1)*d], w[j*d:(j+1)*d])
			sum += math.Exp(x[j])
		}
		logp[t] = x[target] - math.Log(sum)
		for _, l := range x {
			entropy[t] -= math.Exp(l) / sum * (l - math.Log(sum))
		}
	}
	return logp, entropy
}

func TestLogProbAgainstFloat64(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(11, 1))
	for _, s := range [][2]int{{7, 5}, {2, 600}} { // width, vocabulary: one block and several
		d, v := s[0], s[1]
		targets := []int32{int32(v - 1), 2, -1, 0}
		n := len(targets)
		h, w, coef := randoms(rng, n*d, 1), randoms(rng, v*d, 1), randoms(rng, n, 1)
		for i := range w { // the largest logits come last: each block moves the softmax
			w[i] = float64(float32(w[i] * (0.5 + 2*float64(i/d)/float64(v))))
		}
		logp, entropy, dh, dw := make([]float32, n), make([]float32, n), make([]float32, n*d), make([]float32, v*d)
		a := compute.LogProbArgs{H: compute.Wrap(f32(h), n, d), W: compute.Wrap(f32(w), v, d), Targets: compute.WrapI32(targets, 1, n),
			LogP: compute.Wrap(logp, 1, n), Entropy: compute.Wrap(entropy, 1, n)}
		be.LogProb(a)
		wantP, wantE := naiveLogProb(h, w, targets, d)
		close(t, "logp", logp, wantP, 1e-6)
		close(t, "entropy", entropy, wantE, 1e-6)
		be.LogProbBackward(compute.LogProbBackwardArgs{LogProbArgs: a, Coef: compute.Wrap(f32(coef), 1, n), DH: compute.Wrap(dh, n, d), DW: compute.Wrap(dw, v, d)})
		loss := func() float64 { p, _ := naiveLogProb(h, w, targets, d); return inner(coef, p) }
		close(t, "dh", dh, slope(h, loss), 3e-6)
		close(t, "dw", dw, slope(w, loss), 3e-6)
	}
}

// A distribution far from zero, or all on one entry, must not overflow.
func TestLogProbOfExtremeLogits(t *testing.T) {
	be := compute.NewReference()
	h := compute.Wrap([]float32{1000, -1000}, 2, 1)
	w := compute.Wrap([]float32{1, 0.5, -1}, 3, 1)
	logp, entropy := make([]float32, 2), make([]float32, 2)
	be.LogProb(compute.LogProbArgs{H: h, W: w, Targets: compute.WrapI32([]int32{0, 1}, 1, 2), LogP: compute.Wrap(logp, 1, 2), Entropy: compute.Wrap(entropy, 1, 2)})
	close(t, "logp", logp, vec{0, -1500}, 0)
	close(t, "entropy", entropy, vec{0, 0}, 0)
}
