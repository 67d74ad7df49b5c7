package cpu

import (
	"unsafe"

	"sonde/compute"
	"sonde/num"
)

// runs cuts an elementwise operation on tensors of one shape into consecutive runs:
// f works on n elements from column col of row row on. Contiguous tensors count as
// one long row.
func (b *Backend) runs(t compute.Tensor, contiguous bool, f func(row, col, n int)) {
	if contiguous {
		n := t.Len()
		chunks := (n + chunkElems - 1) / chunkElems
		if chunks <= 1 {
			f(0, 0, n)
			return
		}
		b.pool.run(chunks, func(_ *worker, c int) { f(0, c*chunkElems, min(chunkElems, n-c*chunkElems)) })
		return
	}
	cols := t.NumCols()
	b.rowChunks(t.NumRows(), cols, func(from, to int) {
		for r := from; r < to; r++ {
			f(r, 0, cols)
		}
	})
}

// Zero clears t, whatever its format.
func (b *Backend) Zero(t compute.Tensor) {
	if isWidened(t) {
		b.Reference.Zero(t)
		return
	}
	size := t.DType().Size()
	b.runs(t, t.Contiguous(), func(row, col, n int) {
		clear(unsafe.Slice((*byte)(unsafe.Add(t.Ptr(), size*(row*t.Stride()+col))), size*n))
	})
}

// Copy is dst = src; F32 and BF16 take any format of numbers, rounded or widened.
func (b *Backend) Copy(dst, src compute.Tensor) {
	fits(dst.NumRows() == src.NumRows() && dst.NumCols() == src.NumCols() &&
		converts(dst.DType(), src), "Copy", dst, src)
	if dst.Len() == 0 {
		return
	}
	if isWidened(src) {
		b.copyWeights(dst, src)
		return
	}
	// Hundreds of sequences get a row each in every pass of a model: no ado for these.
	if dst.NumRows() == 1 && dst.DType() == src.DType() && dst.Len() <= chunkElems {
		n := dst.Len() * dst.DType().Size()
		copy(unsafe.Slice((*byte)(dst.Ptr()), n), unsafe.Slice((*byte)(src.Ptr()), n))
		return
	}
	b.copyMany(dst, src)
}

// copyMany is Copy of tensors with many elements.
func (b *Backend) copyMany(dst, src compute.Tensor) {
	to, from := dst.DType().Size(), src.DType().Size()
	b.runs(dst, dst.Contiguous() && src.Contiguous(), func(row, col, n int) {
		d := unsafe.Add(dst.Ptr(), to*(row*dst.Stride()+col))
		s := unsafe.Add(src.Ptr(), from*(row*src.Stride()+col))
		switch {
		case to == from:
			copy(unsafe.Slice((*byte)(d), n*to), unsafe.Slice((*byte)(s), n*to))
		case to == 2:
			b.narrow(unsafe.Slice((*uint16)(d), n), unsafe.Slice((*float32)(s), n))
		default:
			b.widen(unsafe.Slice((*float32)(d), n), unsafe.Slice((*uint16)(s), n))
		}
	})
}

// narrow rounds src to bfloat16.
func (b *Backend) narrow(dst []uint16, src []float32) {
	done := 0
	if b.k.vector && len(src) >= 16 {
		done = len(src) &^ 15
		b.k.toBF16(&dst[0], &src[0], done)
	}
	num.BF16SliceFromF32(dst[done:], src[done:])
}

// widen gives bfloat16 as float32.
func (b *Backend) widen(dst []float32, src []uint16) {
	done := 0
	if b.k.vector && len(src) >= 16 {
		done = len(src) &^ 15
		b.k.fromBF16(&dst[0], &src[0], done)
	}
	num.BF16SliceToF32(dst[done:], src[done:])
}

// Add is dst += src.
func (b *Backend) Add(dst, src compute.Tensor) {
	fits(isF32(dst, src.NumRows(), src.NumCols()) && src.DType() == compute.F32, "Add", dst, src)
	if !b.k.vector {
		b.rowChunks(dst.NumRows(), dst.NumCols(), func(from, to int) { b.Reference.Add(dst.Rows(from, to), src.Rows(from, to)) })
		return
	}
	b.runs(dst, dst.Contiguous() && src.Contiguous(), func(row, col, n int) {
		b.k.add(at(rowPtr(dst, row), col), at(rowPtr(src, row), col), n)
	})
}

// Scale is t *= s.
func (b *Backend) Scale(t compute.Tensor, s float32) {
	fits(t.DType() == compute.F32, "Scale", t)
	if !b.k.vector {
		b.rowChunks(t.NumRows(), t.NumCols(), func(from, to int) { b.Reference.Scale(t.Rows(from, to), s) })
		return
	}
	b.runs(t, t.Contiguous(), func(row, col, n int) { b.k.scale(at(rowPtr(t, row), col), n, s) })
}

// SumSquares is the sum of squares in float64: over fixed runs of elements, whose
// sums are added in their order.
func (b *Backend) SumSquares(t compute.Tensor) float64 {
	fits(t.DType() == compute.F32, "SumSquares", t)
	perRow := 1
	rows, cols := t.NumRows(), t.NumCols()
	if t.Contiguous() {
		rows, cols = 1, t.Len()
		perRow = (cols + chunkElems - 1) / chunkElems
	}
	n := rows * perRow
	if n == 1 {
		return b.squares(slice(rowPtr(t, 0), cols))
	}
	b.shared.begin()
	defer b.shared.end()
	sums := unsafe.Slice((*float64)(unsafe.Pointer(b.shared.floats(2*n))), n)
	b.pool.run(n, func(_ *worker, c int) {
		from := c % perRow * chunkElems
		to := cols
		if perRow > 1 {
			to = min(cols, from+chunkElems)
		}
		sums[c] = b.squares(slice(at(rowPtr(t, c/perRow), from), to-from))
	})
	total := 0.0
	for _, s := range sums {
		total += s
	}
	return total
}

func (b *Backend) squares(x []float32) float64 {
	sum, done := 0.0, 0
	if b.k.vector && len(x) >= 16 {
		done = len(x) &^ 15
		sum = b.k.sumSquares(&x[0], done)
	}
	for _, v := range x[done:] {
		sum += float64(v) * float64(v)
	}
	return sum
}

// AdamW is one optimiser step; see compute.AdamWArgs.
func (b *Backend) AdamW(a compute.AdamWArgs) {
	a.Check()
	if !b.k.vector {
		b.rowChunks(a.P.NumRows(), a.P.NumCols(), func(from, to int) { b.Reference.AdamW(adamRows(a, from, to)) })
		return
	}
	k := [...]float32{a.GradScale, a.Beta1, 1 - a.Beta1, a.Beta2, 1 - a.Beta2, a.Correct1, a.Correct2, a.Eps, a.WeightDecay, -a.LR}
	hasWorking := !a.Working.IsZero()
	contiguous := a.P.Contiguous() && a.G.Contiguous() && a.M.Contiguous() && a.V.Contiguous() && (!hasWorking || a.Working.Contiguous())
	b.runs(a.P, contiguous, func(row, col, n int) {
		p := at(rowPtr(a.P, row), col)
		var working *uint16
		if hasWorking {
			working = (*uint16)(unsafe.Add(a.Working.Ptr(), 2*(row*a.Working.Stride()+col)))
		}
		b.k.adamW(p, at(rowPtr(a.G, row), col), at(rowPtr(a.M, row), col), at(rowPtr(a.V, row), col), working, n, &k[0])
		if hasWorking {
			done := n &^ 15
			num.BF16SliceFromF32(unsafe.Slice(working, n)[done:], slice(p, n)[done:])
		}
	})
}

func adamRows(a compute.AdamWArgs, from, to int) compute.AdamWArgs {
	a.P, a.G, a.M, a.V = a.P.Rows(from, to), a.G.Rows(from, to), a.M.Rows(from, to), a.V.Rows(from, to)
	if !a.Working.IsZero() {
		a.Working = a.Working.Rows(from, to)
	}
	return a
}
