package num

// scales is a block of a format whose groups have a factor alone, a whole number c times
// the block's d: Q3_K, Q6_K and IQ4_XS.
type scales struct {
	book   book
	lo, hi float32 // of c
	n      int     // elements per group

	groups int
	g      [16]group
	t      [16]sums
	c      [16]float32
	d      float32
}

// scales chooses d and the groups' factors. The factors that the groups would like best
// say what d should be; each group then takes, among the multiples of d near its wish,
// the one of least error; and d is fitted to the codes that came out.
func (e *encoder) scales(l *scales) {
	var want [16]float32
	l.groups = len(e.x) / l.n
	for g := range l.groups {
		l.g[g] = e.group(g*l.n, l.n)
		want[g], l.t[g] = l.g[g].fitScale(&l.book)
	}
	l.share(want[:l.groups])
	least := l.nudge(1)
	for range 2 {
		before := *l
		l.refit()
		if rise := l.nudge(0); rise < least {
			least = rise
			continue
		}
		*l = before
		break
	}
}

// share looks for the d whose multiples come nearest to the wanted factors. The largest
// of those is to become about the largest multiple, of either sign.
func (l *scales) share(want []float32) {
	top, least, first := farthest(want), float32(0), true
	try := func(d float32) {
		d = toHalf(d)
		inv, err := inverse(d), float32(0)
		for g, v := range want {
			off := v - mul(whole(mul(v, inv), l.lo, l.hi), d)
			err += mul(mul(off, off), l.t[g].wqq)
		}
		if first || err < least {
			l.d, least, first = d, err, false
		}
	}
	for k := float32(0); k < 4; k += 0.5 {
		try(top / (l.lo + k))
		try(top / (l.hi - k))
	}
	inv := inverse(l.d)
	for g, v := range want {
		l.c[g] = whole(mul(v, inv), l.lo, l.hi)
	}
}

// nudge gives every group the best of the multiples up to reach from its own, and the
// codes to it; the result is the error less that of codes of zero.
func (l *scales) nudge(reach float32) (rise float32) {
	for g := range l.groups {
		at, least := l.c[g], float32(0)
		l.c[g], l.t[g] = 0, sums{}
		for c := max(at-reach, l.lo); c <= min(at+reach, l.hi); c++ {
			s := mul(l.d, c)
			t := l.g[g].round(&l.book, inverse(s))
			if r := t.rise(s); r < least {
				l.c[g], l.t[g], least = c, t, r
			}
		}
		rise += least
	}
	return rise
}

// refit gives the d of least error for the codes and multiples as they are.
func (l *scales) refit() {
	var a, b float32
	for g, c := range l.c[:l.groups] {
		a += mul(mul(c, c), l.t[g].wqq)
		b += mul(c, l.t[g].wxq)
	}
	if a > 0 {
		l.d = toHalf(b / a)
	}
}

// settle writes the codes of a format of whole ones.
func (e *encoder) settle(l *scales) {
	for g := range l.groups {
		inv := inverse(mul(l.d, l.c[g]))
		for i, x := range l.g[g].x {
			e.q[g*l.n+i] = int8(whole(mul(x, inv), l.book.lo, l.book.hi))
		}
	}
}
