package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// blockFormats are the formats with kernels of their own; others are unpacked in Go.
// Where the bits of an element are is told in package num.
var blockFormats = []blockFormat{
	{name: "Q40", elements: 32, bytes: 18, group: 32, nib: true, quads: 8, offset: 8, few: true, emit: emitQ40},
	{name: "Q41", elements: 32, bytes: 20, group: 32, min: true, nib: true, quads: 8, few: true, emit: emitQ41},
	{name: "Q50", elements: 32, bytes: 22, group: 32, quads: 4, offset: 16, emit: emitQ50},
	{name: "Q51", elements: 32, bytes: 24, group: 32, min: true, quads: 4, emit: emitQ51},
	{name: "Q80", elements: 32, bytes: 34, group: 32, quads: 1, signed: true, few: true, emit: emitQ80},
	{name: "IQ4NL", elements: 32, bytes: 18, group: 32, quads: 1, signed: true, emit: emitIQ4NL},
	{name: "MXFP4", elements: 32, bytes: 17, group: 32, quads: 8, signed: true, emit: emitMXFP4},
}

// emitQ40: factor, nibbles: the first sixteen elements in the low ones.
func emitQ40(e *int8Gen, b block, s sink) {
	e.nibbleGroup(b, 2, 0, s, nil)
	s.scale(0, e.lowHalves(e.words(b, 0)), nil)
}

// emitQ41: factor, minimum, nibbles.
func emitQ41(e *int8Gen, b block, s sink) {
	e.nibbleGroup(b, 4, 0, s, nil)
	even, odd := e.words(b, 0)
	s.scale(0, e.lowHalves(even, odd), e.highHalves(even, odd))
}

// nibbleGroup gives out sixteen bytes of nibbles as one group, the codes changed by f,
// if not nil, which is told the number of the quad.
func (e *int8Gen) nibbleGroup(b block, off, group int, s sink, f func(q int, v reg.VecVirtual)) {
	for i, v := range e.transpose4(b, off) {
		lo, hi := e.nibbles(v)
		if f != nil {
			f(i, lo)
			f(4+i, hi)
		}
		s.quad(group, i, lo)
		s.quad(group, 4+i, hi)
	}
}

// emitQ50: factor, fifth bits, nibbles.
func emitQ50(e *int8Gen, b block, s sink) {
	e.nibbleGroup(b, 6, 0, s, e.fifthBits(b, 2))
	s.scale(0, e.lowHalves(e.words(b, 0)), nil)
}

// emitQ51: factor, minimum, fifth bits, nibbles.
func emitQ51(e *int8Gen, b block, s sink) {
	e.nibbleGroup(b, 8, 0, s, e.fifthBits(b, 4))
	even, odd := e.words(b, 0)
	s.scale(0, e.lowHalves(even, odd), e.highHalves(even, odd))
}

// fifthBits adds 16 to the codes whose bit is set in a word of every row: the word's
// byte is spread over a quad, and compared with a bit for each element.
func (e *int8Gen) fifthBits(b block, off int) func(q int, v reg.VecVirtual) {
	even, odd := e.words(b, off)
	lo, hi, bits := e.XMM(), e.XMM(), e.vec()
	e.VPUNPCKLDQ(odd, even, lo)
	e.VPUNPCKHDQ(odd, even, hi)
	e.VINSERTI128(Imm(1), hi, lo.AsY(), bits)
	return func(q int, v reg.VecVirtual) {
		n := uint32(q / 2 * 0x01010101)
		spread := e.table([]string{"int8Spread0", "int8Spread1", "int8Spread2", "int8Spread3"}[q/2],
			n, n+0x04040404, n+0x08080808, n+0x0c0c0c0c)
		each := e.table("int8Bits0", 0x08040201)
		if q%2 == 1 {
			each = e.table("int8Bits1", 0x80402010)
		}
		t := e.vec()
		e.VPSHUFB(spread, bits, t)
		e.VPAND(each, t, t)
		e.VPCMPEQB(each, t, t)
		e.VPAND(e.byte16(), t, t)
		e.VPOR(t, v, v)
	}
}

func (e *int8Gen) byte16() Mem { return e.table("int8Sixteen", 0x10101010) }

// emitQ80: factor, codes.
func emitQ80(e *int8Gen, b block, s sink) {
	for h := range 2 {
		for i, v := range e.transpose4(b, 2+16*h) {
			s.quad(0, 4*h+i, v)
		}
	}
	s.scale(0, e.lowHalves(e.words(b, 0)), nil)
}

// emitIQ4NL: factor, nibbles that choose levels.
func emitIQ4NL(e *int8Gen, b block, s sink) {
	e.nibbleGroup(b, 2, 0, s, e.levels(e.iq4Levels()))
	s.scale(0, e.lowHalves(e.words(b, 0)), nil)
}

// iq4Levels are num's levels of IQ4_NL and IQ4_XS.
func (e *int8Gen) iq4Levels() Mem {
	return e.table("int8IQ4", 0xbfad9881, 0xf6eaddcf, 0x26190d01, 0x71594535)
}

// levels replaces nibbles by bytes of a table.
func (e *int8Gen) levels(table Mem) func(q int, v reg.VecVirtual) {
	t := e.vec()
	e.VMOVDQU(table, t)
	return func(_ int, v reg.VecVirtual) { e.VPSHUFB(v, t, v) }
}

// emitMXFP4: a power of two, nibbles that choose levels, which are doubled, so that the
// factor is half: 2^(n-128), which is no normal number for n below 2.
func emitMXFP4(e *int8Gen, b block, s sink) {
	e.nibbleGroup(b, 1, 0, s, e.levels(e.table("int8FP4", 0x03020100, 0x0c080604, 0xfdfeff00, 0xf4f8fafc)))
	even, odd := e.words(b, 0)
	lo, hi, n := e.XMM(), e.XMM(), e.vec()
	e.VPUNPCKLDQ(odd, even, lo)
	e.VPUNPCKHDQ(odd, even, hi)
	e.VINSERTI128(Imm(1), hi, lo.AsY(), n)
	e.VPAND(e.table("int8LowByte", 0xff), n, n)
	one, small, which := e.vec(), e.vec(), e.vec()
	e.VMOVDQU(e.table("int8Two", 2), which)
	e.VPCMPGTD(n, which, which)
	e.VMOVDQU(e.table("int8Least128", 0x200000), small)
	e.VPSLLVD(n, small, small)
	e.VPCMPEQD(one, one, one)
	e.VPADDD(one, n, n)
	e.VPSLLD(Imm(23), n, n)
	e.VPBLENDVB(which, small, n, n)
	s.scale(0, n, nil)
}
