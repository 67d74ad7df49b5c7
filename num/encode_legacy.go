package num

import (
	"encoding/binary"
	"math"
)

// The formats of one level. Without importance their codes come from the extremes alone:
// the factor in float32 makes the codes, and its rounding to a half is stored. With
// importance they are searched.

var (
	q40Book = book{lo: -8, hi: 7, from: -0.5, by: 0.25, steps: 8}
	q50Book = book{lo: -16, hi: 15, from: -0.5, by: 0.25, steps: 8}
)

// q80 and all others write what their namesakes in unpack_legacy.go read.
func (e *encoder) q80(dst *[34]byte) {
	x := (*[32]float32)(e.x[:])
	d := abs(farthest(x[:])) / 127
	putHalf(dst[:], d)
	inv := inverse(d)
	for i, v := range x {
		dst[2+i] = byte(int8(roundAway(mul(v, inv))))
	}
}

// roundAway rounds halves away from zero.
func roundAway(v float32) float32 {
	t := float32(math.Trunc(float64(v)))
	if abs(v-t) >= 0.5 {
		t += float32(math.Copysign(1, float64(v)))
	}
	return t
}

func (e *encoder) q40(dst *[18]byte) {
	putHalf(dst[:], e.signed(&q40Book))
	e.putNibbles((*[16]byte)(dst[2:]), 8)
}

func (e *encoder) q50(dst *[22]byte) {
	putHalf(dst[:], e.signed(&q50Book))
	binary.LittleEndian.PutUint32(dst[2:], e.putNibbles((*[16]byte)(dst[6:]), 16))
}

func (e *encoder) q41(dst *[20]byte) {
	d, m := e.ranged(15)
	putHalf(dst[:], d)
	putHalf(dst[2:], m)
	e.putNibbles((*[16]byte)(dst[4:]), 0)
}

func (e *encoder) q51(dst *[24]byte) {
	d, m := e.ranged(31)
	putHalf(dst[:], d)
	putHalf(dst[2:], m)
	binary.LittleEndian.PutUint32(dst[4:], e.putNibbles((*[16]byte)(dst[8:]), 0))
}

// signed chooses 32 codes and gives their factor. Without importance the element
// farthest from zero gets the lowest code.
func (e *encoder) signed(b *book) float32 {
	x := e.x[:32]
	if !e.weighted {
		d := farthest(x) / b.lo
		inv := inverse(d)
		for i, v := range x {
			e.q[i] = int8(min(int32(mul(v, inv)+(0.5-b.lo)), int32(b.hi-b.lo)) + int32(b.lo))
		}
		return d
	}
	g := e.group(0, 32)
	s, _ := g.fitScale(b)
	d := toHalf(s)
	inv := inverse(d)
	for i, v := range x {
		e.q[i] = int8(whole(mul(v, inv), b.lo, b.hi))
	}
	return d
}

// ranged chooses 32 codes from 0 to hi and gives their factor and minimum. Without
// importance the extremes become 0 and hi.
func (e *encoder) ranged(hi float32) (d, m float32) {
	x := e.x[:32]
	if !e.weighted {
		low, high := extremes(x)
		d = (high - low) / hi
		inv := inverse(d)
		for i, v := range x {
			e.q[i] = int8(min(int32(mul(v-low, inv)+0.5), int32(hi)))
		}
		return d, low
	}
	g := e.group(0, 32)
	d, m, _ = g.fitLine(hi, 0)
	d, m = toHalf(d), toHalf(m)
	inv := inverse(d)
	for i, v := range x {
		e.q[i] = int8(whole(mul(v-m, inv), 0, hi))
	}
	return d, m
}

// putNibbles packs 32 codes, offset added, and gives their fifth bits.
func (e *encoder) putNibbles(dst *[16]byte, offset int8) (fifth uint32) {
	lo, hi := (*[16]int8)(e.q[:]), (*[16]int8)(e.q[16:])
	for i := range dst {
		a, b := byte(lo[i]+offset), byte(hi[i]+offset)
		dst[i] = a&15 | b<<4
		fifth |= uint32(a>>4&1)<<i | uint32(b>>4&1)<<(16+i)
	}
	return fifth
}
