package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// layout emits kernels that move and convert.
func (o *ops) layout() {
	o.transpose()
	o.scaleRows()
	o.copyRows()
	o.mergeRows()
	o.function("toBF16", "func(dst *uint16, src *float32, n int)",
		"rounds n floats, a multiple of 16, to bfloat16 (nearest even; NaN stays NaN).")
	dst, src, n := o.arg("dst"), o.arg("src"), o.arg("n")
	o.SHRQ(Imm(4), n)
	o.loop(n, func() {
		o.storeBF16(o.load16(src), dst)
		o.ADDQ(Imm(64), src)
		o.ADDQ(Imm(32), dst)
	})
	o.end()

	o.function("fromBF16", "func(dst *float32, src *uint16, n int)", "widens n bfloat16, a multiple of 16.")
	dst, src, n = o.arg("dst"), o.arg("src"), o.arg("n")
	o.SHRQ(Imm(4), n)
	o.loop(n, func() {
		v := o.v16()
		o.each(func(i int) {
			o.VPMOVZXWD(at(src, i*o.w.bytes/2), v[i])
			o.VPSLLD(Imm(16), v[i], v[i])
		})
		o.store16(v, dst)
		o.ADDQ(Imm(32), src)
		o.ADDQ(Imm(64), dst)
	})
	o.end()
}

// storeBF16 rounds 16 floats and writes 32 bytes at p.
func (o *ops) storeBF16(v sixteen, p reg.Register) {
	o.each(func(i int) {
		nan, r := o.compare(unordered, v[i], v[i]), o.vec()
		o.VPSRLD(Imm(16), v[i], r)
		o.and(o.constBits(1), r, r)
		o.VPADDD(o.constBits(0x7fff), r, r)
		o.VPADDD(v[i], r, r)
		o.or(o.constBits(0x400000), v[i], v[i])
		o.choose(nan, v[i], r, v[i])
		o.VPSRLD(Imm(16), v[i], v[i])
	})
	if o.wide() {
		o.VPMOVDW(v[0], at(p, 0))
		return
	}
	o.VPACKUSDW(v[1], v[0], v[0])
	o.VPERMQ(Imm(0xd8), v[0], v[0])
	o.VMOVDQU(v[0], at(p, 0))
}

// transpose emits blocks of 8 x 8.
func (o *ops) transpose() {
	o.function("transpose", "func(dst *float32, lddst int, src *float32, ldsrc int, rows, cols int)",
		"is dst[c][r] = src[r][c]; rows and cols are multiples of 8, strides in bytes.")
	dst, src, rows, cols := o.rowsOf("dst"), o.rowsOf("src"), o.arg("rows"), o.arg("cols")
	d3, s3 := o.GP64(), o.GP64()
	o.LEAQ(Mem{Base: dst.by, Index: dst.by, Scale: 2}, d3)
	o.LEAQ(Mem{Base: src.by, Index: src.by, Scale: 2}, s3)
	o.SHRQ(Imm(3), rows)
	o.loop(rows, func() {
		d, s, n := o.GP64(), o.GP64(), o.GP64()
		o.MOVQ(dst.p, d)
		o.MOVQ(src.p, s)
		o.MOVQ(cols, n)
		o.SHRQ(Imm(3), n)
		o.loop(n, func() {
			o.transpose8(d, dst.by, d3, s, src.by, s3)
			o.ADDQ(Imm(32), s)
			o.LEAQ(Mem{Base: d, Index: dst.by, Scale: 8}, d)
		})
		o.ADDQ(Imm(32), dst.p)
		o.LEAQ(Mem{Base: src.p, Index: src.by, Scale: 8}, src.p)
	})
	o.end()
}

// eight addresses 8 rows from p.
func (o *ops) eight(p, by, by3 reg.GPVirtual) [8]Mem {
	q := o.GP64()
	o.LEAQ(Mem{Base: p, Index: by, Scale: 4}, q)
	var m [8]Mem
	for i, b := range []reg.GPVirtual{p, q} {
		m[4*i] = Mem{Base: b}
		m[4*i+1] = Mem{Base: b, Index: by, Scale: 1}
		m[4*i+2] = Mem{Base: b, Index: by, Scale: 2}
		m[4*i+3] = Mem{Base: b, Index: by3, Scale: 1}
	}
	return m
}

func (o *ops) transpose8(d, dby, d3, s, sby, s3 reg.GPVirtual) {
	src := o.eight(s, sby, s3)
	// Rows r and r+4 share a register, half each, so that the halves need no later
	// exchange.
	var r [8]reg.VecVirtual
	for i := range 4 {
		for h := range 2 {
			v := o.YMM()
			lo, hi := src[i], src[i+4]
			lo.Disp, hi.Disp = 16*h, 16*h
			o.VMOVUPS(lo, v.AsX())
			o.VINSERTF128(Imm(1), hi, v, v)
			r[i+4*h] = v
		}
	}
	dst := o.eight(d, dby, d3)
	for h := range 2 {
		a, b, c, e := r[4*h], r[4*h+1], r[4*h+2], r[4*h+3]
		t := []reg.VecVirtual{o.YMM(), o.YMM(), o.YMM(), o.YMM()}
		o.VUNPCKLPS(b, a, t[0])
		o.VUNPCKHPS(b, a, t[1])
		o.VUNPCKLPS(e, c, t[2])
		o.VUNPCKHPS(e, c, t[3])
		for i := range 2 {
			x, y := o.YMM(), o.YMM()
			o.VUNPCKLPD(t[i+2], t[i], x)
			o.VUNPCKHPD(t[i+2], t[i], y)
			o.VMOVUPS(x, dst[4*h+2*i])
			o.VMOVUPS(y, dst[4*h+2*i+1])
		}
	}
}

func (o *ops) scaleRows() {
	o.function("scaleRows", "func(dst *float32, lddst int, src *float32, ldsrc int, f *float32, rows, d int)",
		"is dst[r] = src[r]*f[r] over d columns; strides in bytes.")
	dst, src := o.rowsOf("dst"), o.rowsOf("src")
	f, rows, d := o.arg("f"), o.arg("rows"), o.arg("d")
	o.loop(rows, func() {
		k := o.broadcast(at(f, 0))
		o.row(d, func(c columns) {
			v := c.load(src.p)
			o.each(func(i int) { o.VMULPS(k, v[i], v[i]) })
			c.store(v, dst.p)
		})
		o.next(dst, src)
		o.ADDQ(Imm(4), f)
	})
	o.end()
}

func (o *ops) copyRows() {
	o.function("copyRows", "func(dst *float32, lddst int, src *float32, ldsrc int, rows, d int)",
		"copies d columns of rows; strides in bytes.")
	dst, src, rows, d := o.rowsOf("dst"), o.rowsOf("src"), o.arg("rows"), o.arg("d")
	// Rows far apart are no stream that the processor would follow by itself.
	ahead := o.GP64()
	o.LEAQ(Mem{Base: src.p, Index: src.by, Scale: 8}, ahead)
	o.loop(rows, func() {
		o.row(d, func(c columns) {
			o.PREFETCHT0(Mem{Base: ahead, Index: c.off, Scale: 1})
			c.store(c.load(src.p), dst.p)
		})
		o.next(dst, src, stepper{ahead, src.by})
	})
	o.end()
}

func (o *ops) mergeRows() {
	o.function("mergeRows", "func(dst *float32, lddst int, src *float32, ldsrc int, f, gain *float32, rows, d int)",
		"is dst[r] = dst[r]*f[r] + src[r]*gain[r] over d columns; strides in bytes.")
	dst, src := o.rowsOf("dst"), o.rowsOf("src")
	f, h, rows, d := o.arg("f"), o.arg("gain"), o.arg("rows"), o.arg("d")
	o.loop(rows, func() {
		k, j := o.broadcast(at(f, 0)), o.broadcast(at(h, 0))
		o.row(d, func(c columns) {
			v, u := c.load(dst.p), c.load(src.p)
			o.each(func(i int) { o.VMULPS(k, v[i], v[i]) })
			o.each(func(i int) { o.VFMADD231PS(j, u[i], v[i]) })
			c.store(v, dst.p)
		})
		o.next(dst, src)
		o.ADDQ(Imm(4), f)
		o.ADDQ(Imm(4), h)
	})
	o.end()
}

// optimiser emits AdamW. The constants are, in order: scale of the gradient, beta1,
// 1-beta1, beta2, 1-beta2, 1-beta1^t, 1-beta2^t, eps, weight decay, -rate.
func (o *ops) optimiser() {
	o.function("adamW", "func(p, grad, m, v *float32, working *uint16, n int, k *float32)",
		"is one step of AdamW on n elements; working, unless nil, receives the first multiple of 16 of them in bfloat16.")
	p, g, m, v := o.arg("p"), o.arg("grad"), o.arg("m"), o.arg("v")
	working, n, k := o.arg("working"), o.arg("n"), o.arg("k")
	const (
		gradScale = iota
		beta1
		omBeta1
		beta2
		omBeta2
		correct1
		correct2
		eps
		decay
		minusRate
	)
	c := func(i int) reg.VecVirtual { return o.broadcast(at(k, 4*i)) }
	o.row(n, func(col columns) {
		step := o.adamStep(col, g, m, v, c, beta1, omBeta1, beta2, omBeta2, gradScale, correct1, correct2, eps)
		w := col.load(p)
		d, r := c(decay), c(minusRate)
		o.each(func(i int) { o.VFMADD231PS(d, w[i], step[i]) })
		o.each(func(i int) { o.VFMADD231PS(r, step[i], w[i]) })
		col.store(w, p)
		if col.mask != nil {
			return
		}
		none := o.label("noWorking")
		o.TESTQ(working, working)
		o.JZ(LabelRef(none))
		o.storeBF16(w, working)
		o.ADDQ(Imm(32), working)
		o.Label(none)
	})
	o.end()
}

// adamStep updates the moments and gives mhat/(sqrt(vhat)+eps).
func (o *ops) adamStep(col columns, g, m, v reg.GPVirtual, c func(int) reg.VecVirtual,
	beta1, omBeta1, beta2, omBeta2, gradScale, correct1, correct2, eps int) sixteen {
	gr, mm := col.load(g), col.load(m)
	s := c(gradScale)
	o.each(func(i int) { o.VMULPS(s, gr[i], gr[i]) })
	b, ob := c(beta1), c(omBeta1)
	t := o.v16()
	o.each(func(i int) { o.VMULPS(gr[i], ob, t[i]) })
	o.each(func(i int) { o.VFMADD213PS(t[i], b, mm[i]) })
	col.store(mm, m)
	c1 := c(correct1)
	o.each(func(i int) { o.VDIVPS(c1, mm[i], mm[i]) })
	vv := col.load(v)
	b, ob = c(beta2), c(omBeta2)
	o.each(func(i int) { o.VMULPS(gr[i], ob, t[i]) })
	o.each(func(i int) { o.VMULPS(gr[i], t[i], t[i]) })
	o.each(func(i int) { o.VFMADD213PS(t[i], b, vv[i]) })
	col.store(vv, v)
	c2, e := c(correct2), c(eps)
	o.each(func(i int) { o.VDIVPS(c2, vv[i], vv[i]) })
	o.each(func(i int) { o.VSQRTPS(vv[i], vv[i]) })
	o.each(func(i int) { o.VADDPS(e, vv[i], vv[i]) })
	o.each(func(i int) { o.VDIVPS(vv[i], mm[i], mm[i]) })
	return mm
}
