package cpu

import "unsafe"

const (
	// int8FewRows is up to how many rows of A weights are taken apart anew for every
	// int8FewMost of them, in registers; for more it pays to do it once, into panels.
	int8FewRows = 16
	// int8FewBytes of weights stay in the second-level cache until all rows and their
	// rests have met them.
	int8FewBytes = 64 << 10
)

// fewRows makes a tile of C for a few rows of A from weights where they lie.
func (j *int8Job) fewRows(w *worker, p *int8Part, rows, cols span) {
	t := &j.weights
	step := max(1, int8FewBytes/(int8Strip*t.k/t.bt.Elements()*t.bt.Bytes())) * int8Strip
	chunks := (rows.len() + int8FewMost - 1) / int8FewMost
	per := (rows.len() + chunks - 1) / chunks
	for n := cols.from; n < cols.to; n += step {
		part := span{n, min(n+step, cols.to)}
		if !j.acc {
			for r := rows.from; r < rows.to; r++ {
				clear(unsafe.Slice((*float32)(unsafe.Add(p.c, r*p.ldc+4*n)), part.len()))
			}
		}
		for r := rows.from; r < rows.to; r += per {
			j.meetFew(w, p, &j.a.first, span{r, min(r+per, rows.to)}, part, span{0, t.k})
		}
		j.fewAgain(w, p, rows, part)
	}
}

// fewAgain adds the rests of outlying groups, block by block as again does.
func (j *int8Job) fewAgain(w *worker, p *int8Part, rows, cols span) {
	n := j.weights.bt.Elements()
	for e := j.nextAgain(p, rows, 0); e >= 0; e = j.nextAgain(p, rows, e+1) {
		for r := rows.from; r < rows.to; r++ {
			to := r
			for to < min(rows.to, r+int8FewMost) && j.a.isAgain(p.row+to, e) {
				to++
			}
			if to > r {
				j.meetFew(w, p, &j.a.rest, span{r, to}, cols, span{e * n, e*n + n})
				r = to - 1
			}
		}
	}
}

// meetFew adds to columns cols of up to int8FewMost rows of part p the products of
// elements ks.
func (j *int8Job) meetFew(w *worker, p *int8Part, from *int8Codes, rows, cols, ks span) {
	if rows.len() == 1 {
		j.inRow(w, p, from, rows.from, cols, ks)
		return
	}
	t, m := &j.weights, rows.len()
	y := (*float32)(unsafe.Add(p.c, rows.from*p.ldc+4*cols.from))
	a, _, x := j.a.row(from, t.group, p.row+rows.from, ks.from)
	blocks, skip := ks.len()/t.bt.Elements(), ks.from/t.bt.Elements()*t.bt.Bytes()
	strips := cols.len() / int8Strip
	if strips > 0 {
		b := unsafe.Add(p.w, cols.from*p.ldw+skip)
		t.f.few(m, strips, blocks, (*byte)(b), p.ldw, a, x, j.a.ld, y, p.ldc, t.following(b, p.ldw, ks.len()))
	}
	rest := cols.len() - strips*int8Strip
	if rest == 0 {
		return
	}
	mark := w.scratch.Mark()
	out := scratch(w, int8FewMost*int8Strip)
	tail := floatAt(y, 4*strips*int8Strip)
	copyColumns(out, 4*int8Strip, tail, p.ldc, m, rest)
	b, ld := j.strip(w, p, cols.to-rest, ks.from, ks.to)
	t.f.few(m, 1, blocks, (*byte)(b), ld, a, x, j.a.ld, out, 4*int8Strip, (*byte)(b))
	copyColumns(tail, p.ldc, out, 4*int8Strip, m, rest)
	w.scratch.Release(mark)
}
