package compute

import (
	"fmt"
	"math"
)

// id checks a row number that came from data.
func id(op string, i int32, t Tensor) int {
	if i < 0 || int(i) >= t.rows {
		panic(fmt.Sprintf("compute: %s: id %d is outside %v", op, i, t))
	}
	return int(i)
}

// Embed is out[t] = table[ids[t]].
func (*Reference) Embed(out, table, ids Tensor) {
	if !(out.cols == table.cols && readable(table) && is(ids, I32, 1, out.rows)) {
		mismatch("Embed", "out[T,D], table[V,D], ids[1,T] must fit", out, table, ids)
	}
	table.CheckScales("Embed")
	for t, i := range ids.RowI32(0) {
		table.readRow(out.RowF32(t), id("Embed", i, table), false)
	}
}

// EmbedBackward is dtable[ids[t]] += dout[t], in the order of t.
func (*Reference) EmbedBackward(dtable, dout, ids Tensor) {
	if !(dout.cols == dtable.cols && is(ids, I32, 1, dout.rows)) {
		mismatch("EmbedBackward", "dtable[V,D], dout[T,D], ids[1,T] must fit", dtable, dout, ids)
	}
	for t, i := range ids.RowI32(0) {
		to, from := dtable.RowF32(id("EmbedBackward", i, dtable)), dout.RowF32(t)
		for c := range to {
			to[c] += from[c]
		}
	}
}

// RMSNorm is y = x * rstd * w (Zhang & Sennrich, 2019).
func (*Reference) RMSNorm(y, rstd, x, w Tensor, eps float32) {
	if !(is(y, F32, x.rows, x.cols) && is(w, F32, 1, x.cols) && (rstd.IsZero() || is(rstd, F32, 1, x.rows))) {
		mismatch("RMSNorm", "y, x [T,D], w [1,D], rstd [1,T] must fit", y, x, w, rstd)
	}
	wr := w.RowF32(0)
	for t := range x.rows {
		xr, yr := x.RowF32(t), y.RowF32(t)
		mean := dotLanes(xr, xr) / float32(x.cols)
		s := 1 / float32(math.Sqrt(float64(mean+eps)))
		if !rstd.IsZero() {
			rstd.RowF32(0)[t] = s
		}
		for c := range xr {
			yr[c] = xr[c] * s * wr[c]
		}
	}
}

// RMSNormBackwardInput is dx (+)= rstd*(dy*w - x * rstd^2 * mean(dy*w*x)).
func (*Reference) RMSNormBackwardInput(dx, dy, x, w, rstd Tensor, accumulate bool) {
	if !(is(dx, F32, x.rows, x.cols) && is(dy, F32, x.rows, x.cols) && is(w, F32, 1, x.cols) && is(rstd, F32, 1, x.rows)) {
		mismatch("RMSNormBackwardInput", "dx, dy, x [T,D], w [1,D], rstd [1,T] must fit", dx, dy, x, w, rstd)
	}
	wr := w.RowF32(0)
	dyw := make([]float32, x.cols)
	for t := range x.rows {
		xr, dyr, dxr, s := x.RowF32(t), dy.RowF32(t), dx.RowF32(t), rstd.RowF32(0)[t]
		for c := range dyw {
			dyw[c] = dyr[c] * wr[c]
		}
		k := dotLanes(dyw, xr) / float32(x.cols) * s * s
		for c := range dxr {
			g := fma(-k, xr[c], dyw[c]) * s
			if accumulate {
				g += dxr[c]
			}
			dxr[c] = g
		}
	}
}

// RMSNormBackwardWeight is dw += sum over t of dy * x * rstd, in the order of t.
func (*Reference) RMSNormBackwardWeight(dw, dy, x, rstd Tensor) {
	if !(is(dy, F32, x.rows, x.cols) && is(dw, F32, 1, x.cols) && is(rstd, F32, 1, x.rows)) {
		mismatch("RMSNormBackwardWeight", "dy, x [T,D], dw [1,D], rstd [1,T] must fit", dw, dy, x, rstd)
	}
	d := dw.RowF32(0)
	for t := range x.rows {
		xr, dyr, s := x.RowF32(t), dy.RowF32(t), rstd.RowF32(0)[t]
		for c := range d {
			d[c] = fma(dyr[c], xr[c]*s, d[c])
		}
	}
}

func sigmoid(x float32) float32 { return 1 / (1 + exp(-x)) }

// SwiGLU is y = silu(gate) * up * rowScale (Shazeer, 2020).
func (*Reference) SwiGLU(y, gate, up, rowScale Tensor) {
	if !(is(y, F32, gate.rows, gate.cols) && is(up, F32, gate.rows, gate.cols) && (rowScale.IsZero() || is(rowScale, F32, 1, gate.rows))) {
		mismatch("SwiGLU", "y, gate, up [T,D], rowScale [1,T] must fit", y, gate, up, rowScale)
	}
	for t := range y.rows {
		yr, g, u := y.RowF32(t), gate.RowF32(t), up.RowF32(t)
		for c := range yr {
			yr[c] = g[c] * sigmoid(g[c]) * u[c]
			if !rowScale.IsZero() {
				yr[c] *= rowScale.RowF32(0)[t]
			}
		}
	}
}

// SwiGLUBackward is the gradient of SwiGLU; drowScale = sum(dy * silu(gate) * up).
func (*Reference) SwiGLUBackward(dgate, dup, drowScale, dy, gate, up, rowScale Tensor) {
	rows, cols := gate.rows, gate.cols
	if !(is(dy, F32, rows, cols) && is(up, F32, rows, cols) && is(dgate, F32, rows, cols) && is(dup, F32, rows, cols) &&
		rowScale.IsZero() == drowScale.IsZero() && (rowScale.IsZero() || is(rowScale, F32, 1, rows) && is(drowScale, F32, 1, rows))) {
		mismatch("SwiGLUBackward", "gradients must have their tensors' shapes", dgate, dup, drowScale, dy, gate, up, rowScale)
	}
	act := make([]float32, cols)
	for t := range rows {
		dyr, g, u, dg, du := dy.RowF32(t), gate.RowF32(t), up.RowF32(t), dgate.RowF32(t), dup.RowF32(t)
		scale := float32(1)
		if !rowScale.IsZero() {
			scale = rowScale.RowF32(0)[t]
		}
		for c := range cols {
			sig := sigmoid(g[c])
			silu := g[c] * sig
			act[c] = silu * u[c]
			d := dyr[c] * scale
			slope := sig * fma(g[c], 1-sig, 1)
			dg[c], du[c] = d*u[c]*slope, d*silu
		}
		if !rowScale.IsZero() {
			drowScale.RowF32(0)[t] = dotLanes(dyr, act)
		}
	}
}

// CombineRows is y[t] (+)= sum over j of rows[slot[t,j]], in the order of j.
func (*Reference) CombineRows(y, rows, slot Tensor, accumulate bool) {
	if !(y.cols == rows.cols && y.rows == slot.rows && slot.dtype == I32) {
		mismatch("CombineRows", "y[T,D], rows[R,D], slot[T,K] must fit", y, rows, slot)
	}
	for t := range y.rows {
		yr := y.RowF32(t)
		if !accumulate {
			clear(yr)
		}
		for _, r := range slot.RowI32(t) {
			from := rows.RowF32(id("CombineRows", r, rows))
			for c := range yr {
				yr[c] += from[c]
			}
		}
	}
}
