package cpu

import "unsafe"

// int8PanelBytes is how much of panels is made at a time, and int8PanelCount how many
// of them at most: they stay in the second-level cache and pass through the first while
// a few rows of A stay there.
const (
	int8PanelBytes = 128 << 10
	int8PanelCount = 4
)

// panels makes a tile of C: rows of weights are unpacked, sixteen to a panel and some
// of their columns at a time, and meet all rows of A.
func (j *int8Job) panels(w *worker, p *int8Part, rows, cols span) {
	const most = int8PanelCount * int8PanelCols
	for ; cols.len() > most; cols.from += most {
		j.panels(w, p, rows, span{cols.from, cols.from + most})
	}
	t := &j.weights
	count := (cols.len() + int8PanelCols - 1) / int8PanelCols
	step := max(int8PanelBytes/(count*t.panelBytes(1))/t.bt.Elements(), 1) * t.bt.Elements()
	step = min(step, t.k)
	size, factors := t.panelBytes(step), step/t.group*t.factors
	panel, f := unsafe.Pointer(scratch(w, count*size/4)), scratch(w, count*factors/4)
	edge := scratch(w, int8PanelRows*int8PanelCols)
	for k := 0; k < t.k; k += step {
		ks := span{k, min(k+step, t.k)}
		for i := range count {
			mark := w.scratch.Mark()
			j.pack(w, p, cols.from+i*int8PanelCols, ks, unsafe.Add(panel, i*size), floatAt(f, i*factors))
			w.scratch.Release(mark)
		}
		tiles := (rows.len() + int8PanelRows - 1) / int8PanelRows
		per := (rows.len() + tiles - 1) / tiles
		for r := rows.from; r < rows.to; r += per {
			for i := range count {
				n := cols.from + i*int8PanelCols
				j.meet(p, span{r, min(r+per, rows.to)}, span{n, min(n+int8PanelCols, cols.to)}, ks,
					(*byte)(unsafe.Add(panel, i*size)), floatAt(f, i*factors), edge)
			}
		}
	}
	j.again(w, p, rows, cols)
}

// panelBytes is the size of k steps of a panel.
func (t *int8Weights) panelBytes(k int) int {
	if t.nib {
		return k * int8PanelCols
	}
	return 2 * k * int8PanelCols
}

// meet multiplies a few rows of A with the columns ks of a panel. edge has room for
// their part of C.
func (j *int8Job) meet(p *int8Part, rows, cols, ks span, panel *byte, f, edge *float32) {
	acc := 0
	if j.acc || ks.from > 0 {
		acc = 1
	}
	c, ldc := (*float32)(unsafe.Add(p.c, rows.from*p.ldc+4*cols.from)), p.ldc
	if cols.len() < int8PanelCols {
		copyColumns(edge, 4*int8PanelCols, c, ldc, rows.len(), cols.len())
		defer copyColumns(c, ldc, edge, 4*int8PanelCols, rows.len(), cols.len())
		c, ldc = edge, 4*int8PanelCols
	}
	j.multiply(&j.a.first, p.row+rows.from, rows.len(), ks, panel, f, c, ldc, acc)
}

// multiply calls the kernel for rows of A from row on.
func (j *int8Job) multiply(from *int8Codes, row, rows int, ks span, panel *byte, f, c *float32, ldc, acc int) {
	t := &j.weights
	a, pairs, x := j.a.row(from, t.group, row, ks.from)
	lda := j.a.ld
	if !t.nib {
		a, lda = (*byte)(unsafe.Pointer(pairs)), 2*lda
	}
	t.panel(rows, ks.len()/t.group, a, lda, x, j.a.ldx, panel, f, c, ldc, acc)
}

// again adds the rest of outlying groups to a tile of C.
func (j *int8Job) again(w *worker, p *int8Part, rows, cols span) {
	n := j.weights.bt.Elements()
	for r := rows.from; r < rows.to; r++ {
		for _, e := range j.a.blocksAgain(p.row + r) {
			ks := span{int(e) * n, int(e)*n + n}
			if j.weights.f != nil {
				j.inRow(w, p, &j.a.rest, r, cols, ks)
			} else {
				j.unpackedInRow(w, p, r, cols, ks)
			}
		}
	}
}

// unpackedInRow is inRow for the rest of row r in a format without a kernel for rows.
func (j *int8Job) unpackedInRow(w *worker, p *int8Part, r int, cols, ks span) {
	t := &j.weights
	mark := w.scratch.Mark()
	panel, f := unsafe.Pointer(scratch(w, t.panelBytes(ks.len())/4)), scratch(w, ks.len()/t.group*t.factors/4)
	out := scratch(w, int8PanelCols)
	for n := cols.from; n < cols.to; n += int8PanelCols {
		inner := w.scratch.Mark()
		j.pack(w, p, n, ks, panel, f)
		w.scratch.Release(inner)
		c := unsafe.Slice((*float32)(unsafe.Add(p.c, r*p.ldc+4*n)), min(int8PanelCols, cols.to-n))
		copy(unsafe.Slice(out, len(c)), c)
		j.multiply(&j.a.rest, p.row+r, 1, ks, (*byte)(panel), f, out, 0, 1)
		copy(c, unsafe.Slice(out, len(c)))
	}
	w.scratch.Release(mark)
}

// copyColumns copies n columns of rows.
func copyColumns(dst *float32, ldd int, src *float32, lds, rows, n int) {
	for i := range rows {
		copy(unsafe.Slice(floatAt(dst, i*ldd), n), unsafe.Slice(floatAt(src, i*lds), n))
	}
}

// pack unpacks columns ks of sixteen rows of weights from row n on.
func (j *int8Job) pack(w *worker, p *int8Part, n int, ks span, panel unsafe.Pointer, f *float32) {
	t := &j.weights
	for half := range int8PanelCols / int8Strip {
		b, ld := j.strip(w, p, n+half*int8Strip, ks.from, ks.to)
		dst, factors := unsafe.Add(panel, 32*half), floatAt(f, 32*half)
		if t.f != nil {
			t.f.pack(ks.len()/t.bt.Elements(), (*byte)(b), ld, (*byte)(dst), factors, t.following(b, ld, ks.len()))
			continue
		}
		t.unpack(w, b, ld, ks.len(), dst, factors)
	}
}

// unpack is a format's pack in Go, by way of num.BlockType.Unpack: codes become int16,
// elements 0 2, then 1 3 of every four.
func (t *int8Weights) unpack(w *worker, b unsafe.Pointer, ld, k int, dst unsafe.Pointer, f *float32) {
	groups := k / t.group
	codes := unsafe.Slice((*int8)(unsafe.Pointer(scratch(w, k/4))), k)
	d, m := unsafe.Slice(scratch(w, groups), groups), unsafe.Slice(scratch(w, groups), groups)
	for i := range int8Strip {
		row := unsafe.Slice((*byte)(unsafe.Add(b, i*ld)), k/t.bt.Elements()*t.bt.Bytes())
		t.bt.Unpack(codes, d, m, row)
		out := unsafe.Add(dst, 4*i)
		for q := 0; q < k; q += 4 {
			*(*[2]int16)(out) = [2]int16{int16(codes[q]), int16(codes[q+2])}
			*(*[2]int16)(unsafe.Add(out, 64)) = [2]int16{int16(codes[q+1]), int16(codes[q+3])}
			out = unsafe.Add(out, 128)
		}
		for g := range groups {
			*floatAt(f, g*t.factors+4*i) = d[g]
			if t.min {
				*floatAt(f, g*t.factors+64+4*i) = m[g]
			}
		}
	}
}
