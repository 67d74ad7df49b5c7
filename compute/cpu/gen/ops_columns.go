package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// columnKernels emits the kernels over matrices whose columns are the rows of a
// softmax: a lane is a query (or a token), so no sum crosses lanes, and a sum runs
// over the matrix's rows in their order.
func (o *ops) columnKernels() {
	o.maskCols()
	o.softmaxCols()
	o.attentionBackCols()
	o.vocabularyCols()
	o.mulCols()
}

// groups runs body for every 16 columns of a matrix at s (stride by) with rows rows;
// body gets a fresh pointer and count. cols are the vectors that run along with it.
func (o *ops) groups(s reg.GPVirtual, rows reg.GPVirtual, cols []reg.GPVirtual, more []reg.GPVirtual, body func(p, n reg.GPVirtual)) {
	n := o.arg("n")
	o.SHRQ(Imm(4), n)
	o.loop(n, func() {
		p, r := o.GP64(), o.GP64()
		o.MOVQ(s, p)
		o.MOVQ(rows, r)
		body(p, r)
		o.ADDQ(Imm(64), s)
		for _, c := range append(cols, more...) {
			o.ADDQ(Imm(64), c)
		}
	})
}

// load16 and store16 move 16 floats at a pointer.
func (o *ops) load16(p reg.Register) sixteen {
	v := o.v16()
	o.each(func(i int) { o.VMOVUPS(at(p, i*o.w.bytes), v[i]) })
	return v
}

func (o *ops) store16(v sixteen, p reg.Register) {
	o.each(func(i int) { o.VMOVUPS(v[i], at(p, i*o.w.bytes)) })
}

func (o *ops) maskCols() {
	o.function("maskCols", "func(s *float32, lds, rows, n int, limit *int32, first int)",
		"sets s[j][c] to -inf where first+j >= limit[c]; n is a multiple of 16.")
	s, rows, limit := o.rowsOf("s"), o.arg("rows"), o.arg("limit")
	one, inf, start := o.vec(), o.vec(), o.vec()
	o.VMOVUPS(o.constBits(1), one)
	o.VMOVUPS(o.constBits(0xff800000), inf)
	x := o.XMM()
	f := o.arg("first")
	o.MOVQ(f, x)
	o.VPBROADCASTD(x, start)
	o.groups(s.p, rows, []reg.GPVirtual{limit}, nil, func(p, r reg.GPVirtual) {
		key := o.vec()
		o.VMOVUPS(start, key)
		lim := o.load16(limit)
		o.loop(r, func() {
			v := o.load16(p)
			o.each(func(i int) {
				o.choose(o.greater(lim[i], key), v[i], inf, v[i])
			})
			o.VPADDD(one, key, key)
			o.store16(v, p)
			o.ADDQ(s.by, p)
		})
	})
	o.end()
}

func (o *ops) softmaxCols() {
	o.function("softmaxCols", "func(s *float32, lds, rows, n int, scale float32, m, l, alpha *float32)",
		"takes a block of rows scores per column into a running softmax: m becomes the new maximum of scale*s, alpha = exp(old m - new m), s = exp(scale*s - m), l = l*alpha + sum of s. n is a multiple of 16; m begins at a finite number.")
	s, rows := o.rowsOf("s"), o.arg("rows")
	m, l, alpha := o.arg("m"), o.arg("l"), o.arg("alpha")
	scale := o.scalar("scale")
	sign := o.vec()
	o.VMOVUPS(o.constBits(1<<31), sign)
	o.groups(s.p, rows, []reg.GPVirtual{m, l, alpha}, nil, func(p, r reg.GPVirtual) {
		top := o.maxCols(p, r, s.by)
		old := o.load16(m)
		o.each(func(i int) { o.VMULPS(scale, top[i], top[i]) })
		o.each(func(i int) { o.VMAXPS(top[i], old[i], top[i]) })
		o.store16(top, m)
		o.each(func(i int) { o.VSUBPS(top[i], old[i], old[i]) })
		o.each(func(i int) { o.VXORPS(sign, top[i], top[i]) })
		o.exp(old...)
		o.store16(old, alpha)
		o.MOVQ(s.p, p)
		o.MOVQ(rows, r)
		sum := o.zero16()
		o.loop(r, func() {
			v := o.load16(p)
			o.each(func(i int) { o.VFMADD213PS(top[i], scale, v[i]) })
			o.exp(v...)
			o.store16(v, p)
			o.each(func(i int) { o.VADDPS(v[i], sum[i], sum[i]) })
			o.ADDQ(s.by, p)
		})
		a, ll := o.load16(alpha), o.load16(l)
		o.each(func(i int) { o.VFMADD213PS(sum[i], a[i], ll[i]) })
		o.store16(ll, l)
	})
	o.end()
}

// maxCols is the maximum down r > 0 rows from p; p and r are consumed.
func (o *ops) maxCols(p, r, by reg.GPVirtual) sixteen {
	top := o.load16(p)
	o.ADDQ(by, p)
	o.DECQ(r)
	o.loop(r, func() {
		o.each(func(i int) { o.VMAXPS(at(p, i*o.w.bytes), top[i], top[i]) })
		o.ADDQ(by, p)
	})
	return top
}

func (o *ops) attentionBackCols() {
	o.function("attentionBackCols", "func(s, dp *float32, lds, rows, n int, scale float32, lse, delta *float32)",
		"is s = p = exp(scale*s - lse) and dp = p*(dp - delta)*scale; both matrices have rows lds bytes apart, n is a multiple of 16.")
	s, dp, rows := o.rowsOf("s"), o.arg("dp"), o.arg("rows")
	lse, delta := o.arg("lse"), o.arg("delta")
	scale, sign := o.scalar("scale"), o.vec()
	o.VMOVUPS(o.constBits(1<<31), sign)
	o.groups(s.p, rows, []reg.GPVirtual{lse, delta}, []reg.GPVirtual{dp}, func(p, r reg.GPVirtual) {
		minus, del := o.load16(lse), o.load16(delta)
		o.each(func(i int) { o.VXORPS(sign, minus[i], minus[i]) })
		q := o.GP64()
		o.MOVQ(dp, q)
		o.loop(r, func() {
			v := o.load16(p)
			o.each(func(i int) { o.VFMADD213PS(minus[i], scale, v[i]) })
			o.exp(v...)
			o.store16(v, p)
			d := o.load16(q)
			o.each(func(i int) { o.VSUBPS(del[i], d[i], d[i]) })
			o.each(func(i int) { o.VMULPS(scale, v[i], v[i]) })
			o.each(func(i int) { o.VMULPS(v[i], d[i], d[i]) })
			o.store16(d, q)
			o.ADDQ(s.by, p)
			o.ADDQ(s.by, q)
		})
	})
	o.end()
}

func (o *ops) vocabularyCols() {
	o.function("vocabularyCols", "func(s *float32, lds, rows, n int, top, sum, dot *float32)",
		"is, per column, top = max of s, then s = exp(s - top), sum = sum of it and dot = sum of s times its logarithm; n is a multiple of 16.")
	s, rows := o.rowsOf("s"), o.arg("rows")
	top, sum, dot := o.arg("top"), o.arg("sum"), o.arg("dot")
	o.groups(s.p, rows, []reg.GPVirtual{top, sum, dot}, nil, func(p, r reg.GPVirtual) {
		m := o.maxCols(p, r, s.by)
		o.store16(m, top)
		o.MOVQ(s.p, p)
		o.MOVQ(rows, r)
		total, dots := o.zero16(), o.zero16()
		o.loop(r, func() {
			v := o.load16(p)
			x := o.v16()
			o.each(func(i int) { o.VSUBPS(m[i], v[i], v[i]) })
			// exp(-inf) * -inf would be NaN.
			o.each(func(i int) { o.VMAXPS(v[i], o.lowest(), x[i]) })
			o.exp(v...)
			o.store16(v, p)
			o.each(func(i int) { o.VADDPS(v[i], total[i], total[i]) })
			o.each(func(i int) { o.VFMADD231PS(v[i], x[i], dots[i]) })
			o.ADDQ(s.by, p)
		})
		o.store16(total, sum)
		o.store16(dots, dot)
	})
	o.end()
}

// lowest is a register of -1e30, as the operand of a maximum that lets NaN through.
func (o *ops) lowest() reg.VecVirtual {
	v := o.vec()
	o.VMOVUPS(o.constant(-1e30), v)
	return v
}

func (o *ops) mulCols() {
	o.function("mulCols", "func(s *float32, lds, rows, n int, f *float32)",
		"is s[j][c] *= f[c]; n is a multiple of 16.")
	s, rows, f := o.rowsOf("s"), o.arg("rows"), o.arg("f")
	o.groups(s.p, rows, []reg.GPVirtual{f}, nil, func(p, r reg.GPVirtual) {
		k := o.load16(f)
		o.loop(r, func() {
			o.each(func(i int) {
				v := o.vec()
				o.VMULPS(at(p, i*o.w.bytes), k[i], v)
				o.VMOVUPS(v, at(p, i*o.w.bytes))
			})
			o.ADDQ(s.by, p)
		})
	})
	o.end()
}
