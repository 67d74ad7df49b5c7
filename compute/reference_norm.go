package compute

import "math"

// LayerNorm is y = (x - mean) / sqrt(variance + eps) * w + b per row (Ba et al., 2016),
// the variance being that of the differences from the mean.
func (*Reference) LayerNorm(y, x, w, b Tensor, eps float32) {
	if !(is(x, F32, y.rows, y.cols) && is(y, F32, x.rows, x.cols) && is(w, F32, 1, x.cols) && is(b, F32, 1, x.cols)) {
		mismatch("LayerNorm", "y, x [T,D], w, b [1,D] must fit", y, x, w, b)
	}
	wr, br := w.RowF32(0), b.RowF32(0)
	for t := range x.rows {
		xr, yr := x.RowF32(t), y.RowF32(t)
		mean := sumLanes(xr) / float32(x.cols)
		for c := range yr {
			yr[c] = xr[c] - mean
		}
		s := 1 / float32(math.Sqrt(float64(dotLanes(yr, yr)/float32(x.cols)+eps)))
		for c := range yr {
			yr[c] = fma(yr[c]*s, wr[c], br[c])
		}
	}
}

// AddRow is dst[t] += row.
func (*Reference) AddRow(dst, row Tensor) {
	if !(dst.dtype == F32 && is(row, F32, 1, dst.cols)) {
		mismatch("AddRow", "dst[T,D], row[1,D] must fit", dst, row)
	}
	from := row.RowF32(0)
	for t := range dst.rows {
		d := dst.RowF32(t)
		for c := range d {
			d[c] += from[c]
		}
	}
}

// SumRows is drow += sum over t of dy[t], in the order of t.
func (*Reference) SumRows(drow, dy Tensor) {
	if !(dy.dtype == F32 && is(drow, F32, 1, dy.cols)) {
		mismatch("SumRows", "drow[1,D], dy[T,D] must fit", drow, dy)
	}
	d := drow.RowF32(0)
	for t := range dy.rows {
		for c, v := range dy.RowF32(t) {
			d[c] += v
		}
	}
}
