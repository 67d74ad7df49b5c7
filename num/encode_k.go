package num

// The K formats' bytes, as unpack_k.go reads them.

var (
	q3kBook = book{lo: -4, hi: 3, from: -0.5, by: 0.25, steps: 8}
	q6kBook = book{lo: -32, hi: 31, from: -0.5, by: 0.25, steps: 8}
)

func (e *encoder) q2k(dst *[84]byte) {
	l := lines{n: 16, hi: 3, levels: 15}
	e.lines(&l)
	for g := range l.groups {
		dst[g] = byte(l.c[g]) | byte(l.k[g])<<4
	}
	e.putPairs((*[64]byte)(dst[16:]), 0)
	putHalf(dst[80:], l.d)
	putHalf(dst[82:], l.dm)
}

func (e *encoder) q3k(dst *[110]byte) {
	l := scales{book: q3kBook, lo: -32, hi: 31, n: 16}
	e.scales(&l)
	e.settle(&l)
	clear(dst[:32])
	for i, q := range e.q {
		dst[i&31] |= byte((q+4)>>2) << (i >> 5)
	}
	e.putPairs((*[64]byte)(dst[32:]), 4)
	s := dst[96:108]
	clear(s)
	for g, c := range l.c {
		v := byte(int8(c) + 32)
		s[g&7] |= v & 15 << (g >> 3 * 4)
		s[8+g&3] |= v >> 4 << (g >> 2 * 2)
	}
	putHalf(dst[108:], l.d)
}

func (e *encoder) q4k(dst *[144]byte) {
	l := lines{n: 32, hi: 15, levels: 63}
	e.lines(&l)
	l.put((*[16]byte)(dst[:]))
	for c := range 4 {
		q, s := (*[64]int8)(e.q[c*64:]), (*[32]byte)(dst[16+c*32:])
		for i := range s {
			s[i] = byte(q[i]) | byte(q[32+i])<<4
		}
	}
}

func (e *encoder) q5k(dst *[176]byte) {
	l := lines{n: 32, hi: 31, levels: 63}
	e.lines(&l)
	l.put((*[16]byte)(dst[:]))
	high := (*[32]byte)(dst[16:])
	clear(high[:])
	for c := range 4 {
		q, s := (*[64]int8)(e.q[c*64:]), (*[32]byte)(dst[48+c*32:])
		for i := range s {
			a, b := byte(q[i]), byte(q[32+i])
			s[i] = a&15 | b<<4
			high[i] |= (a>>4 | b>>4<<1) << (2 * c)
		}
	}
}

// put writes the head of Q4_K and Q5_K.
func (l *lines) put(dst *[16]byte) {
	putHalf(dst[:], l.d)
	putHalf(dst[2:], l.dm)
	for g := range 4 {
		a, b, c, d := byte(l.c[g]), byte(l.k[g]), byte(l.c[4+g]), byte(l.k[4+g])
		dst[4+g], dst[8+g], dst[12+g] = a|c>>4<<6, b|d>>4<<6, c&15|d<<4
	}
}

func (e *encoder) q6k(dst *[210]byte) {
	l := scales{book: q6kBook, lo: -128, hi: 127, n: 16}
	e.scales(&l)
	e.settle(&l)
	for h := range 2 {
		q := (*[128]int8)(e.q[h*128:])
		lo, hi := (*[64]byte)(dst[h*64:]), (*[32]byte)(dst[128+h*32:])
		for i := range hi {
			a, b, c, d := byte(q[i]+32), byte(q[32+i]+32), byte(q[64+i]+32), byte(q[96+i]+32)
			lo[i], lo[32+i] = a&15|c<<4, b&15|d<<4
			hi[i] = a>>4 | b>>4<<2 | c>>4<<4 | d>>4<<6
		}
	}
	for g, c := range l.c {
		dst[192+g] = byte(int8(c))
	}
	putHalf(dst[208:], l.d)
}

// putPairs packs two bits per element, offset added.
func (e *encoder) putPairs(dst *[64]byte, offset int8) {
	for h := range 2 {
		q, s := (*[128]int8)(e.q[h*128:]), (*[32]byte)(dst[h*32:])
		for i := range s {
			a, b, c, d := byte(q[i]+offset), byte(q[32+i]+offset), byte(q[64+i]+offset), byte(q[96+i]+offset)
			s[i] = a&3 | b&3<<2 | c&3<<4 | d<<6
		}
	}
}
