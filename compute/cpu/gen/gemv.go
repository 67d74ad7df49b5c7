package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() { units = append(units, unit{"gemv", emitGemv}) }

func emitGemv(g *gen) {
	for _, e := range elements {
		g.gemvT(e)
		g.gemvN(e)
	}
}

// chains loads the sums from y, or zero.
func (g *gen) chains(n int, y reg.GPVirtual) []reg.VecVirtual {
	acc := g.vecs(n)
	fresh, ready := g.label("fresh"), g.label("ready")
	flag := g.arg("acc")
	g.TESTQ(flag, flag)
	g.JZ(LabelRef(fresh))
	for i, v := range acc {
		g.VMOVUPS(at(y, i*g.w.bytes), v)
	}
	g.JMP(LabelRef(ready))
	g.Label(fresh)
	for _, v := range acc {
		g.zero(v)
	}
	g.Label(ready)
	return acc
}

// gemvT emits the product of one row with weights that lie as [out, in]: the weights
// are transposed in registers, so each output is one chain in the order of k.
func (g *gen) gemvT(e element) {
	g.function("gemvT"+e.name, "func(k int, w *"+e.gotype+", ld int, x, y *float32, acc int)",
		"is y[j] (+)= sum over p of x[p]*w[j][p] for nr j's and k p's (a multiple of 64 bytes' worth of w); w's rows are ld bytes apart.")
	k, w, ld, x, y := g.arg("k"), g.arg("w"), g.arg("ld"), g.arg("x"), g.arg("y")
	ld3 := g.tripled(ld)
	var blocks []block
	for first := 0; first < g.w.nr; first += g.w.lanes() {
		blocks = append(blocks, g.newBlock(w, ld, ld3, first))
	}
	acc := g.chains(len(blocks), y)
	var mask reg.VecVirtual
	if e.size == 2 {
		mask = g.upperMask()
	}
	loop := g.label("loop")
	g.Label(loop)
	for part := range 4 {
		for i, b := range blocks {
			g.columns(e, b, 16*part, mask, func(p int, v reg.VecVirtual) {
				s := g.vec()
				g.VBROADCASTSS(at(x, 4*(part*e.per16()+p)), s)
				g.VFMADD231PS(s, v, acc[i])
			})
		}
	}
	for _, b := range blocks {
		g.advanceBlock(b, 64)
	}
	g.ADDQ(imm(4*4*e.per16()), x)
	g.SUBQ(imm(4*e.per16()), k)
	g.JNZ(LabelRef(loop))
	for i, v := range acc {
		g.VMOVUPS(v, at(y, i*g.w.bytes))
	}
	g.VZEROUPPER()
	g.RET()
}

// gemvN emits the product of one row with weights that lie as [in, out].
func (g *gen) gemvN(e element) {
	const regs = 8
	g.function("gemvN"+e.name, "func(k int, w *"+e.gotype+", ld int, x, y *float32, acc int)",
		"is y[j] (+)= sum over p of x[p]*w[p][j] for 8 registers of j's and k p's; w's rows are ld bytes apart.")
	k, w, ld, x, y := g.arg("k"), g.arg("w"), g.arg("ld"), g.arg("x"), g.arg("y")
	acc := g.chains(regs, y)
	g.unrolled(k, 2, func() {
		s := g.vec()
		g.VBROADCASTSS(at(x, 0), s)
		for i, v := range acc {
			m := at(w, i*g.w.lanes()*e.size)
			if e.size == 4 {
				g.VFMADD231PS(m, s, v)
				continue
			}
			t := g.vec()
			g.widen(e, m, t)
			g.VFMADD231PS(t, s, v)
		}
		g.ADDQ(Imm(4), x)
		g.ADDQ(ld, w)
	})
	for i, v := range acc {
		g.VMOVUPS(v, at(y, i*g.w.bytes))
	}
	g.VZEROUPPER()
	g.RET()
}
