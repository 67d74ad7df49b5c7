package cpu

import "sonde/compute"

// one is the scale of rows that have none.
var one = [1]float32{1}

// rowScales is the address of the scale of row from and the step between scales.
func rowScales(scale compute.Tensor, from int) (*float32, int) {
	if scale.IsZero() {
		return &one[0], 0
	}
	return at(rowPtr(scale, 0), from), 4
}

// SwiGLU is y = silu(gate) * up * rowScale (Shazeer, 2020).
func (b *Backend) SwiGLU(y, gate, up, rowScale compute.Tensor) {
	t, d := gate.NumRows(), gate.NumCols()
	fits(isF32(gate, t, d) && isF32(y, t, d) && isF32(up, t, d) && (rowScale.IsZero() || isF32(rowScale, 1, t)), "SwiGLU", y, gate, up, rowScale)
	b.rowChunks(t, d, func(from, to int) {
		if !b.k.vector {
			b.Reference.SwiGLU(y.Rows(from, to), gate.Rows(from, to), up.Rows(from, to), part(rowScale, from, to))
			return
		}
		s, step := rowScales(rowScale, from)
		b.k.swiglu(rowPtr(y, from), bytes(y), rowPtr(gate, from), bytes(gate), rowPtr(up, from), bytes(up), s, step, to-from, d)
	})
}

// SwiGLUBackward is the gradient of SwiGLU; drowScale = sum(dy * silu(gate) * up).
func (b *Backend) SwiGLUBackward(dgate, dup, drowScale, dy, gate, up, rowScale compute.Tensor) {
	t, d := gate.NumRows(), gate.NumCols()
	fits(isF32(gate, t, d) && isF32(dy, t, d) && isF32(up, t, d) && isF32(dgate, t, d) && isF32(dup, t, d) &&
		rowScale.IsZero() == drowScale.IsZero() && (rowScale.IsZero() || isF32(rowScale, 1, t) && isF32(drowScale, 1, t)),
		"SwiGLUBackward", dgate, dup, drowScale, dy, gate, up, rowScale)
	if !b.k.vector {
		b.rowChunks(t, d, func(from, to int) {
			b.Reference.SwiGLUBackward(dgate.Rows(from, to), dup.Rows(from, to), part(drowScale, from, to),
				dy.Rows(from, to), gate.Rows(from, to), up.Rows(from, to), part(rowScale, from, to))
		})
		return
	}
	if drowScale.IsZero() {
		b.swigluBackPlain(dgate, dup, dy, gate, up)
		return
	}
	b.rowChunks(t, d, func(from, to int) {
		s, step := rowScales(rowScale, from)
		b.k.swigluBack(rowPtr(dgate, from), bytes(dgate), rowPtr(dup, from), bytes(dup), rowPtr(dy, from), bytes(dy),
			rowPtr(gate, from), bytes(gate), rowPtr(up, from), bytes(up), s, at(rowPtr(drowScale, 0), from), step, to-from, d)
	})
}

// swigluBackPlain has no scales: all rows write their scale's gradient to one place
// per chunk, which nobody reads.
func (b *Backend) swigluBackPlain(dgate, dup, dy, gate, up compute.Tensor) {
	t, d := gate.NumRows(), gate.NumCols()
	b.shared.begin()
	defer b.shared.end()
	unread := b.shared.floats(t)
	b.rowChunks(t, d, func(from, to int) {
		b.k.swigluBack(rowPtr(dgate, from), bytes(dgate), rowPtr(dup, from), bytes(dup), rowPtr(dy, from), bytes(dy),
			rowPtr(gate, from), bytes(gate), rowPtr(up, from), bytes(up), &one[0], at(unread, from), 0, to-from, d)
	})
}
