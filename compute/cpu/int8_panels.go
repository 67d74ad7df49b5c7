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
	m := panelMemory{size: t.panelBytes(step), factors: step / t.group * t.factors}
	m.p, m.f = unsafe.Pointer(scratch(w, count*m.size/4)), scratch(w, count*m.factors/4)
	m.edge = scratch(w, int8PanelRows*int8PanelCols)
	for k := 0; k < t.k; k += step {
		ks := span{k, min(k+step, t.k)}
		j.packAll(w, p, &m, cols, ks)
		tiles := (rows.len() + int8PanelRows - 1) / int8PanelRows
		per := (rows.len() + tiles - 1) / tiles
		for r := rows.from; r < rows.to; r += per {
			j.meet(p, &j.a.first, &m, span{r, min(r+per, rows.to)}, cols, ks, j.acc || k > 0)
		}
	}
	j.again(w, p, &m, rows, cols)
}

// panelMemory is where the panels of a tile are.
type panelMemory struct {
	p             unsafe.Pointer
	f             *float32 // factors
	size, factors int      // bytes of a panel's
	edge          *float32 // room for a few rows of a panel's part of C
}

// packAll unpacks columns ks of the weights of columns cols of C.
func (j *int8Job) packAll(w *worker, p *int8Part, m *panelMemory, cols, ks span) {
	for i, n := 0, cols.from; n < cols.to; i, n = i+1, n+int8PanelCols {
		mark := w.scratch.Mark()
		j.pack(w, p, n, ks, unsafe.Add(m.p, i*m.size), floatAt(m.f, i*m.factors))
		w.scratch.Release(mark)
	}
}

// again adds the rests of outlying groups to a tile of C, block by block: it is often
// the same ones that many rows have.
func (j *int8Job) again(w *worker, p *int8Part, m *panelMemory, rows, cols span) {
	n := j.weights.bt.Elements()
	for e := j.nextAgain(p, rows, 0); e >= 0; e = j.nextAgain(p, rows, e+1) {
		ks := span{e * n, e*n + n}
		j.packAll(w, p, m, cols, ks)
		for r := rows.from; r < rows.to; {
			to := r
			for to < min(rows.to, r+int8PanelRows) && j.a.isAgain(p.row+to, e) {
				to++
			}
			if to == r {
				r++
				continue
			}
			j.meet(p, &j.a.rest, m, span{r, to}, cols, ks, true)
			r = to
		}
	}
}

// nextAgain is the first block, no earlier than e, of which any of the rows has a rest,
// or -1.
func (j *int8Job) nextAgain(p *int8Part, rows span, e int) int {
	first := -1
	for r := rows.from; r < rows.to; r++ {
		for _, b := range j.a.blocksAgain(p.row + r) {
			if b := int(b); b >= e {
				if first < 0 || b < first {
					first = b
				}
				break
			}
		}
	}
	return first
}

// panelBytes is the size of k steps of a panel.
func (t *int8Weights) panelBytes(k int) int {
	if t.nib {
		return k * int8PanelCols
	}
	return 2 * k * int8PanelCols
}

// meet multiplies a few rows of A with columns ks of the panels of a tile.
func (j *int8Job) meet(p *int8Part, from *int8Codes, m *panelMemory, rows, cols, ks span, add bool) {
	t := &j.weights
	a, pairs, x := j.a.row(from, t.group, p.row+rows.from, ks.from)
	lda, acc := j.a.ld, 0
	if !t.nib {
		a, lda = (*byte)(unsafe.Pointer(pairs)), 2*lda
	}
	if add {
		acc = 1
	}
	for i, n := 0, cols.from; n < cols.to; i, n = i+1, n+int8PanelCols {
		panel, f := (*byte)(unsafe.Add(m.p, i*m.size)), floatAt(m.f, i*m.factors)
		c := (*float32)(unsafe.Add(p.c, rows.from*p.ldc+4*n))
		if have := cols.to - n; have < int8PanelCols {
			copyColumns(m.edge, 4*int8PanelCols, c, p.ldc, rows.len(), have)
			t.panel(rows.len(), ks.len()/t.group, a, lda, x, j.a.ldx, panel, f, m.edge, 4*int8PanelCols, acc)
			copyColumns(c, p.ldc, m.edge, 4*int8PanelCols, rows.len(), have)
			continue
		}
		t.panel(rows.len(), ks.len()/t.group, a, lda, x, j.a.ldx, panel, f, c, p.ldc, acc)
	}
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
