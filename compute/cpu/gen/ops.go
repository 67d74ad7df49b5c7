package main

import (
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	units = append(units, unit{"ops", func(g *gen) {
		o := &ops{gen: g, consts: map[uint32]Mem{}}
		if !o.wide() {
			o.maskTable()
		}
		o.elementwise()
		o.norms()
		o.gates()
		o.optimiser()
		o.layout()
		o.columnKernels()
	}})
}

// sixteen is 16 lanes: as many registers as the width needs. Sums along a row run
// in 16 lanes whatever the width, so that all widths give the same bits.
type sixteen []reg.VecVirtual

// ops emits everything but matrix products.
type ops struct {
	*gen
	consts map[uint32]Mem // broadcast constants by their bits
	mask   Mem            // 16 times -1, then 16 times 0
}

func (o *ops) maskTable() {
	o.mask = o.StaticGlobal("opsMask")
	o.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range 32 {
		v := uint32(0)
		if i < 16 {
			v = 0xffffffff
		}
		o.AddDatum(4*i, U32(v))
	}
}

// constBits is a vector of one value in read-only memory.
func (o *ops) constBits(v uint32) Mem {
	m, ok := o.consts[v]
	if !ok {
		m = o.StaticGlobal(o.label("opsConst"))
		o.DataAttributes(attr.RODATA | attr.NOPTR)
		for i := range o.w.lanes() {
			o.AddDatum(4*i, U32(v))
		}
		o.consts[v] = m
	}
	return m
}

func (o *ops) constant(v float64) Mem { return o.constBits(math.Float32bits(float32(v))) }

func (o *ops) v16() sixteen { return o.vecs(16 / o.w.lanes()) }

// each runs f for every register of 16 lanes.
func (o *ops) each(f func(i int)) {
	for i := range 16 / o.w.lanes() {
		f(i)
	}
}

func (o *ops) zero16() sixteen {
	v := o.v16()
	o.each(func(i int) { o.zero(v[i]) })
	return v
}

// broadcast loads one float into all lanes of one register.
func (o *ops) broadcast(m Mem) reg.VecVirtual {
	v := o.vec()
	o.VBROADCASTSS(m, v)
	return v
}

// columns is a place in a row: 16 columns from byte offset off on, all of them or
// only the first few.
type columns struct {
	o    *ops
	off  reg.GPVirtual
	mask []condition // nil when all 16 count
}

func (c columns) mem(base reg.Register, i int) Mem {
	return Mem{Base: base, Index: c.off, Scale: 1, Disp: i * c.o.w.bytes}
}

// load reads 16 columns of the row at base; columns that do not count read as 0.
func (c columns) load(base reg.Register) sixteen {
	v := c.o.v16()
	c.o.each(func(i int) {
		if c.mask == nil {
			c.o.VMOVUPS(c.mem(base, i), v[i])
		} else {
			c.o.loadWhere(c.mask[i], c.mem(base, i), v[i])
		}
	})
	return v
}

// store writes the columns that count.
func (c columns) store(v sixteen, base reg.Register) {
	c.o.each(func(i int) {
		if c.mask == nil {
			c.o.VMOVUPS(v[i], c.mem(base, i))
		} else {
			c.o.storeWhere(c.mask[i], v[i], c.mem(base, i))
		}
	})
}

// row runs body over the columns [0, d) of a row, 16 at a time, the rest masked.
func (o *ops) row(d reg.GPVirtual, body func(c columns)) {
	off, left := o.GP64(), o.GP64()
	o.XORQ(off, off)
	o.MOVQ(d, left)
	loop, tail, done := o.label("cols"), o.label("colsTail"), o.label("colsDone")
	o.Label(loop)
	o.CMPQ(left, Imm(16))
	o.JLT(LabelRef(tail))
	body(columns{o: o, off: off})
	o.ADDQ(Imm(64), off)
	o.SUBQ(Imm(16), left)
	o.JMP(LabelRef(loop))
	o.Label(tail)
	o.TESTQ(left, left)
	o.JZ(LabelRef(done))
	body(columns{o: o, off: off, mask: o.firstLanes(left, o.mask)})
	o.Label(done)
}

// loop runs body n times; n is consumed. Nothing runs for n = 0.
func (o *ops) loop(n reg.GPVirtual, body func()) {
	top, done := o.label("loop"), o.label("loopDone")
	o.Label(top)
	o.TESTQ(n, n)
	o.JZ(LabelRef(done))
	body()
	o.DECQ(n)
	o.JMP(LabelRef(top))
	o.Label(done)
}

// rows steps pointers by strides: arg names are pairs of pointer and stride.
type stepper struct{ p, by reg.GPVirtual }

// next moves every pointer to its next row.
func (o *ops) next(s ...stepper) {
	for _, x := range s {
		o.ADDQ(x.by, x.p)
	}
}

// rowsOf loads a pointer and its stride in bytes, by name and "ld"+name.
func (o *ops) rowsOf(name string) stepper { return stepper{o.arg(name), o.arg("ld" + name)} }

// tree adds 16 lanes to one sum: lane j gets j+8, then j+4, j+2, j+1. The result is
// in the lowest lane.
func (o *ops) tree(v sixteen) reg.VecVirtual {
	eight, hi := o.YMM(), o.XMM()
	if o.wide() {
		o.VADDPS(o.upperHalf(v[0]), v[0].AsY(), eight)
	} else {
		o.VADDPS(v[1], v[0], eight)
	}
	o.VEXTRACTF128(Imm(1), eight, hi)
	o.VADDPS(hi, eight.AsX(), hi)
	t := o.XMM()
	o.VMOVHLPS(hi, hi, t)
	o.VADDPS(t, hi, hi)
	o.VMOVSHDUP(hi, t)
	o.VADDSS(t, hi, hi)
	return hi
}

// lowBroadcast spreads the lowest lane of an X register.
func (o *ops) lowBroadcast(x reg.VecVirtual) reg.VecVirtual {
	v := o.vec()
	o.VBROADCASTSS(x, v)
	return v
}

// exp replaces v by its exponential: below expLow exactly 0, NaN stays NaN; the
// caller keeps v below expHigh. n = round(x/ln 2) is added to a constant whose low
// bits then hold n+127, the exponent field of 2^n; the rest is a polynomial of
// degree 6 in r = x - n ln 2, |r| <= ln 2 / 2, by FMAs alone (error below 2^-23).
func (o *ops) exp(v ...reg.VecVirtual) {
	const magic = 1<<23 + 1<<22 + 127
	n := len(v)
	t, p, normal := o.vecs(n), o.vecs(n), make([]condition, n)
	step := func(f func(i int)) {
		for i := range n {
			f(i)
		}
	}
	step(func(i int) { o.VMOVUPS(o.constant(math.Log2E), t[i]) })
	step(func(i int) { o.VFMADD213PS(o.constant(magic), v[i], t[i]) })
	step(func(i int) { o.VSUBPS(o.constant(magic), t[i], p[i]) })
	step(func(i int) { normal[i] = o.compare(notLess, v[i], o.constant(expLow)) })
	step(func(i int) { o.VPSLLD(Imm(23), t[i], t[i]) })
	step(func(i int) { o.VFNMADD231PS(o.constant(ln2High), p[i], v[i]) })
	step(func(i int) { o.VFNMADD231PS(o.constant(math.Ln2-ln2High), p[i], v[i]) })
	step(func(i int) { o.VMOVUPS(o.constBits(expPoly[0]), p[i]) })
	for _, c := range expPoly[1:] {
		step(func(i int) { o.VFMADD213PS(o.constBits(c), v[i], p[i]) })
	}
	step(func(i int) { o.VMULPS(t[i], p[i], p[i]) })
	step(func(i int) { o.keep(normal[i], p[i], v[i]) })
}

const (
	expLow  = -87.33654      // ln 2^-126: below it results would not be normal numbers
	expHigh = 88.3           // below ln of the largest 2^n that a float32 holds, with n <= 127
	ln2High = 0.693115234375 // ln 2 in 12 bits: n*ln2High is exact
)

// expPoly is (e^r - 1 - r)/r^2 of least error on |r| <= ln 2 / 2 with its last
// coefficient kept at 1/2, highest power first, then 1 and 1.
var expPoly = []uint32{0x3ab6887e, 0x3c0905b1, 0x3d2aaa8d, 0x3e2aaa6f, 0x3f000000, 0x3f800000, 0x3f800000}

// sigmoid replaces v by 1/(1+exp(-v)).
func (o *ops) sigmoid(v sixteen) {
	hi, sign := o.vec(), o.vec()
	o.VMOVUPS(o.constant(expHigh), hi)
	o.VMOVUPS(o.constBits(1<<31), sign)
	o.each(func(i int) { o.VXORPS(sign, v[i], v[i]) })
	// The operand order of MIN lets NaN through.
	o.each(func(i int) { o.VMINPS(v[i], hi, v[i]) })
	o.exp(v...)
	one := o.vec()
	o.VMOVUPS(o.constant(1), one)
	o.each(func(i int) { o.VADDPS(one, v[i], v[i]) })
	o.each(func(i int) { o.VDIVPS(v[i], one, v[i]) })
}

func (o *ops) end() {
	o.VZEROUPPER()
	o.RET()
}
