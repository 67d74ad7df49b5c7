package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() { units = append(units, unit{"gemm", emitGemm}) }

func emitGemm(g *gen) {
	g.gemmPanel()
}

// rows addresses rows of a matrix through a stride and pointers to every third.
type rows struct {
	thirds []reg.GPVirtual
	stride reg.GPVirtual
}

func (r rows) at(i int) Mem {
	base := r.thirds[i/3]
	switch i % 3 {
	case 0:
		return Mem{Base: base}
	case 1:
		return Mem{Base: base, Index: r.stride, Scale: 1}
	}
	return Mem{Base: base, Index: r.stride, Scale: 2}
}

// gemmPanel emits the microkernel: a loop over tiles of mr rows, then one tile for
// what is left. Each element is one chain of FMAs in the order of k.
func (g *gen) gemmPanel() {
	g.function("gemmPanel",
		"func(m, k int, a *float32, ars, aks int, b *float32, bks int, c *float32, ldc int, acc int)",
		"is C[m][nr] = A[m][k] B[k][nr], added to C if acc is not 0. Strides are in bytes: A's element (i,p) is at a+i*ars+p*aks, B's row p at b+p*bks, C's row i at c+i*ldc.")
	m := g.arg("m")
	a, ars := g.arg("a"), g.arg("ars")
	c, ldc := g.arg("c"), g.arg("ldc")
	mr := g.w.mr
	loop, tail, done := g.label("tiles"), g.label("tail"), g.label("done")
	turn := func(rows int) {
		g.tile(rows, a, ars, c, ldc)
		g.SUBQ(imm(rows), m)
		g.advance(a, ars, rows)
		g.advance(c, ldc, rows)
		g.JMP(LabelRef(loop))
	}
	// A tile of one or two rows has too few chains to hide their latency: what is left
	// after a full one takes rows from it.
	even := mr - 2
	g.Label(loop)
	g.CMPQ(m, imm(mr))
	g.JLE(LabelRef(tail))
	split := g.label("split")
	g.CMPQ(m, imm(mr+2))
	g.JLE(LabelRef(split))
	turn(mr)
	g.Label(split)
	turn(even)
	g.Label(tail)
	for rest := mr; rest > 0; rest-- {
		next := g.label("rest")
		g.CMPQ(m, imm(rest))
		g.JNE(LabelRef(next))
		g.tile(rest, a, ars, c, ldc)
		g.JMP(LabelRef(done))
		g.Label(next)
	}
	g.Label(done)
	g.VZEROUPPER()
	g.RET()
}

// advance adds n strides to p.
func (g *gen) advance(p, stride reg.GPVirtual, n int) {
	t := g.GP64()
	g.IMUL3Q(imm(n), stride, t)
	g.ADDQ(t, p)
}

// tileRows is rows i of p with a stride: pointers of their own, three rows apart.
func (g *gen) tileRows(p, stride reg.GPVirtual, n int) rows {
	r := rows{stride: stride}
	for i := 0; i < n; i += 3 {
		next := g.GP64()
		if i == 0 {
			g.MOVQ(p, next)
		} else {
			g.LEAQ(Mem{Base: r.thirds[i/3-1], Index: stride, Scale: 2}, next)
			g.ADDQ(stride, next)
		}
		r.thirds = append(r.thirds, next)
	}
	return r
}

// tile emits one tile of n rows.
func (g *gen) tile(n int, a, ars, c, ldc reg.GPVirtual) {
	vr := g.w.nr / g.w.lanes() // registers per row
	acc := g.vecs(n * vr)
	g.loadTile(acc, g.tileRows(c, ldc, n), n, vr)
	ra := g.tileRows(a, ars, n)
	b, bks, aks, k := g.arg("b"), g.arg("bks"), g.arg("aks"), g.arg("k")
	bv := g.vecs(vr)
	xs := g.vecs(2)
	step := func() {
		for j := range bv {
			g.VMOVUPS(at(b, j*g.w.bytes), bv[j])
		}
		g.ADDQ(bks, b)
		for i := range n {
			x := xs[i%2]
			g.VBROADCASTSS(ra.at(i), x)
			for j := range bv {
				g.VFMADD231PS(x, bv[j], acc[i*vr+j])
			}
		}
		for _, p := range ra.thirds {
			g.ADDQ(aks, p)
		}
	}
	g.unrolled(k, 4, step)
	rc := g.tileRows(c, ldc, n)
	for i := range n {
		for j := range vr {
			m := rc.at(i)
			m.Disp = j * g.w.bytes
			g.VMOVUPS(acc[i*vr+j], m)
		}
	}
}

// loadTile begins the chains at C or at zero.
func (g *gen) loadTile(acc []reg.VecVirtual, rc rows, n, vr int) {
	fresh, ready := g.label("fresh"), g.label("ready")
	flag := g.arg("acc")
	g.TESTQ(flag, flag)
	g.JZ(LabelRef(fresh))
	for i := range n {
		for j := range vr {
			m := rc.at(i)
			m.Disp = j * g.w.bytes
			g.VMOVUPS(m, acc[i*vr+j])
		}
	}
	g.JMP(LabelRef(ready))
	g.Label(fresh)
	for _, v := range acc {
		g.zero(v)
	}
	g.Label(ready)
}

// unrolled runs step k times, by copies at a time; k is consumed.
func (g *gen) unrolled(k reg.GPVirtual, copies int, step func()) {
	loop, rest, done := g.label("loop"), g.label("one"), g.label("end")
	g.SUBQ(imm(copies), k)
	g.JLT(LabelRef(rest))
	g.Label(loop)
	for range copies {
		step()
	}
	g.SUBQ(imm(copies), k)
	g.JGE(LabelRef(loop))
	g.Label(rest)
	g.ADDQ(imm(copies), k)
	g.JZ(LabelRef(done))
	single := g.label("single")
	g.Label(single)
	step()
	g.DECQ(k)
	g.JNZ(LabelRef(single))
	g.Label(done)
}
