package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// halves is the shuffle that brings the halves of one step of k in a word of every row
// side by side, four rows at a time.
func (g *gen) halves() Mem {
	m := g.StaticGlobal("gemvHalves")
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range 32 {
		g.AddDatum(i, U8([]byte{0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15}[i%16]))
	}
	return m
}

// gemvNote says what gemvT of a format of files is given beside.
func (g *gen) gemvNote(e element) string {
	if e.size > 1 {
		return ""
	}
	return " factors has for each chain where, line by line, the factors of the lanes j's are, times 2^120. Where a row has a NaN, y becomes one."
}

// gemvTFile is gemvT's loop for formats that are converted after they are transposed, on
// AVX2.
func (g *gen) gemvTFile(e element, lines, next reg.GPVirtual, src []block, x []reg.GPVirtual, acc []reg.VecVirtual) {
	var f []reg.GPVirtual
	var seen []reg.VecVirtual
	c := converter{e: e}
	if e.size == 2 {
		c.halves = g.halves()
	} else {
		c.all, c.bits = g.constant(0x7f7f7f7f), g.constant(0x87f00000)
		factors := g.arg("factors")
		for i := range chainCount {
			p, v := g.GP64(), g.vec()
			g.MOVQ(at(factors, 8*i), p)
			g.zero(v)
			f, seen = append(f, p), append(seen, v)
		}
	}
	loop := g.label("loop")
	g.Label(loop)
	g.prefetch(next, chainCount*g.w.lanes())
	for part := range 4 {
		var words [chainCount][4]reg.VecVirtual
		for i := range chainCount {
			words[i] = g.transpose4(src[i], 16*part)
		}
		for w := range 4 {
			for i := range chainCount {
				v := words[i][w]
				if e.size == 1 {
					t := g.vec()
					g.and(c.all, v, t)
					g.VPMAXUB(t, seen[i], seen[i])
				}
				g.convert(c, v, func(p int, v reg.VecVirtual) {
					if e.size == 1 {
						g.VMULPS(at(f[i], 0), v, v)
					}
					s := g.vec()
					g.VBROADCASTSS(at(x[i], 4*(part*e.per16()+w*4/e.size+p)), s)
					g.VFMADD231PS(s, v, acc[i])
				})
			}
		}
	}
	for i := range chainCount {
		g.advanceBlock(src[i], 64)
		g.ADDQ(imm(16*e.per16()), x[i])
		if e.size == 1 {
			g.ADDQ(imm(g.w.bytes), f[i])
		}
	}
	g.DECQ(lines)
	g.JNZ(LabelRef(loop))
	for i, v := range seen {
		g.spoil(c, v, acc[i])
	}
	g.storeChains(acc)
}

// converter is a format and the constants of its conversion.
type converter struct {
	e         element
	halves    Mem
	all, bits reg.VecVirtual
}

// convert calls use with the float32 of each step of k that v, a word of every row, has.
func (g *gen) convert(c converter, v reg.VecVirtual, use func(p int, v reg.VecVirtual)) {
	if c.e.size == 2 {
		low, high := g.vec(), g.vec()
		g.VPSHUFB(c.halves, v, v)
		g.VPERMQ(Imm(0xd8), v, v)
		g.VCVTPH2PS(v.AsX(), low)
		use(0, low)
		g.VEXTRACTI128(Imm(1), v, v.AsX())
		g.VCVTPH2PS(v.AsX(), high)
		use(1, high)
		return
	}
	// A code's exponent and mantissa, moved to where float32 has them, are its value times
	// 2^-120. (Numbers that are subnormal there are slow on some processors, but rare: they
	// are the codes below 2^-6, of 448.)
	for p := range 4 {
		t := g.vec()
		if p < 3 {
			g.VPSLLD(Imm(uint64(24-8*p)), v, t)
			g.VPSRAD(Imm(4), t, t)
		} else {
			g.VPSRAD(Imm(4), v, t)
		}
		g.and(c.bits, t, t)
		use(p, t)
	}
}

// spoil makes lanes of acc NaN where seen, codes without signs, has FP8's code of NaN.
func (g *gen) spoil(c converter, seen, acc reg.VecVirtual) {
	nan, zero := g.constant(0x7fc00000), g.vec()
	g.zero(zero)
	g.VPCMPEQB(c.all, seen, seen)
	g.VPCMPEQD(zero, seen, seen)
	g.choose(condition{v: seen}, acc, nan, acc)
}
