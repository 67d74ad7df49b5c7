package cpu

import "unsafe"

// row computes columns cols of one row of C: what a decoding step does with every
// weight. Weights are read once, where they lie.
func (t *gemmKernels) row(w *worker, p *product, i int, cols span) {
	r := i
	if p.aRows != nil {
		r = int(p.aRows[i])
	}
	x := (*float32)(unsafe.Add(p.a, r*p.lda))
	if p.round {
		rounded := scratch(w, p.k)
		t.copyRow(rounded, x, p.k, true)
		x = rounded
	}
	y := (*float32)(unsafe.Add(p.c, i*p.ldc))
	g := gemv{t: t, w: w, b: &p.b, k: p.k, x: x, packed: scratch(w, blockK*t.nr), edge: scratch(w, t.nr)}
	if p.acc {
		g.acc = 1
	}
	j := cols.from
	if p.b.transposed {
		for ; j+t.nr <= cols.to; j += t.nr {
			g.panelT(floatAt(y, 4*j), j)
		}
	} else if t.wide > 0 && !p.b.round {
		for ; j+t.wide <= cols.to; j += t.wide {
			g.panelN(floatAt(y, 4*j), j)
		}
	}
	for ; j < cols.to; j += t.nr {
		g.packedPanel(floatAt(y, 4*j), 0, j, min(t.nr, cols.to-j), g.acc)
	}
}

// gemv is one row times a matrix.
type gemv struct {
	t      *gemmKernels
	w      *worker
	b      *operand
	k      int
	x      *float32
	packed *float32 // a panel of B
	edge   *float32 // nr sums
	acc    int
}

// panelT makes nr outputs whose weights are rows from j on.
func (g *gemv) panelT(y *float32, j int) {
	b, whole := g.b, 0
	w := unsafe.Add(b.p, j*b.ld)
	switch {
	case g.t.gemvTF32 == nil || b.round:
	case b.bf16:
		if whole = g.k &^ 31; whole > 0 {
			g.t.gemvTBF16(whole, (*uint16)(w), b.ld, g.x, y, g.acc)
		}
	default:
		if whole = g.k &^ 15; whole > 0 {
			g.t.gemvTF32(whole, (*float32)(w), b.ld, g.x, y, g.acc)
		}
	}
	if whole < g.k {
		acc := g.acc
		if whole > 0 {
			acc = 1
		}
		g.packedPanel(y, whole, j, g.t.nr, acc)
	}
}

// panelN makes wide outputs whose weights are columns from j on.
func (g *gemv) panelN(y *float32, j int) {
	b := g.b
	w := unsafe.Add(b.p, j*b.size())
	if b.bf16 {
		g.t.gemvNBF16(g.k, (*uint16)(w), b.ld, g.x, y, g.acc)
		return
	}
	g.t.gemvNF32(g.k, (*float32)(w), b.ld, g.x, y, g.acc)
}

// packedPanel makes n outputs over k from p0 on, by way of a packed panel.
func (g *gemv) packedPanel(y *float32, p0, j, n, acc int) {
	t, ld := g.t, 4*g.t.nr
	out := y
	if n < t.nr {
		out = g.edge
		copy(unsafe.Slice(out, n), unsafe.Slice(y, n))
	}
	for ; p0 < g.k; p0 += blockK {
		k := min(blockK, g.k-p0)
		t.pack(g.packed, g.b, p0, k, j, n)
		t.panel(1, k, floatAt(g.x, 4*p0), 0, 4, g.packed, ld, out, ld, acc)
		acc = 1
	}
	if n < t.nr {
		copy(unsafe.Slice(y, n), unsafe.Slice(out, n))
	}
}
