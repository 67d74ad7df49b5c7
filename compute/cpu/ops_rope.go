package cpu

import "sonde/compute"

// Rope rotates pairs; see compute.RopeArgs.
func (b *Backend) Rope(a compute.RopeArgs) {
	a.Check()
	pos := a.Pos.RowI32(0)
	checkIDs("Rope", pos, a.Table)
	b.rowChunks(a.X.NumRows(), a.Heads*a.Dim, func(from, to int) {
		if !b.k.vector || a.Dim%8 != 0 || a.Halves && a.Dim%16 != 0 {
			p := a
			p.X, p.Pos = a.X.Rows(from, to), a.Pos.Cols(from, to)
			b.Reference.Rope(p)
			return
		}
		for r := from; r < to; r++ {
			x, cos := at(rowPtr(a.X, r), a.Offset), rowPtr(a.Table, int(pos[r]))
			if a.Halves {
				b.k.ropeHalves(x, 4*a.HeadStride, cos, at(cos, a.Dim/2), a.Heads, a.Dim/2, flag(a.Inverse))
			} else {
				b.k.rope(x, 4*a.HeadStride, cos, at(cos, a.Dim/2), a.Heads, a.Dim, flag(a.Inverse))
			}
		}
	})
}
