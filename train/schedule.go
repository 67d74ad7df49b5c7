package train

import (
	"fmt"
	"sort"
)

// schedule says, for every step, the learning rate, the size of the batch, and which
// sequences it reads. It depends on the options and the number of steps alone.
type schedule struct {
	Rate
	ramp   int // the step from which the batch has its full size
	lambda float64
	bias   float64

	seqLen     int
	microSeqs  int // sequences of one pass
	first, max int // passes of the first step and of a full one
}

// newSchedule lays out a run of the given number of steps.
func newSchedule(o *Options, steps int) schedule {
	return schedule{Rate: NewRate(steps, *o.Warmup, *o.Constant, o.LR, o.LR**o.LREnd),
		ramp: int(*o.Ramp * float64(steps)), lambda: *o.MTPLambda, bias: *o.Gamma,
		seqLen: o.SeqLen, microSeqs: o.Micro / o.SeqLen, first: o.BatchStart / o.Micro, max: o.Batch / o.Micro}
}

// mtpLambda is the weight of multi-token prediction: a third once the rate falls
// (V3 report, section 4.2: 0.3, then 0.1).
func (s schedule) mtpLambda(i int) float64 {
	if i < s.Fall {
		return s.lambda
	}
	return s.lambda / 3
}

// gamma is the step of the routers' selection bias: it falls with the learning rate, so
// that the routes settle with the weights (V3 ends with no step at all).
func (s schedule) gamma(i int) float64 {
	if i < s.Fall {
		return s.bias
	}
	return s.bias * s.At(i) / s.LR
}

// micro is the number of passes of step i.
func (s schedule) micro(i int) int {
	if i >= s.ramp {
		return s.max
	}
	return s.first + (s.max-s.first)*i/s.ramp
}

// sequences is the number of sequences read by the steps before i.
func (s schedule) sequences(i int) int64 {
	n := int64(s.first)*int64(min(i, s.ramp)) + floorSum(int64(min(i, s.ramp)), int64(max(s.ramp, 1)), int64(s.max-s.first))
	return int64(s.microSeqs) * (n + int64(max(i-s.ramp, 0))*int64(s.max))
}

// floorSum is the sum of floor(a*j/m) over j = 0..n-1, by Euclid's algorithm on the
// lattice points below the line.
func floorSum(n, m, a int64) int64 {
	sum, b := int64(0), int64(0)
	for n > 0 {
		sum += (n-1)*n/2*(a/m) + n*(b/m)
		a, b = a%m, b%m
		top := a*n + b
		if top < m {
			break
		}
		n, b = top/m, top%m
		m, a = a, m
	}
	return sum
}

// tokens is the number of tokens read by the steps before i.
func (s schedule) tokens(i int) int64 { return s.sequences(i) * int64(s.seqLen) }

// maxSteps bounds what is searched for a number of steps.
const maxSteps = 1 << 30

// stepsFor is the least number of steps whose passes reach want.
func stepsFor(o *Options, wantPasses float64) int {
	passes := func(n int) float64 {
		s := newSchedule(o, n)
		return float64(s.sequences(n)) / float64(s.microSeqs)
	}
	high := 1
	for high < maxSteps && passes(high) < wantPasses {
		high *= 2
	}
	return 1 + sort.Search(high-1, func(i int) bool { return passes(i+1) >= wantPasses })
}

// stepsForTokens is the least number of steps that read want tokens.
func stepsForTokens(o *Options, want int64) (int, error) {
	n := stepsFor(o, float64(want)/float64(o.Micro))
	if n >= maxSteps/2 {
		return 0, fmt.Errorf("--tokens %d is more than can be planned", want)
	}
	return n, nil
}

// stepsForTime is the number of steps that fit into seconds, given the time of one
// pass and of one optimiser step; at least one.
func stepsForTime(o *Options, seconds, pass, optimiser float64) int {
	high := 2
	fits := func(n int) bool {
		s := newSchedule(o, n)
		return float64(s.sequences(n))/float64(s.microSeqs)*pass+float64(n)*optimiser <= seconds
	}
	for high < maxSteps && fits(high) {
		high *= 2
	}
	return max(1, sort.Search(high, func(i int) bool { return !fits(i + 1) }))
}
