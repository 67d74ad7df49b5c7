package cpu

import (
	"math"

	"sonde/compute"
)

// routeRows is how many tokens a chunk of the router has.
const routeRows = 64

// routeEps keeps the division by the sum of scores away from zero.
const routeEps = 1e-20

// Route chooses experts and plans the dispatch; see compute.RouteArgs (DeepSeek-V3,
// 2.1.2). Of equal scores the lower expert or group wins.
func (b *Backend) Route(a compute.RouteArgs) {
	a.Check()
	if !b.k.vector {
		b.Reference.Route(a)
		return
	}
	t := a.Logits.NumRows()
	b.pool.run((t+routeRows-1)/routeRows, func(w *worker, c int) {
		r := newRouter(w, a)
		for i := c * routeRows; i < min(t, (c+1)*routeRows); i++ {
			r.token(b.k, i)
		}
	})
	b.shared.begin()
	defer b.shared.end()
	dispatch(a, b.shared.arena.I32(1, a.Logits.NumCols()+1).RowI32(0))
}

// router chooses the experts of one token at a time.
type router struct {
	compute.RouteArgs
	bias, choice, groups []float32
	taken                []int32 // an expert's or a group's mark
}

func newRouter(w *worker, a compute.RouteArgs) router {
	e, g := a.Logits.NumCols(), max(a.Groups, 1)
	return router{RouteArgs: a, bias: a.Bias.RowF32(0), choice: slice(scratch(w, e), e), groups: slice(scratch(w, g), g),
		taken: w.scratch.I32(1, e).RowI32(0)}
}

// token writes the scores, experts and weights of token i.
func (r *router) token(k *kernels, i int) {
	s := r.Scores.RowF32(i)
	k.sigmoid(&s[0], rowPtr(r.Logits, i), len(s))
	for j, v := range s {
		r.choice[j] = v + r.bias[j]
	}
	if r.Groups > 1 {
		r.maskGroups()
	}
	takeBest(r.choice, r.TopK, r.taken)
	experts, w := r.Experts.RowI32(i), r.Weights.RowF32(i)
	n, sum := 0, float32(0)
	for j, taken := range r.taken {
		if taken != 0 {
			experts[n], w[n] = int32(j), s[j]
			sum += s[j]
			n++
		}
	}
	for j := range w {
		if r.Normalize {
			w[j] /= sum + routeEps
		}
		w[j] *= r.Scale
	}
}

// takeBest marks the k largest values.
func takeBest(v []float32, k int, taken []int32) {
	clear(taken)
	taken = taken[:len(v)]
	for range k {
		top := -1
		for j, x := range v {
			if taken[j] == 0 && (top < 0 || x > v[top]) {
				top = j
			}
		}
		taken[top] = 1
	}
}

// maskGroups sets the experts outside the best groups to -inf; a group's score is
// the sum of its best two.
func (r *router) maskGroups() {
	per := len(r.choice) / r.Groups
	for g := range r.groups {
		r.groups[g] = bestTwo(r.choice[g*per : (g+1)*per])
	}
	takeBest(r.groups, r.TopGroups, r.taken[:len(r.groups)])
	for g, taken := range r.taken[:len(r.groups)] {
		if taken == 0 {
			for j := g * per; j < (g+1)*per; j++ {
				r.choice[j] = float32(math.Inf(-1))
			}
		}
	}
}

// bestTwo is the sum of the two largest values, or the only one.
func bestTwo(v []float32) float32 {
	if len(v) == 1 {
		return v[0]
	}
	a, b := v[0], v[1]
	if b > a {
		a, b = b, a
	}
	for _, x := range v[2:] {
		if x > a {
			a, b = x, a
		} else if x > b {
			b = x
		}
	}
	return a + b
}

// dispatch sorts the choices by expert, those of an expert by token; next has room
// for a number per expert.
func dispatch(a compute.RouteArgs, next []int32) {
	off, token, rowW := a.Offsets.RowI32(0), a.Token.RowI32(0), a.RowW.RowF32(0)
	clear(off)
	t := a.Experts.NumRows()
	for i := range t {
		for _, e := range a.Experts.RowI32(i) {
			off[e+1]++
		}
	}
	for e := 1; e < len(off); e++ {
		off[e] += off[e-1]
	}
	copy(next, off)
	for i := range t {
		slot, w := a.Slot.RowI32(i), a.Weights.RowF32(i)
		for j, e := range a.Experts.RowI32(i) {
			r := next[e]
			next[e]++
			token[r], slot[j], rowW[r] = int32(i), r, w[j]
		}
	}
}

// RouteBackward is the gradient to the logits; see compute.RouteBackwardArgs.
func (b *Backend) RouteBackward(a compute.RouteBackwardArgs) {
	a.Check()
	if !b.k.vector {
		b.Reference.RouteBackward(a)
		return
	}
	per, t := routeRows, a.Logits.NumRows()
	if a.AuxAlpha != 0 {
		per = a.SeqLen // the balance loss looks at whole sequences
	}
	b.pool.run((t+per-1)/per, func(w *worker, c int) {
		e := a.Logits.NumCols()
		g := routeGradients{RouteBackwardArgs: a, dw: a.DRowW.RowF32(0), balance: slice(scratch(w, e), e)}
		if a.AuxAlpha != 0 {
			g.loads(c * per)
		}
		for i := c * per; i < min(t, (c+1)*per); i++ {
			g.token(i)
		}
	})
}

// routeGradients works on one token at a time.
type routeGradients struct {
	compute.RouteBackwardArgs
	dw      []float32
	balance []float32 // an expert's load in this sequence, times what its tokens share
}

// loads are the f of eq. 18 for the sequence that begins at token first, times
// AuxAlpha * AuxScale / tokens.
func (g *routeGradients) loads(first int) {
	clear(g.balance)
	for i := first; i < first+g.SeqLen; i++ {
		for _, e := range g.Experts.RowI32(i) {
			g.balance[e]++
		}
	}
	f := float32(len(g.balance)) / float32(g.TopK*g.SeqLen)
	common := g.AuxAlpha * g.AuxScale / float32(g.Scores.NumRows())
	for j := range g.balance {
		g.balance[j] *= f * common
	}
}

// token writes the gradient of token i: first ds, then times the sigmoid's slope.
func (g *routeGradients) token(i int) {
	s, d := g.Scores.RowF32(i), g.DLogits.RowF32(i)
	clear(d)
	if g.AuxAlpha != 0 {
		g.balanceGrads(d, s)
	}
	g.weightGrads(d, s, i)
	for j, v := range s {
		d[j] *= v * (1 - v)
	}
}

// weightGrads adds the gradient that comes through the weights of token i:
// w = Scale*s/sum, so ds = Scale/sum * (dw - sum(dw*s)/sum).
func (g *routeGradients) weightGrads(ds, s []float32, i int) {
	experts, slot := g.Experts.RowI32(i), g.Slot.RowI32(i)
	if !g.Normalize {
		for j, e := range experts {
			ds[e] += g.RouteArgs.Scale * g.dw[slot[j]]
		}
		return
	}
	sum, mean := float32(0), float32(0)
	for j, e := range experts {
		sum += s[e]
		mean += g.dw[slot[j]] * s[e]
	}
	sum += routeEps
	for j, e := range experts {
		ds[e] += g.RouteArgs.Scale / sum * (g.dw[slot[j]] - mean/sum)
	}
}

// balanceGrads adds the gradient of sum f_j s'_j with s' = s/sum(s): the derivative
// to s_j is (f_j - sum f s') / sum(s).
func (g *routeGradients) balanceGrads(ds, s []float32) {
	sum, mean := float32(0), float32(0)
	for j, v := range s {
		sum += v
		mean += g.balance[j] * v
	}
	mean /= sum
	for j := range ds {
		ds[j] += (g.balance[j] - mean) / sum
	}
}
