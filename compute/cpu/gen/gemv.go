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
	if !g.wide() {
		g.gemvT(element{"F16", "byte", 2})
		g.gemvT(element{"E4M3", "byte", 1})
	}
}

// chainCount is how many groups of lanes rows gemvT works on at a time, one chain of
// dependent multiply-adds each. Four chains hide more of their latency, but the
// processor's own prefetching does not follow that many rows.
const chainCount = 2

// gemvT emits the product of one row with weights that lie as [out, in]: the weights
// are transposed in registers, so each output is one chain in the order of k.
func (g *gen) gemvT(e element) {
	parameters := "lines, ld int, chains, next *byte"
	if e.size == 1 {
		parameters += ", factors **float32"
	}
	g.function("gemvT"+e.name, "func("+parameters+")",
		"does y[j] += sum over p of x[p]*w[j][p] for independent groups of lanes j's, given as (w, x, y unsafe.Pointer) in chains; lines is the number of 64-byte pieces of a row of w, ld the bytes between its rows. As much memory as is read, from next on, is asked for early, unless next is nil."+g.gemvNote(e))
	lines, chains, next := g.arg("lines"), g.arg("chains"), g.arg("next")
	strides := g.oddStrides(g.arg("ld"))
	var src []block
	var x []reg.GPVirtual
	acc := g.vecs(chainCount)
	for i := range chainCount {
		b := block{odd: strides}
		for q := range g.w.lanes() / 8 {
			p := g.GP64()
			g.MOVQ(at(chains, 24*i), p)
			if q > 0 {
				t := g.GP64()
				g.LEAQ(Mem{Base: p, Index: strides[0], Scale: 8}, t)
				p = t
			}
			b.base = append(b.base, p)
		}
		px, py := g.GP64(), g.GP64()
		g.MOVQ(at(chains, 24*i+8), px)
		g.MOVQ(at(chains, 24*i+16), py)
		g.VMOVUPS(at(py, 0), acc[i])
		src, x = append(src, b), append(x, px)
	}
	if e.size == 1 || e.name == "F16" {
		g.gemvTFile(e, lines, next, src, x, acc)
		return
	}
	var mask reg.VecVirtual
	if e.size == 2 {
		mask = g.upperMask()
	}
	loop := g.label("loop")
	g.Label(loop)
	g.prefetch(next, chainCount*g.w.lanes())
	for part := range 4 {
		// Two chains take turns at every step; more need too many registers.
		for c := 0; c < chainCount; c += 2 {
			g.columns(e, src[c:c+2], 16*part, mask, func(i, p int, v reg.VecVirtual) {
				s := g.vec()
				g.VBROADCASTSS(at(x[c+i], 4*(part*e.per16()+p)), s)
				g.VFMADD231PS(s, v, acc[c+i])
			})
		}
	}
	for i := range chainCount {
		g.advanceBlock(src[i], 64)
		g.ADDQ(imm(16*e.per16()), x[i])
	}
	g.DECQ(lines)
	g.JNZ(LabelRef(loop))
	g.storeChains(acc)
}

// storeChains ends gemvT.
func (g *gen) storeChains(acc []reg.VecVirtual) {
	chains := g.arg("chains")
	for i := range chainCount {
		py := g.GP64()
		g.MOVQ(at(chains, 24*i+16), py)
		g.VMOVUPS(acc[i], at(py, 0))
	}
	g.VZEROUPPER()
	g.RET()
}

// prefetch asks for cache lines from p on and moves p past them, unless p is nil.
func (g *gen) prefetch(p reg.GPVirtual, lines int) {
	none := g.label("none")
	g.TESTQ(p, p)
	g.JZ(LabelRef(none))
	for i := range lines {
		g.PREFETCHT0(at(p, 64*i))
	}
	g.ADDQ(imm(64*lines), p)
	g.Label(none)
}

// gemvN emits the product of one row with weights that lie as [in, out].
func (g *gen) gemvN(e element) {
	const regs = 8
	g.function("gemvN"+e.name, "func(k int, w *"+e.gotype+", ld int, x, y *float32)",
		"does y[j] += sum over p of x[p]*w[p][j] for 8 registers of j's and k p's; w's rows are ld bytes apart.")
	k, w, ld, x, y := g.arg("k"), g.arg("w"), g.arg("ld"), g.arg("x"), g.arg("y")
	acc := g.vecs(regs)
	for i, v := range acc {
		g.VMOVUPS(at(y, i*g.w.bytes), v)
	}
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
