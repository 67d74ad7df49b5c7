package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The formats of 256 elements whose factors are small integers times one or two of the
// whole block.
func init() {
	blockFormats = append(blockFormats,
		blockFormat{name: "Q2K", elements: 256, bytes: 84, group: 16, min: true, quads: 8, emit: emitQ2K},
		blockFormat{name: "Q3K", elements: 256, bytes: 110, group: 16, quads: 8, offset: 4, emit: emitQ3K},
		blockFormat{name: "Q4K", elements: 256, bytes: 144, group: 32, min: true, nib: true, quads: 8, emit: emitQ4K},
		blockFormat{name: "Q5K", elements: 256, bytes: 176, group: 32, min: true, quads: 4, emit: emitQ5K},
		blockFormat{name: "Q6K", elements: 256, bytes: 210, group: 16, quads: 2, offset: 32, emit: emitQ6K},
		blockFormat{name: "IQ4XS", elements: 256, bytes: 136, group: 32, quads: 1, signed: true, emit: emitIQ4XS},
	)
}

// kept are vectors in the function's frame.
type kept struct {
	e *int8Gen
	m Mem
}

func (e *int8Gen) keep(n int) kept { return kept{e, e.AllocLocal(32 * n)} }

func (k kept) at(i int) Mem { return offset(k.m, 32*i) }

func (k kept) set(i int, v reg.VecVirtual) { k.e.VMOVDQU(v, k.at(i)) }

func (k kept) get(i int) reg.VecVirtual {
	v := k.e.vec()
	k.e.VMOVDQU(k.at(i), v)
	return v
}

// halvesOf are the lower and the upper IEEE halves of eight words as float32.
func (e *int8Gen) halvesOf(v reg.VecVirtual) (low, high reg.VecVirtual) {
	low, high = e.vec(), e.vec()
	e.VPSHUFB(e.table("int8Halves", 0x05040100, 0x0d0c0908, 0x07060302, 0x0f0e0b0a), v, v)
	e.VPERMQ(Imm(0xd8), v, v)
	e.VCVTPH2PS(v.AsX(), low)
	e.VEXTRACTI128(Imm(1), v, v.AsX())
	e.VCVTPH2PS(v.AsX(), high)
	return low, high
}

// part is (v shifted right by n bits, left if n is negative) and a mask, in bytes.
func (e *int8Gen) part(v reg.VecVirtual, n int, mask Mem) reg.VecVirtual {
	t := e.vec()
	switch {
	case n > 0:
		e.VPSRLD(Imm(uint64(n)), v, t)
	case n < 0:
		e.VPSLLD(Imm(uint64(-n)), v, t)
	default:
		e.VPAND(mask, v, t)
		return t
	}
	e.VPAND(mask, t, t)
	return t
}

// both is the union of two parts.
func (e *int8Gen) both(a, b reg.VecVirtual) reg.VecVirtual {
	e.VPOR(a, b, a)
	return a
}

func (e *int8Gen) bits(name string, mask uint32) Mem {
	return e.table("int8Mask"+name, mask*0x01010101)
}

// unsigned is byte i of v's words as float32; v may be changed.
func (e *int8Gen) unsigned(v reg.VecVirtual, i int) reg.VecVirtual {
	if i > 0 {
		e.VPSRLD(Imm(uint64(8*i)), v, v)
	}
	if i < 3 {
		e.VPAND(e.table("int8LowByte", 0xff), v, v)
	}
	e.VCVTDQ2PS(v, v)
	return v
}

// signedByte is unsigned for signed bytes.
func (e *int8Gen) signedByte(v reg.VecVirtual, i int) reg.VecVirtual {
	if i < 3 {
		e.VPSLLD(Imm(uint64(24-8*i)), v, v)
	}
	e.VPSRAD(Imm(24), v, v)
	e.VCVTDQ2PS(v, v)
	return v
}

// negative changes v's sign.
func (e *int8Gen) negative(v reg.VecVirtual) {
	e.VXORPS(e.table("int8Sign", 0x80000000), v, v)
}

// factors8 are the factors and minima of Q4_K and Q5_K, see num: the head's two
// halves are kept at 0 and 1, four integers a word at 2 and 3 (factors), 4 and 5.
type factors8 struct{ kept }

func (e *int8Gen) factors8(b block) factors8 {
	f := factors8{e.keep(6)}
	w := e.transpose4(b, 0)
	d, m := e.halvesOf(w[0])
	e.negative(m)
	f.set(0, d)
	f.set(1, m)
	six, four, two := e.bits("Six", 0x3f), e.low4, e.bits("Two", 0x30)
	f.set(2, e.part(w[1], 0, six))
	f.set(4, e.part(w[2], 0, six))
	f.set(3, e.both(e.part(w[3], 0, four), e.part(w[1], 2, two)))
	f.set(5, e.both(e.part(w[3], 4, four), e.part(w[2], 2, two)))
	return f
}

func (f factors8) scale(s sink, g int) {
	e := f.e
	d, m := e.unsigned(f.get(2+g/4), g%4), e.unsigned(f.get(4+g/4), g%4)
	e.VMULPS(f.at(0), d, d)
	e.VMULPS(f.at(1), m, m)
	s.scale(g, d, m)
}

func emitQ4K(e *int8Gen, b block, s sink) {
	f := e.factors8(b)
	for c := range 4 {
		for h := range 2 {
			for i, v := range e.transpose4(b, 16+32*c+16*h) {
				lo, hi := e.nibbles(v)
				s.quad(2*c, 4*h+i, lo)
				s.quad(2*c+1, 4*h+i, hi)
			}
		}
		f.scale(s, 2*c)
		f.scale(s, 2*c+1)
	}
}

func emitQ5K(e *int8Gen, b block, s sink) {
	f, fifth := e.factors8(b), e.keep(8)
	for h := range 2 {
		for i, v := range e.transpose4(b, 16+16*h) {
			fifth.set(4*h+i, v)
		}
	}
	for c := range 4 {
		for h := range 2 {
			for i, v := range e.transpose4(b, 48+32*c+16*h) {
				lo, hi := e.nibbles(v)
				bits := fifth.get(4*h + i)
				s.quad(2*c, 4*h+i, e.both(lo, e.part(bits, 2*c-4, e.byte16())))
				s.quad(2*c+1, 4*h+i, e.both(hi, e.part(bits, 2*c-3, e.byte16())))
			}
		}
		f.scale(s, 2*c)
		f.scale(s, 2*c+1)
	}
}

func emitQ6K(e *int8Gen, b block, s sink) {
	factors, whole, upper := e.keep(4), e.keep(1), e.keep(4)
	for i, v := range e.transpose4(b, 192) {
		factors.set(i, v)
	}
	whole.set(0, e.highHalves(e.words(b, 206)))
	two := e.bits("Two", 0x30)
	for h := range 2 {
		for p := range 2 {
			for i, v := range e.transpose4(b, 128+32*h+16*p) {
				upper.set(i, v)
			}
			for k := range 2 {
				for i, v := range e.transpose4(b, 64*h+32*k+16*p) {
					u := upper.get(i)
					lo, hi := e.nibbles(v)
					s.quad(8*h+2*k+p, i, e.both(lo, e.part(u, 2*k-4, two)))
					s.quad(8*h+4+2*k+p, i, e.both(hi, e.part(u, 2*k, two)))
				}
			}
		}
		for g := 8 * h; g < 8*h+8; g++ {
			d := e.signedByte(factors.get(g/4), g%4)
			e.VMULPS(whole.at(0), d, d)
			s.scale(g, d, nil)
		}
	}
}

func emitQ2K(e *int8Gen, b block, s sink) {
	factors, whole := e.keep(4), e.keep(2)
	for i, v := range e.transpose4(b, 0) {
		factors.set(i, v)
	}
	even, odd := e.words(b, 80)
	whole.set(0, e.lowHalves(even, odd))
	m := e.highHalves(even, odd)
	e.negative(m)
	whole.set(1, m)
	for h := range 2 {
		for p := range 2 {
			for i, v := range e.transpose4(b, 16+32*h+16*p) {
				for j := range 4 {
					s.quad(8*h+2*j+p, i, e.part(v, 2*j, e.bits("Pair", 3)))
				}
			}
		}
		for g := 8 * h; g < 8*h+8; g++ {
			lo, hi := e.nibbles(factors.get(g / 4))
			d, m := e.unsigned(lo, g%4), e.unsigned(hi, g%4)
			e.VMULPS(whole.at(0), d, d)
			e.VMULPS(whole.at(1), m, m)
			s.scale(g, d, m)
		}
	}
}

func emitQ3K(e *int8Gen, b block, s sink) {
	factors, whole, third := e.keep(4), e.keep(1), e.keep(4)
	e.factorsQ3K(b, factors, whole)
	for h := range 2 {
		for p := range 2 {
			for i, v := range e.transpose4(b, 16*p) {
				third.set(i, v)
			}
			for i, v := range e.transpose4(b, 32+32*h+16*p) {
				for j := range 4 {
					bits := third.get(i)
					s.quad(8*h+2*j+p, i, e.both(e.part(v, 2*j, e.bits("Pair", 3)), e.part(bits, 4*h+j-2, e.bits("Third", 4))))
				}
			}
		}
		for g := 8 * h; g < 8*h+8; g++ {
			d := e.signedByte(factors.get(g/4), g%4)
			e.VMULPS(whole.at(0), d, d)
			s.scale(g, d, nil)
		}
	}
}

// factorsQ3K reads twelve bytes of factors and d, which end the block: sixteen bytes
// that begin two before.
func (e *int8Gen) factorsQ3K(b block, factors, whole kept) {
	w := e.transpose4(b, 94)
	var t [3]reg.VecVirtual
	for i := range t {
		up := e.vec()
		t[i] = e.vec()
		e.VPSRLD(Imm(16), w[i], t[i])
		e.VPSLLD(Imm(16), w[i+1], up)
		e.VPOR(up, t[i], t[i])
	}
	_, d := e.halvesOf(w[3])
	whole.set(0, d)
	offset := e.bits("ThirtyTwo", 32)
	for i := range 4 {
		v := e.both(e.part(t[i%2], i/2*4, e.low4), e.part(t[2], 2*i-4, e.bits("Two", 0x30)))
		e.VPSUBB(offset, v, v)
		factors.set(i, v)
	}
}

func emitIQ4XS(e *int8Gen, b block, s sink) {
	factors, whole := e.keep(2), e.keep(1)
	w := e.transpose4(b, 0)
	e.factorsIQ4XS(w[0], w[1], factors)
	d, _ := e.halvesOf(w[0])
	whole.set(0, d)
	for g := range 8 {
		e.nibbleGroup(b, 8+16*g, g, s, e.levels(e.iq4Levels()))
		d := e.signedByte(factors.get(g%2), g/2)
		e.VMULPS(whole.at(0), d, d)
		s.scale(g, d, nil)
	}
}

// factorsIQ4XS puts the factors of even groups into the bytes of one word a row, those
// of odd groups into another: low holds nibbles of neighbours in a byte, the upper half
// of head two bits of each.
func (e *int8Gen) factorsIQ4XS(head, low reg.VecVirtual, factors kept) {
	spread := e.table("int8Upper", 0x03030202, 0x07070606, 0x0b0b0a0a, 0x0f0f0e0e)
	for odd := range 2 {
		t := e.vec()
		e.VPSHUFB(spread, head, t) // the four bytes of a word hold pairs for groups 0-3, 0-3, 4-7, 4-7
		// Group 2i+odd has its pair at bits 4i+2*odd of 16: for i = 0 and 2 at 2*odd of
		// its byte, for 1 and 3 at 4+2*odd.
		first, second := e.part(t, 2*odd-4, e.table("int8Pairs0", 0x00300030)), e.part(t, 2*odd, e.table("int8Pairs1", 0x30003000))
		v := e.both(e.both(first, second), e.part(low, 4*odd, e.low4))
		e.VPSUBB(e.bits("ThirtyTwo", 32), v, v)
		factors.set(odd, v)
	}
}
