package num

import (
	"encoding/binary"
	"math"
)

// mul is a product rounded before anything is added to it, so that no machine fuses the
// two and all choose the same codes.
func mul(a, b float32) float32 { return float32(a * b) }

// roundTo is 1.5 * 2^23: adding it and taking it off rounds to the nearest whole number,
// ties to even, up to 2^22.
const roundTo = 3 << 22

func round(v float32) float32 { return (float32(v) + roundTo) - roundTo }

// whole rounds v into [lo, hi].
func whole(v, lo, hi float32) float32 { return max(min(round(v), hi), lo) }

// inverse is 1/d, and 0 where there is none.
func inverse(d float32) float32 {
	if v := 1 / d; abs(v) <= math.MaxFloat32 {
		return v
	}
	return 0
}

func abs(v float32) float32  { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }
func sqrt(v float32) float32 { return float32(math.Sqrt(float64(v))) }

// farthest is the element farthest from zero, the first of several.
func farthest(x []float32) (far float32) {
	for _, v := range x {
		if abs(v) > abs(far) {
			far = v
		}
	}
	return far
}

func extremes(x []float32) (lo, hi float32) {
	lo, hi = x[0], x[0]
	for _, v := range x[1:] {
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	return lo, hi
}

// toHalf is the finite half nearest to v.
func toHalf(v float32) float32 { return F16ToF32(F16FromF32(max(min(v, 65504), -65504))) }

func putHalf(dst []byte, v float32) { binary.LittleEndian.PutUint16(dst, F16FromF32(v)) }
