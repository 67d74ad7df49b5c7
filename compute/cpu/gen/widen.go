package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() { units = append(units, unit{"widen", emitWiden}) }

// emitWiden emits what turns stretches of a row into float32, for AVX2: the product that
// follows takes most of the time, so wider registers would gain little.
func emitWiden(g *gen) {
	if g.wide() {
		return
	}
	g.widenF16()
	g.widenE4M3()
	for _, f := range []struct {
		name            string
		elements, bytes int
		emit            func(g *gen) func(src, dst reg.GPVirtual)
	}{
		{"Q80", 32, 34, (*gen).widenQ80},
		{"Q40", 32, 18, (*gen).widenQ40},
		{"Q41", 32, 20, (*gen).widenQ41},
		{"Q4K", 256, 144, (*gen).widenQ4K},
		{"Q5K", 256, 176, (*gen).widenQ5K},
		{"Q6K", 256, 210, (*gen).widenQ6K},
		{"Q50", 32, 22, (*gen).widenQ50},
		{"Q51", 32, 24, (*gen).widenQ51},
		{"Q2K", 256, 84, (*gen).widenQ2K},
		{"Q3K", 256, 110, (*gen).widenQ3K},
		{"IQ4NL", 32, 18, (*gen).widenIQ4NL},
		{"IQ4XS", 256, 136, (*gen).widenIQ4XS},
	} {
		g.function("widen"+f.name, "func(rows, blocks int, src *byte, ld int, dst *float32, ldd int)",
			"widens rows of whole blocks, at least one, with the roundings of num.BlockType.Decode; ld and ldd are the bytes between rows.")
		block := f.emit(g)
		g.eachRow("blocks", func(blocks, src, dst reg.GPVirtual) {
			loop := g.label("block")
			g.Label(loop)
			// One row in work goes on there, 16 rows later.
			for off := 0; off < f.bytes; off += 64 {
				g.PREFETCHT0(at(src, 256/f.elements*f.bytes+off))
			}
			block(src, dst)
			g.ADDQ(imm(f.bytes), src)
			g.ADDQ(imm(4*f.elements), dst)
			g.DECQ(blocks)
			g.JNZ(LabelRef(loop))
		})
		g.VZEROUPPER()
		g.RET()
	}
}

// eachRow runs body for rows of src and dst, ld and ldd bytes apart, with a count, the
// parameter called count, that it may consume like the pointers.
func (g *gen) eachRow(count string, body func(n, src, dst reg.GPVirtual)) {
	src, dst, rows := g.arg("src"), g.arg("dst"), g.arg("rows")
	loop := g.label("row")
	g.Label(loop)
	p, q := g.GP64(), g.GP64()
	g.MOVQ(src, p)
	g.MOVQ(dst, q)
	body(g.arg(count), p, q)
	g.ADDQ(g.arg("ld"), src)
	g.ADDQ(g.arg("ldd"), dst)
	g.DECQ(rows)
	g.JNZ(LabelRef(loop))
}

// widenF16 emits the widening of halves.
func (g *gen) widenF16() {
	g.function("widenF16", "func(rows, n int, src *byte, ld int, dst *float32, ldd int)",
		"widens rows of n halves, a multiple of 8; ld and ldd are the bytes between rows.")
	g.eachRow("n", func(n, src, dst reg.GPVirtual) {
		step := func(parts int) {
			for i := range parts {
				v := g.vec()
				g.VCVTPH2PS(at(src, 16*i), v)
				g.VMOVUPS(v, at(dst, 32*i))
			}
			g.ADDQ(imm(16*parts), src)
			g.ADDQ(imm(32*parts), dst)
		}
		g.whole(n, 32, func() { step(4) })
		g.whole(n, 8, func() { step(1) })
	})
	g.VZEROUPPER()
	g.RET()
}

// widenE4M3 emits the widening of FP8. A code's exponent and mantissa, moved to where a
// half has them, are its value over 256; only the code of NaN is no such number.
func (g *gen) widenE4M3() {
	g.function("widenE4M3", "func(rows, n int, src *byte, ld int, dst *float32, ldd int, factor float32) (nan int)",
		"widens rows of n codes, a multiple of 8, over 256, times factor. Where the result is not 0, a NaN is among them and stands for 480 there. ld and ldd are the bytes between rows.")
	factor, x := g.vec(), g.XMM()
	g.Load(g.Param("factor"), x)
	g.VBROADCASTSS(x, factor)
	bits := g.constant(0xbf80bf80)
	all, seen := g.constant(0x7f7f7f7f), g.vec()
	g.zero(seen)
	step := func(parts int, src, dst reg.GPVirtual) {
		codes := g.vec()
		if parts == 4 {
			g.VMOVDQU(at(src, 0), codes)
		} else {
			g.VMOVQ(at(src, 0), codes.AsX())
		}
		g.and(all, codes, codes)
		g.VPCMPEQB(all, codes, codes)
		g.or(codes, seen, seen)
		for i := 0; i < parts; i += 2 {
			halves, v := g.vec(), g.vec()
			if parts == 1 {
				g.VPMOVSXBW(at(src, 0), halves.AsX())
			} else {
				g.VPMOVSXBW(at(src, 8*i), halves)
			}
			g.VPSLLW(Imm(7), halves, halves)
			g.and(bits, halves, halves)
			g.VCVTPH2PS(halves.AsX(), v)
			g.VMULPS(factor, v, v)
			g.VMOVUPS(v, at(dst, 32*i))
			if parts > 1 {
				g.VEXTRACTI128(Imm(1), halves, halves.AsX())
				g.VCVTPH2PS(halves.AsX(), v)
				g.VMULPS(factor, v, v)
				g.VMOVUPS(v, at(dst, 32*i+32))
			}
		}
		g.ADDQ(imm(8*parts), src)
		g.ADDQ(imm(32*parts), dst)
	}
	g.eachRow("n", func(n, src, dst reg.GPVirtual) {
		g.whole(n, 32, func() { step(4, src, dst) })
		g.whole(n, 8, func() { step(1, src, dst) })
	})
	nan := g.GP32()
	g.VPMOVMSKB(seen, nan)
	g.Store(nan.As64(), g.ReturnIndex(0))
	g.VZEROUPPER()
	g.RET()
}

// half is the half at m, as float32 in every lane.
func (g *gen) half(m Mem) reg.VecVirtual {
	x, v := g.XMM(), g.vec()
	g.VPBROADCASTW(m, x)
	g.VCVTPH2PS(x, v)
	return v
}

// bytes8 loads eight bytes as int32.
func (g *gen) bytes8(m Mem) reg.VecVirtual {
	v := g.vec()
	g.VPMOVZXBD(m, v)
	return v
}

// bitsOf is v's bits of mask after a shift right by n.
func (g *gen) bitsOf(v reg.VecVirtual, n int, mask reg.VecVirtual) reg.VecVirtual {
	out := g.vec()
	switch {
	case n > 0:
		g.VPSRLD(Imm(uint64(n)), v, out)
		g.and(mask, out, out)
	case n < 0:
		g.VPSLLD(Imm(uint64(-n)), v, out)
		g.and(mask, out, out)
	default:
		g.and(mask, v, out)
	}
	return out
}

// store writes float32(v)*d, plus m where there is one, rounded twice.
func (g *gen) store(v, d reg.VecVirtual, m Op, to Mem) {
	g.VCVTDQ2PS(v, v)
	g.VMULPS(d, v, v)
	if m != nil {
		g.VADDPS(m, v, v)
	}
	g.VMOVUPS(v, to)
}

func (g *gen) widenQ80() func(src, dst reg.GPVirtual) {
	return func(src, dst reg.GPVirtual) {
		d := g.half(at(src, 0))
		for i := range 4 {
			v := g.vec()
			g.VPMOVSXBD(at(src, 2+8*i), v)
			g.store(v, d, nil, at(dst, 32*i))
		}
	}
}

func (g *gen) widenQ40() func(src, dst reg.GPVirtual) {
	low, eight := g.constant(15), g.constant(8)
	return func(src, dst reg.GPVirtual) {
		d := g.half(at(src, 0))
		for i := range 2 {
			both := g.bytes8(at(src, 2+8*i))
			for h := range 2 {
				v := g.bitsOf(both, 4*h, low)
				g.VPSUBD(eight, v, v)
				g.store(v, d, nil, at(dst, 64*h+32*i))
			}
		}
	}
}

func (g *gen) widenQ41() func(src, dst reg.GPVirtual) {
	low := g.constant(15)
	return func(src, dst reg.GPVirtual) {
		d, m := g.half(at(src, 0)), g.half(at(src, 2))
		for i := range 2 {
			both := g.bytes8(at(src, 4+8*i))
			for h := range 2 {
				g.store(g.bitsOf(both, 4*h, low), d, m, at(dst, 64*h+32*i))
			}
		}
	}
}

// factors8 writes the factors and then the minima of a block's eight groups to to: the
// head of Q4_K and Q5_K, see num's decoding.
func (g *gen) factors8(src reg.GPVirtual, to Mem) {
	const six, two, four = 0x3f3f3f3f, 0x03030303, 0x0f0f0f0f
	word := func(off int) reg.GPVirtual {
		r := g.GP32()
		g.MOVL(at(src, off), r)
		return r
	}
	low := func(x reg.GPVirtual) reg.GPVirtual {
		r := g.GP32()
		g.MOVL(x, r)
		g.ANDL(U32(six), r)
		return r
	}
	high := func(x, rest reg.GPVirtual, shift uint64) reg.GPVirtual {
		t, r := g.GP32(), g.GP32()
		g.MOVL(x, t)
		g.SHRL(Imm(6), t)
		g.ANDL(U32(two), t)
		g.SHLL(Imm(4), t)
		g.MOVL(rest, r)
		if shift > 0 {
			g.SHRL(Imm(shift), r)
		}
		g.ANDL(U32(four), r)
		g.ORL(t, r)
		return r
	}
	a, b, c := word(4), word(8), word(12)
	for i, x := range []reg.GPVirtual{a, b} {
		v, d := g.vec(), g.half(at(src, 2*i))
		g.VMOVD(low(x), v.AsX())
		g.VPINSRD(Imm(1), high(x, c, uint64(4*i)), v.AsX(), v.AsX())
		g.VPMOVZXBD(v.AsX(), v)
		g.store(v, d, nil, to.Offset(32*i))
	}
}

// nibblesK emits what Q4_K and Q5_K share: four times 32 bytes of nibbles of two groups,
// to which add gives the higher bits.
func (g *gen) nibblesK(nibbles int, add func(src reg.GPVirtual, c, i, h int, v reg.VecVirtual)) func(src, dst reg.GPVirtual) {
	low, held := g.constant(15), g.AllocLocal(64)
	return func(src, dst reg.GPVirtual) {
		g.factors8(src, held)
		for c := range 4 {
			var d, m [2]reg.VecVirtual
			for h := range 2 {
				d[h], m[h] = g.vec(), g.vec()
				g.VBROADCASTSS(held.Offset(4*(2*c+h)), d[h])
				g.VBROADCASTSS(held.Offset(32+4*(2*c+h)), m[h])
			}
			for i := range 4 {
				both := g.bytes8(at(src, nibbles+32*c+8*i))
				for h := range 2 {
					v := g.bitsOf(both, 4*h, low)
					add(src, c, i, h, v)
					g.VCVTDQ2PS(v, v)
					g.VMULPS(d[h], v, v)
					g.VSUBPS(m[h], v, v)
					g.VMOVUPS(v, at(dst, 4*(64*c+32*h+8*i)))
				}
			}
		}
	}
}

func (g *gen) widenQ4K() func(src, dst reg.GPVirtual) {
	return g.nibblesK(16, func(reg.GPVirtual, int, int, int, reg.VecVirtual) {})
}

func (g *gen) widenQ5K() func(src, dst reg.GPVirtual) {
	fifth := g.constant(16)
	return g.nibblesK(48, func(src reg.GPVirtual, c, i, h int, v reg.VecVirtual) {
		g.or(g.bitsOf(g.bytes8(at(src, 16+8*i)), 2*c+h-4, fifth), v, v)
	})
}

func (g *gen) widenQ6K() func(src, dst reg.GPVirtual) {
	low, high, offset := g.constant(15), g.constant(0x30), g.constant(32)
	held := g.AllocLocal(64)
	return func(src, dst reg.GPVirtual) {
		factor := g.half(at(src, 208))
		for i := range 2 {
			v := g.vec()
			g.VPMOVSXBD(at(src, 192+8*i), v)
			g.store(v, factor, nil, held.Offset(32*i))
		}
		for part := range 8 { // eight elements of every quarter of a half block
			half, i := part/4, part%4
			upper := g.bytes8(at(src, 128+32*half+8*i))
			for q := range 2 { // bytes of quarters q and q+2
				both := g.bytes8(at(src, 64*half+32*q+8*i))
				for h := range 2 {
					v := g.bitsOf(both, 4*h, low)
					g.or(g.bitsOf(upper, 2*(q+2*h)-4, high), v, v)
					g.VPSUBD(offset, v, v)
					first, d := 128*half+32*(q+2*h)+8*i, g.vec()
					g.VBROADCASTSS(held.Offset(4*(first/16)), d)
					g.store(v, d, nil, at(dst, 4*first))
				}
			}
		}
	}
}
