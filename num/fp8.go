package num

import "math"

// E4M3Max and E5M2Max are the largest finite numbers of the two 8-bit formats.
const (
	E4M3Max = 448
	E5M2Max = 57344
)

var e4m3, e5m2 = table(3, 7, 0x7f), table(2, 15, 0x7d)

// table decodes all codes of an 8-bit format with a sign; codes from nan on, without
// sign, are NaNs, and 0x7c of E5M2 is infinity.
func table(man, bias int, nan int) (t [256]float32) {
	for c := range t {
		e, m := c&0x7f>>man, c&(1<<man-1)
		v := math.Ldexp(float64(m|1<<man), e-bias-man)
		if e == 0 {
			v = math.Ldexp(float64(m), 1-bias-man)
		}
		if c&0x7f == 0x7c && nan == 0x7d {
			v = math.Inf(1)
		}
		if c&0x7f >= nan {
			v = math.NaN()
		}
		t[c] = float32(math.Copysign(v, 1-2*float64(c>>7)))
	}
	return t
}

// E4M3ToF32 decodes the FN variant of E4M3: no infinities, 0x7f and 0xff are NaN.
func E4M3ToF32(c byte) float32 { return e4m3[c] }

// E5M2ToF32 decodes E5M2, which has infinities and NaNs as IEEE's formats have.
func E5M2ToF32(c byte) float32 { return e5m2[c] }

// E4M3FromF32 rounds to the nearest, ties to even. What is too large, infinity too,
// becomes the largest finite number, as the processors that compute in this format
// have it; a NaN stays a NaN.
func E4M3FromF32(f float32) byte { return fp8(f, 3, 7, 0x7e, 0x7f) }

// E5M2FromF32 is E4M3FromF32 for E5M2.
func E5M2FromF32(f float32) byte { return fp8(f, 2, 15, 0x7b, 0x7f) }

func fp8(f float32, man, bias int, largest, nan uint32) byte {
	sign := byte(math.Float32bits(f) >> 24 & 0x80)
	if f != f {
		return sign | byte(nan)
	}
	return sign | byte(min(magnitude(f, man, bias), largest))
}

// E4M3SliceToF32 decodes src into dst; the shorter of the two decides how many.
func E4M3SliceToF32(dst []float32, src []byte) { decode(dst, src, &e4m3) }

// E5M2SliceToF32 decodes src into dst; the shorter of the two decides how many.
func E5M2SliceToF32(dst []float32, src []byte) { decode(dst, src, &e5m2) }

func decode(dst []float32, src []byte, t *[256]float32) {
	n := min(len(dst), len(src))
	dst, src = dst[:n], src[:n]
	for i, c := range src {
		dst[i] = t[c]
	}
}

// E4M3SliceFromF32 rounds src into dst; the shorter of the two decides how many.
func E4M3SliceFromF32(dst []byte, src []float32) {
	for i := range min(len(dst), len(src)) {
		dst[i] = E4M3FromF32(src[i])
	}
}

// E5M2SliceFromF32 rounds src into dst; the shorter of the two decides how many.
func E5M2SliceFromF32(dst []byte, src []float32) {
	for i := range min(len(dst), len(src)) {
		dst[i] = E5M2FromF32(src[i])
	}
}

// UE8M0ToF32 decodes a power-of-two scale: 2^(c-127), and NaN for 255.
func UE8M0ToF32(c byte) float32 {
	switch c {
	case 0:
		return 0x1p-127
	case 255:
		return float32(math.NaN())
	}
	return math.Float32frombits(uint32(c) << 23)
}

// UE8M0FromF32 rounds a scale up to the next power of two, so that what is divided by
// it does not overflow. From 2^127 up it stays at 2^127; zero becomes 2^-127; a
// negative number or a NaN, which no scale is, becomes NaN.
func UE8M0FromF32(f float32) byte {
	b := math.Float32bits(f)
	switch {
	case f != f || b>>31 == 1 && f != 0:
		return 255
	case b&0x7fffffff <= 0x400000: // up to 2^-127
		return 0
	}
	return byte(min((b+0x7fffff)>>23, 254))
}

// UE8M0SliceToF32 decodes src into dst; the shorter of the two decides how many.
func UE8M0SliceToF32(dst []float32, src []byte) {
	for i := range min(len(dst), len(src)) {
		dst[i] = UE8M0ToF32(src[i])
	}
}

// UE8M0SliceFromF32 rounds src up into dst; the shorter of the two decides how many.
func UE8M0SliceFromF32(dst []byte, src []float32) {
	for i := range min(len(dst), len(src)) {
		dst[i] = UE8M0FromF32(src[i])
	}
}
