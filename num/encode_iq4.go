package num

import "math"

// The IQ4 formats' bytes, as unpack_tables.go reads them.

var iq4Book = book{lo: -127, hi: 113, iq4: true, from: -12, by: 4, steps: 8}

func (e *encoder) iq4nl(dst *[18]byte) {
	g := e.group(0, 32)
	s, _ := g.fitScale(&iq4Book)
	d := toHalf(s)
	putHalf(dst[:], d)
	e.putLevels((*[16]byte)(dst[2:]), 0, d)
}

func (e *encoder) iq4xs(dst *[136]byte) {
	l := scales{book: iq4Book, lo: -32, hi: 31, n: 32}
	e.scales(&l)
	putHalf(dst[:], l.d)
	clear(dst[2:8])
	for g := range l.groups {
		c := byte(int8(l.c[g]) + 32)
		dst[2+g/4] |= c >> 4 << (g % 4 * 2)
		dst[4+g/2] |= c & 15 << (g % 2 * 4)
		e.putLevels((*[16]byte)(dst[8+g*16:]), g*32, mul(l.d, l.c[g]))
	}
}

// putLevels packs the 32 elements from at on, of factor d.
func (e *encoder) putLevels(dst *[16]byte, at int, d float32) {
	lo, hi, inv := (*[16]float32)(e.x[at:]), (*[16]float32)(e.x[at+16:]), inverse(d)
	for i := range dst {
		dst[i] = byte(iq4Code[place(lo[i], inv)]) | byte(iq4Code[place(hi[i], inv)])<<4
	}
}

// levels is codes for the levels of the IQ4 formats.
func (g *group) levels(inv float32) (s sums) {
	w, wx := g.w[:len(g.x)], g.wx[:len(g.x)]
	for i, x := range g.x {
		q := iq4Nearest[place(x, inv)]
		wq := mul(w[i], q)
		s.wq += wq
		s.wqq += mul(wq, q)
		s.wxq += mul(wx[i], q)
	}
	return s
}

// iq4Nearest and iq4Code are the level nearest to v and its code, at floor(2v) + 256:
// the middles between levels are whole numbers of halves, so the floor decides.
var iq4Nearest, iq4Code = nearest(&iq4Levels)

func nearest(levels *[16]int8) (level [512]float32, code [512]int8) {
	c := 0
	for i := range level {
		for c < 15 && i-256 >= int(levels[c])+int(levels[c+1]) {
			c++
		}
		level[i], code[i] = float32(levels[c]), int8(c)
	}
	return level, code
}

// place is where x*inv stands in iq4Nearest.
func place(x, inv float32) int {
	t := int32(math.Float32bits(mul(x, 2*inv)-0.5+roundTo)) - int32(math.Float32bits(roundTo))
	return int(max(min(t, 255), -256)+256) & 511
}
