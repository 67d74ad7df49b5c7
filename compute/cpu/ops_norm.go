package cpu

import "sonde/compute"

// part is columns [from, to) of an optional vector of one value per row.
func part(v compute.Tensor, from, to int) compute.Tensor {
	if v.IsZero() {
		return v
	}
	return v.Cols(from, to)
}

// RMSNorm is y = x * rstd * w (Zhang & Sennrich, 2019).
func (b *Backend) RMSNorm(y, rstd, x, w compute.Tensor, eps float32) {
	t, d := x.NumRows(), x.NumCols()
	fits(isF32(x, t, d) && isF32(y, t, d) && isF32(w, 1, d) && (rstd.IsZero() || isF32(rstd, 1, t)), "RMSNorm", y, x, w, rstd)
	if !b.k.vector {
		b.rowChunks(t, d, func(from, to int) {
			b.Reference.RMSNorm(y.Rows(from, to), part(rstd, from, to), x.Rows(from, to), w, eps)
		})
		return
	}
	if rstd.IsZero() {
		b.shared.begin()
		defer b.shared.end()
		rstd = b.shared.arena.F32(1, t)
	}
	b.rowChunks(t, d, func(from, to int) {
		b.k.rmsNorm(rowPtr(y, from), bytes(y), rowPtr(x, from), bytes(x), rowPtr(w, 0), at(rowPtr(rstd, 0), from), to-from, d, eps)
	})
}

// RMSNormBackwardInput is dx (+)= rstd*(dy*w - x * rstd^2 * mean(dy*w*x)).
func (b *Backend) RMSNormBackwardInput(dx, dy, x, w, rstd compute.Tensor, accumulate bool) {
	t, d := x.NumRows(), x.NumCols()
	fits(isF32(x, t, d) && isF32(dx, t, d) && isF32(dy, t, d) && isF32(w, 1, d) && isF32(rstd, 1, t),
		"RMSNormBackwardInput", dx, dy, x, w, rstd)
	acc := flag(accumulate)
	b.rowChunks(t, d, func(from, to int) {
		if !b.k.vector {
			b.Reference.RMSNormBackwardInput(dx.Rows(from, to), dy.Rows(from, to), x.Rows(from, to), w, rstd.Cols(from, to), accumulate)
			return
		}
		b.k.rmsNormBackInput(rowPtr(dx, from), bytes(dx), rowPtr(dy, from), bytes(dy), rowPtr(x, from), bytes(x),
			rowPtr(w, 0), at(rowPtr(rstd, 0), from), to-from, d, acc)
	})
}

func flag(on bool) int {
	if on {
		return 1
	}
	return 0
}

// normCols is the width of the column strips of RMSNormBackwardWeight, whose sums
// over rows are kept in their order by cutting columns alone.
const normCols = 32

// maxRows bounds the rows of one kernel call that walks a strip.
const maxRows = 2048

// RMSNormBackwardWeight is dw += sum over t of dy * x * rstd, in the order of t.
func (b *Backend) RMSNormBackwardWeight(dw, dy, x, rstd compute.Tensor) {
	t, d := x.NumRows(), x.NumCols()
	fits(isF32(x, t, d) && isF32(dy, t, d) && isF32(dw, 1, d) && isF32(rstd, 1, t), "RMSNormBackwardWeight", dw, dy, x, rstd)
	if !b.k.vector {
		b.Reference.RMSNormBackwardWeight(dw, dy, x, rstd)
		return
	}
	strip := func(col, cols int) {
		for r := 0; r < t; r += maxRows {
			b.k.rmsNormBackWeight(at(rowPtr(dw, 0), col), at(rowPtr(dy, r), col), bytes(dy), at(rowPtr(x, r), col), bytes(x),
				at(rowPtr(rstd, 0), r), min(maxRows, t-r), cols)
		}
	}
	if t*d <= chunkElems {
		strip(0, d)
		return
	}
	b.pool.run((d+normCols-1)/normCols, func(_ *worker, c int) { strip(c*normCols, min(normCols, d-c*normCols)) })
}
