package engine

import "math"

const (
	expSteps = 128             // from a power of two to the next, so that degree 5 does
	expHigh  = 0x1.62e42feep-8 // ln 2 / expSteps, its first 32 bits
	expLow   = 0x1.a39ef35793c76p-40
)

// powers are 2^(i/expSteps).
var powers = func() (p [expSteps]float64) {
	for i := range p {
		p[i] = math.Exp2(float64(i) / expSteps)
	}
	return p
}()

// expDown is e^x for x <= 0, to 2 units in the last place and a few times as fast as
// math.Exp; what is below the smallest normal number is 0. It has the same bits on every
// processor: the conversions keep compilers from fusing.
func expDown(x float64) float64 {
	if !(x > -708) { // -Inf and what is almost that
		return 0
	}
	k := int(float64(x*(expSteps/math.Ln2)) - 0.5)
	r := x - float64(float64(k)*expHigh)
	r -= float64(float64(k) * expLow)
	p := 1.0/24 + float64(r*(1.0/120))
	p = 1.0/6 + float64(r*p)
	p = 0.5 + float64(r*p)
	p = float64(r*r) * p
	p += r
	s := powers[k&(expSteps-1)]
	s += float64(s * p)
	return math.Float64frombits(math.Float64bits(s) + uint64(k>>7)<<52)
}
