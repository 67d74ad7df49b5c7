package reason

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Objective says how log-probabilities and advantages become a loss. With, for token t
// of sample i,
//
//	r  = pi_new/pi_old = exp(new - old)     the ratio of the token
//	A  = the sample's advantage             (see Advantages)
//	u  = pi_ref/pi_new = exp(ref - new)
//
// the loss is -sum over i and t of w_i * (J_it - KL * D_it), where J is the surrogate
// (see Surrogate), D the estimate of the divergence from the reference, and w the weight
// of a token (see Weighting). ObjectiveByName has those that were published.
type Objective struct {
	Surrogate Surrogate
	Weighting Weighting
	// ClipLow and ClipHigh bound the ratio to [1-ClipLow, 1+ClipHigh] (DAPO's clip-higher
	// where they differ). CISPO leaves a lower bound out where ClipLow is 1.
	ClipLow, ClipHigh float64
	// KL is the weight of the divergence from the reference, 0 for none.
	KL float64
	// UnbiasedKL multiplies the estimate by the ratio (DeepSeek-V3.2, section 3.1):
	// D = r * (u - log u - 1), whose gradient is that of the true divergence. Without it
	// D = u - log u - 1 (GRPO, arXiv 2402.03300, eq. 4).
	UnbiasedKL bool
	// OffPolicy, where above 0, leaves out samples of negative advantage that the model
	// has moved away from (V3.2's off-policy sequence masking): those whose mean of
	// log(pi_old/pi_new) exceeds it.
	OffPolicy float64
	// Std divides advantages by the group's standard deviation.
	Std bool
	// Length is what WeighConstant divides by, usually the longest answer allowed.
	Length int
}

// Surrogate is the shape of J.
type Surrogate uint8

const (
	// SurrogateToken is PPO's with a ratio for each token, as GRPO, DAPO and Dr. GRPO have
	// it: J = min(r*A, clip(r, 1-low, 1+high)*A).
	SurrogateToken Surrogate = iota
	// SurrogateSequence is GSPO's (arXiv 2507.18071, eq. 5-7): the same with one ratio for
	// the sample, s = exp(mean over t of (new - old)), for every token.
	SurrogateSequence
	// SurrogateCISPO is MiniMax-M1's (arXiv 2506.13585, eq. 4): J = sg(clip(r, 1-low,
	// 1+high)) * A * new, where sg is taken for a constant: no token's gradient is lost.
	SurrogateCISPO
)

// Weighting is the weight w of a token. N samples with |o_i| tokens each make a
// mini-batch.
type Weighting uint8

const (
	// WeighSequences is GRPO's: w = 1/(N*|o_i|), every sample counts the same.
	WeighSequences Weighting = iota
	// WeighTokens is DAPO's (arXiv 2503.14476, eq. 8): w = 1/(sum of |o_j|), every token
	// counts the same.
	WeighTokens
	// WeighConstant is Dr. GRPO's (arXiv 2503.20783, section 3.2): w = 1/(N*Length).
	WeighConstant
)

// Objectives lists the names that ObjectiveByName knows.
func Objectives() []string { return []string{"grpo", "dapo", "dr-grpo", "gspo", "cispo"} }

// ObjectiveByName returns a published objective:
//
//	grpo     ratios per token, clip 0.2, samples weighed alike, A = (R-mean)/std; R1's
//	         rounds added a KL term of 0.001, the caller's choice here
//	dapo     clip 0.2 below and 0.28 above, tokens weighed alike, no KL term
//	dr-grpo  clip 0.2, constant length, A = R-mean
//	gspo     ratios per sample, clip 3e-4 below and 4e-4 above
//	cispo    the ratio's bound 0.28 above and none below, tokens weighed alike, no KL term
func ObjectiveByName(name string) (Objective, error) {
	switch name {
	case "grpo":
		return Objective{ClipLow: 0.2, ClipHigh: 0.2, Std: true}, nil
	case "dapo":
		return Objective{Weighting: WeighTokens, ClipLow: 0.2, ClipHigh: 0.28, Std: true}, nil
	case "dr-grpo":
		return Objective{Weighting: WeighConstant, ClipLow: 0.2, ClipHigh: 0.2}, nil
	case "gspo":
		return Objective{Surrogate: SurrogateSequence, ClipLow: 3e-4, ClipHigh: 4e-4, Std: true}, nil
	case "cispo":
		return Objective{Surrogate: SurrogateCISPO, Weighting: WeighTokens, ClipLow: 1, ClipHigh: 0.28, Std: true}, nil
	}
	return Objective{}, fmt.Errorf("the objective %q is unknown; there are: %s", name, strings.Join(Objectives(), ", "))
}

// Scored is what an objective knows of one sample: log-probabilities of its tokens, all
// of one length, and its advantage. Ref may be nil where the objective has no KL term.
type Scored struct {
	New, Old, Ref []float32
	Advantage     float64
}

// Whole is the size of a mini-batch, which its parts need for their weights.
type Whole struct{ Samples, Tokens int }

// Measures are what one looks at while learning.
type Measures struct {
	Loss     float64 // of these samples, their part of the mini-batch's
	KL       float64 // sum over the tokens of u - log u - 1
	Tokens   int
	Clipped  int     // tokens whose ratio the bounds left without a gradient (CISPO: bounded)
	Masked   int     // samples left out as off-policy
	RatioMax float64 // the largest of r and 1/r over the tokens, 1 where all agree
}

// Add adds another part of the mini-batch.
func (m *Measures) Add(o Measures) {
	m.Loss += o.Loss
	m.KL += o.KL
	m.Tokens += o.Tokens
	m.Clipped += o.Clipped
	m.Masked += o.Masked
	m.RatioMax = max(m.RatioMax, o.RatioMax)
}

// Coefficients writes dLoss/dNew of each of s's tokens to coef, which is as long, and
// returns what was found. Ratios and sums are float64; where New equals Old to the bit
// the ratio is exactly 1.
func (o Objective) Coefficients(coef []float32, s Scored, n Whole) Measures {
	m := Measures{Tokens: len(s.New), RatioMax: 1}
	w, masked := o.weight(len(s.New), n), o.offPolicy(s)
	if masked {
		m.Masked = 1
	}
	sequence := math.Exp(-meanLogRatio(s))
	for t := range s.New {
		ratio := math.Exp(float64(s.New[t]) - float64(s.Old[t]))
		m.RatioMax = max(m.RatioMax, ratio, 1/ratio)
		var value, slope float64
		if !masked {
			r := ratio
			if o.Surrogate == SurrogateSequence {
				r = sequence
			}
			var cut bool
			if value, slope, cut = o.surrogate(r, s.Advantage, float64(s.New[t])); cut {
				m.Clipped++
			}
		}
		if s.Ref != nil {
			d, slopeD, plain := o.divergence(ratio, float64(s.Ref[t])-float64(s.New[t]))
			m.KL += plain
			value, slope = value-o.KL*d, slope-o.KL*slopeD
		}
		m.Loss -= w * value
		coef[t] = float32(-w * slope)
	}
	return m
}

// weight is w of a sample of so many tokens.
func (o Objective) weight(tokens int, n Whole) float64 {
	switch o.Weighting {
	case WeighTokens:
		return 1 / float64(n.Tokens)
	case WeighConstant:
		return 1 / (float64(n.Samples) * float64(o.Length))
	}
	return 1 / (float64(n.Samples) * float64(tokens))
}

// surrogate is J of a token, dJ/dnew, and whether the bounds took effect. With
// SurrogateSequence ratio is the sample's: s depends on each of its |o| tokens by s/|o|
// and stands in |o| terms, so dJ/dnew is that of one token whose ratio it is.
func (o Objective) surrogate(ratio, advantage, logp float64) (value, slope float64, cut bool) {
	bounded := min(max(ratio, 1-o.ClipLow), 1+o.ClipHigh)
	if o.Surrogate == SurrogateCISPO {
		return bounded * advantage * logp, bounded * advantage, bounded != ratio
	}
	if ratio*advantage <= bounded*advantage {
		return ratio * advantage, ratio * advantage, false
	}
	return bounded * advantage, 0, true
}

// divergence is D of a token, its derivative by new, and the plain estimate
// u - log u - 1, where u = exp(refMinusNew).
func (o Objective) divergence(ratio, refMinusNew float64) (d, slope, plain float64) {
	u := math.Exp(refMinusNew)
	plain = u - refMinusNew - 1
	if o.UnbiasedKL {
		return ratio * plain, -ratio * refMinusNew, plain
	}
	return plain, 1 - u, plain
}

// offPolicy says whether V3.2's mask leaves the sample out.
func (o Objective) offPolicy(s Scored) bool {
	return o.OffPolicy > 0 && s.Advantage < 0 && meanLogRatio(s) > o.OffPolicy
}

// meanLogRatio is the mean of log(pi_old/pi_new) over a sample's tokens.
func meanLogRatio(s Scored) float64 {
	sum := 0.0
	for t := range s.New {
		sum += float64(s.Old[t]) - float64(s.New[t])
	}
	return sum / float64(max(len(s.New), 1))
}

// Idle says whether a sample has no gradient whatever its log-probabilities are, so that
// it need not be read again.
func (o Objective) Idle(advantage float64) bool { return advantage == 0 && o.KL == 0 }

// Advantages of a group's rewards: A = R - mean, divided by the standard deviation (of
// the group as a whole, not an estimate) where std is set. Where all rewards are equal
// every advantage is exactly 0.
func Advantages(rewards []float64, std bool) []float64 {
	out := make([]float64, len(rewards))
	if !Mixed(rewards) {
		return out
	}
	mean, squares := 0.0, 0.0
	for _, r := range rewards {
		mean += r / float64(len(rewards))
	}
	for i, r := range rewards {
		out[i] = r - mean
		squares += out[i] * out[i]
	}
	if std {
		scale := math.Sqrt(squares / float64(len(rewards)))
		for i := range out {
			out[i] /= scale
		}
	}
	return out
}

// Mixed says whether rewards differ: a group whose rewards do not has nothing to teach.
func Mixed(rewards []float64) bool {
	return slices.ContainsFunc(rewards, func(r float64) bool { return r != rewards[0] })
}
