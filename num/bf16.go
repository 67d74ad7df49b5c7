package num

import "math"

// BF16ToF32 widens a bfloat16 code; every code, NaN payloads included, is exact.
func BF16ToF32(c uint16) float32 { return math.Float32frombits(uint32(c) << 16) }

// BF16FromF32 rounds to the nearest bfloat16, ties to even. What is too large
// becomes infinity; a NaN stays a NaN, made quiet, with its sign and the upper part
// of its payload.
func BF16FromF32(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// RoundBF16 is the bfloat16 nearest to f, as a float32.
func RoundBF16(f float32) float32 { return BF16ToF32(BF16FromF32(f)) }

// BF16SliceToF32 widens src into dst; the shorter of the two decides how many.
func BF16SliceToF32(dst []float32, src []uint16) {
	n := min(len(dst), len(src))
	dst, src = dst[:n], src[:n]
	for i, c := range src {
		dst[i] = math.Float32frombits(uint32(c) << 16)
	}
}

// BF16SliceFromF32 rounds src into dst; the shorter of the two decides how many.
func BF16SliceFromF32(dst []uint16, src []float32) {
	n := min(len(dst), len(src))
	dst, src = dst[:n], src[:n]
	for i, f := range src {
		dst[i] = BF16FromF32(f)
	}
}
