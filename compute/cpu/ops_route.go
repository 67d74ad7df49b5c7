package cpu

import (
	"math"
	mathbits "math/bits"
	"slices"
	"unsafe"

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
	keys                 []uint64 // of experts or groups; see key
	taken                []uint64 // a bit per expert or group
}

func newRouter(w *worker, a compute.RouteArgs) router {
	e, g := a.Logits.NumCols(), max(a.Groups, 1)
	words := unsafe.Slice((*uint64)(unsafe.Pointer(scratch(w, 2*e))), e)
	marks := unsafe.Slice((*uint64)(unsafe.Pointer(scratch(w, 2*(e+63)/64+2))), (e+63)/64)
	var bias []float32
	if !a.Bias.IsZero() {
		bias = a.Bias.RowF32(0)
	}
	return router{RouteArgs: a, bias: bias, choice: slice(scratch(w, e), e), groups: slice(scratch(w, g), g),
		keys: words, taken: marks}
}

// token writes the scores, experts and weights of token i.
func (r *router) token(k *kernels, i int) {
	s := r.Scores.RowF32(i)
	r.scores(k, s, r.Logits.RowF32(i))
	if !r.Given {
		r.choose(s, r.Experts.RowI32(i))
	}
	w, sum := r.Weights.RowF32(i), float32(0)
	for j, e := range r.Experts.RowI32(i) {
		w[j] = s[e]
		sum += s[e]
	}
	for j := range w {
		if r.Normalize {
			w[j] /= sum + routeEps
		}
		w[j] *= r.Scale
	}
}

// choose writes the best experts by a token's scores.
func (r *router) choose(s []float32, experts []int32) {
	copy(r.choice, s)
	for j, b := range r.bias {
		r.choice[j] += b
	}
	if r.Groups > 1 {
		r.maskGroups()
	}
	r.takeBest(r.choice, r.TopK)
	n := 0
	for at, word := range r.taken {
		for ; word != 0; word &= word - 1 {
			experts[n] = int32(64*at + mathbits.TrailingZeros64(word))
			n++
		}
	}
}

// scores is what the router makes of a token's logits.
func (r *router) scores(k *kernels, s, logits []float32) {
	if !r.Softmax {
		k.sigmoid(&s[0], &logits[0], len(s))
		return
	}
	copy(s, logits)
	k.expMinus(&s[0], len(s), slices.Max(s))
	sum := float32(0)
	for _, v := range s {
		sum += v
	}
	for j := range s {
		s[j] /= sum
	}
}

// key orders values as unsigned integers, the lower of equal places first; it is
// never 0. Comparing keys needs no branch that a processor could guess wrong.
func key(v float32, place int) uint64 {
	b := math.Float32bits(v)
	b ^= uint32(int32(b)>>31) | 1<<31
	return uint64(b)<<32 | uint64(^uint32(place))
}

// takeBest marks the k largest values in taken.
func (r *router) takeBest(v []float32, k int) {
	keys := r.keys[:len(v)]
	for j, x := range v {
		keys[j] = key(x, j)
	}
	clear(r.taken)
	for range k {
		best := uint64(0)
		for _, x := range keys {
			best = max(best, x)
		}
		place := ^uint32(best)
		keys[place] = 0
		r.taken[place/64] |= 1 << (place % 64)
	}
}

// maskGroups sets the experts outside the best groups to -inf; a group's score is
// the sum of its best two, or its best.
func (r *router) maskGroups() {
	per := len(r.choice) / r.Groups
	for g := range r.groups {
		if group := r.choice[g*per : (g+1)*per]; r.GroupMax {
			r.groups[g] = slices.Max(group)
		} else {
			r.groups[g] = bestTwo(group)
		}
	}
	r.takeBest(r.groups, r.TopGroups)
	for g := range r.groups {
		if r.taken[g/64]&(1<<(g%64)) == 0 {
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
	a, b := max(v[0], v[1]), min(v[0], v[1])
	for _, x := range v[2:] {
		a, b = max(a, x), max(b, min(a, x))
	}
	return a + b
}

// dispatch sorts the choices by expert, those of an expert by token; next has room
// for a number per expert.
func dispatch(a compute.RouteArgs, next []int32) {
	off, token, rowW := a.Offsets.RowI32(0), a.Token.RowI32(0), a.RowW.RowF32(0)
	clear(off)
	t, k := a.Experts.NumRows(), a.Experts.NumCols()
	experts, slots, weights := a.Experts.Int32s(), a.Slot.Int32s(), a.Weights.Float32s()
	count := off[1:]
	for i := range t {
		for _, e := range experts[i*a.Experts.Stride():][:k] {
			count[e]++
		}
	}
	for e := 1; e < len(off); e++ {
		off[e] += off[e-1]
	}
	copy(next, off)
	for i := range t {
		slot, w := slots[i*a.Slot.Stride():][:k], weights[i*a.Weights.Stride():][:k]
		for j, e := range experts[i*a.Experts.Stride():][:k] {
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
	t := a.Logits.NumRows()
	chunks, bounds := (t+routeRows-1)/routeRows, func(c int) (from, to int) { return c * routeRows, min(t, (c+1)*routeRows) }
	if a.AuxAlpha != 0 { // the balance loss looks at whole sequences
		chunks, bounds = len(a.Lens), sequenceBounds(a.Lens)
	}
	b.pool.run(chunks, func(w *worker, c int) {
		e := a.Logits.NumCols()
		g := routeGradients{RouteBackwardArgs: a, dw: a.DRowW.RowF32(0), balance: slice(scratch(w, e), e)}
		from, to := bounds(c)
		if a.AuxAlpha != 0 {
			g.loads(from, to)
		}
		for i := from; i < to; i++ {
			g.token(i)
		}
	})
}

// sequenceBounds says where each of the sequences side by side begins and ends.
func sequenceBounds(lens []int) func(c int) (from, to int) {
	ends := make([]int, len(lens))
	sum := 0
	for i, n := range lens {
		sum += n
		ends[i] = sum
	}
	return func(c int) (from, to int) { return ends[c] - lens[c], ends[c] }
}

// routeGradients works on one token at a time.
type routeGradients struct {
	compute.RouteBackwardArgs
	dw      []float32
	balance []float32 // an expert's load in this sequence, times what its tokens share
}

// loads are the f of eq. 18 for the sequence of tokens [from, to), times
// AuxAlpha * AuxScale / (sequences * tokens).
func (g *routeGradients) loads(from, to int) {
	clear(g.balance)
	for i := from; i < to; i++ {
		for _, e := range g.Experts.RowI32(i) {
			g.balance[e]++
		}
	}
	f := float32(len(g.balance)) / float32(g.TopK*(to-from))
	common := g.AuxAlpha * g.AuxScale / float32(len(g.Lens)*(to-from))
	for j := range g.balance {
		g.balance[j] *= f * common
	}
}

// token writes the gradient of token i: first ds, then to the logits.
func (g *routeGradients) token(i int) {
	s, d := g.Scores.RowF32(i), g.DLogits.RowF32(i)
	clear(d)
	if g.AuxAlpha != 0 {
		g.balanceGrads(d, s)
	}
	g.weightGrads(d, s, i)
	if g.Softmax {
		softmaxGrads(d, s)
		return
	}
	for j, v := range s {
		d[j] *= v * (1 - v)
	}
}

// softmaxGrads turns the gradient to the scores s into that to their logits.
func softmaxGrads(d, s []float32) {
	mean := float32(0)
	for j, v := range s {
		mean += d[j] * v
	}
	for j, v := range s {
		d[j] = v * (d[j] - mean)
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
	inv := 1 / sum
	mean *= inv
	for j := range ds {
		ds[j] += (g.balance[j] - mean) * inv
	}
}
