package num

import (
	"encoding/binary"
	"math"
)

// The formats of four bits by table, and the ternary ones.

// iq4Levels are the levels of the IQ4 formats: denser about zero, as weights are.
var iq4Levels = [16]int8{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// fp4Levels are twice the values of the E2M1 format of the Open Compute Project.
var fp4Levels = [16]int8{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}

// iq4nl: factor, nibbles as in the formats of one level.
func (t *block) iq4nl(src *[18]byte) {
	t.d[0] = half(src[:])
	levels((*[32]int8)(t.q[:]), (*[16]byte)(src[2:]), &iq4Levels)
}

// iq4xs: d, the upper two bits and the lower four of eight factors -32..31, nibbles.
func (t *block) iq4xs(src *[136]byte) {
	d, high := half(src[:]), binary.LittleEndian.Uint16(src[2:])
	for g := range 8 {
		s := src[4+g/2]>>(g%2*4)&15 | byte(high>>(2*g)&3)<<4
		t.d[g] = d * float32(int8(s)-32)
		levels((*[32]int8)(t.q[g*32:]), (*[16]byte)(src[8+g*16:]), &iq4Levels)
	}
}

// mxfp4: a power of two (UE8M0), nibbles; the codes are doubled, so the factor is half.
func (t *block) mxfp4(src *[17]byte) {
	if e := uint32(src[0]); e < 2 {
		t.d[0] = math.Float32frombits(0x200000 << e)
	} else {
		t.d[0] = math.Float32frombits((e - 1) << 23)
	}
	levels((*[32]int8)(t.q[:]), (*[16]byte)(src[1:]), &fp4Levels)
}

func levels(q *[32]int8, src *[16]byte, table *[16]int8) {
	for i, c := range src {
		q[i], q[16+i] = table[c&15], table[c>>4]
	}
}

// tq10: -1, 0 or 1, five to a byte: the byte is a fraction of 256 whose digits in base
// 3 are the elements. 32 bytes of five, 16 bytes of five, four of four, then d.
func (t *block) tq10(src *[54]byte) {
	t.ternary(0, src[:32], 5)
	t.ternary(160, src[32:48], 5)
	t.ternary(240, src[48:52], 4)
	t.fill(half(src[52:]))
}

// ternary reads n digits of every byte, a digit's elements side by side.
func (t *block) ternary(at int, src []byte, n int) {
	for i, c := range src {
		for digit := range n {
			v := uint16(c) * 3
			t.q[at+digit*len(src)+i] = int8(v>>8) - 1
			c = byte(v)
		}
	}
}

// tq20: two bits per element as in Q2_K, less one, then d.
func (t *block) tq20(src *[66]byte) {
	t.pairs((*[64]byte)(src[:]), 1)
	t.fill(half(src[64:]))
}

func (t *block) fill(d float32) {
	for g := range 8 {
		t.d[g] = d
	}
}
