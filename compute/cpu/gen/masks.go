package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// condition is a choice for every lane: a mask register where the width has them,
// else a vector of all ones or zeros a lane.
type condition struct {
	v reg.VecVirtual
	k reg.OpmaskVirtual
}

// wide tells whether the width is that of AVX-512, with its own instructions on masks.
func (g *gen) wide() bool { return g.w.bytes == 64 }

// Predicates of compare.
const (
	unordered = 0x03 // one of both is a NaN
	notLess   = 0x15 // a >= b, or a NaN
)

// compare is the condition "a predicate b" on float32; b may be in memory.
func (g *gen) compare(predicate uint64, a reg.VecVirtual, b Op) condition {
	if g.wide() {
		k := g.K()
		g.VCMPPS(Imm(predicate), b, a, k)
		return condition{k: k}
	}
	v := g.vec()
	g.VCMPPS(Imm(predicate), b, a, v)
	return condition{v: v}
}

// greater is the condition a > b on int32.
func (g *gen) greater(a, b reg.VecVirtual) condition {
	if g.wide() {
		k := g.K()
		g.VPCMPGTD(b, a, k)
		return condition{k: k}
	}
	v := g.vec()
	g.VPCMPGTD(b, a, v)
	return condition{v: v}
}

// choose is dst = yes where c holds, else no.
func (g *gen) choose(c condition, yes, no, dst reg.VecVirtual) {
	if g.wide() {
		g.VBLENDMPS(yes, no, c.k, dst)
		return
	}
	g.VBLENDVPS(c.v, yes, no, dst)
}

// keep is dst = v where c holds, else 0.
func (g *gen) keep(c condition, v, dst reg.VecVirtual) {
	if g.wide() {
		g.VMOVAPS_Z(v, c.k, dst)
		return
	}
	g.VANDPS(v, c.v, dst)
}

// firstLanes is the condition that holds in the first n lanes of each register of 16
// in turn; table holds 16 times -1, then 16 times 0.
func (g *gen) firstLanes(n reg.GPVirtual, table Mem) []condition {
	if g.wide() {
		bits, k := g.GP32(), g.K()
		g.MOVL(U32(0xffffffff), bits)
		g.BZHIL(n.As32(), bits, bits)
		g.KMOVW(bits, k)
		return []condition{{k: k}}
	}
	p, skip := g.GP64(), g.GP64()
	g.LEAQ(table, p)
	g.MOVQ(n, skip)
	g.SHLQ(Imm(2), skip)
	g.SUBQ(skip, p)
	c := make([]condition, 16/g.w.lanes())
	for i := range c {
		c[i].v = g.vec()
		g.VMOVUPS(at(p, 64+i*g.w.bytes), c[i].v)
	}
	return c
}

// loadWhere loads the lanes where c holds; the others become 0 and are not touched
// in memory.
func (g *gen) loadWhere(c condition, m Mem, v reg.VecVirtual) {
	if g.wide() {
		g.VMOVUPS_Z(m, c.k, v)
		return
	}
	g.VMASKMOVPS(m, c.v, v)
}

// storeWhere stores the lanes where c holds.
func (g *gen) storeWhere(c condition, v reg.VecVirtual, m Mem) {
	if g.wide() {
		g.VMOVUPS(v, c.k, m)
		return
	}
	g.VMASKMOVPS(v, c.v, m)
}

// and is dst = a & b; a may be in memory.
func (g *gen) and(a Op, b, dst reg.VecVirtual) {
	if g.wide() {
		g.VPANDD(a, b, dst)
		return
	}
	g.VPAND(a, b, dst)
}

// or is dst = a | b; a may be in memory.
func (g *gen) or(a Op, b, dst reg.VecVirtual) {
	if g.wide() {
		g.VPORD(a, b, dst)
		return
	}
	g.VPOR(a, b, dst)
}

// upperHalf is the upper 256 bits of an AVX-512 register.
func (g *gen) upperHalf(v reg.VecVirtual) reg.VecVirtual {
	h := g.YMM()
	g.VEXTRACTF64X4(Imm(1), v, h)
	return h
}
