package engine

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
)

// ErrNotFinite says that the model's logits were not numbers.
var ErrNotFinite = errors.New("the model's logits are not finite numbers: its weights are damaged, or it diverged in training; try an earlier checkpoint")

// candidate is a token that may be drawn, with its unnormalised probability.
type candidate struct {
	id     int32
	weight float64
}

// before says whether a is more probable than b, or as probable with a smaller id.
func before(a, b candidate) bool {
	return a.weight > b.weight || a.weight == b.weight && a.id < b.id
}

// byWeight orders the most probable first, equal ones by id.
func byWeight(a, b candidate) int {
	return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.id, b.id))
}

// sampler draws tokens for one sequence.
type sampler struct {
	p     Params
	rng   *rand.Rand
	cands []candidate
}

// stream is the second half of the generator's seed, so that a seed of 0 is as good
// as any.
const stream = 0x536f6e6465 // "Sonde"

func newSampler(p Params) *sampler {
	return &sampler{p: p, rng: rand.New(rand.NewPCG(p.Seed, stream))}
}

// next chooses a token from logits [V]. Greedy decoding draws no random number,
// anything else draws exactly one.
func (s *sampler) next(logits []float32) (int32, error) {
	id, _, err := s.drawn(logits, false)
	return id, err
}

// drawn is next that also lists, where keep is set and a filter is on, the ids that could
// have been drawn, ascending.
func (s *sampler) drawn(logits []float32, keep bool) (id int32, allowed []int32, err error) {
	best, err := argmax(logits)
	if err != nil || s.p.Temperature == 0 {
		return best, nil, err
	}
	cands := s.distribution(logits, logits[best])
	total := 0.0
	for _, c := range cands {
		total += c.weight
	}
	if keep && (s.p.TopK > 0 || s.nucleus() || s.p.MinP > 0) {
		for _, c := range cands {
			allowed = append(allowed, c.id)
		}
	}
	left := s.rng.Float64() * total
	for _, c := range cands {
		if left -= c.weight; left < 0 {
			return c.id, allowed, nil
		}
	}
	return best, allowed, nil // rounding used the draw up
}

// argmax is the most probable token, the first of equals.
func argmax(logits []float32) (int32, error) {
	best, top := -1, math.Inf(-1)
	for i, l := range logits {
		v := float64(l)
		if math.IsNaN(v) || math.IsInf(v, 1) {
			return 0, ErrNotFinite
		}
		if v > top {
			best, top = i, v
		}
	}
	if best < 0 {
		return 0, ErrNotFinite
	}
	return int32(best), nil
}

// distribution is what may be drawn, ordered by id (so that a filter which removes
// nothing changes no draw): softmax(logits/T) up to a factor, then top-k, top-p
// among what is left, min-p. top is the greatest logit, whose weight becomes 1.
func (s *sampler) distribution(logits []float32, top float32) []candidate {
	floor := s.p.MinP
	cands := s.cands[:0]
	for i, l := range logits {
		w := expDown((float64(l) - float64(top)) / s.p.Temperature)
		// The greatest weight is 1 whatever top-k and top-p leave, so min-p may go first.
		if w > 0 && w >= floor || s.nucleus() && w > 0 {
			cands = append(cands, candidate{int32(i), w})
		}
	}
	s.cands = cands
	ordered := true
	if k := s.p.TopK; k > 0 && k < len(cands) {
		selectTop(cands, k)
		cands, ordered = cands[:k], false
	}
	if s.nucleus() {
		cands, ordered = cutNucleus(cands, s.p.TopP), false
		cands = slices.DeleteFunc(cands, func(c candidate) bool { return c.weight < floor })
	}
	if !ordered {
		slices.SortFunc(cands, func(a, b candidate) int { return cmp.Compare(a.id, b.id) })
	}
	return cands
}

func (s *sampler) nucleus() bool { return s.p.TopP > 0 && s.p.TopP < 1 }

// cutNucleus keeps the fewest most probable candidates that together hold the share
// p of the weight.
func cutNucleus(cands []candidate, p float64) []candidate {
	total := 0.0
	for _, c := range cands {
		total += c.weight
	}
	// All that weigh less than this together weigh less than half of 1-p: the nucleus
	// lies above, and only that needs sorting.
	small := (1 - p) * total / float64(2*len(cands))
	cands = slices.DeleteFunc(cands, func(c candidate) bool { return c.weight < small })
	return lead(cands, p*total)
}

// lead moves the fewest most probable candidates that together weigh at least need to
// the front and returns them. It sorts nothing but a few at their end (Hoare's
// quickselect, by weight).
func lead(c []candidate, need float64) []candidate {
	lo, hi, sum := 0, len(c), 0.0 // c[:lo] is in and weighs sum, c[hi:] is out
	for hi-lo > 16 {
		last := hi - 1
		mid := lo + (hi-lo)/2
		c[mid], c[last] = c[last], c[mid]
		at, part := lo, 0.0
		for i := lo; i < last; i++ {
			if before(c[i], c[last]) {
				part += c[i].weight
				c[i], c[at] = c[at], c[i]
				at++
			}
		}
		c[at], c[last] = c[last], c[at]
		if sum+part >= need {
			hi = at
			continue
		}
		if sum += part + c[at].weight; sum >= need {
			return c[:at+1]
		}
		lo = at + 1
	}
	slices.SortFunc(c[lo:hi], byWeight)
	for i := lo; i < hi; i++ {
		if sum += c[i].weight; sum >= need {
			return c[:i+1]
		}
	}
	return c[:hi]
}

// selectTop moves the k most probable candidates to the front, in any order
// (Hoare's quickselect).
func selectTop(c []candidate, k int) {
	lo, hi := 0, len(c)-1
	for lo < hi {
		pivot := c[lo+(hi-lo)/2]
		i, j := lo, hi
		for i <= j {
			for before(c[i], pivot) {
				i++
			}
			for before(pivot, c[j]) {
				j--
			}
			if i <= j {
				c[i], c[j] = c[j], c[i]
				i, j = i+1, j-1
			}
		}
		switch {
		case k-1 <= j:
			hi = j
		case k-1 >= i:
			lo = i
		default:
			return
		}
	}
}

// logSumExp is log(sum(exp(logits))) in float64.
func logSumExp(logits []float32) float64 {
	top := math.Inf(-1)
	for _, l := range logits {
		top = math.Max(top, float64(l))
	}
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(float64(l) - top)
	}
	return top + math.Log(sum)
}

// topTokens are the n most probable ids, best first.
func topTokens(logits []float32, n int) []int32 {
	cands := make([]candidate, len(logits))
	for i, l := range logits {
		cands[i] = candidate{int32(i), float64(l)}
	}
	n = min(n, len(cands))
	selectTop(cands, n)
	cands = cands[:n]
	slices.SortFunc(cands, byWeight)
	ids := make([]int32, n)
	for i, c := range cands {
		ids[i] = c.id
	}
	return ids
}
