package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	units = append(units, unit{"int8", func(g *gen) {
		if g.wide() {
			return
		}
		e := &int8Gen{gen: g, made: map[string]Mem{}}
		e.tables()
		e.quantise()
		e.peakLoop()
		e.panels()
		for _, f := range blockFormats {
			e.packBlocks(f)
			e.rowBlocks(f)
		}
		for _, f := range blockFormats {
			e.fewBlocks(f)
		}
	}})
}

// int8Gen emits products of rows quantised to int8 with weights in blocks, for AVX2.
// Eight rows of weights stand side by side: a vector holds four consecutive codes of
// each, and meets four codes of a row of A broadcast to all of them.
type int8Gen struct {
	*gen
	ones8, ones16, low4, abs, order Mem
	f127, minus127, inf             Mem
	made                            map[string]Mem // tables by name
}

// tables makes the constants in memory.
func (e *int8Gen) tables() {
	e.ones8 = e.table("int8Ones8", 0x01010101)
	e.ones16 = e.table("int8Ones16", 0x00010001)
	e.low4 = e.table("int8Low4", 0x0f0f0f0f)
	e.abs = e.table("int8Abs", 0x7fffffff)
	e.f127 = e.table("int8Max", 0x42fe0000)
	e.minus127 = e.table("int8Least", 0x81818181)
	e.inf = e.table("int8Inf", 0x7f800000)
	e.order = e.table("int8Order", 0, 4, 1, 5, 2, 6, 3, 7)
}

// table is a vector in read-only memory: eight words, repeated from those given. A name
// stands for one table.
func (e *int8Gen) table(name string, words ...uint32) Mem {
	if m, ok := e.made[name]; ok {
		return m
	}
	m := e.StaticGlobal(name)
	e.made[name] = m
	e.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range 8 {
		e.AddDatum(4*i, U32(words[i%len(words)]))
	}
	return m
}

// quantise emits the rounding of a row to int8.
func (e *int8Gen) quantise() {
	e.function("int8Quantise", "func(blocks int, x *float32, codes *int8, pairs *int16, aux *float32, halves, times int)",
		"quantises blocks of 32 numbers to codes with a factor s = amax/127. With pairs it writes there the codes as int16, elements 1 and 2 of every four exchanged. For each block (for each half of it, if halves is 1) aux gets s and the sum of the codes: as float32 if times is 0, else times the sum as int32.")
	blocks, x, codes, pairs := e.arg("blocks"), e.arg("x"), e.arg("codes"), e.arg("pairs")
	aux, halves, times := e.arg("aux"), e.arg("halves"), e.arg("times")
	loop := e.label("block")
	e.Label(loop)
	s, v := e.quantised(x)
	e.ADDQ(Imm(128), x)
	e.VMOVDQU(v, at(codes, 0))
	e.ADDQ(Imm(32), codes)
	none := e.label("none")
	e.TESTQ(pairs, pairs)
	e.JZ(LabelRef(none))
	e.widePairs(v, pairs)
	e.ADDQ(Imm(64), pairs)
	e.Label(none)
	e.auxiliary(s, v, aux, halves, times)
	e.DECQ(blocks)
	e.JNZ(LabelRef(loop))
	e.VZEROUPPER()
	e.RET()
}

// quantised is the factor in all lanes and the 32 codes of the numbers at x. The
// largest magnitude is found on bits as integers, where a NaN is above all.
func (e *int8Gen) quantised(x reg.GPVirtual) (s, codes reg.VecVirtual) {
	v, top := e.vecs(4), e.vec()
	t := e.vec()
	for i := range v {
		e.VMOVUPS(at(x, 32*i), v[i])
		if i == 0 {
			e.VPAND(e.abs, v[i], top)
			continue
		}
		e.VPAND(e.abs, v[i], t)
		e.VPMAXSD(t, top, top)
	}
	e.VPERM2I128(Imm(1), top, top, t)
	e.VPMAXSD(t, top, top)
	e.VPSHUFD(Imm(0x4e), top, t)
	e.VPMAXSD(t, top, top)
	e.VPSHUFD(Imm(0xb1), top, t)
	e.VPMAXSD(t, top, top)
	s = e.vec()
	e.VDIVPS(e.f127, top, s)
	// Codes are zero where the factor is zero, infinite or no number.
	good, zero := e.vec(), e.vec()
	e.zero(zero)
	e.VPCMPGTD(zero, s, good)
	e.VMOVDQU(e.inf, zero)
	e.VPCMPGTD(s, zero, t)
	e.VPAND(t, good, good)
	for i := range v {
		e.VDIVPS(s, v[i], v[i])
		e.VCVTPS2DQ(v[i], v[i])
	}
	e.VPACKSSDW(v[1], v[0], v[0])
	e.VPACKSSDW(v[3], v[2], v[2])
	e.VPACKSSWB(v[2], v[0], v[0])
	e.VPMAXSB(e.minus127, v[0], v[0])
	e.VMOVDQU(e.order, t)
	e.VPERMD(v[0], t, v[0])
	e.VPAND(good, v[0], v[0])
	return s, v[0]
}

// widePairs writes codes as int16, in the order 0 2 1 3 of every four.
func (e *int8Gen) widePairs(v reg.VecVirtual, dst reg.GPVirtual) {
	even, odd := e.evenOdd(v)
	lo, hi, t := e.vec(), e.vec(), e.vec()
	e.VPUNPCKLDQ(odd, even, lo)
	e.VPUNPCKHDQ(odd, even, hi)
	e.VPERM2I128(Imm(0x20), hi, lo, t)
	e.VMOVDQU(t, at(dst, 0))
	e.VPERM2I128(Imm(0x31), hi, lo, t)
	e.VMOVDQU(t, at(dst, 32))
}

// evenOdd widens signed bytes to int16: bytes 0 and 2 of every four, and 1 and 3.
func (e *int8Gen) evenOdd(v reg.VecVirtual) (even, odd reg.VecVirtual) {
	even, odd = e.vec(), e.vec()
	e.VPSLLW(Imm(8), v, even)
	e.VPSRAW(Imm(8), even, even)
	e.VPSRAW(Imm(8), v, odd)
	return even, odd
}

// auxiliary writes the factor and the sum of the codes, see quantise.
func (e *int8Gen) auxiliary(s, codes reg.VecVirtual, aux, halves, times reg.GPVirtual) {
	v, t := e.vec(), e.vec()
	e.VMOVDQU(e.ones8, v)
	e.VPMADDUBSW(codes, v, v)
	e.VPMADDWD(e.ones16, v, v)
	e.VPSHUFD(Imm(0x4e), v, t)
	e.VPADDD(t, v, v)
	e.VPSHUFD(Imm(0xb1), v, t)
	e.VPADDD(t, v, v)
	split, whole, done := e.label("split"), e.label("whole"), e.label("done")
	e.TESTQ(halves, halves)
	e.JNZ(LabelRef(split))
	e.VPERM2I128(Imm(1), v, v, t)
	e.VPADDD(t, v, v)
	e.Label(split)
	float := e.label("float")
	e.TESTQ(times, times)
	e.JZ(LabelRef(float))
	e.VMOVD(times.As32(), t.AsX())
	e.VPBROADCASTD(t.AsX(), t)
	e.VPMULLD(t, v, v)
	e.JMP(LabelRef(whole))
	e.Label(float)
	e.VCVTDQ2PS(v, v)
	e.Label(whole)
	e.VUNPCKLPS(v, s, v)
	e.VMOVLPS(v.AsX(), at(aux, 0))
	e.ADDQ(Imm(8), aux)
	e.TESTQ(halves, halves)
	e.JZ(LabelRef(done))
	e.VEXTRACTF128(Imm(1), v, v.AsX())
	e.VMOVLPS(v.AsX(), at(aux, 0))
	e.ADDQ(Imm(8), aux)
	e.Label(done)
}

// peakLoop emits a loop of nothing but what a panel of bytes is multiplied with.
func (e *int8Gen) peakLoop() {
	e.function("int8Loop", "func(n int)", "runs n rounds of 12 independent sums of products of bytes on registers: the processor's peak.")
	n, acc := e.arg("n"), e.vecs(12)
	x := e.vec()
	e.zero(x)
	for _, v := range acc {
		e.zero(v)
	}
	loop := e.label("loop")
	e.Label(loop)
	for _, v := range acc {
		t := e.vec()
		e.VPMADDUBSW(x, x, t)
		e.VPADDW(t, v, v)
	}
	e.DECQ(n)
	e.JNZ(LabelRef(loop))
	e.VZEROUPPER()
	e.RET()
}
