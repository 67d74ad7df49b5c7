package nn

import "sonde/compute"

// Packing says how the rows of a pass are sequences to attention. Other layers know
// nothing of sequences.
type Packing struct {
	// Lens are the sequences' lengths, one after another.
	Lens []int
	// Where sequences share their beginnings, rows of which there is one alone are
	// attention's several times: Rows (I32 [1, X]) is the row that each of attention's X
	// rows is, Own (I32 [1, T]) the place among these of each row, and Pos (I32 [1, X])
	// are positions. Absent, attention's rows are the pass's.
	Rows, Own, Pos compute.Tensor
}

// shared says whether attention's rows are others than the pass's.
func (p Packing) shared() bool { return !p.Rows.IsZero() }

// spread gives attention's rows of t [T, ...].
func (p Packing) spread(be compute.Backend, ar *compute.Arena, t compute.Tensor) compute.Tensor {
	if !p.shared() {
		return t
	}
	out := ar.F32(p.Rows.NumCols(), t.NumCols())
	be.Embed(out, t, p.Rows)
	return out
}

// gather gives the pass's rows of t [X, ...].
func (p Packing) gather(be compute.Backend, ar *compute.Arena, t compute.Tensor) compute.Tensor {
	if !p.shared() {
		return t
	}
	out := ar.F32(p.Own.NumCols(), t.NumCols())
	be.Embed(out, t, p.Own)
	return out
}

// spreadBackward writes dt [T, ...], the gradient of spread, given that of its result.
func (p Packing) spreadBackward(be compute.Backend, dt, dx compute.Tensor) {
	be.Zero(dt)
	be.EmbedBackward(dt, dx, p.Rows)
}

// gatherBackward gives the gradient [X, ...] of gather, given that of its result.
func (p Packing) gatherBackward(be compute.Backend, ar *compute.Arena, dt compute.Tensor) compute.Tensor {
	if !p.shared() {
		return dt
	}
	dx := ar.F32(p.Rows.NumCols(), dt.NumCols())
	be.Zero(dx)
	be.EmbedBackward(dx, dt, p.Own)
	return dx
}
