package cpu

import (
	"math"
	"slices"

	"sonde/compute"
)

// keyBlock is how many keys, counted from the start of the sequence, softmax takes
// at a time, and how many queries stand side by side.
const keyBlock = compute.KeyBlock

// Scores are kept transposed, [key][query]: a lane is a query, so softmax never sums
// across lanes, a query's bits do not depend on its neighbours, and keys are read
// where they lie. On the diagonal a panel of 16 queries takes no more keys than its
// last query sees.

// oddLines is the least number of floats >= n whose rows, 64-byte lines, begin in
// all sets of the first cache in turn.
func oddLines(n int) int { return 16 * ((n+15)/16 | 1) }

// panels is the number of panels of 16 that hold n.
func panels(n int) int { return (n + 15) / 16 }

// matrix is rows of floats in scratch memory.
type matrix struct {
	p  *float32
	ld int // floats between rows
}

func (m matrix) row(i int) *float32 { return at(m.p, i*m.ld) }

// newMatrix is a matrix in w's scratch memory.
func newMatrix(w *worker, rows, cols int) matrix {
	ld := oddLines(cols)
	return matrix{scratch(w, rows*ld), ld}
}

// copyPiece is how many rows one call of a kernel copies: no call may last long.
const copyPiece = 512

// put copies rows of d columns from src to columns col.. of m; ld is in bytes.
func (m matrix) put(k *kernels, col int, src *float32, ld, rows, d int) {
	for r := 0; r < rows; r += copyPiece {
		k.copyRows(at(m.row(r), col), 4*m.ld, at(src, r*ld/4), ld, min(copyPiece, rows-r), d)
	}
}

// packRows transposes n rows of src, d columns each, into panels of 16: element
// (row, c) goes to dst[row/16][c][row%16]. The columns of rows that do not exist are
// undefined. A panel takes packed(d) floats.
func packRows(w *worker, k *kernels, dst, src *float32, ld, n, d int) {
	whole := n &^ 15
	dpad := (d + 7) &^ 7
	if d%8 != 0 {
		whole = 0
	}
	for r := 0; r < whole; r += 16 {
		k.transpose(at(dst, r*dpad), 64, at(src, r*ld/4), ld, 16, d)
	}
	if whole == n {
		return
	}
	mark := w.scratch.Mark()
	defer w.scratch.Release(mark)
	tmp := scratch(w, 16*dpad)
	for r := whole; r < n; r += 16 {
		k.copyRows(tmp, 4*dpad, at(src, r*ld/4), ld, min(16, n-r), d)
		k.transpose(at(dst, r*dpad), 64, tmp, 4*dpad, 16, dpad)
	}
}

// packed is the size of a panel of 16 rows of d columns.
func packed(d int) int { return 16 * ((d + 7) &^ 7) }

// MLAForward is causal attention in the expanded form; see compute.MLAArgs.
func (b *Backend) MLAForward(a compute.MLAArgs) {
	a.Check()
	if !b.k.vector {
		b.sequences(a, func(a compute.MLAArgs, _, _ int) { b.Reference.MLAForward(a) })
		return
	}
	blocks := (a.SeqLen + keyBlock - 1) / keyBlock
	split := 1
	for a.Batch*a.Heads*split < 4*b.pool.threads && split < blocks {
		split++
	}
	b.pool.run(a.Batch*a.Heads*split, func(w *worker, c int) {
		f := newExpanded(w, b.k, mlaHead(a, c/split/a.Heads, c/split%a.Heads))
		f.packKeys()
		for block := c % split; block < blocks; block += split {
			f.forward(block)
		}
	})
}

// sequences runs f on every sequence, on all workers.
func (b *Backend) sequences(a compute.MLAArgs, f func(a compute.MLAArgs, from, to int)) {
	b.pool.run(a.Batch, func(_ *worker, c int) {
		p, from, to := a, c*a.SeqLen, (c+1)*a.SeqLen
		p.Batch, p.Q, p.KV, p.KR = 1, a.Q.Rows(from, to), a.KV.Rows(from, to), a.KR.Rows(from, to)
		p.O, p.LSE = a.O.Rows(from, to), a.LSE.Rows(from, to)
		if !a.Picks.IsZero() {
			p.Picks = a.Picks.Rows(from, to)
		}
		f(p, from, to)
	})
}

// columnsOf is some columns of a matrix.
type columnsOf struct {
	matrix
	n int
}

// columns is where the n columns from c on of rows from row on lie.
func columns(t compute.Tensor, row, c, n int) columnsOf {
	return columnsOf{matrix{at(rowPtr(t, row), c), t.Stride()}, n}
}

// head is one head of a whole sequence: where its operands lie. Its keys are made of two
// parts, the second of which may be empty.
type head struct {
	n, d, dv  int // tokens; columns of queries and keys, of values
	scale     float32
	q, o, lse matrix
	keys      [2]columnsOf
	values    matrix
	picks     compute.Tensor // [n, K] or none: the only keys that a token sees
}

// mlaHead is a head of a sequence of a.
func mlaHead(a compute.MLAArgs, sequence, h int) head {
	first, dq, dkv := sequence*a.SeqLen, a.Nope+a.Rope, a.Nope+a.V
	u := head{n: a.SeqLen, d: dq, dv: a.V, scale: a.Scale, q: columns(a.Q, first, h*dq, dq).matrix,
		o: columns(a.O, first, h*a.V, a.V).matrix, lse: columns(a.LSE, first, h, 1).matrix,
		keys:   [2]columnsOf{columns(a.KV, first, h*dkv, a.Nope), columns(a.KR, first, 0, a.Rope)},
		values: columns(a.KV, first, h*dkv+a.Nope, a.V).matrix}
	if !a.Picks.IsZero() {
		u.picks = a.Picks.Rows(first, first+a.SeqLen)
	}
	return u
}

// expanded is one head of one sequence at work.
type expanded struct {
	head
	w                *worker
	k                *kernels
	packedK, packedV matrix
	scores           matrix
	out              matrix
	m, l, fa         *float32 // [keyBlock]
}

func newExpanded(w *worker, k *kernels, h head) expanded {
	e := expanded{w: w, k: k, head: h}
	e.packedK, e.packedV = newMatrix(w, h.n, h.d), newMatrix(w, h.n, h.dv)
	e.scores = newMatrix(w, keyBlock, keyBlock)
	e.m, e.l, e.fa = scratch(w, keyBlock), scratch(w, keyBlock), scratch(w, keyBlock)
	return e
}

// packKeys copies the head's keys and values.
func (e *expanded) packKeys() {
	col := 0
	for _, part := range e.keys {
		e.packedK.put(e.k, col, part.p, 4*part.ld, e.n, part.n)
		col += part.n
	}
	e.packedV.put(e.k, 0, e.values.p, 4*e.values.ld, e.n, e.dv)
}

// block is the tokens [from, to) of block i.
func (e *expanded) block(i int) (from, to int) {
	return i * keyBlock, min(e.n, (i+1)*keyBlock)
}

// forward makes the output of the queries of block i.
func (e *expanded) forward(i int) {
	mark := e.w.scratch.Mark()
	defer e.w.scratch.Release(mark)
	from, to := e.block(i)
	n := to - from
	queries := scratch(e.w, panels(n)*packed(e.d))
	packRows(e.w, e.k, queries, e.q.row(from), 4*e.q.ld, n, e.d)
	e.out = newMatrix(e.w, n, e.dv)
	for j := range keyBlock {
		*at(e.m, j), *at(e.l, j) = -math.MaxFloat32, 0
	}
	for j := 0; j <= i; j++ {
		first, last := e.block(j)
		for p := range panels(n) {
			e.step(queries, from, j == 0, i == j, p, first, last-first, n)
		}
	}
	e.finish(from, n)
}

// step takes the keys of a block into the softmax of panel p and adds their values.
func (e *expanded) step(queries *float32, from int, fresh, diagonal bool, p, first, keys, n int) {
	rows := min(16, n-16*p)
	if diagonal {
		keys = min(keys, 16*p+rows)
	}
	s, lds := at(e.scores.p, 16*p), 4*e.scores.ld
	e.k.panel(keys, e.d, e.packedK.row(first), 4*e.packedK.ld, 4, at(queries, p*packed(e.d)), 64, s, lds, 0)
	if diagonal {
		// The panel's own 16 keys are the ones that some of its queries do not see.
		e.k.maskCols(at(s, 16*p*e.scores.ld), lds, keys-16*p, 16, &triangle[0], 0)
	}
	e.maskPicks(s, from+16*p, rows, first, keys)
	e.k.softmaxCols(s, lds, keys, 16, e.scale, at(e.m, 16*p), at(e.l, 16*p), at(e.fa, 16*p))
	out := e.out.row(16 * p)
	if !fresh {
		e.k.scaleRows(out, 4*e.out.ld, out, 4*e.out.ld, at(e.fa, 16*p), rows, 16*panels(e.dv))
	}
	for c := 0; c < e.dv; c += 16 {
		e.k.panel(rows, keys, s, 4, lds, at(e.packedV.row(first), c), 4*e.packedV.ld, at(out, c), 4*e.out.ld, flag(!fresh))
	}
}

// triangle says how many of 16 keys each of 16 queries sees on the diagonal.
var triangle = [16]int32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// maskPicks sets scores[key][query] at s to -inf where the tokens from on have not
// picked the keys from first on.
func (e *expanded) maskPicks(s *float32, from, tokens, first, keys int) {
	if e.picks.IsZero() {
		return
	}
	for i := range tokens {
		picks := picked("MLA", e.picks.RowI32(from+i), from+i+1)
		at0, _ := slices.BinarySearch(picks, int32(first))
		picks = picks[at0:]
		for j := range keys {
			if len(picks) > 0 && int(picks[0]) == first+j {
				picks = picks[1:]
				continue
			}
			*at(s, j*e.scores.ld+i) = float32(math.Inf(-1))
		}
	}
}

// finish divides by the sums and writes n rows of the output.
func (e *expanded) finish(from, n int) {
	m, l := slice(e.m, n), slice(e.l, n)
	for j := range n {
		*e.lse.row(from + j) = m[j] + float32(math.Log(float64(l[j])))
		l[j] = 1 / l[j]
	}
	e.k.scaleRows(e.o.row(from), 4*e.o.ld, e.out.p, 4*e.out.ld, e.l, n, e.dv)
}
