package main

import . "github.com/mmcloughlin/avo/operand"

func init() { units = append(units, unit{"measure", emitMeasure}) }

func emitMeasure(g *gen) {
	g.fmaLoop()
	g.readLoop()
}

// fmaLoop emits a loop of nothing but FMAs on registers.
func (g *gen) fmaLoop() {
	g.function("fmaLoop", "func(n int)",
		"runs n rounds of 12 independent FMAs on registers: the processor's peak.")
	n := g.arg("n")
	acc := g.vecs(12)
	x := g.vec()
	g.zero(x)
	for _, v := range acc {
		g.zero(v)
	}
	loop := g.label("loop")
	g.Label(loop)
	for _, v := range acc {
		g.VFMADD231PS(x, x, v)
	}
	g.DECQ(n)
	g.JNZ(LabelRef(loop))
	g.VZEROUPPER()
	g.RET()
}

// readLoop emits a loop of nothing but loads.
func (g *gen) readLoop() {
	g.function("readLoop", "func(bytes int, p *float32)",
		"loads bytes (a multiple of 256) from p: the memory's read bandwidth.")
	n, p := g.arg("bytes"), g.arg("p")
	loop := g.label("loop")
	g.Label(loop)
	for off := 0; off < 256; off += g.w.bytes {
		g.VMOVUPS(at(p, off), g.vec())
	}
	g.ADDQ(imm(256), p)
	g.SUBQ(imm(256), n)
	g.JNZ(LabelRef(loop))
	g.VZEROUPPER()
	g.RET()
}
