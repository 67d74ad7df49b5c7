package train

import "math"

// Rate is the learning rate over a run of Steps steps: it rises linearly over the first
// Warmup steps to LR, stays there until step Fall, and falls along half a cosine to End at
// the last step.
type Rate struct {
	Steps, Warmup, Fall int
	LR, End             float64
}

// NewRate is the rate of a run of steps steps: warmup is at most a fifth of them, the
// fall begins after the share constant.
func NewRate(steps, warmup int, constant, lr, end float64) Rate {
	r := Rate{Steps: steps, Warmup: min(warmup, steps/5), LR: lr, End: end}
	r.Fall = max(int(constant*float64(steps)), r.Warmup)
	return r
}

// At is the rate of step i, from 0.
func (r Rate) At(i int) float64 {
	switch {
	case i < r.Warmup:
		return r.LR * (float64(i+1) / float64(r.Warmup))
	case i < r.Fall || r.Steps-r.Fall < 2:
		return r.LR
	}
	done := float64(i-r.Fall) / float64(r.Steps-1-r.Fall)
	return r.End + (r.LR-r.End)*(1+math.Cos(math.Pi*min(done, 1)))/2
}
