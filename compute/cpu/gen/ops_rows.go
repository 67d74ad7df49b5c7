package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// elementwise emits kernels over n consecutive elements.
func (o *ops) elementwise() {
	o.function("add", "func(dst, src *float32, n int)", "is dst += src over n elements.")
	dst, src, n := o.arg("dst"), o.arg("src"), o.arg("n")
	o.row(n, func(c columns) {
		d, s := c.load(dst), c.load(src)
		o.each(func(i int) { o.VADDPS(s[i], d[i], d[i]) })
		c.store(d, dst)
	})
	o.end()

	o.function("scale", "func(dst *float32, n int, s float32)", "is dst *= s over n elements.")
	dst, n = o.arg("dst"), o.arg("n")
	s := o.scalar("s")
	o.row(n, func(c columns) {
		d := c.load(dst)
		o.each(func(i int) { o.VMULPS(s, d[i], d[i]) })
		c.store(d, dst)
	})
	o.end()

	o.function("sigmoid", "func(dst, src *float32, n int)", "is dst = 1/(1+exp(-src)) over n elements.")
	dst, src, n = o.arg("dst"), o.arg("src"), o.arg("n")
	o.row(n, func(c columns) {
		v := c.load(src)
		o.sigmoid(v)
		c.store(v, dst)
	})
	o.end()

	o.function("expMinus", "func(dst *float32, n int, s float32)", "is dst = exp(dst - s) over n elements, dst <= s.")
	dst, n = o.arg("dst"), o.arg("n")
	s = o.scalar("s")
	o.row(n, func(c columns) {
		v := c.load(dst)
		o.each(func(i int) { o.VSUBPS(s, v[i], v[i]) })
		o.exp(v...)
		c.store(v, dst)
	})
	o.end()
	o.sumSquares()
	o.sumRows()
}

// scalar loads a float32 argument into all lanes.
func (o *ops) scalar(name string) reg.VecVirtual {
	return o.broadcast(o.floatArg(name))
}

// floatArg is where a float32 argument lies. The context's Load would move it with an
// instruction of the old encoding, which costs a thousand cycles among AVX ones.
func (o *ops) floatArg(name string) Mem {
	b, err := o.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// sumSquares emits float64 sums in 16 lanes.
func (o *ops) sumSquares() {
	o.function("sumSquares", "func(x *float32, n int) float64",
		"is the sum of squares of n elements, a multiple of 16, in 16 float64 lanes and a fixed tree.")
	x, n := o.arg("x"), o.arg("n")
	acc := o.vecs(128 / o.w.bytes)
	for _, a := range acc {
		o.zero(a)
	}
	o.SHRQ(Imm(4), n)
	o.loop(n, func() {
		for i, a := range acc {
			v := o.vec()
			o.VCVTPS2PD(at(x, i*o.w.bytes/2), v)
			o.VFMADD231PD(v, v, a)
		}
		o.ADDQ(Imm(64), x)
	})
	four, hi := o.YMM(), o.XMM()
	for i := range acc[:len(acc)/2] {
		o.VADDPD(acc[i+len(acc)/2], acc[i], acc[i])
	}
	if o.wide() {
		o.VADDPD(o.upperHalf(acc[0]), acc[0].AsY(), four)
	} else {
		o.VADDPD(acc[1], acc[0], four)
	}
	o.VEXTRACTF128(Imm(1), four, hi)
	o.VADDPD(four.AsX(), hi, hi)
	t := o.XMM()
	o.VPERMILPD(Imm(1), hi, t)
	o.VADDSD(t, hi, hi)
	b, err := o.ReturnIndex(0).Resolve()
	if err != nil {
		panic(err)
	}
	o.VMOVSD(hi, b.Addr)
	o.end()
}

// sumRows emits the sum of chosen rows, in their order.
func (o *ops) sumRows() {
	o.function("sumRows", "func(y, rows *float32, ldrows int, slot *int32, k, d, acc int)",
		"is y = sum of rows slot[0..k) of d columns, in that order, added to y if acc is not 0.")
	y, base, ld, slot := o.arg("y"), o.arg("rows"), o.arg("ldrows"), o.arg("slot")
	k, d, acc := o.arg("k"), o.arg("d"), o.arg("acc")
	o.row(d, func(c columns) {
		sum := o.v16()
		zero, go_ := o.label("fresh"), o.label("go")
		o.TESTQ(acc, acc)
		o.JZ(LabelRef(zero))
		o.each(func(i int) { o.load1(c, y, i, sum[i]) })
		o.JMP(LabelRef(go_))
		o.Label(zero)
		o.each(func(i int) { o.zero(sum[i]) })
		o.Label(go_)
		s, j := o.GP64(), o.GP64()
		o.MOVQ(slot, s)
		o.MOVQ(k, j)
		o.loop(j, func() {
			p := o.GP64()
			o.MOVLQSX(at(s, 0), p)
			o.IMULQ(ld, p)
			o.ADDQ(base, p)
			v := c.load(p)
			o.each(func(i int) { o.VADDPS(v[i], sum[i], sum[i]) })
			o.ADDQ(Imm(4), s)
		})
		c.store(sum, y)
	})
	o.end()
}

// load1 reads register i of 16 columns into v.
func (o *ops) load1(c columns, base reg.Register, i int, v reg.VecVirtual) {
	if c.mask == nil {
		o.VMOVUPS(c.mem(base, i), v)
		return
	}
	o.loadWhere(c.mask[i], c.mem(base, i), v)
}

// norms emits RMSNorm and its gradients.
func (o *ops) norms() {
	o.rmsNorm()
	o.rmsNormBackInput()
	o.rmsNormBackWeight()
	o.rowDots()
}

func (o *ops) rmsNorm() {
	o.function("rmsNorm", "func(y *float32, ldy int, x *float32, ldx int, w, rstd *float32, rows, d int, eps float32)",
		"is y = x*rstd*w with rstd = 1/sqrt(mean(x^2)+eps) per row, strides in bytes.")
	y, x := o.rowsOf("y"), o.rowsOf("x")
	w, rstd, rows, d := o.arg("w"), o.arg("rstd"), o.arg("rows"), o.arg("d")
	count := o.XMM()
	o.VXORPS(count, count, count)
	o.VCVTSI2SSQ(d, count, count)
	o.loop(rows, func() {
		sum := o.zero16()
		o.row(d, func(c columns) {
			v := c.load(x.p)
			o.each(func(i int) { o.VFMADD231PS(v[i], v[i], sum[i]) })
		})
		r := o.tree(sum)
		o.VDIVSS(count, r, r)
		o.VADDSS(o.floatArg("eps"), r, r)
		o.VSQRTSS(r, r, r)
		one := o.XMM()
		o.VMOVSS(o.constant(1), one)
		o.VDIVSS(r, one, r)
		o.VMOVSS(r, at(rstd, 0))
		s := o.lowBroadcast(r)
		o.row(d, func(c columns) {
			v, ww := c.load(x.p), c.load(w)
			o.each(func(i int) { o.VMULPS(s, v[i], v[i]) })
			o.each(func(i int) { o.VMULPS(ww[i], v[i], v[i]) })
			c.store(v, y.p)
		})
		o.next(y, x)
		o.ADDQ(Imm(4), rstd)
	})
	o.end()
}

func (o *ops) rmsNormBackInput() {
	o.function("rmsNormBackInput",
		"func(dx *float32, lddx int, dy *float32, lddy int, x *float32, ldx int, w, rstd *float32, rows, d, acc int)",
		"is dx = rstd*(dy*w - x*rstd^2*mean(dy*w*x)) per row, added to dx if acc is not 0; strides in bytes.")
	dx, dy, x := o.rowsOf("dx"), o.rowsOf("dy"), o.rowsOf("x")
	w, rstd, rows, d := o.arg("w"), o.arg("rstd"), o.arg("rows"), o.arg("d")
	count := o.XMM()
	o.VXORPS(count, count, count)
	o.VCVTSI2SSQ(d, count, count)
	o.loop(rows, func() {
		sum := o.zero16()
		o.row(d, func(c columns) {
			v, ww, xx := c.load(dy.p), c.load(w), c.load(x.p)
			o.each(func(i int) { o.VMULPS(ww[i], v[i], v[i]) })
			o.each(func(i int) { o.VFMADD231PS(xx[i], v[i], sum[i]) })
		})
		k := o.tree(sum)
		o.VDIVSS(count, k, k)
		s := o.broadcast(at(rstd, 0))
		o.VMULSS(s.AsX(), k, k)
		o.VMULSS(s.AsX(), k, k)
		kk := o.lowBroadcast(k)
		fresh, done := o.label("fresh"), o.label("rowDone")
		acc := o.GP64()
		o.Load(o.Param("acc"), acc)
		o.TESTQ(acc, acc)
		o.JZ(LabelRef(fresh))
		o.rmsNormBackRow(d, w, dx, dy, x, s, kk, true)
		o.JMP(LabelRef(done))
		o.Label(fresh)
		o.rmsNormBackRow(d, w, dx, dy, x, s, kk, false)
		o.Label(done)
		o.next(dx, dy, x)
		o.ADDQ(Imm(4), rstd)
	})
	o.end()
}

func (o *ops) rmsNormBackRow(d, w reg.GPVirtual, dx, dy, x stepper, s, k reg.VecVirtual, acc bool) {
	o.row(d, func(c columns) {
		v, ww, xx := c.load(dy.p), c.load(w), c.load(x.p)
		o.each(func(i int) { o.VMULPS(ww[i], v[i], v[i]) })
		o.each(func(i int) { o.VFNMADD231PS(k, xx[i], v[i]) })
		o.each(func(i int) { o.VMULPS(s, v[i], v[i]) })
		if acc {
			old := c.load(dx.p)
			o.each(func(i int) { o.VADDPS(old[i], v[i], v[i]) })
		}
		c.store(v, dx.p)
	})
}

func (o *ops) rmsNormBackWeight() {
	o.function("rmsNormBackWeight", "func(dw, dy *float32, lddy int, x *float32, ldx int, rstd *float32, rows, d int)",
		"is dw += sum over rows of dy*(x*rstd), in order, for d columns; strides in bytes.")
	dw, dy, x := o.arg("dw"), o.rowsOf("dy"), o.rowsOf("x")
	rstd, rows, d := o.arg("rstd"), o.arg("rows"), o.arg("d")
	o.row(d, func(c columns) {
		sum := c.load(dw)
		yp, xp, rp, n := o.GP64(), o.GP64(), o.GP64(), o.GP64()
		o.MOVQ(dy.p, yp)
		o.MOVQ(x.p, xp)
		o.MOVQ(rstd, rp)
		o.MOVQ(rows, n)
		o.loop(n, func() {
			r, xx, yy := o.broadcast(at(rp, 0)), c.load(xp), c.load(yp)
			o.each(func(i int) { o.VMULPS(r, xx[i], xx[i]) })
			o.each(func(i int) { o.VFMADD231PS(xx[i], yy[i], sum[i]) })
			o.ADDQ(Imm(4), rp)
			o.next(stepper{yp, dy.by}, stepper{xp, x.by})
		})
		c.store(sum, dw)
	})
	o.end()
}

func (o *ops) rowDots() {
	o.function("rowDots", "func(out *float32, ldout int, a *float32, lda int, b *float32, ldb int, rows, d int)",
		"is out[r] = sum over d columns of a[r]*b[r]; strides in bytes.")
	out, a, b := o.rowsOf("out"), o.rowsOf("a"), o.rowsOf("b")
	rows, d := o.arg("rows"), o.arg("d")
	o.loop(rows, func() {
		sum := o.zero16()
		o.row(d, func(c columns) {
			v, u := c.load(a.p), c.load(b.p)
			o.each(func(i int) { o.VFMADD231PS(u[i], v[i], sum[i]) })
		})
		o.VMOVSS(o.tree(sum), at(out.p, 0))
		o.next(out, a, b)
	})
	o.end()
}

// gates emits SwiGLU and its gradient. Row scales are read step bytes apart: 4, or 0
// over a single 1.
func (o *ops) gates() {
	o.function("swiglu", "func(y *float32, ldy int, gate *float32, ldgate int, up *float32, ldup int, scale *float32, step, rows, d int)",
		"is y = silu(gate)*up*scale per row; strides in bytes, scales step bytes apart.")
	y, gate, up := o.rowsOf("y"), o.rowsOf("gate"), o.rowsOf("up")
	scale, step, rows, d := o.arg("scale"), o.arg("step"), o.arg("rows"), o.arg("d")
	o.loop(rows, func() {
		s := o.broadcast(at(scale, 0))
		o.row(d, func(c columns) {
			sig := c.load(gate.p)
			o.sigmoid(sig)
			o.mulLoad(c, gate.p, sig)
			o.mulLoad(c, up.p, sig)
			o.each(func(i int) { o.VMULPS(s, sig[i], sig[i]) })
			c.store(sig, y.p)
		})
		o.next(y, gate, up, stepper{scale, step})
	})
	o.end()
	o.swigluBack()
	o.rope()
}

// mulLoad is v *= 16 columns at base.
func (o *ops) mulLoad(c columns, base reg.Register, v sixteen) {
	m := c.load(base)
	o.each(func(i int) { o.VMULPS(m[i], v[i], v[i]) })
}

func (o *ops) swigluBack() {
	o.function("swigluBack",
		"func(dgate *float32, lddgate int, dup *float32, lddup int, dy *float32, lddy int, gate *float32, ldgate int, up *float32, ldup int, scale, dscale *float32, step, rows, d int)",
		"is the gradient of swiglu; dscale = sum of dy*silu(gate)*up. dgate may be gate, dup may be up.")
	dy, gate, up := o.rowsOf("dy"), o.rowsOf("gate"), o.rowsOf("up")
	dgate, dup, d := o.arg("dgate"), o.arg("dup"), o.arg("d")
	rows, scale := o.arg("rows"), o.arg("scale")
	o.loop(rows, func() {
		s := o.broadcast(at(scale, 0))
		sum := o.zero16()
		o.row(d, func(c columns) {
			sig := c.load(gate.p)
			o.sigmoid(sig)
			g := c.load(gate.p)
			// slope = sig*(1 + g*(1-sig)); silu = g*sig
			slope := o.v16()
			one := o.vec()
			o.VMOVUPS(o.constant(1), one)
			o.each(func(i int) { o.VSUBPS(sig[i], one, slope[i]) })
			o.each(func(i int) { o.VFMADD213PS(one, g[i], slope[i]) })
			o.each(func(i int) { o.VMULPS(sig[i], slope[i], slope[i]) })
			o.each(func(i int) { o.VMULPS(g[i], sig[i], sig[i]) })
			dyv, u := c.load(dy.p), c.load(up.p)
			act := o.v16()
			o.each(func(i int) { o.VMULPS(u[i], sig[i], act[i]) })
			o.each(func(i int) { o.VFMADD231PS(act[i], dyv[i], sum[i]) })
			o.each(func(i int) { o.VMULPS(s, dyv[i], dyv[i]) })
			o.each(func(i int) { o.VMULPS(dyv[i], sig[i], sig[i]) })
			o.each(func(i int) { o.VMULPS(u[i], dyv[i], dyv[i]) })
			o.each(func(i int) { o.VMULPS(slope[i], dyv[i], dyv[i]) })
			c.store(sig, dup)
			c.store(dyv, dgate)
		})
		total := o.tree(sum)
		step, ds := o.GP64(), o.GP64()
		o.Load(o.Param("dscale"), ds)
		o.VMOVSS(total, at(ds, 0))
		o.Load(o.Param("step"), step)
		o.ADDQ(step, ds)
		o.Store(ds, o.Param("dscale"))
		o.next(dy, gate, up, stepper{scale, step})
		ld := o.GP64()
		o.Load(o.Param("lddgate"), ld)
		o.ADDQ(ld, dgate)
		o.Load(o.Param("lddup"), ld)
		o.ADDQ(ld, dup)
	})
	o.end()
}

// rope emits the rotation of pairs, 4 pairs at a time.
func (o *ops) rope() {
	o.function("rope", "func(x *float32, ldx int, cos, sin *float32, heads, dim, inverse int)",
		"rotates dim columns, a multiple of 8, of each head, ldx bytes apart, by the angles with the given cosines and sines; backwards if inverse is not 0.")
	x, cos, sin := o.rowsOf("x"), o.arg("cos"), o.arg("sin")
	heads, dim, inverse := o.arg("heads"), o.arg("dim"), o.arg("inverse")
	flip := o.YMM() // four pairs at a time whatever the width: heads are short
	o.zero(flip)
	plain := o.label("forward")
	o.TESTQ(inverse, inverse)
	o.JZ(LabelRef(plain))
	o.VMOVUPS(o.constBits(1<<31), flip)
	o.Label(plain)
	spread := o.YMM()
	o.VMOVUPS(o.pairIndex(), spread)
	o.loop(heads, func() {
		off, n := o.GP64(), o.GP64()
		o.XORQ(off, off)
		o.MOVQ(dim, n)
		o.SHRQ(Imm(3), n)
		o.loop(n, func() {
			c, s, v, t := o.YMM(), o.YMM(), o.YMM(), o.YMM()
			o.VMOVUPS(Mem{Base: cos, Index: off, Scale: 1}, c.AsX())
			o.VMOVUPS(Mem{Base: sin, Index: off, Scale: 1}, s.AsX())
			o.VPERMPS(c, spread, c)
			o.VPERMPS(s, spread, s)
			o.VXORPS(flip, s, s)
			m := Mem{Base: x.p, Index: off, Scale: 2}
			o.VMOVUPS(m, v)
			o.VPERMILPS(Imm(0xb1), v, t)
			o.VMULPS(s, t, t)
			o.VFMADDSUB213PS(t, c, v)
			o.VMOVUPS(v, m)
			o.ADDQ(Imm(16), off)
		})
		o.next(x)
	})
	o.end()
}

// pairIndex is 0 0 1 1 2 2 3 3.
func (o *ops) pairIndex() Mem {
	m := o.StaticGlobal("opsPairs")
	o.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range 8 {
		o.AddDatum(4*i, U32(uint32(i/2)))
	}
	return m
}
