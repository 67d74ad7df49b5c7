package num

import (
	"encoding/binary"
	"fmt"
)

// block is one block taken apart: element i is d[g]*q[i] + m[g], g = i/Group; m has
// a meaning only where the format has minima.
type block struct {
	q    [256]int8
	d, m [16]float32
}

// Unpack takes whole blocks apart into codes, factors and minima: element i of src is
// d[g]*codes[i] + m[g] with g = i/Group, the product rounded to float32 before the sum
// is, and without a sum where the format has no minima (m may be nil then). Every
// format fits that form exactly: the codes of the IQ formats are points of their grids
// with their signs.
//
// len(src) is a multiple of Bytes and says how many blocks; codes has at least one
// element per element, d and m one per group.
func (b BlockType) Unpack(codes []int8, d, m []float32, src []byte) {
	s := b.shape()
	groups := s.elements / s.group
	b.whole(src)
	var t block
	for ; len(src) > 0; src = src[s.bytes:] {
		b.unpack(&t, src[:s.bytes])
		copy(codes[:s.elements], t.q[:])
		copy(d[:groups], t.d[:])
		codes, d = codes[s.elements:], d[groups:]
		if s.hasMin {
			copy(m[:groups], t.m[:])
			m = m[groups:]
		}
	}
}

// Decode widens whole blocks to float32, bit for bit what llama.cpp's gguf-py gives.
// len(src) is a multiple of Bytes and says how many blocks; dst holds at least as many
// elements.
func (b BlockType) Decode(dst []float32, src []byte) {
	s := b.shape()
	b.whole(src)
	var t block
	for ; len(src) > 0; src = src[s.bytes:] {
		b.unpack(&t, src[:s.bytes])
		out := dst[:s.elements]
		dst = dst[s.elements:]
		if s.hasMin {
			t.widenMin(out, s.group)
		} else {
			t.widen(out, s.group)
		}
	}
}

// whole panics unless src is whole blocks: whoever holds the bytes knows the shape.
func (b BlockType) whole(src []byte) {
	if n := b.shape().bytes; len(src)%n != 0 {
		panic(fmt.Sprintf("num: %d bytes are not whole blocks of %v, %d bytes each", len(src), b, n))
	}
}

func (t *block) widen(out []float32, group int) {
	for g := 0; len(out) >= group; g++ {
		d, q, o := t.d[g&15], t.q[g*group:][:group], out[:group]
		for i, c := range q {
			o[i] = d * float32(c)
		}
		out = out[group:]
	}
}

func (t *block) widenMin(out []float32, group int) {
	for g := 0; len(out) >= group; g++ {
		d, m, q, o := t.d[g&15], t.m[g&15], t.q[g*group:][:group], out[:group]
		for i, c := range q {
			o[i] = float32(d*float32(c)) + m // two roundings: never fused
		}
		out = out[group:]
	}
}

// unpack takes one block apart. A switch of plain calls, so that t stays on the stack.
func (b BlockType) unpack(t *block, src []byte) {
	switch b {
	case Q4_0:
		t.q40((*[18]byte)(src))
	case Q4_1:
		t.q41((*[20]byte)(src))
	case Q5_0:
		t.q50((*[22]byte)(src))
	case Q5_1:
		t.q51((*[24]byte)(src))
	case Q8_0:
		t.q80((*[34]byte)(src))
	case Q2_K:
		t.q2k((*[84]byte)(src))
	case Q3_K:
		t.q3k((*[110]byte)(src))
	case Q4_K:
		t.q4k((*[144]byte)(src))
	case Q5_K:
		t.q5k((*[176]byte)(src))
	case Q6_K:
		t.q6k((*[210]byte)(src))
	case IQ1_S:
		t.iq1s((*[50]byte)(src))
	case IQ1_M:
		t.iq1m((*[56]byte)(src))
	case IQ2_XXS:
		t.iq2xxs((*[66]byte)(src))
	case IQ2_XS:
		t.iq2xs((*[74]byte)(src))
	case IQ2_S:
		t.iq2s((*[82]byte)(src))
	case IQ3_XXS:
		t.iq3xxs((*[98]byte)(src))
	case IQ3_S:
		t.iq3s((*[110]byte)(src))
	case IQ4_NL:
		t.iq4nl((*[18]byte)(src))
	case IQ4_XS:
		t.iq4xs((*[136]byte)(src))
	case TQ1_0:
		t.tq10((*[54]byte)(src))
	case TQ2_0:
		t.tq20((*[66]byte)(src))
	case MXFP4:
		t.mxfp4((*[17]byte)(src))
	}
}

// half is the IEEE half at the start of src.
func half(src []byte) float32 { return F16ToF32(binary.LittleEndian.Uint16(src)) }
