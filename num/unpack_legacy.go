package num

import "encoding/binary"

// The formats of one level: 32 elements, one factor, perhaps one minimum. The low four
// bits of an element stand in a nibble, the first sixteen elements in the low ones.

// q40: factor, nibbles; codes -8..7.
func (t *block) q40(src *[18]byte) {
	t.d[0] = half(src[:])
	t.nibbles((*[16]byte)(src[2:]), 8)
}

// q41: factor, minimum, nibbles; codes 0..15.
func (t *block) q41(src *[20]byte) {
	t.d[0], t.m[0] = half(src[:]), half(src[2:])
	t.nibbles((*[16]byte)(src[4:]), 0)
}

// q50: factor, fifth bits, nibbles; codes -16..15.
func (t *block) q50(src *[22]byte) {
	t.d[0] = half(src[:])
	t.nibbles5((*[16]byte)(src[6:]), binary.LittleEndian.Uint32(src[2:]), 16)
}

// q51: factor, minimum, fifth bits, nibbles; codes 0..31.
func (t *block) q51(src *[24]byte) {
	t.d[0], t.m[0] = half(src[:]), half(src[2:])
	t.nibbles5((*[16]byte)(src[8:]), binary.LittleEndian.Uint32(src[4:]), 0)
}

// q80: factor, codes.
func (t *block) q80(src *[34]byte) {
	t.d[0] = half(src[:])
	for i, c := range src[2:] {
		t.q[i] = int8(c)
	}
}

func (t *block) nibbles(src *[16]byte, offset int8) {
	lo, hi := (*[16]int8)(t.q[:]), (*[16]int8)(t.q[16:])
	for i, c := range src {
		lo[i], hi[i] = int8(c&15)-offset, int8(c>>4)-offset
	}
}

func (t *block) nibbles5(src *[16]byte, fifth uint32, offset int8) {
	lo, hi := (*[16]int8)(t.q[:]), (*[16]int8)(t.q[16:])
	for i, c := range src {
		lo[i] = int8(c&15|byte(fifth>>i&1)<<4) - offset
		hi[i] = int8(c>>4|byte(fifth>>(16+i)&1)<<4) - offset
	}
}
