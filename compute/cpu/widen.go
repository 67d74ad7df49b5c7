package cpu

import (
	"math"
	"unsafe"

	"sonde/compute"
)

// isWidened tells whether products read t as the F32 matrix it stands for: F16, E4M3
// and block formats.
func isWidened(t compute.Tensor) bool {
	switch t.DType() {
	case compute.F32, compute.BF16, compute.I32:
		return false
	}
	return true
}

// widenRow reads len(dst) elements of row r of w from column col on as float32; col and
// len(dst) are whole blocks of block formats.
func (t *gemmKernels) widenRow(dst []float32, w *compute.Tensor, r, col int) {
	t.widenPart(unsafe.SliceData(dst), 0, w, span{r, r + 1}, span{col, col + len(dst)})
}

// widenPart reads a part of w as float32 rows, ldd bytes apart; cols are whole blocks of
// block formats.
func (t *gemmKernels) widenPart(dst *float32, ldd int, w *compute.Tensor, rows, cols span) {
	n := cols.len()
	if n == 0 || rows.len() == 0 {
		return
	}
	done := 0
	switch d := w.DType(); d {
	case compute.F16:
		if t.widenF16 != nil && n >= 8 {
			done = n &^ 7
			t.widenF16(rows.len(), done, unsafe.SliceData(w.Bytes(rows.from, cols.from, done)), strideBytes(*w), dst, ldd)
		}
	case compute.E4M3:
		if t.widenE4M3 != nil {
			t.widenFP8(dst, ldd, w, rows, cols)
			return
		}
	default:
		b, _ := d.Block()
		if f := t.widenBlocks[b]; f != nil {
			f(rows.len(), n/b.Elements(), unsafe.SliceData(w.Bytes(rows.from, cols.from, n)), strideBytes(*w), dst, ldd)
			return
		}
	}
	if done == n {
		return
	}
	for r := rows.from; r < rows.to; r++ {
		w.Widen(slice(floatAt(dst, (r-rows.from)*ldd+4*done), n-done), r, cols.from+done)
	}
}

// widenFP8 is widenPart for E4M3, as much as shares a factor at a time.
func (t *gemmKernels) widenFP8(dst *float32, ldd int, w *compute.Tensor, rows, cols span) {
	s, row0, col0 := w.Scales()
	if s == nil {
		s = &noScales
	}
	ld := strideBytes(*w)
	for rows.from < rows.to {
		block := (row0 + rows.from) / s.BlockRows
		m := min(rows.len(), (block+1)*s.BlockRows-row0-rows.from)
		factors := s.T.RowF32(block)
		to := dst
		for c := cols; c.from < c.to; {
			block := (col0 + c.from) / s.BlockCols
			n := min(c.len(), (block+1)*s.BlockCols-col0-c.from)
			f, whole := 256*factors[block], n&^7
			if whole > 0 && (!finite(f) || t.widenE4M3(m, whole, unsafe.SliceData(w.Bytes(rows.from, c.from, whole)), ld, to, ldd, f) != 0) {
				whole = 0
			}
			for i := 0; i < m && whole < n; i++ {
				w.Widen(slice(floatAt(to, i*ldd+4*whole), n-whole), rows.from+i, c.from+whole)
			}
			if c.from += n; c.from < c.to {
				to = floatAt(to, 4*n)
			}
		}
		if rows.from += m; rows.from < rows.to {
			dst = floatAt(dst, m*ldd)
		}
	}
}

// finite tells that f is neither infinite nor a NaN.
func finite(f float32) bool { return f-f == 0 }

// noScales stands for factors of 1.
var noScales = compute.Scales{T: compute.Wrap([]float32{1}, 1, 1), BlockRows: math.MaxInt, BlockCols: math.MaxInt}

// converts tells whether elements of src can become dst's: F32 and BF16 take any
// number, the others what they are.
func converts(dst compute.DType, src compute.Tensor) bool {
	return dst == src.DType() || (dst == compute.F32 || dst == compute.BF16) && src.DType() != compute.I32
}

// widenTo reads len(dst) elements of row r of w, of any format of numbers, from column
// col on.
func (b *Backend) widenTo(dst []float32, w *compute.Tensor, r, col int) {
	switch w.DType() {
	case compute.F32:
		copy(dst, w.RowF32(r)[col:])
	case compute.BF16:
		b.widen(dst, w.RowBF16(r)[col:])
	default:
		b.k.widenRow(dst, w, r, col)
	}
}

// copyWeights is Copy from a format that is to be widened.
func (b *Backend) copyWeights(dst, src compute.Tensor) {
	if dst.DType() == src.DType() {
		b.Reference.Copy(dst, src)
		return
	}
	src.CheckScales("Copy")
	cols := src.NumCols()
	b.pool.run(src.NumRows(), func(w *worker, r int) {
		if dst.DType() == compute.F32 {
			b.k.widenRow(dst.RowF32(r), &src, r, 0)
			return
		}
		row := slice(scratch(w, cols), cols)
		b.k.widenRow(row, &src, r, 0)
		b.narrow(dst.RowBF16(r), row)
	})
}

// strip is a part of a matrix in memory that is held as float32.
type strip struct {
	p     *float32
	steps span // rows of the matrix
	cols  span
}

const (
	// stripCols is how many columns a strip holds: a whole block of any format.
	stripCols = 256
	// stripLd is the floats between its rows; they are kept from falling into the same
	// sets of the cache.
	stripLd = stripCols + 16
)

func (o *operand) widened() bool { return !o.w.IsZero() }

// prepare gives a matrix that is to be widened its room.
func (t *gemmKernels) prepare(w *worker, o *operand) {
	if !o.widened() {
		return
	}
	rows := blockK
	if o.transposed {
		rows = chainCount * max(t.lanes, t.nr)
	}
	o.held = strip{p: scratch(w, rows*stripLd)}
}

// strip is the F32 matrix of steps [p0, p0+k) of a matrix that is not transposed, from
// column o.held.cols.from on, which holds column j and those up to o.held.cols.to.
func (t *gemmKernels) strip(o *operand, p0, k, j int) operand {
	h := &o.held
	if steps := (span{p0, p0 + k}); h.steps != steps || j < h.cols.from || j >= h.cols.to {
		unit := 1
		if b, ok := o.w.DType().Block(); ok {
			unit = b.Elements()
		}
		h.steps, h.cols.from = steps, j/unit*unit
		h.cols.to = min(h.cols.from+stripCols, o.w.NumCols())
		t.widenPart(h.p, 4*stripLd, &o.w, h.steps, h.cols)
	}
	return operand{p: unsafe.Pointer(h.p), ld: 4 * stripLd}
}

// packWidened is pack of a transposed matrix that is to be widened.
func (t *gemmKernels) packWidened(dst *float32, o *operand, p0, k, j0, cols int) {
	plain := t.widenRows(o, p0, k, j0, cols)
	t.pack(dst, &plain, 0, k, 0, cols)
}

// widenRows holds steps [p0, p0+k) of rows [j0, j0+n) of a transposed matrix.
func (t *gemmKernels) widenRows(o *operand, p0, k, j0, n int) operand {
	t.widenPart(o.held.p, 4*stripLd, &o.w, span{j0, j0 + n}, span{p0, p0 + k})
	return operand{p: unsafe.Pointer(o.held.p), ld: 4 * stripLd, transposed: true}
}

// widened makes the outputs cols of one row times a matrix that is to be widened.
func (g *gemv) widened(w *worker, cols span) int {
	if g.b.transposed {
		if g.direct(w, cols) {
			cols.from = g.rows(cols)
		}
		g.lanes, g.factors = g.t.lanes, nil
		return g.widenedRows(w, cols)
	}
	for cols.from < cols.to {
		end := cols.to
		for p0 := 0; p0 < g.k; p0 += blockK {
			k := min(blockK, g.k-p0)
			w.plain = g.t.strip(g.b, p0, k, cols.from)
			end = min(cols.to, g.b.held.cols.to)
			g.strip(&w.plain, p0, k, span{cols.from, end})
		}
		cols.from = end
	}
	return cols.to
}

// strip adds what steps [p0, p0+k), held as plain, give the outputs cols.
func (g *gemv) strip(plain *operand, p0, k int, cols span) {
	first := g.b.held.cols.from
	part := *g
	part.b, part.k, part.x = plain, k, floatAt(g.x, 4*p0)
	part.y = floatAt(g.y, 4*first)
	cols = span{cols.from - first, cols.to - first}
	if g.t.wide > 0 {
		cols.from = part.columns(cols)
	}
	for ; cols.from < cols.to; cols.from += g.t.nr {
		part.viaPanel(0, cols.from, min(g.t.nr, cols.to-cols.from))
	}
}

// widenedRows is widened for weights that are rows in memory.
func (g *gemv) widenedRows(w *worker, cols span) int {
	t := g.t
	group := chainCount * t.lanes
	for ; t.lanes > 0 && cols.from+group <= cols.to; cols.from += group {
		for p0 := 0; p0 < g.k; p0 += blockK {
			k := min(blockK, g.k-p0)
			w.plain = t.widenRows(g.b, p0, k, cols.from, group)
			part := *g
			part.b, part.k, part.x = &w.plain, k, floatAt(g.x, 4*p0)
			part.y = floatAt(g.y, 4*cols.from)
			part.rows(span{0, group})
		}
	}
	for ; cols.from < cols.to; cols.from += t.nr {
		g.viaPanel(0, cols.from, min(t.nr, cols.to-cols.from))
	}
	return cols.to
}
