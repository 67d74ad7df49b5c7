package cpu

import (
	"math"
	"unsafe"
)

// fewHeads is up to how many heads of one token, a step of decoding, keys are
// transposed for: panels of 16 queries would stand mostly empty. The bits are the same.
const fewHeads = 8

// fewAtOnce is how many heads attnSoftmax and attnMix take at a time.
const fewAtOnce = 4

// packFew brings the queries into [column][head], with room for four heads or eight.
func (r *cachedBlock) packFew() {
	per := fewAtOnce
	if r.n > per {
		per = fewHeads
	}
	r.queries = scratch(r.w, per*r.d)
	to := slice(r.queries, per*r.d)
	t, h := r.first/r.heads, r.first%r.heads
	for i := range r.n {
		for c, v := range r.q.RowF32(t)[(h+i)*r.d : (h+i+1)*r.d] {
			to[per*c+i] = v
		}
	}
}

// fetch is what attnScores asks for on its way: rows of some cache lines.
type fetch struct {
	p     uintptr // may be past the end of memory: nothing is read
	left  int     // lines of the row
	lines int     // of a row
	jump  int     // bytes from the end of a row to the next
}

// rowsAhead is how many keys attnScores asks for in advance. It reads them in an order
// that the processor does not foresee; that of values it does.
const rowsAhead = 16

// fetchKeys is what comes rowsAhead rows after the first of keys.
func (r *cachedBlock) fetchKeys(keys matrix) fetch {
	lines := (r.d + 15) / 16
	return fetch{uintptr(unsafe.Pointer(keys.p)) + uintptr(rowsAhead*4*keys.ld), lines, lines, 4*keys.ld - 64*lines}
}

// stepFew takes n keys into the softmax of all rows and adds their values.
func (r *cachedBlock) stepFew(p partial, keys, values matrix, n int, fresh bool) {
	const ld = 4 * keyBlock
	r.scoreFew(keys, n)
	for h := 0; h < r.n; h += fewAtOnce {
		r.k.attnSoftmax(at(r.scores, h*keyBlock), ld, min(fewAtOnce, r.n-h), n, r.scale, at(p.m, h), at(p.l, h), at(r.fade, h))
	}
	if !fresh && fades(slice(r.fade, r.n)) {
		r.k.scaleRows(p.out.p, 4*p.out.ld, p.out.p, 4*p.out.ld, r.fade, r.n, r.dv)
	}
	for h := 0; h < r.n; h += fewAtOnce {
		r.k.attnMix[min(fewAtOnce, r.n-h)](n, (r.dv+15)/16, at(r.scores, h*keyBlock), values.p, 4*values.ld,
			p.out.row(h), 4*p.out.ld, flag(!fresh))
	}
}

// scoreFew makes scores [head][key] with n keys; up to a multiple of 16, -inf follows.
func (r *cachedBlock) scoreFew(keys matrix, n int) {
	next, score := r.fetchKeys(keys), r.k.attnScores[r.n]
	if whole := n / 16; whole > 0 {
		score(whole, r.d/16, keys.p, 4*keys.ld, r.queries, r.scores, (*byte)(unsafe.Pointer(&next)))
	}
	rest := n % 16
	if rest == 0 {
		return
	}
	mark := r.w.scratch.Mark()
	defer r.w.scratch.Release(mark)
	last := newMatrix(r.w, 16, r.d)
	last.put(r.k, 0, keys.row(n-rest), 4*keys.ld, rest, r.d)
	score(1, r.d/16, last.p, 4*last.ld, r.queries, at(r.scores, n-rest), (*byte)(unsafe.Pointer(&next)))
	for i := range r.n {
		unseen := slice(at(r.scores, i*keyBlock+n), 16-rest)
		for j := range unseen {
			unseen[j] = float32(math.Inf(-1))
		}
	}
}
