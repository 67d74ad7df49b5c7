package compute_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"sonde/compute"
)

// routed is a RouteArgs with room for its results.
func routed(logits, bias vec, a compute.RouteArgs) compute.RouteArgs {
	e := len(bias)
	t, k := len(logits)/e, a.TopK
	a.Logits, a.Bias = compute.Wrap(f32(logits), t, e), compute.Wrap(f32(bias), 1, e)
	a.Scores, a.Weights, a.RowW = compute.Wrap(make([]float32, t*e), t, e), compute.Wrap(make([]float32, t*k), t, k), compute.Wrap(make([]float32, t*k), 1, t*k)
	a.Experts, a.Offsets = compute.WrapI32(make([]int32, t*k), t, k), compute.WrapI32(make([]int32, e+1), 1, e+1)
	a.Token, a.Slot = compute.WrapI32(make([]int32, t*k), 1, t*k), compute.WrapI32(make([]int32, t*k), t, k)
	return a
}

// naiveChoice sorts instead of searching.
func naiveChoice(s, bias vec, a compute.RouteArgs) []int32 {
	e := len(bias)
	biased := make(vec, e)
	for j := range biased {
		biased[j] = s[j] + bias[j]
	}
	order := func(v vec) []int {
		ix := make([]int, len(v))
		for i := range ix {
			ix[i] = i
		}
		sort.SliceStable(ix, func(i, j int) bool { return v[ix[i]] > v[ix[j]] })
		return ix
	}
	per := e / a.Groups
	score := make(vec, a.Groups)
	for g := range score {
		group := slices.Clone(biased[g*per : (g+1)*per])
		slices.Sort(group)
		counted := 2
		if a.GroupMax {
			counted = 1
		}
		for _, v := range group[max(0, per-counted):] {
			score[g] += v
		}
	}
	for _, g := range order(score)[a.TopGroups:] {
		for j := g * per; j < (g+1)*per; j++ {
			biased[j] = math.Inf(-1)
		}
	}
	var chosen []int32
	for _, j := range order(biased)[:a.TopK] {
		chosen = append(chosen, int32(j))
	}
	slices.Sort(chosen)
	return chosen
}

// scores is what a router makes of the logits of rows of e experts.
func scores(logits vec, e int, softmax bool) vec {
	s := make(vec, len(logits))
	for i, l := range logits {
		s[i] = 1 / (1 + math.Exp(-l))
		if softmax {
			var sum float64
			for _, other := range logits[i-i%e : i-i%e+e] {
				sum += math.Exp(other - l)
			}
			s[i] = 1 / sum
		}
	}
	return s
}

var routeCases = []compute.RouteArgs{
	{TopK: 2, Groups: 1, TopGroups: 1, Normalize: true, Scale: 2.5},
	{TopK: 3, Groups: 4, TopGroups: 2, Normalize: true, Scale: 1},
	{TopK: 3, Groups: 4, TopGroups: 2, Scale: 2.5},
	{TopK: 1, Groups: 8, TopGroups: 3, Normalize: true, Scale: 2},
	{TopK: 3, Groups: 1, TopGroups: 1, Softmax: true, Scale: 1},                  // V2-Lite's
	{TopK: 3, Groups: 4, TopGroups: 2, Softmax: true, GroupMax: true, Scale: 16}, // V2's
	{TopK: 2, Groups: 4, TopGroups: 2, Softmax: true, GroupMax: true, Normalize: true, Scale: 2},
}

func TestRouteAgainstSorting(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(9, 1))
	const tokens, e = 40, 16
	for _, a := range routeCases {
		logits, bias := randoms(rng, tokens*e, 1), randoms(rng, e, 1)
		// Biases far below zero: masking groups with 0 instead of -inf would show.
		for j := range bias {
			bias[j] -= 5
		}
		a = routed(logits, bias, a)
		if a.Softmax {
			a.Bias, bias = compute.Tensor{}, make(vec, e)
		}
		be.Route(a)
		s := scores(logits, e, a.Softmax)
		close(t, "scores", a.Scores.Float32s(), s, 1e-6)
		count := make([]int, e)
		for i := range tokens {
			want := naiveChoice(s[i*e:(i+1)*e], bias, a)
			if got := a.Experts.RowI32(i); !slices.Equal(got, want) {
				t.Fatalf("%+v: token %d goes to %v, expected %v", a, i, got, want)
			}
			close(t, "weights", a.Weights.RowF32(i), naiveWeights(s[i*e:(i+1)*e], want, a), 1e-6)
			for _, j := range want {
				count[j]++
			}
		}
		checkDispatch(t, a, count)
	}
}

func naiveWeights(s vec, chosen []int32, a compute.RouteArgs) vec {
	var w vec
	var sum float64
	for _, j := range chosen {
		w = append(w, s[j]*float64(a.Scale))
		sum += s[j]
	}
	for j := range w {
		if a.Normalize {
			w[j] /= sum
		}
	}
	return w
}

// checkDispatch sees that rows are sorted by expert, then token, and that Slot, Token
// and RowW tell one story.
func checkDispatch(t *testing.T, a compute.RouteArgs, count []int) {
	t.Helper()
	off, token := a.Offsets.RowI32(0), a.Token.RowI32(0)
	for e, n := range count {
		if int(off[e+1]-off[e]) != n {
			t.Errorf("expert %d has %d rows, expected %d", e, off[e+1]-off[e], n)
		}
		if !slices.IsSorted(token[off[e]:off[e+1]]) {
			t.Errorf("expert %d's tokens are not in order: %v", e, token[off[e]:off[e+1]])
		}
	}
	for i := range a.Experts.NumRows() {
		for j, e := range a.Experts.RowI32(i) {
			r := a.Slot.RowI32(i)[j]
			if r < off[e] || r >= off[e+1] || token[r] != int32(i) || a.RowW.RowF32(0)[r] != a.Weights.RowF32(i)[j] {
				t.Errorf("choice %d of token %d is expert %d, row %d, which holds token %d", j, i, e, r, token[r])
			}
		}
	}
}

// naiveRouteLoss is sum(droww*weight) plus the balance loss, with the choices fixed.
func naiveRouteLoss(logits vec, droww []float32, a compute.RouteBackwardArgs) float64 {
	n, e := a.Logits.NumRows(), a.Logits.NumCols()
	var loss float64
	for i := range n {
		s := scores(logits[i*e:(i+1)*e], e, a.Softmax)
		for j, w := range naiveWeights(s, a.Experts.RowI32(i), a.RouteArgs) {
			loss += w * float64(droww[a.Slot.RowI32(i)[j]])
		}
	}
	first := 0
	for _, length := range a.Lens {
		f, p := make(vec, e), make(vec, e)
		for i := first; i < first+length; i++ {
			s := scores(logits[i*e:(i+1)*e], e, a.Softmax)
			var sum float64
			for _, v := range s {
				sum += v
			}
			for j, v := range s {
				p[j] += v / sum / float64(length)
			}
			for _, j := range a.Experts.RowI32(i) {
				f[j] += float64(e) / float64(a.TopK*length)
			}
		}
		loss += float64(a.AuxAlpha) * float64(a.AuxScale) * inner(f, p) / float64(len(a.Lens))
		first += length
	}
	return loss
}

func TestRouteBackwardAgainstDifferences(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(10, 1))
	const tokens, e = 6, 16
	for _, c := range routeCases {
		for _, alpha := range []float32{0, 0.5} {
			logits, bias := randoms(rng, tokens*e, 1), randoms(rng, e, 1)
			a := routed(logits, bias, c)
			be.Route(a)
			droww, d := f32(randoms(rng, tokens*a.TopK, 1)), make([]float32, tokens*e)
			b := compute.RouteBackwardArgs{RouteArgs: a, DRowW: compute.Wrap(droww, 1, len(droww)), DLogits: compute.Wrap(d, tokens, e),
				Lens: []int{1, 3, 2}, AuxAlpha: alpha, AuxScale: 0.5}
			be.RouteBackward(b)
			if c.TopK == 1 && alpha == 0 { // normalised to a constant
				close(t, "dlogits", d, make(vec, tokens*e), 0)
				continue
			}
			close(t, "dlogits", d, slope(logits, func() float64 { return naiveRouteLoss(logits, droww, b) }), 3e-6)
		}
	}
}

// Given experts are followed, whatever the scores say: given its own choice a router
// does what it does without, and the gradient flows to the scores of the given.
func TestGivenExpertsAreFollowed(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(12, 1))
	const tokens, e = 6, 16
	for _, c := range routeCases {
		logits, bias := randoms(rng, tokens*e, 1), randoms(rng, e, 1)
		own, again := routed(logits, bias, c), routed(logits, bias, c)
		be.Route(own)
		copy(again.Experts.Int32s(), own.Experts.Int32s())
		again.Given = true
		be.Route(again)
		for name, v := range map[string][2][]float32{"weights": {again.Weights.Float32s(), own.Weights.Float32s()}, "rows": {again.RowW.Float32s(), own.RowW.Float32s()}} {
			if !slices.Equal(v[0], v[1]) {
				t.Errorf("%+v: given their own choice, %s differ", c, name)
			}
		}
		count := make([]int, e)
		for i := range tokens {
			x := again.Experts.RowI32(i)
			for j, p := range rng.Perm(e)[:c.TopK] {
				x[j] = int32(p)
				count[p]++
			}
			slices.Sort(x)
		}
		be.Route(again)
		s := scores(logits, e, c.Softmax)
		for i := range tokens {
			close(t, "weights", again.Weights.RowF32(i), naiveWeights(s[i*e:(i+1)*e], again.Experts.RowI32(i), c), 1e-6)
		}
		checkDispatch(t, again, count)
		droww, d := f32(randoms(rng, tokens*c.TopK, 1)), make([]float32, tokens*e)
		b := compute.RouteBackwardArgs{RouteArgs: again, DRowW: compute.Wrap(droww, 1, len(droww)), DLogits: compute.Wrap(d, tokens, e),
			Lens: []int{6}, AuxAlpha: 0.5, AuxScale: 0.5}
		be.RouteBackward(b)
		close(t, "dlogits", d, slope(logits, func() float64 { return naiveRouteLoss(logits, droww, b) }), 3e-6)
	}
}
