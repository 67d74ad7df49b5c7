package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// panelAhead is how many bytes ahead a panel is fetched into the first-level cache.
const panelAhead = 1024

// int8Rows is how many rows of A a panel kernel takes at most.
const int8Rows = 6

// panelKind is one kernel that multiplies rows of A with a panel of 16 weight rows.
type panelKind struct {
	name  string
	bytes bool // codes 0 to 15 in bytes, else int16
	group int  // elements with a common factor
	taken bool // aux holds what is to be taken off the integer sum
	min   bool // the weights have minima, aux the sum of the codes
}

var panelKinds = []panelKind{
	{"int8PanelNib", true, 32, true, false},
	{"int8PanelNibMin", true, 32, false, true},
	{"int8PanelWide", false, 32, false, false},
	{"int8PanelWideMin", false, 32, false, true},
	{"int8PanelWide16", false, 16, false, false},
	{"int8PanelWide16Min", false, 16, false, true},
}

// doc says what the kernel does, for the declarations.
func (k panelKind) doc() string {
	codes := "int16 codes [k/4][2][16][2], elements 0 2, then 1 3 of every four"
	if k.bytes {
		codes = "codes 0 to 15 as bytes [k/4][16][4]"
	}
	minima := ""
	if k.min {
		minima = " and minima [16]"
	}
	return fmt.Sprintf("is C[m][16], 1 <= m <= %d, the product of quantised rows with a panel of %s; f holds the factors [16]%s of each group of %d, aux the pairs that int8Quantise wrote. It is added to C if acc is not 0. lda, ldx and ldc are bytes between rows.",
		int8Rows, codes, minima, k.group)
}

func (e *int8Gen) panels() {
	for _, k := range panelKinds {
		e.panelKernel(k)
	}
}

func (e *int8Gen) panelKernel(k panelKind) {
	e.function(k.name, "func(m, groups int, a *byte, lda int, aux *float32, ldx int, panel *byte, f, c *float32, ldc, acc int)", k.doc())
	m := e.arg("m")
	for n := int8Rows; n > 0; n-- {
		next := e.label("rows")
		if n > 1 {
			e.CMPQ(m, imm(n))
			e.JNE(LabelRef(next))
		}
		e.panelTile(k, n)
		e.VZEROUPPER()
		e.RET()
		if n > 1 {
			e.Label(next)
		}
	}
}

// panelTile emits the loop over groups for n rows. The integer sums of a group stay in
// registers; C is read and written once a group.
func (e *int8Gen) panelTile(k panelKind, n int) {
	groups, panel, f := e.arg("groups"), e.arg("panel"), e.arg("f")
	a := e.tileRows(e.arg("a"), e.arg("lda"), n)
	x := e.tileRows(e.arg("aux"), e.arg("ldx"), n)
	c := e.tileRows(e.arg("c"), e.arg("ldc"), n)
	loop := e.label("group")
	flag, zero := e.arg("acc"), e.vec()
	e.TESTQ(flag, flag)
	e.JNZ(LabelRef(loop))
	e.zero(zero)
	for i := range n {
		e.VMOVUPS(zero, c.at(i))
		e.VMOVUPS(zero, offset(c.at(i), 32))
	}
	e.Label(loop)
	acc := e.vecs(2 * n)
	if k.bytes {
		e.panelBytes(k, n, acc, a, panel)
	} else {
		e.panelWords(k, n, acc, a, panel)
	}
	e.panelFactors(k, n, acc, x, c, f)
	for _, p := range a.thirds {
		step := k.group
		if !k.bytes {
			step *= 2
		}
		e.ADDQ(imm(step), p)
	}
	for _, p := range x.thirds {
		e.ADDQ(imm(8), p)
	}
	e.DECQ(groups)
	e.JNZ(LabelRef(loop))
}

// offset is the memory d bytes after m.
func offset(m Mem, d int) Mem {
	m.Disp += d
	return m
}

// panelBytes sums bytes times bytes in int16: 8 sums of two products of 15*127 each
// stay below 2^15.
func (e *int8Gen) panelBytes(k panelKind, n int, acc []reg.VecVirtual, a rows, panel reg.GPVirtual) {
	b := e.vecs(2)
	for q := range k.group / 4 {
		e.PREFETCHT0(at(panel, 64*q+panelAhead))
		for j := range b {
			e.VMOVDQU(at(panel, 64*q+32*j), b[j])
		}
		for i := range n {
			s := e.vec()
			e.VPBROADCASTD(offset(a.at(i), 4*q), s)
			for j := range b {
				if q == 0 {
					e.VPMADDUBSW(s, b[j], acc[2*i+j])
					continue
				}
				t := s
				if j == 0 {
					t = e.vec()
				}
				e.VPMADDUBSW(s, b[j], t)
				e.VPADDW(t, acc[2*i+j], acc[2*i+j])
			}
		}
	}
	e.ADDQ(imm(16*k.group), panel)
	for _, v := range acc {
		e.VPMADDWD(e.ones16, v, v)
	}
}

// panelWords sums int16 times int16 in int32.
func (e *int8Gen) panelWords(k panelKind, n int, acc []reg.VecVirtual, a rows, panel reg.GPVirtual) {
	b := e.vecs(2)
	for p := range k.group / 2 {
		e.PREFETCHT0(at(panel, 64*p+panelAhead))
		for j := range b {
			e.VMOVDQU(at(panel, 64*p+32*j), b[j])
		}
		for i := range n {
			s := e.vec()
			e.VPBROADCASTD(offset(a.at(i), 4*p), s)
			for j := range b {
				if p == 0 {
					e.VPMADDWD(s, b[j], acc[2*i+j])
					continue
				}
				t := s
				if j == 0 {
					t = e.vec()
				}
				e.VPMADDWD(s, b[j], t)
				e.VPADDD(t, acc[2*i+j], acc[2*i+j])
			}
		}
	}
	e.ADDQ(imm(32*k.group), panel)
}

// panelFactors adds the integer sums of a group, times their factors, to C.
func (e *int8Gen) panelFactors(k panelKind, n int, acc []reg.VecVirtual, x, c rows, f reg.GPVirtual) {
	for i := range n {
		s := e.vec()
		if k.taken {
			e.VPBROADCASTD(offset(x.at(i), 4), s)
			for j := range 2 {
				e.VPSUBD(s, acc[2*i+j], acc[2*i+j])
			}
		}
		e.VBROADCASTSS(x.at(i), s)
		for j := range 2 {
			t := e.vec()
			v := acc[2*i+j]
			e.VCVTDQ2PS(v, v)
			e.VMULPS(at(f, 32*j), s, t)
			e.VFMADD213PS(offset(c.at(i), 32*j), t, v)
			if !k.min {
				e.VMOVUPS(v, offset(c.at(i), 32*j))
			}
		}
		if !k.min {
			continue
		}
		for j := range 2 {
			t := e.vec()
			v := acc[2*i+j]
			e.VMULPS(at(f, 64+32*j), s, t)
			sum := e.vec()
			e.VBROADCASTSS(offset(x.at(i), 4), sum)
			e.VFMADD231PS(sum, t, v)
			e.VMOVUPS(v, offset(c.at(i), 32*j))
		}
	}
	e.ADDQ(imm(map[bool]int{false: 64, true: 128}[k.min]), f)
}
