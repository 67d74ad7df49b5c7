package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// width is a vector width with the instructions that differ between widths.
type width struct {
	name   string // in file names and SONDE_CPU
	suffix string // of function names
	bytes  int    // of a register
	mr, nr int    // tile of the matrix product: rows, columns
}

var (
	avx2 = width{name: "avx2", suffix: "AVX2", bytes: 32, mr: 6, nr: 16}
	// avx512 is AVX-512 with F, BW, DQ and VL. Its panel has the columns of AVX2's, in
	// one register instead of two, so that everything packed is the same.
	avx512 = width{name: "avx512", suffix: "AVX512", bytes: 64, mr: 12, nr: 16}
)

// lanes is the number of float32 in a register.
func (w width) lanes() int { return w.bytes / 4 }

// gen builds the functions of one unit for one width.
type gen struct {
	*build.Context
	w      width
	labels int
}

// function begins name+suffix with a Go signature such as "func(n int, x *float32)".
// Its pointers do not escape.
func (g *gen) function(name, signature, doc string) {
	g.Function(name + g.w.suffix)
	g.Attributes(attr.NOSPLIT)
	g.Pragma("noescape")
	g.Doc(name + g.w.suffix + " " + doc)
	g.SignatureExpr(signature)
}

// vec is a fresh vector register of the width.
func (g *gen) vec() reg.VecVirtual {
	if g.wide() {
		return g.ZMM()
	}
	return g.YMM()
}

// vecs is n fresh registers.
func (g *gen) vecs(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = g.vec()
	}
	return v
}

// zero clears v.
func (g *gen) zero(v reg.VecVirtual) {
	g.VXORPS(v, v, v)
}

// arg loads parameter name into a fresh general register.
func (g *gen) arg(name string) reg.GPVirtual {
	r := g.GP64()
	g.Load(g.Param(name), r)
	return r
}

// at is the memory at base+offset bytes.
func at(base reg.Register, offset int) operand.Mem { return operand.Mem{Base: base, Disp: offset} }

// label is a name for a jump, unique in the file.
func (g *gen) label(what string) string {
	g.labels++
	return fmt.Sprintf("%s%d", what, g.labels)
}

// imm is a 32-bit immediate, which every arithmetic instruction takes.
func imm(n int) operand.Constant { return operand.U32(n) }
