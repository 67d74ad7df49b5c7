package opcheck

import (
	"math"

	"sonde/compute"
	"sonde/num"
)

// blockFormats are the formats in blocks.
func blockFormats() (all []num.BlockType) {
	for b := range num.BlockType(255) {
		if b.Known() {
			all = append(all, b)
		}
	}
	return all
}

// rowKinds are the rows that are quantised: normal numbers; numbers that all become
// the largest code; very small numbers and zeros among others; some much larger ones
// among others.
var rowKinds = []string{"normal", "largest", "small", "outlying"}

// quantisable adds an operand A of such rows.
func (p *problem) quantisable(kind string, rows, cols int) {
	o := p.in("A", rows, cols, 1)
	for i, v := range o.data {
		group := i / 32 % 8
		switch kind {
		case "largest": // all above zero, all below, or mixed
			sign := []float64{1, -1, float64(v)}[group%3]
			o.data[i] = float32(math.Copysign(3, sign))
		case "outlying":
			if i/32%9 == 4 {
				o.data[i] = v * 30
			}
			if i%160 == 7 {
				o.data[i] = v * 500
			}
		case "small":
			o.data[i] = v * []float32{1, 0, 0x1p-126, 0x1p-140, 0x1p-148, 1e-30, 1e30, 1}[group]
		}
	}
}

// extremes puts the same byte wherever a block of o still holds moderate numbers with
// it: codes at the ends of their range, side by side.
func (p *problem) extremes(o *operand) {
	b, _ := o.dt.Block()
	v := make([]float32, b.Elements())
	for raw := o.file.raw; len(raw) > 0; raw = raw[b.Bytes():] {
		fill := []byte{0x00, 0xff, 0x80, 0x7f, 0x88}[p.rng.IntN(5)]
		for i := range b.Bytes() {
			old, largest := raw[i], 0.0
			raw[i] = fill
			b.Decode(v, raw[:b.Bytes()])
			for _, x := range v {
				largest = max(largest, math.Abs(float64(x)))
			}
			if !(largest < 100) {
				raw[i] = old
			}
		}
	}
}

func int8Products() (ps []*problem) {
	for _, b := range blockFormats() {
		for i, kind := range rowKinds {
			for _, strided := range layouts {
				for j, s := range [][3]int{{1, 8, 1}, {1, 45, 3}, {2, 16, 1}, {4, 3, 2}, {5, 47, 1}, {7, 70, 2}, {13, 17, 5}, {40, 96, 1}, {150, 19, 1}} { // m, n, blocks
					ps = append(ps, int8Product(b, kind, strided, (i+j)%2 == 1, s[0], s[1], s[2]*max(b.Elements(), 192)))
				}
			}
		}
	}
	return ps
}

func int8Product(b num.BlockType, kind string, strided, accumulate bool, m, n, k int) *problem {
	p := newProblem(strided, "%v %s %dx%dx%d add=%v", b, kind, m, n, k, accumulate).oneIn(8)
	p.quantisable(kind, m, k)
	p.weights("B", compute.BlockDType(b), n, k)
	if kind == "largest" && !p.skipped {
		p.extremes(p.operands[1])
	}
	p.in("C", m, n, 1).result(exact)
	p.call = func(be compute.Backend, t tensors) {
		be.MatMul(compute.MatMulArgs{Form: compute.NT, C: t["C"], A: t["A"], B: t["B"].WithActivations(compute.ActInt8), Accumulate: accumulate})
	}
	return p
}

func int8Groups() (ps []*problem) {
	for _, b := range []num.BlockType{num.Q4_0, num.Q4_1, num.Q8_0, num.Q4_K, num.Q6_K, num.IQ2_XS} {
		for i, counts := range groups {
			for _, strided := range layouts {
				ps = append(ps, int8Group(b, strided, i%2 == 0, counts, []int{1, 24, 40, 33}[i], []int{1, 2, 3, 2}[i]*b.Elements()))
			}
		}
	}
	return ps
}

// int8Group is formatGroup with rows quantised to int8.
func int8Group(b num.BlockType, strided, index bool, counts []int, n, k int) *problem {
	p := formatGroup(compute.NT, compute.BlockDType(b), strided, index, counts, n, k)
	whole := p.call
	p.call = func(be compute.Backend, t tensors) {
		t["B"] = t["B"].WithActivations(compute.ActInt8)
		whole(be, t)
	}
	return p
}

func splitInt8(b num.BlockType, strided bool) split {
	p := int8Product(b, "outlying", strided, true, 64, 70, max(10*32, 2*b.Elements()))
	return split{p, 64, func(be compute.Backend, t tensors, from, to int) {
		be.MatMul(compute.MatMulArgs{Form: compute.NT, C: t["C"].Rows(from, to), A: t["A"].Rows(from, to),
			B: t["B"].WithActivations(compute.ActInt8), Accumulate: true})
	}}
}
