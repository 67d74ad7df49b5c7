package cpu

import (
	"fmt"
	"unsafe"

	"sonde/compute"
)

// checkIDs panics when an id is no row of t.
func checkIDs(op string, ids []int32, t compute.Tensor) {
	for i, id := range ids {
		if id < 0 || int(id) >= t.NumRows() {
			panic(fmt.Sprintf("cpu: %s: id %d at place %d is outside %v", op, id, i, t))
		}
	}
}

// Embed is out[t] = table[ids[t]].
func (b *Backend) Embed(out, table, ids compute.Tensor) {
	t, d := out.NumRows(), out.NumCols()
	fits(isF32(out, t, table.NumCols()) && isI32(ids, 1, t) && converts(compute.F32, table), "Embed", out, table, ids)
	table.CheckScales("Embed")
	id := ids.RowI32(0)
	checkIDs("Embed", id, table)
	b.rowChunks(t, d, func(from, to int) {
		for r := from; r < to; r++ {
			b.widenTo(out.RowF32(r), &table, int(id[r]), 0)
		}
	})
}

// embedParts is in how many parts EmbedBackward cuts the ids; a part's rows are
// added in their order by one worker.
const embedParts = 32

// EmbedBackward is dtable[ids[t]] += dout[t], in the order of t.
func (b *Backend) EmbedBackward(dtable, dout, ids compute.Tensor) {
	t, d := dout.NumRows(), dout.NumCols()
	fits(isF32(dout, t, dtable.NumCols()) && isI32(ids, 1, t) && dtable.DType() == compute.F32, "EmbedBackward", dtable, dout, ids)
	id := ids.RowI32(0)
	checkIDs("EmbedBackward", id, dtable)
	if !b.k.vector {
		b.Reference.EmbedBackward(dtable, dout, ids)
		return
	}
	b.pool.run(embedParts, func(_ *worker, c int) {
		for r, i := range id {
			if int(i)%embedParts == c {
				b.k.add(rowPtr(dtable, int(i)), rowPtr(dout, r), d)
			}
		}
	})
}

// CombineRows is y[t] (+)= sum over j of rows[slot[t,j]], in the order of j.
func (b *Backend) CombineRows(y, rows, slot compute.Tensor, accumulate bool) {
	t, d, k := y.NumRows(), y.NumCols(), slot.NumCols()
	fits(isF32(y, t, rows.NumCols()) && rows.DType() == compute.F32 && isI32(slot, t, k), "CombineRows", y, rows, slot)
	b.rowChunks(t, d*k, func(from, to int) {
		if !b.k.vector {
			b.Reference.CombineRows(y.Rows(from, to), rows, slot.Rows(from, to), accumulate)
			return
		}
		for r := from; r < to; r++ {
			s := slot.RowI32(r)
			checkIDs("CombineRows", s, rows)
			b.k.sumRows(rowPtr(y, r), rowPtr(rows, 0), bytes(rows), unsafe.SliceData(s), k, d, flag(accumulate))
		}
	})
}
