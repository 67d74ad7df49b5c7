package cpu

import (
	"math"
	"unsafe"
)

// fewHeads is up to how many heads of one token, a step of decoding, keys are
// transposed for: panels of 16 queries would stand mostly empty. The bits are the same.
const fewHeads = 8

// fewAtOnce is how many heads attnScores takes at a time.
const fewAtOnce = 4

// packFew brings the queries into [column][head], four heads at a time.
func (r *cachedBlock) packFew() {
	r.queries = scratch(r.w, fewHeads*r.d)
	clear(slice(r.queries, fewHeads*r.d))
	t, h := r.first/r.heads, r.first%r.heads
	for i := range r.n {
		to := slice(at(r.queries, i/fewAtOnce*fewAtOnce*r.d), fewAtOnce*r.d)
		for c, v := range r.q.RowF32(t)[(h+i)*r.d : (h+i+1)*r.d] {
			to[fewAtOnce*c+i%fewAtOnce] = v
		}
	}
}

// fetch is what a kernel asks for on its way: rows of some cache lines.
type fetch struct {
	p     uintptr // may be past the end of memory: nothing is read
	left  int     // lines of the row
	lines int     // of a row
	jump  int     // bytes from the end of a row to the next
}

// rowsAhead is how many keys or values kernels ask for in advance.
const rowsAhead = 16

// fetchRows is what comes rowsAhead rows after m, which has d columns.
func fetchRows(m matrix, d int) fetch {
	lines := (d + 15) / 16
	return fetch{uintptr(unsafe.Pointer(m.p)) + uintptr(rowsAhead*4*m.ld), lines, lines, 4*m.ld - 64*lines}
}

// stepFew takes n keys into the softmax of all rows and adds their values.
func (r *cachedBlock) stepFew(p partial, keys, values matrix, n int, fresh bool) {
	const ld = 4 * keyBlock
	for h := 0; h < r.n; h += fewAtOnce {
		heads, s := min(fewAtOnce, r.n-h), at(r.scores, h*keyBlock)
		r.scoreFew(heads, keys, n, at(r.queries, h*r.d), s)
		r.k.attnSoftmax(s, ld, heads, n, r.scale, at(p.m, h), at(p.l, h), at(r.fade, h))
	}
	if !fresh && fades(slice(r.fade, r.n)) {
		r.k.scaleRows(p.out.p, 4*p.out.ld, p.out.p, 4*p.out.ld, r.fade, r.n, r.dv)
	}
	for h := 0; h < r.n; h += fewAtOnce {
		next := fetchRows(values, r.dv)
		r.k.attnMix[min(fewAtOnce, r.n-h)](n, (r.dv+15)/16, at(r.scores, h*keyBlock), values.p, 4*values.ld,
			p.out.row(h), 4*p.out.ld, flag(!fresh), (*byte)(unsafe.Pointer(&next)))
	}
}

// scoreFew makes scores [head][key] of up to four heads with n keys; up to a multiple
// of 16, -inf follows.
func (r *cachedBlock) scoreFew(heads int, keys matrix, n int, queries, s *float32) {
	next, score := fetchRows(keys, r.d), r.k.attnScores[heads]
	if whole := n / 16; whole > 0 {
		score(whole, r.d/16, keys.p, 4*keys.ld, queries, s, (*byte)(unsafe.Pointer(&next)))
	}
	rest := n % 16
	if rest == 0 {
		return
	}
	mark := r.w.scratch.Mark()
	defer r.w.scratch.Release(mark)
	last := newMatrix(r.w, 16, r.d)
	last.put(r.k, 0, keys.row(n-rest), 4*keys.ld, rest, r.d)
	next = fetchRows(last, r.d)
	score(1, r.d/16, last.p, 4*last.ld, queries, at(s, n-rest), (*byte)(unsafe.Pointer(&next)))
	for i := range heads {
		unseen := slice(at(s, i*keyBlock+n), 16-rest)
		for j := range unseen {
			unseen[j] = float32(math.Inf(-1))
		}
	}
}
