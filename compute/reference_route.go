package compute

import (
	"math"
	"slices"
)

// Route chooses experts and plans the dispatch; see RouteArgs (DeepSeek-V3, 2.1.2;
// DeepSeek-V2, 2.2.1).
// Of equal scores the lower expert or group wins.
func (*Reference) Route(a RouteArgs) {
	a.Check()
	t, e := a.Logits.rows, a.Logits.cols
	choice := make([]float32, e)
	taken := make([]bool, e)
	for i := range t {
		s := a.Scores.RowF32(i)
		a.scores(s, a.Logits.RowF32(i))
		if a.Given {
			a.weigh(i)
			continue
		}
		copy(choice, s)
		if !a.Bias.IsZero() {
			for j, b := range a.Bias.RowF32(0) {
				choice[j] += b
			}
		}
		a.maskGroups(choice)
		best(choice, a.TopK, taken)
		n := 0
		for j := range taken {
			if taken[j] {
				a.Experts.RowI32(i)[n] = int32(j)
				n++
			}
		}
		a.weigh(i)
	}
	a.dispatch()
}

// scores is what the router makes of a token's logits.
func (a RouteArgs) scores(s, logits []float32) {
	largest := slices.Max(logits)
	for j, l := range logits {
		if a.Softmax {
			s[j] = exp(l - largest)
		} else {
			s[j] = sigmoid(l)
		}
	}
	if !a.Softmax {
		return
	}
	sum := sumLanes(s)
	for j := range s {
		s[j] /= sum
	}
}

// best marks the k largest values.
func best(v []float32, k int, taken []bool) {
	clear(taken)
	for range k {
		top := -1
		for j := range v {
			if !taken[j] && (top < 0 || v[j] > v[top]) {
				top = j
			}
		}
		taken[top] = true
	}
}

// maskGroups sets the experts outside the best groups to -inf.
func (a RouteArgs) maskGroups(choice []float32) {
	if a.Groups <= 1 {
		return
	}
	per := len(choice) / a.Groups
	score, counted := make([]float32, a.Groups), min(2, per)
	if a.GroupMax {
		counted = 1
	}
	taken := make([]bool, max(per, a.Groups))
	for g := range score {
		group := choice[g*per : (g+1)*per]
		best(group, counted, taken[:per])
		for j, v := range group {
			if taken[j] {
				score[g] += v
			}
		}
	}
	best(score, a.TopGroups, taken[:a.Groups])
	for g := range score {
		if !taken[g] {
			for j := g * per; j < (g+1)*per; j++ {
				choice[j] = float32(math.Inf(-1))
			}
		}
	}
}

// weigh writes the weights of token i's experts.
func (a RouteArgs) weigh(i int) {
	s, w, sum := a.Scores.RowF32(i), a.Weights.RowF32(i), float32(0)
	for j, e := range a.Experts.RowI32(i) {
		w[j] = s[e]
		sum += s[e]
	}
	for j := range w {
		if a.Normalize {
			w[j] /= sum + routeEps
		}
		w[j] *= a.Scale
	}
}

// routeEps keeps the division by the sum of scores away from zero.
const routeEps = 1e-20

// dispatch sorts the choices by expert, those of an expert by token.
func (a RouteArgs) dispatch() {
	off := a.Offsets.RowI32(0)
	clear(off)
	for i := range a.Experts.rows {
		for _, e := range a.Experts.RowI32(i) {
			off[e+1]++
		}
	}
	for e := 1; e < len(off); e++ {
		off[e] += off[e-1]
	}
	next := append([]int32(nil), off...)
	for i := range a.Experts.rows {
		for j, e := range a.Experts.RowI32(i) {
			r := next[e]
			next[e]++
			a.Token.RowI32(0)[r], a.Slot.RowI32(i)[j] = int32(i), r
			a.RowW.RowF32(0)[r] = a.Weights.RowF32(i)[j]
		}
	}
}

// RouteBackward is the gradient to the logits; see RouteBackwardArgs.
func (*Reference) RouteBackward(a RouteBackwardArgs) {
	a.Check()
	t, e := a.Logits.rows, a.Logits.cols
	ds, balance := make([]float32, e), make([]float32, e)
	seq, next := 0, 0 // the sequence to come and its first token
	for i := range t {
		for a.AuxAlpha != 0 && i == next {
			a.loads(balance, i, a.Lens[seq])
			next += a.Lens[seq]
			seq++
		}
		clear(ds)
		a.weightGrads(ds, i)
		s := a.Scores.RowF32(i)
		if a.AuxAlpha != 0 {
			a.balanceGrads(ds, balance, s)
		}
		a.logitGrads(a.DLogits.RowF32(i), ds, s)
	}
}

// logitGrads goes from the scores' gradient to the logits'.
func (a RouteBackwardArgs) logitGrads(d, ds, s []float32) {
	mean := float32(0)
	if a.Softmax {
		mean = dotLanes(ds, s)
	}
	for j := range d {
		if a.Softmax {
			d[j] = s[j] * (ds[j] - mean)
		} else {
			d[j] = ds[j] * (s[j] * (1 - s[j]))
		}
	}
}

// weightGrads adds the gradient that comes through the weights of token i:
// w = Scale*s/sum, so ds = Scale/sum * (dw - sum(dw*s)/sum).
func (a RouteBackwardArgs) weightGrads(ds []float32, i int) {
	s, experts, slot := a.Scores.RowF32(i), a.Experts.RowI32(i), a.Slot.RowI32(i)
	dw := a.DRowW.RowF32(0)
	sum, mean := float32(0), float32(0)
	for j, e := range experts {
		sum += s[e]
		mean = fma(dw[slot[j]], s[e], mean)
	}
	sum += routeEps
	for j, e := range experts {
		if a.Normalize {
			ds[e] = a.RouteArgs.Scale / sum * (dw[slot[j]] - mean/sum)
		} else {
			ds[e] = a.RouteArgs.Scale * dw[slot[j]]
		}
	}
}

// loads are the f of eq. 18 for the sequence of n tokens that begins at token first,
// times the factors common to its tokens: alpha * AuxScale / (sequences * n).
func (a RouteBackwardArgs) loads(balance []float32, first, n int) {
	clear(balance)
	for i := first; i < first+n; i++ {
		for _, e := range a.Experts.RowI32(i) {
			balance[e]++
		}
	}
	f := float32(len(balance)) / float32(a.TopK*n)
	common := a.AuxAlpha * a.AuxScale / float32(len(a.Lens)*n)
	for j := range balance {
		balance[j] *= f * common
	}
}

// balanceGrads adds the gradient of sum f_j s'_j with s' = s/sum(s): the derivative
// to s_j is (f_j - sum f s') / sum(s).
func (a RouteBackwardArgs) balanceGrads(ds, balance, s []float32) {
	sum := sumLanes(s)
	mean := dotLanes(balance, s) / sum
	for j := range ds {
		ds[j] += (balance[j] - mean) / sum
	}
}
