package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// blockFormat is a format of weights in blocks: how eight rows of it are taken apart.
type blockFormat struct {
	name            string
	elements, bytes int // of a block
	group           int // elements with a common factor
	min             bool
	nib             bool // codes 0 to 15 go into panels as they are, the others as int16
	// quads is how many products with codes from A int16 holds the sum of, in vectors
	// of four codes: 8 for codes to 15, 4 to 31, 2 to 63, 1 to 127.
	quads  int
	signed bool // codes may be below zero
	offset int  // what is to be taken off the codes
	few    bool // has a kernel for a few rows of A; quads is then 1 or the whole group
	emit   func(e *int8Gen, b block, s sink)
}

func (f blockFormat) groups() int { return f.elements / f.group }

// sink takes a block apart: the codes of some groups (up to eight of 16), then their
// factors, in the order of the groups.
type sink interface {
	// quad takes codes 4q to 4q+3 of a group of each of the eight rows and may change v.
	quad(group, q int, v reg.VecVirtual)
	// scale takes a group's factors, and minima where the format has them; it may
	// change them.
	scale(group int, d, m reg.VecVirtual)
}

// packSink writes a panel.
type packSink struct {
	e      *int8Gen
	f      blockFormat
	dst, x reg.GPVirtual
	offset reg.VecVirtual
}

func (s *packSink) quad(group, q int, v reg.VecVirtual) {
	if s.f.nib {
		s.e.VMOVDQU(v, at(s.dst, 16*s.f.group*group+64*q))
		return
	}
	if s.f.offset != 0 {
		s.e.VPSUBB(s.offset, v, v)
	}
	even, odd := s.e.evenOdd(v)
	s.e.VMOVDQU(even, at(s.dst, 32*s.f.group*group+128*q))
	s.e.VMOVDQU(odd, at(s.dst, 32*s.f.group*group+128*q+64))
}

func (s *packSink) scale(group int, d, m reg.VecVirtual) {
	if !s.f.min {
		s.e.VMOVUPS(d, at(s.x, 64*group))
		return
	}
	s.e.VMOVUPS(d, at(s.x, 128*group))
	s.e.VMOVUPS(m, at(s.x, 128*group+64))
}

// packBlocks emits the unpacking of eight rows into half a panel.
func (e *int8Gen) packBlocks(f blockFormat) {
	e.function("int8Pack"+f.name, "func(blocks int, w *byte, ld int, panel *byte, f *float32, next *byte)",
		"takes blocks of eight rows, ld bytes apart, apart into eight columns of a panel and its factors f, as the panel kernels read them. As much memory as is read, from next on, is asked for early.")
	blocks, next := e.arg("blocks"), e.arg("next")
	w := e.arg("w")
	b := block{base: []reg.GPVirtual{w}, odd: e.oddStrides(e.arg("ld"))}
	s := &packSink{e: e, f: f, dst: e.arg("panel"), x: e.arg("f")}
	if !f.nib && f.offset != 0 {
		s.offset = e.constant(uint32(f.offset) * 0x01010101)
	}
	loop := e.label("block")
	e.Label(loop)
	e.ahead(f, next)
	f.emit(e, b, s)
	e.ADDQ(imm(f.bytes), w)
	width := 32
	if f.nib {
		width = 16
	}
	e.ADDQ(imm(width*f.elements), s.dst)
	factors := 64
	if f.min {
		factors = 128
	}
	e.ADDQ(imm(factors*f.groups()), s.x)
	e.DECQ(blocks)
	e.JNZ(LabelRef(loop))
	e.VZEROUPPER()
	e.RET()
}

// rowSink multiplies with one row of A.
type rowSink struct {
	e    *int8Gen
	f    blockFormat
	a, x reg.GPVirtual // A's codes and aux
	acc  reg.VecVirtual
	sums map[int]*groupSum
	held Mem // sums of eight groups of 16, which do not come in their order
}

func (s *rowSink) waits(group int) Mem { return offset(s.held, group%8*32) }

// groupSum is the integer sum of a group so far.
type groupSum struct {
	words, ints reg.VecVirtual
	inWords     int
	quads       int
}

func (s *rowSink) quad(group, q int, v reg.VecVirtual) {
	e, t := s.e, s.sums[group]
	if t == nil {
		t = &groupSum{}
		s.sums[group] = t
	}
	b := e.vec()
	e.VPBROADCASTD(at(s.a, s.f.group*group+4*q), b)
	if s.f.signed {
		e.VPSIGNB(v, b, b)
		e.VPABSB(v, v)
	}
	e.VPMADDUBSW(b, v, b)
	if t.inWords == 0 {
		t.words = b
	} else {
		e.VPADDW(b, t.words, t.words)
	}
	t.inWords++
	t.quads++
	if t.inWords >= s.f.quads || t.quads == s.f.group/4 {
		s.widen(t)
	}
	if t.quads == s.f.group/4 && s.f.group == 16 {
		e.VMOVDQU(t.ints, s.waits(group))
	}
}

// widen adds the sums in int16 to those in int32.
func (s *rowSink) widen(t *groupSum) {
	s.e.VPMADDWD(s.e.ones16, t.words, t.words)
	if t.ints == nil {
		t.ints = t.words
	} else {
		s.e.VPADDD(t.words, t.ints, t.ints)
	}
	t.inWords = 0
}

func (s *rowSink) scale(group int, d, m reg.VecVirtual) {
	e := s.e
	sum := s.sums[group].ints
	if s.f.group == 16 {
		sum = e.vec()
		e.VMOVDQU(s.waits(group), sum)
	}
	t := e.vec()
	if s.f.offset != 0 {
		e.VPBROADCASTD(at(s.x, 8*group+4), t)
		e.VPSUBD(t, sum, sum)
	}
	e.VCVTDQ2PS(sum, sum)
	e.VBROADCASTSS(at(s.x, 8*group), t)
	e.VMULPS(t, d, d)
	e.VFMADD231PS(sum, d, s.acc)
	if s.f.min {
		e.VMULPS(t, m, m)
		e.VBROADCASTSS(at(s.x, 8*group+4), t)
		e.VFMADD231PS(t, m, s.acc)
	}
}

// rowBlocks emits the product of one row of A with groups of eight rows of weights.
func (e *int8Gen) rowBlocks(f blockFormat) {
	e.function("int8Row"+f.name, "func(strips, blocks int, w *byte, ld int, a *byte, aux, y *float32, next *byte)",
		"adds to y[8*strips] the product of one quantised row with rows of weights, ld bytes apart, of blocks each. As much memory as is read, from next on, is asked for early.")
	w := e.arg("w")
	b := block{base: []reg.GPVirtual{w}, odd: e.oddStrides(e.arg("ld"))}
	strips, y, next := e.arg("strips"), e.arg("y"), e.arg("next")
	s := &rowSink{e: e, f: f, acc: e.vec()}
	if f.group == 16 {
		s.held = e.AllocLocal(8 * 32)
	}
	outer, loop := e.label("strip"), e.label("block")
	e.Label(outer)
	blocks := e.arg("blocks")
	s.a, s.x = e.arg("a"), e.arg("aux")
	start := e.GP64()
	e.LEAQ(Mem{Base: w, Index: b.odd[0], Scale: 8}, start)
	e.VMOVUPS(at(y, 0), s.acc)
	e.Label(loop)
	s.sums = map[int]*groupSum{}
	e.ahead(f, next)
	f.emit(e, b, s)
	e.ADDQ(imm(f.bytes), w)
	e.ADDQ(imm(f.elements), s.a)
	e.ADDQ(imm(8*f.groups()), s.x)
	e.DECQ(blocks)
	e.JNZ(LabelRef(loop))
	e.VMOVUPS(s.acc, at(y, 0))
	e.ADDQ(Imm(32), y)
	e.MOVQ(start, w)
	e.DECQ(strips)
	e.JNZ(LabelRef(outer))
	e.VZEROUPPER()
	e.RET()
}

// ahead asks for as much memory as eight blocks take and moves next past it.
func (e *int8Gen) ahead(f blockFormat, next reg.GPVirtual) {
	for line := 0; line < 8*f.bytes; line += 64 {
		e.PREFETCHT0(at(next, line))
	}
	e.ADDQ(imm(8*f.bytes), next)
}

// words loads a 32-bit word at offset of each of the eight rows: rows 0 2 4 6 and
// rows 1 3 5 7.
func (e *int8Gen) words(b block, off int) (even, odd reg.VecVirtual) {
	even, odd = e.XMM(), e.XMM()
	e.VMOVD(b.at(0, off), even)
	e.VMOVD(b.at(1, off), odd)
	for i := 1; i < 4; i++ {
		e.VPINSRD(Imm(uint64(i)), b.at(2*i, off), even, even)
		e.VPINSRD(Imm(uint64(i)), b.at(2*i+1, off), odd, odd)
	}
	return even, odd
}

// lowHalves are the IEEE halves in the lower parts of the words as float32.
func (e *int8Gen) lowHalves(even, odd reg.VecVirtual) reg.VecVirtual {
	t, v := e.XMM(), e.vec()
	e.VPSLLD(Imm(16), odd, t)
	e.VPBLENDW(Imm(0xaa), t, even, t)
	e.VCVTPH2PS(t, v)
	return v
}

// highHalves are those in the upper parts.
func (e *int8Gen) highHalves(even, odd reg.VecVirtual) reg.VecVirtual {
	t, v := e.XMM(), e.vec()
	e.VPSRLD(Imm(16), even, t)
	e.VPBLENDW(Imm(0xaa), odd, t, t)
	e.VCVTPH2PS(t, v)
	return v
}

// nibbles gives the low and the high nibbles of v's bytes.
func (e *int8Gen) nibbles(v reg.VecVirtual) (lo, hi reg.VecVirtual) {
	lo, hi = e.vec(), e.vec()
	e.VPAND(e.low4, v, lo)
	e.VPSRLW(Imm(4), v, hi)
	e.VPAND(e.low4, hi, hi)
	return lo, hi
}
