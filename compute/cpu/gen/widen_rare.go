package main

import (
	"encoding/binary"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// words is a vector in read-only memory.
func (g *gen) words(name string, words ...uint32) Mem {
	m := g.StaticGlobal(g.label(name))
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for i, w := range words {
		g.AddDatum(4*i, U32(w))
	}
	return m
}

// everyLane loads a word into every lane.
func (g *gen) everyLane(m Mem) reg.VecVirtual {
	v := g.vec()
	g.VPBROADCASTD(m, v)
	return v
}

// fifthBits is bit first+lane of v, a word in every lane, as 16 or 0.
func (g *gen) fifthBits(v, lane, one reg.VecVirtual, first int) reg.VecVirtual {
	t := g.vec()
	if first > 0 {
		g.VPSRLD(Imm(uint64(first)), v, t)
		g.VPSRLVD(lane, t, t)
	} else {
		g.VPSRLVD(lane, v, t)
	}
	g.and(one, t, t)
	g.VPSLLD(Imm(4), t, t)
	return t
}

// lane is the number of every lane.
func (g *gen) lane() reg.VecVirtual {
	v := g.vec()
	g.VMOVDQU(g.words("widenLane", 0, 1, 2, 3, 4, 5, 6, 7), v)
	return v
}

func (g *gen) widenQ50() func(src, dst reg.GPVirtual) {
	low, one, offset, lane := g.constant(15), g.constant(1), g.constant(16), g.lane()
	return func(src, dst reg.GPVirtual) {
		d, fifth := g.half(at(src, 0)), g.everyLane(at(src, 2))
		for i := range 2 {
			both := g.bytes8(at(src, 6+8*i))
			for h := range 2 {
				v := g.bitsOf(both, 4*h, low)
				g.or(g.fifthBits(fifth, lane, one, 16*h+8*i), v, v)
				g.VPSUBD(offset, v, v)
				g.store(v, d, nil, at(dst, 64*h+32*i))
			}
		}
	}
}

func (g *gen) widenQ51() func(src, dst reg.GPVirtual) {
	low, one, lane := g.constant(15), g.constant(1), g.lane()
	return func(src, dst reg.GPVirtual) {
		d, m, fifth := g.half(at(src, 0)), g.half(at(src, 2)), g.everyLane(at(src, 4))
		for i := range 2 {
			both := g.bytes8(at(src, 8+8*i))
			for h := range 2 {
				v := g.bitsOf(both, 4*h, low)
				g.or(g.fifthBits(fifth, lane, one, 16*h+8*i), v, v)
				g.store(v, d, m, at(dst, 64*h+32*i))
			}
		}
	}
}

// levels are the values that IQ4's nibbles stand for.
var levels = [16]int8{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// levelTable loads levels.
func (g *gen) levelTable() (table, low reg.VecVirtual) {
	var raw [16]byte
	for i, v := range levels {
		raw[i] = byte(v)
	}
	var words [4]uint32
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	table = g.XMM()
	g.VMOVDQU(g.words("widenLevels", words[:]...), table)
	return table, g.constant(0x0f0f0f0f)
}

// levels32 widens 32 elements whose nibbles, low ones first, stand for levels.
func (g *gen) levels32(table, low reg.VecVirtual, nibbles Mem, d reg.VecVirtual, to Mem) {
	x := g.XMM()
	g.VMOVDQU(nibbles, x)
	for h := range 2 {
		t := g.XMM()
		if h == 0 {
			g.VPAND(low.AsX(), x, t)
		} else {
			g.VPSRLD(Imm(4), x, t)
			g.VPAND(low.AsX(), t, t)
		}
		g.VPSHUFB(t, table, t)
		for i := range 2 {
			v := g.vec()
			if i == 1 {
				g.VPSRLDQ(Imm(8), t, t)
			}
			g.VPMOVSXBD(t, v)
			g.store(v, d, nil, to.Offset(64*h+32*i))
		}
	}
}

func (g *gen) widenIQ4NL() func(src, dst reg.GPVirtual) {
	table, low := g.levelTable()
	return func(src, dst reg.GPVirtual) {
		g.levels32(table, low, at(src, 2), g.half(at(src, 0)), at(dst, 0))
	}
}

func (g *gen) widenIQ4XS() func(src, dst reg.GPVirtual) {
	table, low := g.levelTable()
	four, two, offset := g.constant(15), g.constant(3), g.constant(32)
	lowShift := g.words("widenXSLow", 0, 4, 8, 12, 16, 20, 24, 28)
	highShift := g.words("widenXSHigh", 0, 2, 4, 6, 8, 10, 12, 14)
	held := g.AllocLocal(32)
	return func(src, dst reg.GPVirtual) {
		s, high := g.everyLane(at(src, 4)), g.vec()
		g.VPSRLVD(lowShift, s, s)
		g.and(four, s, s)
		g.VPBROADCASTW(at(src, 2), high)
		g.VPSRLVD(highShift, high, high)
		g.and(two, high, high)
		g.VPSLLD(Imm(4), high, high)
		g.or(high, s, s)
		g.VPSUBD(offset, s, s)
		g.store(s, g.half(at(src, 0)), nil, held)
		for group := range 8 {
			d := g.vec()
			g.VBROADCASTSS(held.Offset(4*group), d)
			g.levels32(table, low, at(src, 8+16*group), d, at(dst, 128*group))
		}
	}
}

func (g *gen) widenQ2K() func(src, dst reg.GPVirtual) {
	four, two, held := g.constant(15), g.constant(3), g.AllocLocal(128)
	return func(src, dst reg.GPVirtual) {
		d, m := g.half(at(src, 80)), g.half(at(src, 82))
		for i := range 2 {
			both := g.bytes8(at(src, 8*i))
			g.store(g.bitsOf(both, 0, four), d, nil, held.Offset(32*i))
			g.store(g.bitsOf(both, 4, four), m, nil, held.Offset(64+32*i))
		}
		g.pairs(two, src, 16, func(first int, v reg.VecVirtual) {
			d, m := g.vec(), g.vec()
			g.VBROADCASTSS(held.Offset(4*(first/16)), d)
			g.VBROADCASTSS(held.Offset(64+4*(first/16)), m)
			g.VCVTDQ2PS(v, v)
			g.VMULPS(d, v, v)
			g.VSUBPS(m, v, v)
			g.VMOVUPS(v, at(dst, 4*first))
		})
	}
}

// pairs calls use for eight elements from first on of a block whose pairs of bits begin at
// off: each half of the block in 32 bytes, elements 32 apart side by side.
func (g *gen) pairs(two reg.VecVirtual, src reg.GPVirtual, off int, use func(first int, v reg.VecVirtual)) {
	for half := range 2 {
		for i := range 4 {
			all := g.bytes8(at(src, off+32*half+8*i))
			for j := range 4 {
				use(128*half+32*j+8*i, g.bitsOf(all, 2*j, two))
			}
		}
	}
}

func (g *gen) widenQ3K() func(src, dst reg.GPVirtual) {
	four, two, third := g.constant(15), g.constant(3), g.constant(4)
	offset, shifts, held := g.constant(32), g.words("widenQ3K", 0, 8, 16, 24, 2, 10, 18, 26), g.AllocLocal(64)
	return func(src, dst reg.GPVirtual) {
		factor := g.half(at(src, 108))
		nibbles, high := g.bytes8(at(src, 96)), g.everyLane(at(src, 104))
		g.VPSRLVD(shifts, high, high)
		for i := range 2 {
			s, h := g.bitsOf(nibbles, 4*i, four), g.bitsOf(high, 4*i, two)
			g.VPSLLD(Imm(4), h, h)
			g.or(h, s, s)
			g.VPSUBD(offset, s, s)
			g.store(s, factor, nil, held.Offset(32*i))
		}
		g.pairs(two, src, 32, func(first int, v reg.VecVirtual) {
			bit, i := first/32, first%32
			g.or(g.bitsOf(g.bytes8(at(src, i)), bit-2, third), v, v)
			g.VPSUBD(third, v, v)
			d := g.vec()
			g.VBROADCASTSS(held.Offset(4*(first/16)), d)
			g.store(v, d, nil, at(dst, 4*first))
		})
	}
}
