package num

import "math"

// The search for factors. The elements x of a group, weighted w, are to become s*q + m
// with whole q. Given q, the s and m of least weighted squared error follow from a few
// sums, and so does that error; given s and m, the best q is the nearest. So candidates
// for the step are tried, each judged by the best s and m for its codes, and from the
// best candidate on the two problems are solved in turn.

// sums are what the error of codes q depends on, beside what the group itself has: the
// sums of w*q, w*q*q and w*x*q.
type sums struct{ wq, wqq, wxq float32 }

// group is a run of elements that share a factor.
type group struct {
	x, w, wx []float32
	sw, swx  float32 // sums of w and of w*x
}

func (e *encoder) group(at, n int) (g group) {
	g = group{x: e.x[at : at+n], w: e.w[at : at+n], wx: e.wx[at : at+n]}
	for i, w := range g.w {
		g.sw += w
		g.swx += g.wx[i]
	}
	return g
}

// codes rounds (x-m)*inv into [lo, hi] and sums.
func (g *group) codes(inv, m, lo, hi float32) (s sums) {
	// From 2^23 to 2^24 floats order as their bits do, so the limits hold on those.
	least, most := int32(math.Float32bits(lo+roundTo)), int32(math.Float32bits(hi+roundTo))
	w, wx := g.w[:len(g.x)], g.wx[:len(g.x)]
	for i, x := range g.x {
		t := int32(math.Float32bits(mul(x-m, inv) + roundTo))
		q := math.Float32frombits(uint32(max(min(t, most), least))) - roundTo
		wq := mul(w[i], q)
		s.wq += wq
		s.wqq += mul(wq, q)
		s.wxq += mul(wx[i], q)
	}
	return s
}

// scale is the best s for x = s*q, and by how much it lowers the error from that of s = 0.
func (t *sums) scale() (s, gain float32) {
	if t.wqq == 0 {
		return 0, 0
	}
	s = t.wxq / t.wqq
	return s, mul(s, t.wxq)
}

// rise is by how much factor s makes the error differ from that of s = 0.
func (t *sums) rise(s float32) float32 { return mul(s, mul(s, t.wqq)-2*t.wxq) }

// line is the best s and m for x = s*q + m, m of the sign given unless that is 0, and by
// how much they lower the error from that of s = m = 0.
func (g *group) line(t *sums, sign float32) (s, m, gain float32) {
	if det := mul(g.sw, t.wqq) - mul(t.wq, t.wq); det > 0 {
		s = (mul(g.sw, t.wxq) - mul(t.wq, g.swx)) / det
		m = (mul(t.wqq, g.swx) - mul(t.wq, t.wxq)) / det
		if m*sign >= 0 {
			return s, m, mul(s, t.wxq) + mul(m, g.swx)
		}
	}
	s, gain = t.scale()
	if g.sw > 0 && g.swx*sign >= 0 {
		if m = g.swx / g.sw; mul(m, g.swx) > gain {
			return 0, m, mul(m, g.swx)
		}
	}
	return s, 0, gain
}

// rise is by how much s and m make the error differ from that of s = m = 0.
func (g *group) rise(t *sums, s, m float32) float32 {
	return mul(s, mul(s, t.wqq)-2*t.wxq) + mul(m, mul(m, g.sw)+2*mul(s, t.wq)-2*g.swx)
}

// book is what codes stand for: the whole numbers from lo to hi, or the levels of the
// IQ4 formats, which lie between lo and hi. The search for a factor tries those that
// take the element farthest from zero to lo and hi, and some steps past and short of
// these: lo-from, hi+from, then by further.
type book struct {
	lo, hi   float32
	iq4      bool
	from, by float32
	steps    int
}

// round rounds x*inv to the book and sums.
func (g *group) round(b *book, inv float32) sums {
	if b.iq4 {
		return g.levels(inv)
	}
	return g.codes(inv, 0, b.lo, b.hi)
}

// refinements are how often codes and factors follow from each other at most.
const refinements = 3

// fitScale searches the factor of least error.
func (g *group) fitScale(b *book) (s float32, t sums) {
	to, best := inverse(farthest(g.x)), float32(0)
	try := func(inv float32) bool {
		c := g.round(b, inv)
		v, gain := c.scale()
		if !(gain > best) {
			return false
		}
		s, t, best = v, c, gain
		return true
	}
	for i := range b.steps {
		k := b.from + mul(b.by, float32(i))
		try(mul(b.lo-k, to))
		try(mul(b.hi+k, to))
	}
	for range refinements {
		if !try(inverse(s)) {
			break
		}
	}
	return s, t
}

// The candidates of fitLine make the step a (hi+lineFrom)th of the range, and so on.
const lineSteps, lineFrom, lineBy = 12, -2, 0.25

// fitLine searches s and m of least error for codes from 0 to hi, m of the sign given
// unless that is 0.
func (g *group) fitLine(hi, sign float32) (s, m float32, t sums) {
	low, high := extremes(g.x)
	if sign < 0 {
		low, high = min(low, 0), max(high, 0)
	}
	to, best := inverse(high-low), float32(0)
	try := func(inv, from float32) bool {
		c := g.codes(inv, from, 0, hi)
		cs, cm, gain := g.line(&c, sign)
		if !(gain > best) {
			return false
		}
		s, m, t, best = cs, cm, c, gain
		return true
	}
	for i := range lineSteps {
		try(mul(hi+lineFrom+lineBy*float32(i), to), low)
	}
	for range refinements {
		if !try(inverse(s), m) {
			break
		}
	}
	return s, m, t
}
