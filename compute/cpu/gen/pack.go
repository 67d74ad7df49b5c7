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
	base []reg.GPVirtual // rows 0, 8, ...
	odd  [4]reg.GPVirtual
	half bool // 8 bytes of float16, two registers of lanes alone
}

// oddStrides is 1, 3, 5 and 7 times ld: with them, one pointer addresses eight rows.
func (g *gen) oddStrides(ld reg.GPVirtual) [4]reg.GPVirtual {
	s := [4]reg.GPVirtual{ld, g.GP64(), g.GP64(), g.GP64()}
	g.LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, s[1])
	g.LEAQ(Mem{Base: ld, Index: ld, Scale: 4}, s[2])
	g.LEAQ(Mem{Base: s[1], Index: ld, Scale: 4}, s[3])
	return s
}

// newBlock sets up pointers to rows first, first+1, ... of src.
func (g *gen) newBlock(src reg.GPVirtual, odd [4]reg.GPVirtual, first int) block {
	b := block{odd: odd}
	for q := range g.w.lanes() / 8 {
		p := g.GP64()
		g.IMUL3Q(imm(first+8*q), odd[0], p)
		g.ADDQ(src, p)
		b.base = append(b.base, p)
	}
	return b
}

// at is 16 bytes of row i at offset bytes.
func (b block) at(i, offset int) Mem {
	m := Mem{Base: b.base[i/8], Disp: offset}
	if i %= 8; i == 0 {
		return m
	}
	m.Scale = 1
	for i%2 == 0 {
		i, m.Scale = i/2, m.Scale*2
	}
	m.Index = b.odd[i/2]
	return m
}

// advanceBlock moves on by bytes in every row.
func (g *gen) advanceBlock(b block, bytes int) {
	for _, p := range b.base {
		g.ADDQ(imm(bytes), p)
	}
}

// transpose4 returns four registers: word w of every row's 16 bytes at offset, the
// rows in the lanes' order. Every 128-bit lane q is loaded with rows 4q..4q+3, so the
// same shuffles do for all widths.
func (g *gen) transpose4(b block, offset int) [4]reg.VecVirtual {
	load := func(i int) reg.VecVirtual {
		r := g.vec()
		if b.half {
			x := r.AsX()
			g.VMOVQ(b.at(i, offset), x)
			g.VPINSRQ(Imm(1), b.at(4+i, offset), x, x)
			g.VCVTPH2PS(x, r)
			return r
		}
		g.repeat(b.at(i, offset), r)
		for q := 1; q < g.w.lanes()/4; q++ {
			g.insert(q, b.at(4*q+i, offset), r)
		}
		return r
	}
	// In this order six registers do.
	unpack := func(i int) (lo, hi reg.VecVirtual) {
		r, s := load(i), load(i+1)
		lo, hi = g.vec(), g.vec()
		g.VUNPCKLPS(s, r, lo)
		g.VUNPCKHPS(s, r, hi)
		return lo, hi
	}
	lo0, hi0 := unpack(0)
	lo2, hi2 := unpack(2)
	out := [4]reg.VecVirtual{g.vec(), g.vec(), g.vec(), g.vec()}
	g.VSHUFPS(Imm(0x44), lo2, lo0, out[0])
	g.VSHUFPS(Imm(0xee), lo2, lo0, out[1])
	g.VSHUFPS(Imm(0x44), hi2, hi0, out[2])
	g.VSHUFPS(Imm(0xee), hi2, hi0, out[3])
	return out
}

// repeat loads 16 bytes into every 128-bit lane of v.
func (g *gen) repeat(m Mem, v reg.VecVirtual) {
	if g.wide() {
		g.VBROADCASTF32X4(m, v)
		return
	}
	g.VBROADCASTF128(m, v)
}

// insert loads 16 bytes into lane q of v.
func (g *gen) insert(q int, m Mem, v reg.VecVirtual) {
	if g.wide() {
		g.VINSERTF32X4(Imm(uint64(q)), m, v, v)
		return
	}
	g.VINSERTF128(Imm(uint64(q)), m, v, v)
}

// columns calls use for each step of k in transposed blocks of 16 bytes a row, the
// blocks taking turns, with a register of lanes float32. mask holds 0xffff0000 (BF16).
func (g *gen) columns(e element, blocks []block, offset int, mask reg.VecVirtual, use func(i, p int, v reg.VecVirtual)) {
	outs := make([][4]reg.VecVirtual, len(blocks))
	for i, b := range blocks {
		outs[i] = g.transpose4(b, offset)
	}
	for w := range 4 {
		if e.size == 4 {
			for i := range blocks {
				use(i, w, outs[i][w])
			}
			continue
		}
		for i := range blocks {
			even := g.vec()
			g.VPSLLD(Imm(16), outs[i][w], even)
			use(i, 2*w, even)
		}
		for i := range blocks {
			g.and(mask, outs[i][w], outs[i][w])
			use(i, 2*w+1, outs[i][w])
		}
	}
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
	odd := g.oddStrides(ld)
	var blocks []block
	for first := 0; first < g.w.nr; first += g.w.lanes() {
		blocks = append(blocks, g.newBlock(src, odd, first))
	}
	var mask reg.VecVirtual
	if e.size == 2 {
		mask = g.upperMask()
	}
	step := func(parts int) {
		// A block takes all it needs of its cache lines before the next block begins:
		// rows a power of two apart share a set of the cache, which holds eight lines.
		for i := range blocks {
			for part := range parts {
				g.columns(e, blocks[i:i+1], 16*part, mask, func(_, p int, v reg.VecVirtual) {
					g.VMOVUPS(v, at(dst, (part*e.per16()+p)*4*g.w.nr+i*g.w.bytes))
				})
			}
			g.advanceBlock(blocks[i], 16*parts)
		}
		g.ADDQ(imm(4*g.w.nr*e.per16()*parts), dst)
	}
	g.whole(k, 4*e.per16(), func() { step(4) })
	g.whole(k, e.per16(), func() { step(1) })
	g.VZEROUPPER()
	g.RET()
}

// whole runs step while n, which it counts down, is at least unit.
func (g *gen) whole(n reg.GPVirtual, unit int, step func()) {
	loop, done := g.label("loop"), g.label("done")
	g.Label(loop)
	g.CMPQ(n, imm(unit))
	g.JLT(LabelRef(done))
	step()
	g.SUBQ(imm(unit), n)
	g.JMP(LabelRef(loop))
	g.Label(done)
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
	nan, t := g.compare(unordered, v, v), g.vec()
	g.VPSRLD(Imm(16), v, t)
	g.and(r.one, t, t)
	g.VPADDD(r.bias, t, t)
	g.VPADDD(t, v, t)
	g.or(r.quiet, v, v)
	g.choose(nan, v, t, v)
	g.and(r.mask, v, v)
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
