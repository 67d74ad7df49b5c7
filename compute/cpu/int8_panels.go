package cpu

import "unsafe"

// int8PanelBytes is how much of a panel is made at a time: it stays in the first-level
// cache while rows of A pass by.
const int8PanelBytes = 16 << 10

// panels makes a tile of C: sixteen rows of weights are unpacked, some of their columns
// at a time, and meet all rows of A.
func (j *int8Job) panels(w *worker, p *int8Part, rows, cols span) {
	t := &j.weights
	per := int8PanelCols // bytes of a panel for a step of k
	if !t.nib {
		per *= 2
	}
	step := max(roundUp(int8PanelBytes/per, t.bt.Elements()), t.bt.Elements())
	step = min(step, t.k)
	panel := unsafe.Pointer(scratch(w, step*per/4))
	f := scratch(w, step/t.group*t.factors/4)
	for n := cols.from; n < cols.to; n += int8PanelCols {
		c, ldc := (*float32)(unsafe.Add(p.c, rows.from*p.ldc+4*n)), p.ldc
		have := min(int8PanelCols, cols.to-n)
		mark := w.scratch.Mark()
		if have < int8PanelCols {
			c, ldc = scratch(w, rows.len()*int8PanelCols), 4*int8PanelCols
			copyColumns(c, ldc, (*float32)(unsafe.Add(p.c, rows.from*p.ldc+4*n)), p.ldc, rows.len(), have)
		}
		if !j.acc {
			for i := range rows.len() {
				clear(unsafe.Slice(floatAt(c, i*ldc), have))
			}
		}
		for k := 0; k < t.k; k += step {
			to := min(k+step, t.k)
			inner := w.scratch.Mark()
			j.pack(w, p, n, span{k, to}, panel, f)
			w.scratch.Release(inner)
			j.meet(p, rows, span{k, to}, (*byte)(panel), f, c, ldc)
		}
		if have < int8PanelCols {
			copyColumns((*float32)(unsafe.Add(p.c, rows.from*p.ldc+4*n)), p.ldc, c, ldc, rows.len(), have)
		}
		w.scratch.Release(mark)
	}
}

// copyColumns copies n columns of rows.
func copyColumns(dst *float32, ldd int, src *float32, lds, rows, n int) {
	for i := range rows {
		copy(unsafe.Slice(floatAt(dst, i*ldd), n), unsafe.Slice(floatAt(src, i*lds), n))
	}
}

// meet multiplies rows of A with a panel of columns ks.
func (j *int8Job) meet(p *int8Part, rows, ks span, panel *byte, f, c *float32, ldc int) {
	t := &j.weights
	a, lda, from := j.a.codes, j.a.ld, ks.from
	if !t.nib {
		a, lda, from = j.a.pairs, 2*lda, 2*from
	}
	tiles := (rows.len() + int8PanelRows - 1) / int8PanelRows
	per := (rows.len() + tiles - 1) / tiles
	for r := 0; r < rows.len(); r += per {
		row := p.row + rows.from + r
		t.panel(min(per, rows.len()-r), ks.len()/t.group, (*byte)(unsafe.Add(a, row*lda+from)), lda,
			(*float32)(unsafe.Add(j.a.aux, row*j.a.ldx+8*(ks.from/t.group))), j.a.ldx, panel, f, floatAt(c, r*ldc), ldc)
	}
}

// pack unpacks columns ks of sixteen rows of weights from row n on.
func (j *int8Job) pack(w *worker, p *int8Part, n int, ks span, panel unsafe.Pointer, f *float32) {
	t := &j.weights
	for half := range int8PanelCols / int8Strip {
		b, ld := j.strip(w, p, n+half*int8Strip, ks.from, ks.to)
		dst, factors := unsafe.Add(panel, 32*half), floatAt(f, 32*half)
		if t.f != nil {
			t.f.pack(ks.len()/t.bt.Elements(), (*byte)(b), ld, (*byte)(dst), factors)
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
