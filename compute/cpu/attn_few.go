package cpu

import "math"

// fewHeads is up to how many heads of one token, a step of decoding, keys are
// transposed for: panels of 16 queries would stand mostly empty. The bits are the same.
const fewHeads = 8

// fewAtOnce is how many heads attnSoftmax and attnMix take at a time.
const fewAtOnce = 4

// whole16 is the next multiple of 16.
func whole16(n int) int { return (n + 15) &^ 15 }

// fewPer is the room that a column of the queries has: for four heads or eight.
func (r *cachedBlock) fewPer() int {
	if r.n > fewAtOnce {
		return fewHeads
	}
	return fewAtOnce
}

// packFew brings the queries into [column][head], with room for four heads or eight, and
// columns of zeros up to a multiple of 16.
func (r *cachedBlock) packFew() {
	per := r.fewPer()
	r.queries = scratch(r.w, per*whole16(r.d))
	clear(slice(r.queries, per*whole16(r.d))[per*r.d:])
	t, h := r.first/r.heads, r.first%r.heads
	for i := range r.n {
		for c, v := range slice(at(r.q.row(t), (h+i)*r.d), r.d) {
			*at(r.queries, per*c+i) = v
		}
	}
}

// fetch asks for the keys and values of a few heads of one token, if they are no more
// than a chunk: another sequence's lie where no processor foresees.
func (a *cached) fetch(k *kernels) {
	n := a.start + 1
	if !a.few() || !a.picks.IsZero() || n > cachedChunk {
		return
	}
	first, values := a.keys[0], a.values
	if a.apart > 0 {
		first.n, values.n = a.heads*a.apart, 0
	}
	for _, part := range [...]columnsOf{first, a.keys[1], values} {
		if part.n > 0 {
			part.fetch(k, 0, n)
		}
	}
}

// fetch reads rows [from, to) in the order in which they lie.
func (c columnsOf) fetch(k *kernels, from, to int) {
	if c.n>>c.half == c.ld {
		k.attnFetch(c.row(from), ((to-from)*c.ld+15)/16)
		return
	}
	for i := from; i < to; i++ {
		k.attnFetch(c.row(i), c.lines())
	}
}

// stepFew takes n keys from place first on into the softmax of all rows and adds their
// values.
func (r *cachedBlock) stepFew(p partial, first, n int, fresh bool) {
	const ld = 4 * keyBlock
	values := r.scoreFew(first, n)
	for h := 0; h < r.n; h += fewAtOnce {
		r.k.attnSoftmax(at(r.scores, h*keyBlock), ld, min(fewAtOnce, r.n-h), n, r.scale, at(p.m, h), at(p.l, h), at(r.fade, h))
	}
	if !fresh && fades(slice(r.fade, r.n)) {
		r.k.scaleRows(p.out.p, 4*p.out.ld, p.out.p, 4*p.out.ld, r.fade, r.n, r.dv)
	}
	lines := whole16(r.dv) / 16
	if r.apart > 0 {
		for h := range r.n {
			r.k.attnMix[values.half][1](n, lines, at(r.scores, h*keyBlock), at(values.p, h*r.apart), 4*values.ld, p.out.row(h), 4*p.out.ld, flag(!fresh))
		}
		return
	}
	for h := 0; h < r.n; h += fewAtOnce {
		r.k.attnMix[values.half][min(fewAtOnce, r.n-h)](n, lines, at(r.scores, h*keyBlock), values.p, 4*values.ld, p.out.row(h), 4*p.out.ld, flag(!fresh))
	}
}

// scoreFew makes scores [head][key] of n keys from place first on; up to a multiple of
// 16, -inf follows. It gives the keys' values.
func (r *cachedBlock) scoreFew(first, n int) (values columnsOf) {
	keys, values := r.operands(first, n)
	lie := n // those that can be read where they lie, 16 at a time
	switch {
	case keys[0].n%8 != 0 || keys[1].n%8 != 0:
		lie = 0
	case r.picks == nil && first+whole16(n) > r.room:
		lie = n &^ 15
	}
	step := r.n // heads that share keys
	if r.apart > 0 {
		step = 1
	}
	for h := 0; h < r.n; h += step {
		own := keys
		own[0].p = at(own[0].p, h*r.apart)
		if lie > 0 {
			r.scoreHeads(own, lie, h, step, 0)
		}
		if lie < n {
			mark := r.w.scratch.Mark()
			r.scoreHeads(r.together(own.from(lie), n-lie), n-lie, h, step, lie)
			r.w.scratch.Release(mark)
		}
	}
	for i := range r.n {
		unseen := slice(at(r.scores, i*keyBlock+n), whole16(n)-n)
		for j := range unseen {
			unseen[j] = float32(math.Inf(-1))
		}
	}
	return values
}

// scoreHeads makes the scores of some heads from h on with n keys, whose place in scores
// is to; what follows up to a multiple of 16 is undefined.
func (r *cachedBlock) scoreHeads(keys keyParts, n, h, heads, to int) {
	queries, s := at(r.queries, h), at(r.scores, h*keyBlock+to)
	more := 0
	for _, part := range keys {
		if part.n > 0 {
			r.k.attnScores[part.half][heads](whole16(n)/16, part.n/8, part.p, 4*part.ld, queries, s, more)
			queries, more = at(queries, r.fewPer()*part.n), 1
		}
	}
}

// zeros stand behind the columns of keys that are not a multiple of 16.
var zeros [16]float32

// together copies n keys so that their columns lie together and are a multiple of 16,
// zeros at their end.
func (r *cachedBlock) together(keys keyParts, n int) keyParts {
	d := whole16(r.d)
	m := newMatrix(r.w, whole16(n), d)
	col := 0
	for _, part := range keys {
		if part.n > 0 {
			r.copyTo(m, col, part, n)
			col += part.n
		}
	}
	if col < d {
		m.put(r.k, col, &zeros[0], 0, n, d-col)
	}
	return onePart(m, d)
}
