package num

import (
	"encoding/binary"
	"math/bits"
)

// The IQ1, IQ2 and IQ3 formats: 256 elements, eight (IQ3: four) at a time by their
// index into a grid, the signs apart. Where seven bits say eight signs, the eighth
// makes the number of minus signs even.

func evenSigns(seven byte) byte { return seven | byte(bits.OnesCount8(seven))<<7 }

// iq2xxs: d; per group of 32 four indices of a byte, then 4*7 bits of signs with four
// bits of factor on top, which means (1/2 + s)/4.
func (t *block) iq2xxs(src *[66]byte) {
	points, d := (*[256]uint64)(iq2xxsGrid()), half(src[:])
	for g := range 8 {
		s, q := (*[8]byte)(src[2+g*8:]), (*[32]int8)(t.q[g*32:])
		aux := binary.LittleEndian.Uint32(s[4:])
		t.d[g] = d * (0.5 + float32(aux>>28)) * 0.25
		for i := range 4 {
			put8((*[8]int8)(q[i*8:]), negate(points[s[i]], evenSigns(byte(aux>>(7*i)&127))))
		}
	}
}

// iq2xs: d; 32 words of nine bits of index and seven of signs; four bits of factor per
// group of 16.
func (t *block) iq2xs(src *[74]byte) {
	points := (*[512]uint64)(iq2xsGrid())
	for i := range 32 {
		w := binary.LittleEndian.Uint16(src[2+i*2:])
		put8((*[8]int8)(t.q[i*8:]), negate(points[w&511], evenSigns(byte(w>>9))))
	}
	t.quarters(half(src[:]), (*[8]byte)(src[66:]))
}

// iq2s: d; 32 low bytes of ten bits of index, 32 bytes of signs, the indices' upper
// bits two by two, four bits of factor per group of 16.
func (t *block) iq2s(src *[82]byte) {
	points := (*[1024]uint64)(iq2sGrid())
	for i := range 32 {
		high := int(src[66+i/4]>>(i%4*2)) & 3
		put8((*[8]int8)(t.q[i*8:]), negate(points[int(src[2+i])|high<<8], src[34+i]))
	}
	t.quarters(half(src[:]), (*[8]byte)(src[74:]))
}

// quarters are the factors of IQ2_XS and IQ2_S: d*(1/2 + s)/4, s four bits.
func (t *block) quarters(d float32, src *[8]byte) {
	for i, s := range src {
		t.d[2*i] = d * (0.5 + float32(s&15)) * 0.25
		t.d[2*i+1] = d * (0.5 + float32(s>>4)) * 0.25
	}
}

// iq3xxs: d; 64 indices of a byte for four elements each; per group of 32, 4*7 bits of
// signs with four bits of factor on top, which means (1/2 + s)/2.
func (t *block) iq3xxs(src *[98]byte) {
	points, d := (*[256]uint64)(iq3xxsGrid()), half(src[:])
	for g := range 8 {
		s, q := (*[8]byte)(src[2+g*8:]), (*[32]int8)(t.q[g*32:])
		aux := binary.LittleEndian.Uint32(src[66+g*4:])
		t.d[g] = d * (0.5 + float32(aux>>28)) * 0.5
		for i := range 4 {
			p := points[s[2*i]] | points[s[2*i+1]]<<32
			put8((*[8]int8)(q[i*8:]), negate(p, evenSigns(byte(aux>>(7*i)&127))))
		}
	}
}

// iq3s: d; 64 low bytes of nine bits of index for four elements each, the ninth bits,
// 32 bytes of signs, four bits of factor per group of 32, which mean 1 + 2s.
func (t *block) iq3s(src *[110]byte) {
	points, d := (*[512]uint64)(iq3sGrid()), half(src[:])
	for g := range 8 {
		s, q, high := (*[8]byte)(src[2+g*8:]), (*[32]int8)(t.q[g*32:]), int(src[66+g])
		t.d[g] = d * float32(1+2*(src[106+g/2]>>(g%2*4)&15))
		for i := range 4 {
			a, b := int(s[2*i])|high<<(8-2*i)&256, int(s[2*i+1])|high<<(7-2*i)&256
			put8((*[8]int8)(q[i*8:]), negate(points[a]|points[b]<<32, src[74+g*4+i]))
		}
	}
}

// iq1s: d; 32 low bytes of eleven bits of index; per group of 32 a word of 4*3 upper
// bits, three bits of factor, which mean 2s+1, and whether the group's elements, -1, 0
// or 1, have 1/8 taken off or added. In eighths they are whole numbers.
func (t *block) iq1s(src *[50]byte) {
	points, d := (*[2048]uint64)(iq1Grid()), half(src[:])
	for g := range 8 {
		s, q := (*[4]byte)(src[2+g*4:]), (*[32]int8)(t.q[g*32:])
		w := binary.LittleEndian.Uint16(src[34+g*2:])
		t.d[g] = d * float32(w>>12&7*2+1) * 0.125
		for i := range 4 {
			p := points[int(s[i])|int(w>>(3*i)&7)<<8]
			put8((*[8]int8)(q[i*8:]), iq1Codes(p, w>>15 != 0))
		}
	}
}

// iq1m: 32 low bytes of eleven bits of index; a nibble of three upper bits and whether
// 1/8 is taken off or added, per eight elements; four words of four factors per group
// of 16 in three bits each, which mean 2s+1, whose upper four bits together are d.
func (t *block) iq1m(src *[56]byte) {
	points := (*[2048]uint64)(iq1Grid())
	for i := range 32 {
		n := src[32+i/2] >> (i % 2 * 4)
		put8((*[8]int8)(t.q[i*8:]), iq1Codes(points[int(src[i])|int(n&7)<<8], n&8 != 0))
	}
	var w [4]uint16
	var d uint16
	for i := range w {
		w[i] = binary.LittleEndian.Uint16(src[48+i*2:])
		d |= w[i] >> 12 << (4 * i)
	}
	for g := range t.d {
		t.d[g] = F16ToF32(d) * float32(w[g/4]>>(g%4*3)&7*2+1) * 0.125
	}
}
