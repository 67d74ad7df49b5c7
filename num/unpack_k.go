package num

import "encoding/binary"

// The K formats: 256 elements in groups of 16 or 32 whose factors (and minima) are
// small integers times a factor of the whole block.

// q2k: a byte per group (low half times d, high half times the minimum's factor), two
// bits per element, d, the minimum's factor.
func (t *block) q2k(src *[84]byte) {
	d, dmin := half(src[80:]), half(src[82:])
	for g, s := range src[:16] {
		t.d[g], t.m[g] = d*float32(s&15), -(dmin * float32(s>>4))
	}
	t.pairs((*[64]byte)(src[16:]), 0)
}

// q3k: third bits, two low bits per element, sixteen signed 6-bit factors, d.
// The third bit is inverted: where it is clear, 4 is taken off.
func (t *block) q3k(src *[110]byte) {
	t.pairs((*[64]byte)(src[32:]), 4)
	for bit := range 8 {
		q := (*[32]int8)(t.q[bit*32:])
		for i, h := range src[:32] {
			q[i] += int8(h>>bit&1) << 2
		}
	}
	d := half(src[108:])
	for g, s := range q3kFactors((*[12]byte)(src[96:])) {
		t.d[g] = d * float32(s)
	}
}

// q3kFactors are Q3_K's factors -32..31: low nibbles in eight bytes (groups 0 to 7 in
// the low halves), two high bits in four bytes, groups 4 apart side by side.
func q3kFactors(src *[12]byte) (s [16]int8) {
	for g := range s {
		lo := src[g&7] >> (g >> 3 * 4) & 15
		hi := src[8+g&3] >> (g >> 2 * 2) & 3
		s[g] = int8(lo|hi<<4) - 32
	}
	return s
}

// q4k: d, the minima's factor, eight factors and minima, nibbles.
func (t *block) q4k(src *[144]byte) {
	t.factors8(src[:16])
	for c := range 4 {
		q, s := (*[64]int8)(t.q[c*64:]), (*[32]byte)(src[16+c*32:])
		for i, v := range s {
			q[i], q[32+i] = int8(v&15), int8(v>>4)
		}
	}
}

// q5k: as q4k, with the fifth bits before the nibbles.
func (t *block) q5k(src *[176]byte) {
	t.factors8(src[:16])
	high := (*[32]byte)(src[16:])
	for c := range 4 {
		q, s := (*[64]int8)(t.q[c*64:]), (*[32]byte)(src[48+c*32:])
		for i, v := range s {
			h := high[i] >> (2 * c)
			q[i], q[32+i] = int8(v&15|h&1<<4), int8(v>>4|h&2<<3)
		}
	}
}

// factors8 reads the head of Q4_K and Q5_K: the two halves, then eight 6-bit factors
// and minima in twelve bytes.
func (t *block) factors8(src []byte) {
	d, dmin := half(src), half(src[2:])
	sc, mn := unpack6((*[12]byte)(src[4:]))
	for g := range 8 {
		t.d[g], t.m[g] = d*float32(sc[g]), -(dmin * float32(mn[g]))
	}
}

// unpack6 takes eight pairs of 6-bit numbers out of twelve bytes: pairs 0 to 3 in the
// low six bits of the first eight bytes, pairs 4 to 7 in nibbles of the last four with
// their two upper bits on top of those of pairs 0 to 3.
func unpack6(src *[12]byte) (sc, mn [8]byte) {
	const six, two, four = 0x3f3f3f3f, 0x03030303, 0x0f0f0f0f
	a := binary.LittleEndian.Uint32(src[:])
	b := binary.LittleEndian.Uint32(src[4:])
	c := binary.LittleEndian.Uint32(src[8:])
	binary.LittleEndian.PutUint32(sc[:], a&six)
	binary.LittleEndian.PutUint32(mn[:], b&six)
	binary.LittleEndian.PutUint32(sc[4:], c&four|a>>6&two<<4)
	binary.LittleEndian.PutUint32(mn[4:], c>>4&four|b>>6&two<<4)
	return sc, mn
}

// q6k: low nibbles, two upper bits, sixteen signed factors, d; codes -32..31.
func (t *block) q6k(src *[210]byte) {
	for h := range 2 {
		q := (*[128]int8)(t.q[h*128:])
		lo, hi := (*[64]byte)(src[h*64:]), (*[32]byte)(src[128+h*32:])
		for i, u := range hi {
			a, b := lo[i], lo[32+i]
			q[i] = int8(a&15|u&3<<4) - 32
			q[32+i] = int8(b&15|u>>2&3<<4) - 32
			q[64+i] = int8(a>>4|u>>4&3<<4) - 32
			q[96+i] = int8(b>>4|u>>6<<4) - 32
		}
	}
	d := half(src[208:])
	for g, s := range src[192:208] {
		t.d[g] = d * float32(int8(s))
	}
}

// pairs takes two bits per element: each half of 128 in 32 bytes, elements 32 apart
// side by side, the first in the lowest bits.
func (t *block) pairs(src *[64]byte, offset int8) {
	for h := range 2 {
		q, s := (*[128]int8)(t.q[h*128:]), (*[32]byte)(src[h*32:])
		for i, v := range s {
			q[i], q[32+i] = int8(v&3)-offset, int8(v>>2&3)-offset
			q[64+i], q[96+i] = int8(v>>4&3)-offset, int8(v>>6)-offset
		}
	}
}
