package num

import "math"

// magnitude rounds the absolute value of f, not a NaN, to a format of man bits of
// mantissa whose exponents have the given bias, ties to even. The code it gives has
// no sign and may lie beyond the format's largest; infinity gives one that does.
func magnitude(f float32, man, bias int) uint32 {
	b := math.Float32bits(f) & 0x7fffffff
	lowest := uint32(128-bias) << 23 // the smallest normal number
	if b < lowest {
		// Adding 2^23 units of the last place leaves the multiple in the low bits.
		magic := math.Float32frombits(uint32(127+24-bias-man) << 23)
		return math.Float32bits(math.Float32frombits(b)+magic) - math.Float32bits(magic)
	}
	drop := 23 - man
	b -= uint32(127-bias) << 23
	return (b + 1<<(drop-1) - 1 + b>>drop&1) >> drop
}

// F16ToF32 widens an IEEE 754 half: exact for every code, a NaN's payload kept.
func F16ToF32(c uint16) float32 {
	sign, rest := uint32(c&0x8000)<<16, uint32(c&0x7fff)
	switch {
	case rest < 0x400: // subnormal: a multiple of 2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(rest)*0x1p-24))
	case rest >= 0x7c00:
		return math.Float32frombits(sign | 0x7f800000 | rest<<13)
	}
	return math.Float32frombits(sign | rest<<13 + 112<<23)
}

// F16FromF32 rounds to the nearest half, ties to even; what is too large becomes
// infinity, a NaN stays a NaN, made quiet.
func F16FromF32(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	if f != f {
		return sign | 0x7e00 | uint16(b>>13&0x1ff)
	}
	return sign | uint16(min(magnitude(f, 10, 15), 0x7c00))
}

// F16SliceToF32 widens src into dst; the shorter of the two decides how many.
func F16SliceToF32(dst []float32, src []uint16) {
	for i := range min(len(dst), len(src)) {
		dst[i] = F16ToF32(src[i])
	}
}

// F16SliceFromF32 rounds src into dst; the shorter of the two decides how many.
func F16SliceFromF32(dst []uint16, src []float32) {
	for i := range min(len(dst), len(src)) {
		dst[i] = F16FromF32(src[i])
	}
}
