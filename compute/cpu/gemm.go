package cpu

import (
	"unsafe"

	"sonde/compute"
)

// The blocking: a tile of C is made by one worker, k in blocks of blockK. A block of
// A (tileM x blockK) stays in the second-level cache while panels of B (blockK x nr),
// packed just before they are used, pass through the first.
const (
	blockK = 256
	// A transposed A takes a cache line for every step of k and tile: fewer steps, or
	// they and the panel of B do not fit in the first-level cache together.
	blockTK = 192
	tileM   = 240
	tileN   = 1024
)

// product is one C (+)= op(A) op(B) of a job.
type product struct {
	m, n, k int
	a, c    unsafe.Pointer
	lda     int // bytes
	ldc     int
	aT      bool    // A lies as [k][m]
	aRows   []int32 // row numbers of A in memory; nil: 0, 1, 2, ...
	b       operand
	round   bool // A is to be rounded to bfloat16
	acc     bool
}

// span is a range [from, to).
type span struct{ from, to int }

func (s span) len() int { return s.to - s.from }

// tile computes rows x cols of C.
func (t *gemmKernels) tile(w *worker, p *product, rows, cols span) {
	if rows.len() == 1 && p.k > 0 && !p.aT {
		t.row(w, p, rows.from, cols)
		return
	}
	bp, ap := scratch(w, blockK*t.nr), t.scratchA(w, p, rows.len())
	t.prepare(w, &p.b)
	step := blockK
	if p.aT {
		step = blockTK
	}
	for p0 := 0; p0 == 0 || p0 < p.k; p0 += step {
		k := min(step, p.k-p0)
		a := t.blockA(ap, p, rows, p0, k)
		acc := 0
		if p.acc || p0 > 0 {
			acc = 1
		}
		for j := cols.from; j < cols.to; j += t.nr {
			n := min(t.nr, cols.to-j)
			b, bks := t.blockB(bp, &p.b, rows.len(), p0, k, j, n)
			c := (*float32)(unsafe.Add(p.c, rows.from*p.ldc+4*j))
			if n == t.nr {
				t.panel(rows.len(), k, a.p, a.ars, a.aks, b, bks, c, p.ldc, acc)
			} else {
				t.edge(w, rows.len(), n, k, a.p, a.ars, a.aks, b, c, p.ldc, acc)
			}
		}
	}
}

// leftBlock is a block of A as panel reads it.
type leftBlock struct {
	p        *float32
	ars, aks int
}

// inPlaceA says whether A is read where it is. Not if it is transposed: there, the
// steps of k lie in lines of their own, often far apart.
func (p *product) inPlaceA() bool { return !p.aT && !p.round && p.aRows == nil }

// scratchA is room for a copy of a block of m rows of A, if there is to be one.
func (t *gemmKernels) scratchA(w *worker, p *product, m int) *float32 {
	if p.inPlaceA() {
		return nil
	}
	return scratch(w, (m+16)*(blockK+16))
}

// blockA is the block of A that rows and steps [p0, p0+k) meet, copied to dst if need
// be. The copy's rows are kept from falling into the same sets of the cache.
func (t *gemmKernels) blockA(dst *float32, p *product, rows span, p0, k int) leftBlock {
	switch {
	case p.inPlaceA():
		return leftBlock{(*float32)(unsafe.Add(p.a, rows.from*p.lda+4*p0)), p.lda, 4}
	case p.aT:
		ld := 4*rows.len() + 64
		t.copyBlock(dst, ld, unsafe.Add(p.a, 4*rows.from), p.lda, p.aRows, p0, k, rows.len(), p.round)
		return leftBlock{dst, 4, ld}
	}
	const ld = 4*blockK + 64
	t.copyBlock(dst, ld, unsafe.Add(p.a, 4*p0), p.lda, p.aRows, rows.from, rows.len(), k, p.round)
	return leftBlock{dst, ld, 4}
}

// inPlaceRows is up to how many rows of C a panel of B that lies right in memory is
// read where it is.
const inPlaceRows = 24

// blockB is a panel of B as panel reads it.
func (t *gemmKernels) blockB(dst *float32, o *operand, m, p0, k, j, n int) (b *float32, bks int) {
	if o.widened() && !o.transposed {
		plain := t.strip(o, p0, k, j)
		return t.blockB(dst, &plain, m, 0, k, j-o.held.cols.from, n)
	}
	if n == t.nr && m <= inPlaceRows && !o.transposed && !o.bf16 && !o.round && o.rows == nil {
		return (*float32)(unsafe.Add(o.p, p0*o.ld+4*j)), o.ld
	}
	t.pack(dst, o, p0, k, j, n)
	return dst, 4 * t.nr
}

// edge is panel for fewer than nr columns of C.
func (t *gemmKernels) edge(w *worker, m, n, k int, a *float32, ars, aks int, b, c *float32, ldc, acc int) {
	mark := w.scratch.Mark()
	defer w.scratch.Release(mark)
	ld := 4 * t.nr
	tmp := scratch(w, m*t.nr)
	if acc != 0 {
		for i := range m {
			copy(unsafe.Slice(floatAt(tmp, i*ld), n), unsafe.Slice(floatAt(c, i*ldc), n))
		}
	}
	t.panel(m, k, a, ars, aks, b, ld, tmp, ld, acc)
	for i := range m {
		copy(unsafe.Slice(floatAt(c, i*ldc), n), unsafe.Slice(floatAt(tmp, i*ld), n))
	}
}

// scratch is n float32 of w's scratch memory.
func scratch(w *worker, n int) *float32 {
	return (*float32)(w.scratch.F32(1, n).Ptr())
}

// strideBytes is the distance between t's rows in bytes.
func strideBytes(t compute.Tensor) int { return t.DType().RowBytes(t.Stride()) }
