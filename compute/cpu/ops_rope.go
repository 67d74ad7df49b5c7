package cpu

import "sonde/compute"

// Rope rotates pairs; see compute.RopeArgs.
func (b *Backend) Rope(a compute.RopeArgs) {
	a.Check()
	pos := a.Pos.RowI32(0)
	checkIDs("Rope", pos, a.Table)
	b.rowChunks(a.X.NumRows(), a.Heads*a.Dim, func(from, to int) {
		if !b.k.vector || a.Dim%8 != 0 || a.Halves {
			p := a
			p.X, p.Pos = a.X.Rows(from, to), a.Pos.Cols(from, to)
			b.Reference.Rope(p)
			return
		}
		for r := from; r < to; r++ {
			cos := rowPtr(a.Table, int(pos[r]))
			b.k.rope(at(rowPtr(a.X, r), a.Offset), 4*a.HeadStride, cos, at(cos, a.Dim/2), a.Heads, a.Dim, flag(a.Inverse))
		}
	})
}
