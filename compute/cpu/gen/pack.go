package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() { units = append(units, unit{"pack", emitPack}) }

func emitPack(g *gen) {
	for _, e := range elements {
		g.packT(e)
		g.packN(e)
	}
	g.packNRows()
	g.roundBF16()
}

// element is a format of B: its suffix in function names, Go type, bytes, and how
// many of it a 16-byte load holds.
type element struct {
	name, gotype string
	size         int
}

var elements = []element{{"F32", "float32", 4}, {"BF16", "uint16", 2}}

// per16 is how many steps of k one transposed block covers.
func (e element) per16() int { return 16 / e.size }

// block is a group of lanes rows of a matrix of which 16 bytes a row are transposed
// at a time.
type block struct {
	quads   []reg.GPVirtual // rows 0, 4, 8, ...
	ld, ld3 reg.GPVirtual
}

// newBlock sets up pointers to rows first, first+1, ... of src.
func (g *gen) newBlock(src, ld, ld3 reg.GPVirtual, first int) block {
	b := block{ld: ld, ld3: ld3}
	for q := range g.w.lanes() / 4 {
		p := g.GP64()
		g.IMUL3Q(imm(first+4*q), ld, p)
		g.ADDQ(src, p)
		b.quads = append(b.quads, p)
	}
	return b
}

// at is 16 bytes of row i at offset bytes.
func (b block) at(i, offset int) Mem {
	m := Mem{Base: b.quads[i/4], Disp: offset}
	switch i % 4 {
	case 1:
		m.Index, m.Scale = b.ld, 1
	case 2:
		m.Index, m.Scale = b.ld, 2
	case 3:
		m.Index, m.Scale = b.ld3, 1
	}
	return m
}

// advance moves on by bytes in every row.
func (g *gen) advanceBlock(b block, bytes int) {
	for _, p := range b.quads {
		g.ADDQ(imm(bytes), p)
	}
}

// tripled is 3*ld.
func (g *gen) tripled(ld reg.GPVirtual) reg.GPVirtual {
	r := g.GP64()
	g.LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, r)
	return r
}

// transpose4 returns four registers: word w of every row's 16 bytes at offset, the
// rows in the lanes' order. Every 128-bit lane q is loaded with rows 4q..4q+3, so the
// same shuffles do for all widths.
func (g *gen) transpose4(b block, offset int) [4]reg.VecVirtual {
	var r, u, out [4]reg.VecVirtual
	for i := range 4 {
		r[i] = g.vec()
		g.repeat(b.at(i, offset), r[i])
		for q := 1; q < len(b.quads); q++ {
			g.insert(q, b.at(4*q+i, offset), r[i])
		}
	}
	for i := range 4 {
		u[i], out[i] = g.vec(), g.vec()
	}
	g.VUNPCKLPS(r[1], r[0], u[0])
	g.VUNPCKLPS(r[3], r[2], u[1])
	g.VUNPCKHPS(r[1], r[0], u[2])
	g.VUNPCKHPS(r[3], r[2], u[3])
	g.VSHUFPS(Imm(0x44), u[1], u[0], out[0])
	g.VSHUFPS(Imm(0xee), u[1], u[0], out[1])
	g.VSHUFPS(Imm(0x44), u[3], u[2], out[2])
	g.VSHUFPS(Imm(0xee), u[3], u[2], out[3])
	return out
}

// repeat loads 16 bytes into every 128-bit lane of v.
func (g *gen) repeat(m Mem, v reg.VecVirtual) {
	if g.w.bytes == 64 {
		g.VBROADCASTF32X4(m, v)
		return
	}
	g.VBROADCASTF128(m, v)
}

// insert loads 16 bytes into lane q of v.
func (g *gen) insert(q int, m Mem, v reg.VecVirtual) {
	if g.w.bytes == 64 {
		g.VINSERTF32X4(Imm(uint64(q)), m, v, v)
		return
	}
	g.VINSERTF128(Imm(uint64(q)), m, v, v)
}

// columns calls use for each step of k in a transposed block of 16 bytes a row, with
// a register of lanes float32 that use may destroy. mask holds 0xffff0000 (BF16).
func (g *gen) columns(e element, b block, offset int, mask reg.VecVirtual, use func(p int, v reg.VecVirtual)) {
	for i, v := range g.transpose4(b, offset) {
		if e.size == 4 {
			use(i, v)
			continue
		}
		even := g.vec()
		g.VPSLLD(Imm(16), v, even)
		use(2*i, even)
		g.and(mask, v)
		use(2*i+1, v)
	}
}

// and is v &= mask.
func (g *gen) and(mask, v reg.VecVirtual) {
	if g.w.bytes == 64 {
		g.VPANDD(mask, v, v)
		return
	}
	g.VPAND(mask, v, v)
}

// upperMask is 0xffff0000 in every lane.
func (g *gen) upperMask() reg.VecVirtual { return g.constant(0xffff0000) }

// constant fills a register with a 32-bit word.
func (g *gen) constant(word uint32) reg.VecVirtual {
	r, v := g.GP32(), g.vec()
	g.MOVL(U32(word), r)
	g.VMOVD(r, v.AsX())
	g.VPBROADCASTD(v.AsX(), v)
	return v
}

// packT emits the packing of a panel whose columns are rows in memory.
func (g *gen) packT(e element) {
	g.function("packT"+e.name, "func(k int, src *"+e.gotype+", ld int, dst *float32)",
		"writes dst[p][j] = src[j][p] for k p's (a multiple of 16 bytes' worth) and nr j's, as float32; src's rows are ld bytes apart.")
	k, src, ld, dst := g.arg("k"), g.arg("src"), g.arg("ld"), g.arg("dst")
	ld3 := g.tripled(ld)
	var blocks []block
	for first := 0; first < g.w.nr; first += g.w.lanes() {
		blocks = append(blocks, g.newBlock(src, ld, ld3, first))
	}
	var mask reg.VecVirtual
	if e.size == 2 {
		mask = g.upperMask()
	}
	loop := g.label("loop")
	g.Label(loop)
	for i, b := range blocks {
		g.columns(e, b, 0, mask, func(p int, v reg.VecVirtual) {
			g.VMOVUPS(v, at(dst, p*4*g.w.nr+i*g.w.bytes))
		})
		g.advanceBlock(b, 16)
	}
	g.ADDQ(imm(4*g.w.nr*e.per16()), dst)
	g.SUBQ(imm(e.per16()), k)
	g.JNZ(LabelRef(loop))
	g.VZEROUPPER()
	g.RET()
}

// widen loads lanes elements as float32.
func (g *gen) widen(e element, m Mem, v reg.VecVirtual) {
	if e.size == 4 {
		g.VMOVUPS(m, v)
		return
	}
	g.VPMOVZXWD(m, v)
	g.VPSLLD(Imm(16), v, v)
}

// packN emits the packing of a panel whose columns are columns in memory.
func (g *gen) packN(e element) {
	g.function("packN"+e.name, "func(k int, src *"+e.gotype+", ld int, dst *float32)",
		"writes dst[p][j] = src[p][j] for k p's and nr j's, as float32; src's rows are ld bytes apart.")
	k, src, ld, dst := g.arg("k"), g.arg("src"), g.arg("ld"), g.arg("dst")
	g.unrolled(k, 4, func() {
		for i := range g.w.nr / g.w.lanes() {
			v := g.vec()
			g.widen(e, at(src, i*g.w.lanes()*e.size), v)
			g.VMOVUPS(v, at(dst, i*g.w.bytes))
		}
		g.ADDQ(ld, src)
		g.ADDQ(imm(4*g.w.nr), dst)
	})
	g.VZEROUPPER()
	g.RET()
}

// packNRows emits packN of float32 with the rows named one by one.
func (g *gen) packNRows() {
	g.function("packNRows", "func(k int, src *float32, ld int, rows *int32, dst *float32)",
		"writes dst[p][j] = src[rows[p]][j] for k p's and nr j's; src's rows are ld bytes apart.")
	k, src, ld, rows, dst := g.arg("k"), g.arg("src"), g.arg("ld"), g.arg("rows"), g.arg("dst")
	g.unrolled(k, 4, func() {
		p := g.GP64()
		g.MOVLQSX(at(rows, 0), p)
		g.IMULQ(ld, p)
		for i := range g.w.nr / g.w.lanes() {
			v := g.vec()
			g.VMOVUPS(Mem{Base: src, Index: p, Scale: 1, Disp: i * g.w.bytes}, v)
			g.VMOVUPS(v, at(dst, i*g.w.bytes))
		}
		g.ADDQ(imm(4), rows)
		g.ADDQ(imm(4*g.w.nr), dst)
	})
	g.VZEROUPPER()
	g.RET()
}

// rounder holds the constants of rounding to bfloat16.
type rounder struct{ bias, one, mask, quiet reg.VecVirtual }

func (g *gen) newRounder() rounder {
	return rounder{g.constant(0x7fff), g.constant(1), g.upperMask(), g.constant(0x400000)}
}

// round replaces v by the nearest bfloat16, ties to even; NaNs become quiet.
func (g *gen) round(r rounder, v reg.VecVirtual) {
	if g.w.bytes != 32 {
		panic("round: only AVX2 has been run")
	}
	nan, t := g.vec(), g.vec()
	g.VCMPPS(Imm(3), v, v, nan)
	g.VANDPS(r.quiet, nan, nan)
	sum := g.vec()
	g.VPSRLD(Imm(16), v, t)
	g.VPAND(r.one, t, t)
	g.VPADDD(r.bias, t, t)
	g.VPADDD(t, v, sum)
	// A NaN keeps its own upper half: blend on the sign of (nan << 9).
	g.VPSLLD(Imm(9), nan, t)
	g.VBLENDVPS(t, v, sum, sum)
	g.VORPS(nan, sum, sum)
	g.VANDPS(r.mask, sum, v)
}

// roundBF16 emits the rounding of a row.
func (g *gen) roundBF16() {
	g.function("roundBF16", "func(n int, src, dst *float32)",
		"writes src rounded to bfloat16, ties to even, as float32; n is a multiple of the lanes.")
	n, src, dst := g.arg("n"), g.arg("src"), g.arg("dst")
	r := g.newRounder()
	loop := g.label("loop")
	g.Label(loop)
	v := g.vec()
	g.VMOVUPS(at(src, 0), v)
	g.round(r, v)
	g.VMOVUPS(v, at(dst, 0))
	g.ADDQ(imm(g.w.bytes), src)
	g.ADDQ(imm(g.w.bytes), dst)
	g.SUBQ(imm(g.w.lanes()), n)
	g.JNZ(LabelRef(loop))
	g.VZEROUPPER()
	g.RET()
}
