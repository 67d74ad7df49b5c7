package num

// lines is a block of a format whose groups have a factor, a whole number c times the
// block's d, and a minimum, a whole number k times -dm: Q2_K, Q4_K and Q5_K.
type lines struct {
	n      int     // elements per group
	hi     float32 // the largest code
	levels float32 // the largest c and k

	groups int
	g      [16]group
	t      [16]sums
	c, k   [16]float32
	d, dm  float32
}

// lines chooses the block's two factors and the groups' multiples. What each group would
// like best says what d should be; given d and the multiples of it, the minima that fit
// best say what dm should be; then codes, multiples and factors follow from each other
// while the error falls. In the end e.q has the codes.
func (e *encoder) lines(l *lines) {
	l.groups = len(e.x) / l.n
	var want [16]float32
	for g := range l.groups {
		l.g[g] = e.group(g*l.n, l.n)
		want[g], _, l.t[g] = l.g[g].fitLine(l.hi, -1)
	}
	l.share(want[:l.groups])
	least := l.recode()
	for range 3 {
		before := *l
		l.refit()
		if rise := l.recode(); rise < least {
			least = rise
			continue
		}
		*l = before
		break
	}
	for g := range l.groups {
		inv, m := inverse(mul(l.d, l.c[g])), -mul(l.dm, l.k[g])
		for i, x := range l.g[g].x {
			e.q[g*l.n+i] = int8(whole(mul(x-m, inv), 0, l.hi))
		}
	}
}

// share chooses d and dm, and the multiples, from the wanted factors.
func (l *lines) share(want []float32) {
	var h [16]float32
	for g := range l.groups {
		// What an error of the factor costs if the minimum makes the best of it.
		if t := &l.t[g]; l.g[g].sw > 0 {
			h[g] = t.wqq - mul(t.wq, t.wq)/l.g[g].sw
		}
	}
	l.d = divisor(want, h[:], l.levels, l.c[:])
	for g := range l.groups {
		h[g], want[g] = l.g[g].sw, max(0, -l.minimum(g, l.c[g]))
	}
	l.dm = divisor(want, h[:], l.levels, l.k[:])
}

// minimum is the best m of group g for its codes and the factor c*d.
func (l *lines) minimum(g int, c float32) float32 {
	if l.g[g].sw == 0 {
		return 0
	}
	return (l.g[g].swx - mul(mul(l.d, c), l.t[g].wq)) / l.g[g].sw
}

// divisor looks for the half d such that multiples up to levels of it come nearest to
// the wanted v, none negative, with weights h; of puts the multiples into c.
func divisor(v, h []float32, levels float32, c []float32) (d float32) {
	_, top := extremes(v)
	least, first := float32(0), true
	for k := float32(0); k < min(10, levels/2); k += 0.5 {
		try := toHalf(top / (levels - k))
		inv, err := inverse(try), float32(0)
		for g, x := range v {
			off := x - mul(whole(mul(x, inv), 0, levels), try)
			err += mul(h[g], mul(off, off))
		}
		if first || err < least {
			d, least, first = try, err, false
		}
	}
	inv := inverse(d)
	for g, x := range v {
		c[g] = whole(mul(x, inv), 0, levels)
	}
	return d
}

// recode rounds with the factors as they are; the result is the error less that of
// zeros.
func (l *lines) recode() (rise float32) {
	for g := range l.groups {
		s, m := mul(l.d, l.c[g]), -mul(l.dm, l.k[g])
		l.t[g] = l.g[g].codes(inverse(s), m, 0, l.hi)
		rise += l.g[g].rise(&l.t[g], s, m)
	}
	return rise
}

// refit gives the d and dm of least error for the codes and multiples as they are, then
// the best multiples for those.
func (l *lines) refit() {
	// The normal equations of sum w*(d*c*q - dm*k - x)^2.
	var cc, ck, kk, cx, kx float32
	for g := range l.groups {
		t, c, k := &l.t[g], l.c[g], l.k[g]
		cc += mul(mul(c, c), t.wqq)
		ck += mul(mul(c, k), t.wq)
		kk += mul(mul(k, k), l.g[g].sw)
		cx += mul(c, t.wxq)
		kx += mul(k, l.g[g].swx)
	}
	if det := mul(cc, kk) - mul(ck, ck); det > mul(1e-4, mul(cc, kk)) {
		l.d = toHalf((mul(cx, kk) - mul(kx, ck)) / det)
		l.dm = toHalf((mul(cx, ck) - mul(kx, cc)) / det)
	} else if cc > 0 && kk == 0 {
		l.d = toHalf(cx / cc)
	}
	for g := range l.groups {
		l.move(g)
	}
}

// move takes group g to the best neighbouring c, and the best k to it, for its codes as
// they are.
func (l *lines) move(g int) {
	c, inv := l.c[g], inverse(l.dm)
	least := l.g[g].rise(&l.t[g], mul(l.d, c), -mul(l.dm, l.k[g]))
	for try := max(c-1, 0); try <= min(c+1, l.levels); try++ {
		k := whole(mul(-l.minimum(g, try), inv), 0, l.levels)
		if r := l.g[g].rise(&l.t[g], mul(l.d, try), -mul(l.dm, k)); r < least {
			least, l.c[g], l.k[g] = r, try, k
		}
	}
}
