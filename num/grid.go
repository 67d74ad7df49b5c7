package num

import (
	"encoding/base64"
	"sync"
)

// The grids, built when first asked for: eight points of a byte each per entry, the
// first in the lowest byte; IQ3's have four.
var (
	iq2xxsGrid = sync.OnceValue(func() []uint64 { return grid(iq2xxsSet, 8, 8, 25, 43) })
	iq2xsGrid  = sync.OnceValue(func() []uint64 { return grid(iq2xsSet, 8, 8, 25, 43) })
	iq2sGrid   = sync.OnceValue(func() []uint64 { return grid(iq2sSet, 8, 8, 25, 43) })
	iq3xxsGrid = sync.OnceValue(func() []uint64 { return grid(iq3xxsSet, 4, 4, 12, 20, 28, 36, 44, 52, 62) })
	iq3sGrid   = sync.OnceValue(func() []uint64 { return grid(iq3sSet, 4, 1, 3, 5, 7, 9, 11, 13, 15) })
	// iq1Grid has the levels -1, 0 and 1 as 8x+9: see iq1Codes.
	iq1Grid = sync.OnceValue(func() []uint64 { return grid(iq1sSet, 8, 1, 9, 17) })
)

// grid lists the points of a set of places, each of dim levels.
func grid(set string, dim int, levels ...byte) []uint64 {
	bits, err := base64.RawStdEncoding.DecodeString(set)
	if err != nil {
		panic(err) // a constant of this package
	}
	var points []uint64
	for place := range len(bits) * 8 {
		if bits[place/8]>>(place%8)&1 == 0 {
			continue
		}
		point, rest := uint64(0), place
		for i := range dim {
			point |= uint64(levels[rest%len(levels)]) << (8 * i)
			rest /= len(levels)
		}
		points = append(points, point)
	}
	return points
}

const ones = 0x0101010101010101 // a one in every byte

// negate gives the bytes of point, all from 1 to 127, the sign that the bits of signs
// say, the lowest bit for the lowest byte.
func negate(point uint64, signs byte) uint64 {
	// Bit i of signs at its place in byte i, then moved down to the byte's lowest bit.
	bit := uint64(signs) * ones & 0x8040201008040201
	bit = (bit + 0x7f*ones) >> 7 & ones
	return (point ^ bit*255) + bit
}

// iq1Codes turns a point of iq1Grid into codes 8x+1 or, where down, 8x-1.
func iq1Codes(point uint64, down bool) uint64 {
	shift := uint64(8 * ones)
	if down {
		shift = 10 * ones
	}
	return ((point | 0x80*ones) - shift) ^ 0x80*ones
}

// put8 stores eight bytes as codes.
func put8(q *[8]int8, v uint64) {
	q[0], q[1], q[2], q[3] = int8(v), int8(v>>8), int8(v>>16), int8(v>>24)
	q[4], q[5], q[6], q[7] = int8(v>>32), int8(v>>40), int8(v>>48), int8(v>>56)
}
