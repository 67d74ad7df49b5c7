package cpu

import (
	"unsafe"

	"sonde/compute"
)

// LayerNorm is y = (x - mean) / sqrt(variance + eps) * w + b per row (Ba et al., 2016).
func (b *Backend) LayerNorm(y, x, w, bias compute.Tensor, eps float32) {
	t, d := x.NumRows(), x.NumCols()
	fits(isF32(x, t, d) && isF32(y, t, d) && isF32(w, 1, d) && isF32(bias, 1, d), "LayerNorm", y, x, w, bias)
	b.rowChunks(t, d, func(from, to int) {
		if !b.k.vector {
			b.Reference.LayerNorm(y.Rows(from, to), x.Rows(from, to), w, bias, eps)
			return
		}
		b.k.layerNorm(rowPtr(y, from), bytes(y), rowPtr(x, from), bytes(x), rowPtr(w, 0), rowPtr(bias, 0), to-from, d, eps)
	})
}

// AddRow is dst[t] += row.
func (b *Backend) AddRow(dst, row compute.Tensor) {
	t, d := dst.NumRows(), dst.NumCols()
	fits(isF32(dst, t, d) && isF32(row, 1, d), "AddRow", dst, row)
	b.rowChunks(t, d, func(from, to int) {
		if !b.k.vector {
			b.Reference.AddRow(dst.Rows(from, to), row)
			return
		}
		for r := from; r < to; r++ {
			b.k.add(rowPtr(dst, r), rowPtr(row, 0), d)
		}
	})
}

// SumRows is drow += sum over t of dy[t], in the order of t.
func (b *Backend) SumRows(drow, dy compute.Tensor) {
	t, d := dy.NumRows(), dy.NumCols()
	fits(isF32(dy, t, d) && isF32(drow, 1, d), "SumRows", drow, dy)
	if !b.k.vector {
		b.Reference.SumRows(drow, dy)
		return
	}
	b.shared.begin()
	defer b.shared.end()
	order := b.shared.ints(min(t, maxRows))
	for i := range order {
		order[i] = int32(i)
	}
	b.pool.run((d+normCols-1)/normCols, func(_ *worker, c int) {
		from := c * normCols
		for r := 0; r < t; r += maxRows {
			b.k.sumRows(at(rowPtr(drow, 0), from), at(rowPtr(dy, r), from), bytes(dy), unsafe.SliceData(order), min(maxRows, t-r), min(normCols, d-from), 1)
		}
	})
}
