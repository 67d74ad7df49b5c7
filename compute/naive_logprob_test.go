package compute_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"sonde/compute"
)

// naiveLogProb gives log-probability and entropy of each row over the ids that allowed
// has for it, over all where it has none.
func naiveLogProb(h, w vec, targets []int32, d int, invTemp float64, allowed [][]int32) (logp, entropy vec) {
	v := len(w) / d
	logp, entropy = make(vec, len(targets)), make(vec, len(targets))
	for t, target := range targets {
		if target < 0 {
			continue
		}
		x, sum := make(vec, v), 0.0
		for j := range x {
			x[j] = invTemp * inner(h[t*d:(t+1)*d], w[j*d:(j+1)*d])
			if allowed != nil && allowed[t] != nil && !slices.Contains(allowed[t], int32(j)) {
				x[j] = math.Inf(-1)
			}
			sum += math.Exp(x[j])
		}
		logp[t] = x[target] - math.Log(sum)
		for _, l := range x {
			if p := math.Exp(l) / sum; p > 0 {
				entropy[t] -= p * (l - math.Log(sum))
			}
		}
	}
	return logp, entropy
}

// idSets are the sets of rows, nil for all ids.
func idSets(sets [][]int32) compute.IDSets {
	off, ids := []int32{0}, []int32{}
	for _, s := range sets {
		ids = append(ids, s...)
		off = append(off, int32(len(ids)))
	}
	return compute.IDSets{Offsets: compute.WrapI32(off, 1, len(off)), IDs: compute.WrapI32(ids, 1, len(ids))}
}

func TestLogProbAgainstFloat64(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(11, 1))
	for _, c := range []struct {
		d, v    int // width, vocabulary: one block and several
		invTemp float32
		allowed [][]int32
	}{
		{d: 7, v: 5}, {d: 2, v: 600}, {d: 7, v: 5, invTemp: 1.7}, {d: 2, v: 600, invTemp: 0.6},
		{d: 7, v: 5, allowed: [][]int32{{0, 4}, {2}, {3}, nil}},
		{d: 2, v: 600, invTemp: 1.2, allowed: [][]int32{{0, 17, 598, 599}, nil, nil, {0, 3, 511, 512}}},
	} {
		d, v := c.d, c.v
		targets := []int32{int32(v - 1), 2, -1, 0}
		n := len(targets)
		h, w, coef := randoms(rng, n*d, 1), randoms(rng, v*d, 1), randoms(rng, n, 1)
		for i := range w { // the largest logits come last: each block moves the softmax
			w[i] = float64(float32(w[i] * (0.5 + 2*float64(i/d)/float64(v))))
		}
		logp, entropy, dh, dw := make([]float32, n), make([]float32, n), make([]float32, n*d), make([]float32, v*d)
		a := compute.LogProbArgs{H: compute.Wrap(f32(h), n, d), W: compute.Wrap(f32(w), v, d), Targets: compute.WrapI32(targets, 1, n),
			LogP: compute.Wrap(logp, 1, n), Entropy: compute.Wrap(entropy, 1, n), InvTemp: c.invTemp}
		if c.allowed != nil {
			a.Allowed = idSets(c.allowed)
		}
		naive := func() (logp, entropy vec) { return naiveLogProb(h, w, targets, d, float64(a.Temper()), c.allowed) }
		be.LogProb(a)
		wantP, wantE := naive()
		close(t, "logp", logp, wantP, 1e-6)
		close(t, "entropy", entropy, wantE, 1e-6)
		logits := compute.Wrap(make([]float32, n*v), n, v)
		be.MatMul(compute.MatMulArgs{Form: compute.NT, C: logits, A: a.H, B: a.W})
		again := a
		again.H, again.W, again.Logits = compute.Tensor{}, compute.Tensor{}, logits
		again.LogP, again.Entropy = compute.Wrap(make([]float32, n), 1, n), compute.Wrap(make([]float32, n), 1, n)
		be.LogProb(again)
		if !slices.Equal(again.LogP.RowF32(0), logp) || !slices.Equal(again.Entropy.RowF32(0), entropy) {
			t.Errorf("width %d, vocabulary %d: the logits alone give other bits", d, v)
		}
		be.LogProbBackward(compute.LogProbBackwardArgs{LogProbArgs: a, Coef: compute.Wrap(f32(coef), 1, n), DH: compute.Wrap(dh, n, d), DW: compute.Wrap(dw, v, d)})
		loss := func() float64 { p, _ := naive(); return inner(coef, p) }
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
