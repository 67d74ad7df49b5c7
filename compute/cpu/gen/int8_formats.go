package main

import "github.com/mmcloughlin/avo/reg"

// blockFormats are the formats with kernels of their own; others are unpacked in Go.
var blockFormats = []blockFormat{
	{name: "Q40", elements: 32, bytes: 18, group: 32, nib: true, quads: 8, offset: 8, emit: emitQ40},
	{name: "Q41", elements: 32, bytes: 20, group: 32, min: true, nib: true, quads: 8, emit: emitQ41},
	{name: "Q80", elements: 32, bytes: 34, group: 32, emit: emitQ80},
}

// emitQ40: factor, nibbles: the first sixteen elements in the low ones.
func emitQ40(e *int8Gen, b block, s sink) {
	e.nibbles16(b, 2, s)
	s.scale(0, e.lowHalves(e.words(b, 0)), nil)
}

// emitQ41: factor, minimum, nibbles.
func emitQ41(e *int8Gen, b block, s sink) {
	e.nibbles16(b, 4, s)
	even, odd := e.words(b, 0)
	s.scale(0, e.lowHalves(even, odd), e.highHalves(even, odd))
}

// nibbles16 gives out sixteen bytes of nibbles as group 0.
func (e *int8Gen) nibbles16(b block, off int, s sink) {
	for i, v := range e.transpose4(b, off) {
		lo, hi := e.nibbles(v)
		s.quad(0, i, lo)
		s.quad(0, 4+i, hi)
	}
}

// emitQ80: factor, codes.
func emitQ80(e *int8Gen, b block, s sink) {
	for h := range 2 {
		for i, v := range e.transpose4(b, 2+16*h) {
			s.quad(0, 4*h+i, v)
		}
	}
	s.scale(0, e.lowHalves(e.words(b, 0)), reg.VecVirtual(nil))
}
