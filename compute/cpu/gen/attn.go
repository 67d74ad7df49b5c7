package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	units = append(units, unit{"attn", func(g *gen) {
		if g.wide() { // machines with AVX-512 use these, too
			return
		}
		o := &ops{gen: g, consts: map[uint32]Mem{}}
		o.maskTable()
		for _, f := range []format{{"", 4}, {"Half", 2}} {
			for heads := 1; heads <= 8; heads++ {
				o.attnScores(heads, f)
				if heads <= 4 {
					o.attnMix(heads, f)
				}
			}
		}
		o.toHalf()
		o.attnFetch()
		o.attnSoftmax()
		o.indexSum()
		o.ropeHalves()
		o.layerNorm()
	}})
}

// format is what keys and values are kept in: float32, or float16 of half the size.
type format struct {
	name string
	size int
}

// load8 reads 8 numbers.
func (o *ops) load8(f format, m Mem, v reg.VecVirtual) {
	if f.size == 2 {
		o.VCVTPH2PS(m, v)
		return
	}
	o.VMOVUPS(m, v)
}

// toHalf emits the rounding of rows to float16.
func (o *ops) toHalf() {
	o.function("toHalf", "func(dst *uint16, lddst int, src *float32, ldsrc, rows, d8 int)", "rounds rows of d8 times 8 numbers, at least one, to the nearest float16, of two the even one; strides in bytes.")
	dst, src, rows := o.rowsOf("dst"), o.rowsOf("src"), o.arg("rows")
	o.loop(rows, func() {
		off, n := o.GP64(), o.arg("d8")
		o.XORQ(off, off)
		o.loop(n, func() {
			v := o.vec()
			o.VMOVUPS(Mem{Base: src.p, Index: off, Scale: 2}, v)
			o.VCVTPS2PH(Imm(0), v, Mem{Base: dst.p, Index: off, Scale: 1})
			o.ADDQ(Imm(16), off)
		})
		o.next(dst)
		o.next(src)
	})
	o.end()
}

// attnFetch emits reads of memory that will be needed soon. Loads in its order, unlike
// prefetches, make the processor stream.
func (o *ops) attnFetch() {
	o.function("attnFetch", "func(p *float32, lines int)", "reads some lines from p on, so that they are in the cache.")
	p, lines, x := o.arg("p"), o.arg("lines"), o.vec()
	o.loop(lines, func() {
		o.VMOVUPS(at(p, 0), x)
		o.ADDQ(Imm(64), p)
	})
	o.end()
}

// attnScores emits the scores of a few heads that share their keys. Keys are transposed
// in registers, so that a score is one chain in the order of the columns: of 16 keys at
// a time, or of more than four heads of 8.
func (o *ops) attnScores(heads int, format format) {
	per := 4
	if heads > 4 {
		per = 8
	}
	o.function(fmt.Sprintf("attnScores%s%d", format.name, heads), "func(groups, d8 int, k *float32, ldk int, q, s *float32, acc int)",
		fmt.Sprintf("is s[h][j] = sum over c of k[j][c]*q[c][h], going on from s if acc is not 0, for %d heads and groups of 16 keys, whose rows of d8 times 8 columns are ldk bytes apart; q has rows of %d, s of %d bytes.", heads, per, scoreRow))
	groups, k, q, s := o.arg("groups"), o.arg("k"), o.arg("q"), o.arg("s")
	strides := o.oddStrides(o.arg("ldk"))
	rewind := func(p reg.GPVirtual) { // goes from the end of a row to its beginning, in q too
		back := o.arg("d8")
		o.IMUL3Q(imm(8*format.size), back, back)
		o.SUBQ(back, p)
		o.Load(o.Param("q"), q)
	}
	o.loop(groups, func() {
		if heads > 4 {
			for half := range 2 {
				o.scoreColumns(heads, per, []reg.GPVirtual{k}, strides, q, s, 32*half, format)
				rewind(k)
				o.LEAQ(Mem{Base: k, Index: strides[0], Scale: 8}, k)
			}
		} else {
			far := o.GP64()
			o.LEAQ(Mem{Base: k, Index: strides[0], Scale: 8}, far)
			o.scoreColumns(heads, per, []reg.GPVirtual{k, far}, strides, q, s, 0, format)
			rewind(far)
			o.LEAQ(Mem{Base: far, Index: strides[0], Scale: 8}, k)
		}
		o.ADDQ(Imm(64), s)
	})
	o.end()
}

// scoreColumns makes the scores of groups of 8 keys; its pointers end up behind their rows.
func (o *ops) scoreColumns(heads, per int, keys []reg.GPVirtual, strides [4]reg.GPVirtual, q, s reg.GPVirtual, to int, format format) {
	acc := make([][]reg.VecVirtual, len(keys))
	for i := range acc {
		acc[i] = o.vecs(heads)
	}
	each := func(f func(v reg.VecVirtual, m Mem)) {
		for i := range acc {
			for h, v := range acc[i] {
				f(v, at(s, scoreRow*h+32*i+to))
			}
		}
	}
	more, fresh, ready := o.arg("acc"), o.label("fresh"), o.label("ready")
	o.TESTQ(more, more)
	o.JZ(LabelRef(fresh))
	each(func(v reg.VecVirtual, m Mem) { o.VMOVUPS(m, v) })
	o.JMP(LabelRef(ready))
	o.Label(fresh)
	each(func(v reg.VecVirtual, _ Mem) { o.zero(v) })
	o.Label(ready)
	columns := func(parts int) {
		for part := range parts {
			for i, p := range keys {
				out := o.transpose4(block{base: []reg.GPVirtual{p}, odd: strides, half: format.size == 2}, 4*format.size*part)
				for w := range 4 {
					for h := range heads {
						x := o.vec()
						o.VBROADCASTSS(at(q, 4*per*(4*part+w)+4*h), x)
						o.VFMADD231PS(x, out[w], acc[i][h])
					}
				}
			}
		}
		for _, p := range keys {
			o.ADDQ(imm(4*format.size*parts), p)
		}
		o.ADDQ(imm(16*parts*per), q)
	}
	d8, half, done := o.arg("d8"), o.label("half"), o.label("columnsDone")
	top := o.label("columns")
	o.Label(top)
	o.CMPQ(d8, imm(2))
	o.JL(LabelRef(half))
	columns(4)
	o.SUBQ(imm(2), d8)
	o.JMP(LabelRef(top))
	o.Label(half)
	o.TESTQ(d8, d8)
	o.JZ(LabelRef(done))
	columns(2)
	o.Label(done)
	each(func(v reg.VecVirtual, m Mem) { o.VMOVUPS(v, m) })
}

// scoreRow is the bytes between the scores of two heads: those of a block of keys.
const scoreRow = 256

// attnMix emits the sum of values, weighted, for a few heads that share them. Values are
// taken 16 rows at a time, so that memory is read in its order.
func (o *ops) attnMix(heads int, format format) {
	o.function(fmt.Sprintf("attnMix%s%d", format.name, heads), "func(n, d16 int, s, v *float32, ldv int, out *float32, ldout, acc int)",
		fmt.Sprintf("is out[h] = sum over n keys j, in their order, of s[h][j]*v[j] for %d heads, added to out if acc is not 0: d16 times 16 columns, s in rows of %d bytes, other strides in bytes.", heads, scoreRow))
	m := mixer{ops: o, format: format, heads: heads, n: o.arg("n"), s: o.arg("s"), v: o.rowsOf("v"), out: o.rowsOf("out"), acc: o.arg("acc")}
	loop, done := o.label("keys"), o.label("keysDone")
	o.Label(loop)
	o.TESTQ(m.n, m.n)
	o.JLE(LabelRef(done))
	d16, wide := o.arg("d16"), []int{4, 2, 2, 1}[heads-1] // lines at a time: as many sums as registers hold
	o.whole(d16, wide, func() { m.lines(wide) })
	if wide > 1 {
		o.whole(d16, 1, func() { m.lines(1) })
	}
	back := o.arg("d16")
	o.IMUL3Q(imm(16*format.size), back, back)
	o.SUBQ(back, m.v.p)
	back = o.arg("d16")
	o.SHLQ(Imm(6), back)
	o.SUBQ(back, m.out.p)
	o.MOVQ(m.v.by, back)
	o.SHLQ(Imm(4), back)
	o.ADDQ(back, m.v.p)
	o.ADDQ(Imm(64), m.s)
	o.SUBQ(Imm(16), m.n)
	o.MOVQ(imm(1), m.acc)
	o.JMP(LabelRef(loop))
	o.Label(done)
	o.end()
}

// mixer is what attnMix has in registers.
type mixer struct {
	*ops
	format    format
	heads     int
	n, s, acc reg.GPVirtual
	v, out    stepper
}

// lines adds up to 16 keys to some lines of 16 columns and goes on to the next.
func (m *mixer) lines(lines int) {
	acc := make([][]reg.VecVirtual, m.heads)
	for h := range acc {
		acc[h] = m.vecs(2 * lines)
	}
	each := func(f func(v reg.VecVirtual, at Mem)) {
		p := m.GP64()
		m.MOVQ(m.out.p, p)
		for h := range acc {
			for i, a := range acc[h] {
				f(a, at(p, 32*i))
			}
			m.ADDQ(m.out.by, p)
		}
	}
	fresh, ready := m.label("fresh"), m.label("ready")
	m.TESTQ(m.acc, m.acc)
	m.JZ(LabelRef(fresh))
	each(func(v reg.VecVirtual, at Mem) { m.VMOVUPS(at, v) })
	m.JMP(LabelRef(ready))
	m.Label(fresh)
	each(func(v reg.VecVirtual, _ Mem) { m.zero(v) })
	m.Label(ready)
	s, p, n := m.GP64(), m.GP64(), m.GP64()
	m.MOVQ(m.s, s)
	m.MOVQ(m.v.p, p)
	m.MOVQ(imm(16), n)
	m.CMPQ(m.n, n)
	m.CMOVQLT(m.n, n)
	m.loop(n, func() {
		w := m.vecs(m.heads)
		for h := range w {
			m.VBROADCASTSS(at(s, scoreRow*h), w[h])
		}
		for i := range 2 * lines {
			x := m.vec()
			m.load8(m.format, at(p, 8*m.format.size*i), x)
			for h := range w {
				m.VFMADD231PS(w[h], x, acc[h][i])
			}
		}
		m.ADDQ(Imm(4), s)
		m.ADDQ(m.v.by, p)
	})
	each(func(v reg.VecVirtual, at Mem) { m.VMOVUPS(v, at) })
	m.ADDQ(imm(16*m.format.size*lines), m.v.p)
	m.ADDQ(imm(64*lines), m.out.p)
}

// attnSoftmax emits softmaxCols for scores that lie [head][key], with the same bits.
func (o *ops) attnSoftmax() {
	o.function("attnSoftmax", "func(s *float32, lds, heads, n int, scale float32, m, l, alpha *float32)",
		"is softmaxCols for n scores of each of some heads, up to 4, that lie in rows: m becomes the new maximum of scale*s, alpha = exp(old m - new m), s = exp(scale*s - m), l = l*alpha + sum of s in its order. Four rows are read, four of l written. What follows the n scores up to a multiple of 16 must be -inf.")
	s, heads, n16 := o.rowsOf("s"), o.arg("heads"), o.arg("n")
	m, alpha := o.arg("m"), o.arg("alpha")
	scale, sign := o.scalar("scale"), o.vec()
	o.VMOVUPS(o.constBits(1<<31), sign)
	o.ADDQ(Imm(15), n16)
	o.SHRQ(Imm(4), n16)
	first := o.GP64()
	o.MOVQ(s.p, first)
	o.loop(heads, func() {
		p, n, old := o.GP64(), o.GP64(), o.XMM()
		o.MOVQ(s.p, p)
		o.MOVQ(n16, n)
		top := o.maxRow(p, n)
		o.VMULSS(scale.AsX(), top, top)
		o.VMOVSS(at(m, 0), old)
		o.VMAXSS(top, old, top)
		o.VMOVSS(top, at(m, 0))
		o.VSUBSS(top, old, old)
		o.VXORPS(sign.AsX(), top, top)
		fade, minus := o.lowBroadcast(old), o.lowBroadcast(top)
		o.exp(fade)
		o.VMOVSS(fade.AsX(), at(alpha, 0))
		o.MOVQ(s.p, p)
		o.MOVQ(n16, n)
		o.loop(n, func() {
			v := o.load16(p)
			o.each(func(i int) { o.VFMADD213PS(minus, scale, v[i]) })
			o.exp(v...)
			o.store16(v, p)
			o.ADDQ(Imm(64), p)
		})
		o.next(s)
		o.ADDQ(Imm(4), m)
		o.ADDQ(Imm(4), alpha)
	})
	o.sumFour(first, s.by)
	o.end()
}

// maxRow is the largest of n times 16 numbers from p on, n > 0, in the lowest lane; p
// and n are consumed.
func (o *ops) maxRow(p, n reg.GPVirtual) reg.VecVirtual {
	top := o.maxCols(p, n, o.sixteenFloats())
	o.VMAXPS(top[1], top[0], top[0])
	hi, x := o.XMM(), top[0].AsX()
	o.VEXTRACTF128(Imm(1), top[0], hi)
	o.VMAXPS(hi, x, hi)
	o.VMOVHLPS(hi, hi, x)
	o.VMAXPS(x, hi, hi)
	o.VMOVSHDUP(hi, x)
	o.VMAXSS(x, hi, hi)
	return hi
}

// sixteenFloats is the stride of 16 floats.
func (o *ops) sixteenFloats() reg.GPVirtual {
	by := o.GP64()
	o.MOVQ(imm(64), by)
	return by
}

// sumFour is l = l*alpha + sum of n numbers from p on, for four rows by bytes apart:
// side by side, because each is one chain.
func (o *ops) sumFour(p, by reg.GPVirtual) {
	by3, n := o.GP64(), o.arg("n")
	o.LEAQ(Mem{Base: by, Index: by, Scale: 2}, by3)
	sum := [4]reg.VecVirtual{o.XMM(), o.XMM(), o.XMM(), o.XMM()}
	for _, x := range sum {
		o.VXORPS(x, x, x)
	}
	o.loop(n, func() {
		o.VADDSS(at(p, 0), sum[0], sum[0])
		o.VADDSS(Mem{Base: p, Index: by, Scale: 1}, sum[1], sum[1])
		o.VADDSS(Mem{Base: p, Index: by, Scale: 2}, sum[2], sum[2])
		o.VADDSS(Mem{Base: p, Index: by3, Scale: 1}, sum[3], sum[3])
		o.ADDQ(Imm(4), p)
	})
	l, alpha := o.arg("l"), o.arg("alpha")
	for h, x := range sum {
		a := o.XMM()
		o.VMOVSS(at(l, 4*h), a)
		o.VFMADD132SS(at(alpha, 4*h), x, a)
		o.VMOVSS(a, at(l, 4*h))
	}
}

// indexSum emits the sum over heads of the indexer's scores.
func (o *ops) indexSum() {
	o.function("indexSum", "func(out, s *float32, lds, heads int, w *float32)",
		"is out[j] = sum over heads h, in their order, of w[h]*max(0, s[h][j]) for 16 keys j; strides in bytes.")
	out, s, heads, w := o.arg("out"), o.rowsOf("s"), o.arg("heads"), o.arg("w")
	none := o.vec()
	o.zero(none)
	sum := o.zero16()
	o.loop(heads, func() {
		x, v := o.broadcast(at(w, 0)), o.load16(s.p)
		// The operand order of MAX lets NaN through.
		o.each(func(i int) { o.VMAXPS(v[i], none, v[i]) })
		o.each(func(i int) { o.VFMADD231PS(v[i], x, sum[i]) })
		o.next(s)
		o.ADDQ(Imm(4), w)
	})
	o.store16(sum, out)
	o.end()
}

// ropeHalves emits the rotation of pairs that lie half a head apart.
func (o *ops) ropeHalves() {
	o.function("ropeHalves", "func(x *float32, ldx int, cos, sin *float32, heads, half, inverse int)",
		"rotates the pairs of columns i and half+i, half a multiple of 8, of each head, ldx bytes apart, by the angles with the given cosines and sines; backwards if inverse is not 0.")
	x, cos, sin := o.rowsOf("x"), o.arg("cos"), o.arg("sin")
	heads, half, inverse := o.arg("heads"), o.arg("half"), o.arg("inverse")
	flip := o.vec()
	o.zero(flip)
	plain := o.label("forward")
	o.TESTQ(inverse, inverse)
	o.JZ(LabelRef(plain))
	o.VMOVUPS(o.constBits(1<<31), flip)
	o.Label(plain)
	o.loop(heads, func() {
		off, n, second := o.GP64(), o.GP64(), o.GP64()
		o.XORQ(off, off)
		o.MOVQ(half, n)
		o.LEAQ(Mem{Base: x.p, Index: half, Scale: 4}, second)
		o.SHRQ(Imm(3), n)
		o.loop(n, func() {
			c, s, u, v, t := o.vec(), o.vec(), o.vec(), o.vec(), o.vec()
			o.VMOVUPS(Mem{Base: cos, Index: off, Scale: 1}, c)
			o.VXORPS(Mem{Base: sin, Index: off, Scale: 1}, flip, s)
			o.VMOVUPS(Mem{Base: x.p, Index: off, Scale: 1}, u)
			o.VMOVUPS(Mem{Base: second, Index: off, Scale: 1}, v)
			o.VMULPS(s, v, t)
			o.VMULPS(s, u, s)
			o.VFMSUB213PS(t, c, u)
			o.VFMADD213PS(s, c, v)
			o.VMOVUPS(u, Mem{Base: x.p, Index: off, Scale: 1})
			o.VMOVUPS(v, Mem{Base: second, Index: off, Scale: 1})
			o.ADDQ(Imm(32), off)
		})
		o.next(x)
	})
	o.end()
}

// layerNorm emits LayerNorm of rows.
func (o *ops) layerNorm() {
	o.function("layerNorm", "func(y *float32, ldy int, x *float32, ldx int, w, bias *float32, rows, d int, eps float32)",
		"is y = (x-mean)*w/sqrt(mean((x-mean)^2)+eps) + bias per row; strides in bytes.")
	y, x := o.rowsOf("y"), o.rowsOf("x")
	w, bias, rows, d := o.arg("w"), o.arg("bias"), o.arg("rows"), o.arg("d")
	count := o.XMM()
	o.VXORPS(count, count, count)
	o.VCVTSI2SSQ(d, count, count)
	o.loop(rows, func() {
		sum := o.zero16()
		o.row(d, func(c columns) {
			v := c.load(x.p)
			o.each(func(i int) { o.VADDPS(v[i], sum[i], sum[i]) })
		})
		r := o.tree(sum)
		o.VDIVSS(count, r, r)
		mean := o.lowBroadcast(r)
		squares := o.zero16()
		o.row(d, func(c columns) {
			v := c.load(x.p)
			o.each(func(i int) {
				o.VSUBPS(mean, v[i], v[i])
				if c.mask != nil {
					o.keep(c.mask[i], v[i], v[i])
				}
				o.VFMADD231PS(v[i], v[i], squares[i])
			})
		})
		r = o.tree(squares)
		o.VDIVSS(count, r, r)
		o.VADDSS(o.floatArg("eps"), r, r)
		o.VSQRTSS(r, r, r)
		one := o.XMM()
		o.VMOVSS(o.constant(1), one)
		o.VDIVSS(r, one, r)
		s := o.lowBroadcast(r)
		o.row(d, func(c columns) {
			v, ww, b := c.load(x.p), c.load(w), c.load(bias)
			o.each(func(i int) { o.VSUBPS(mean, v[i], v[i]) })
			o.each(func(i int) { o.VMULPS(s, v[i], v[i]) })
			o.each(func(i int) { o.VFMADD213PS(b[i], ww[i], v[i]) })
			c.store(v, y.p)
		})
		o.next(y, x)
	})
	o.end()
}
