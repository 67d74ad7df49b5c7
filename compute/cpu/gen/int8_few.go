package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// fewMost is how many rows of A meet weights where they lie: their sums fill half the
// registers.
const fewMost = 8

// fewSink multiplies with a few rows of A. The integer sums of a group stay in
// registers, the results of eight rows of weights on the stack.
type fewSink struct {
	e    *int8Gen
	f    blockFormat
	a, x rows // A's codes and aux
	acc  Mem
	sums []reg.VecVirtual
	ones reg.VecVirtual // the constant, where every quad needs it
}

func (s *fewSink) quad(_, q int, v reg.VecVirtual) {
	e, u := s.e, v
	if s.f.signed {
		u = e.vec()
		e.VPABSB(v, u)
	}
	add := e.VPADDW
	if s.widens() {
		add = e.VPADDD
	}
	for i, sum := range s.sums {
		t := e.vec()
		e.VPBROADCASTD(offset(s.a.at(i), 4*q), t)
		if s.f.signed {
			e.VPSIGNB(v, t, t)
		}
		to := t
		if q == 0 {
			to = sum
		}
		e.VPMADDUBSW(t, u, to)
		if s.widens() {
			e.VPMADDWD(s.ones, to, to)
		}
		if q > 0 {
			add(t, sum, sum)
		}
	}
}

// widens says that a sum of two products is all that an int16 holds.
func (s *fewSink) widens() bool { return s.f.quads == 1 }

func (s *fewSink) scale(_ int, d, m reg.VecVirtual) {
	e, t := s.e, s.e.vec()
	for i, sum := range s.sums {
		if !s.widens() {
			e.VPMADDWD(e.ones16, sum, sum)
		}
		if s.f.offset != 0 {
			e.VPBROADCASTD(offset(s.x.at(i), 4), t)
			e.VPSUBD(t, sum, sum)
		}
		e.VCVTDQ2PS(sum, sum)
		e.VBROADCASTSS(s.x.at(i), t)
		if !s.f.min {
			e.VMULPS(d, t, t)
			e.VFMADD213PS(offset(s.acc, 32*i), t, sum)
		} else {
			u := e.vec()
			e.VMULPS(d, t, u)
			e.VFMADD213PS(offset(s.acc, 32*i), u, sum)
			e.VMULPS(m, t, t)
			e.VBROADCASTSS(offset(s.x.at(i), 4), u)
			e.VFMADD231PS(u, t, sum)
		}
		e.VMOVUPS(sum, offset(s.acc, 32*i))
	}
}

// fewBlocks emits the product of a few rows of A with groups of eight rows of weights.
func (e *int8Gen) fewBlocks(f blockFormat) {
	if !f.few {
		return
	}
	e.function("int8Few"+f.name, "func(m, strips, blocks int, w *byte, ld int, a *byte, aux *float32, lda int, y *float32, ldy int, next *byte)",
		"adds to y[m][8*strips], 2 <= m <= 8, the products of m quantised rows with rows of weights, ld bytes apart, of blocks each. Both codes and aux are lda bytes apart, rows of y ldy. As much memory as is read, from next on, is asked for early.")
	acc, state := e.AllocLocal(32*fewMost), e.AllocLocal(24)
	m := e.GP64()
	for n := fewMost; n > 1; n-- {
		next := e.label("rows")
		e.Load(e.Param("m"), m)
		if n > 2 {
			e.CMPQ(m, imm(n))
			e.JNE(LabelRef(next))
		}
		e.fewTile(f, n, acc, state)
		e.VZEROUPPER()
		e.RET()
		if n > 2 {
			e.Label(next)
		}
	}
}

// fewTile is fewBlocks for n rows of A. Its state that changes from strip to strip is in
// memory: strips left, their part of y, their first row of weights.
func (e *int8Gen) fewTile(f blockFormat, n int, acc, state Mem) {
	left, part, start := state, offset(state, 8), offset(state, 16)
	t := e.GP64()
	e.Load(e.Param("strips"), t)
	e.MOVQ(t, left)
	e.Load(e.Param("y"), t)
	e.MOVQ(t, part)
	w, next := e.arg("w"), e.arg("next")
	b := block{base: []reg.GPVirtual{w}, odd: e.oddStrides(e.arg("ld"))}
	lda := e.arg("lda")
	outer, loop := e.label("strip"), e.label("block")
	e.Label(outer)
	y := e.GP64()
	e.MOVQ(part, y)
	e.fewCopy(n, y, acc, true)
	first := e.GP64()
	e.LEAQ(Mem{Base: w, Index: b.odd[0], Scale: 8}, first)
	e.MOVQ(first, start)
	blocks := e.arg("blocks")
	s := &fewSink{e: e, f: f, acc: acc, a: e.tileRows(e.arg("a"), lda, n), x: e.tileRows(e.arg("aux"), lda, n)}
	if s.widens() {
		s.ones = e.vec()
		e.VMOVDQU(e.ones16, s.ones)
	}
	e.Label(loop)
	s.sums = e.vecs(n)
	e.ahead(f, next)
	f.emit(e, b, s)
	e.ADDQ(imm(f.bytes), w)
	for i := range s.a.thirds {
		e.ADDQ(imm(f.elements), s.a.thirds[i])
		e.ADDQ(imm(8*f.groups()), s.x.thirds[i])
	}
	e.DECQ(blocks)
	e.JNZ(LabelRef(loop))
	y = e.GP64()
	e.MOVQ(part, y)
	e.fewCopy(n, y, acc, false)
	e.ADDQ(Imm(32), part)
	e.MOVQ(start, w)
	e.DECQ(left)
	e.JNZ(LabelRef(outer))
}

// fewCopy moves eight columns of n rows from y to the stack or back.
func (e *int8Gen) fewCopy(n int, y reg.GPVirtual, acc Mem, in bool) {
	v, ldy := e.vec(), e.arg("ldy")
	for i := range n {
		if i > 0 {
			e.ADDQ(ldy, y)
		}
		if in {
			e.VMOVUPS(Mem{Base: y}, v)
			e.VMOVUPS(v, offset(acc, 32*i))
		} else {
			e.VMOVUPS(offset(acc, 32*i), v)
			e.VMOVUPS(v, Mem{Base: y})
		}
	}
}
