package cpu

import "sonde/compute"

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

// columnsOf is some columns of a matrix, of float16 numbers if half is 1: then the floats
// between rows are half as many as numbers.
type columnsOf struct {
	matrix
	n    int
	half int
}

// lines is the number of cache lines of a row, at least.
func (c columnsOf) lines() int { return (c.n>>c.half + 15) / 16 }

// columns is where the n columns from c on of rows from row on lie; those of float16 begin
// in even places.
func columns(t compute.Tensor, row, c, n int) columnsOf {
	if t.DType() == compute.F16 {
		return columnsOf{matrix{at((*float32)(t.Ptr()), (row*t.Stride()+c)/2), t.Stride() / 2}, n, 1}
	}
	return columnsOf{matrix{at(rowPtr(t, row), c), t.Stride()}, n, 0}
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

// mlaHead is a head of a whole sequence of a.
func mlaHead(a compute.MLAArgs, sequence, h int) head {
	s, dq, dkv := a.Seqs[sequence], a.Nope+a.Rope, a.Nope+a.V
	u := head{n: s.Rows, d: dq, dv: a.V, scale: a.Scale, q: columns(a.Q, s.Row, h*dq, dq).matrix,
		o: columns(a.O, s.Row, h*a.V, a.V).matrix, lse: columns(a.LSE, s.Row, h, 1).matrix,
		keys:   [2]columnsOf{columns(s.KV, 0, h*dkv, a.Nope), columns(s.KR, 0, 0, a.Rope)},
		values: columns(s.KV, 0, h*dkv+a.Nope, a.V).matrix}
	if !a.Picks.IsZero() {
		u.picks = a.Picks.Rows(s.Row, s.Row+s.Rows)
	}
	return u
}

// triangle says how many of 16 keys each of 16 queries sees on the diagonal.
var triangle = [16]int32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
