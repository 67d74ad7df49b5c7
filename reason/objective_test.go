package reason

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// near compares with hand-computed numbers, of float32 coefficients.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 2e-6*max(1, math.Abs(want))) {
		t.Errorf("%s is %.9g, want %.9g", what, got, want)
	}
}

func ln(p float64) float32 { return float32(math.Log(p)) }

// TestByHand: two samples of a group, of 2 and 4 tokens, worked out on paper. Tokens of
// the first have ratios 0.6/0.5 = 1.2 and 0.3/0.2 = 1.5, those of the second, whose
// advantage is negative, 0.7/1 = 0.7 and three times 1.
func TestByHand(t *testing.T) {
	a := Scored{New: []float32{ln(0.6), ln(0.3)}, Old: []float32{ln(0.5), ln(0.2)}, Advantage: 1}
	b := Scored{New: []float32{ln(0.7), ln(0.5), ln(0.5), ln(0.5)}, Old: []float32{0, ln(0.5), ln(0.5), ln(0.5)}, Advantage: -2}
	n := Whole{Samples: 2, Tokens: 6}
	s := math.Sqrt(1.8)      // the first's ratio as a whole: (1.2*1.5)^(1/2)
	z := math.Pow(0.7, 0.25) // the second's
	l3 := math.Log(0.3)      // CISPO's value needs log-probabilities
	l6, l7, l5 := math.Log(0.6), math.Log(0.7), math.Log(0.5)
	for _, c := range []struct {
		name string
		o    Objective
		a, b []float64 // dLoss/dnew
		loss float64
		cut  int
	}{
		// bounds 0.75 and 1.25: of the first's only 1.5 is bounded; 0.7 with A < 0 too.
		// J = 1.2, 1.25; -2*0.75, -2, -2, -2. w = 1/4 and 1/8.
		{"grpo", Objective{ClipLow: 0.25, ClipHigh: 0.25}, []float64{-1.2 / 4, 0}, []float64{0, 2. / 8, 2. / 8, 2. / 8},
			-(1.2+1.25)/4 + 7.5/8, 2},
		// clip-higher at 1.6 frees the 1.5; w = 1/6.
		{"dapo", Objective{Weighting: WeighTokens, ClipLow: 0.25, ClipHigh: 0.6}, []float64{-1.2 / 6, -1.5 / 6}, []float64{0, 2. / 6, 2. / 6, 2. / 6},
			-(1.2+1.5)/6 + 7.5/6, 1},
		// w = 1/(2*10).
		{"dr-grpo", Objective{Weighting: WeighConstant, Length: 10, ClipLow: 0.25, ClipHigh: 0.25}, []float64{-1.2 / 20, 0}, []float64{0, 2. / 20, 2. / 20, 2. / 20},
			-(1.2+1.25)/20 + 7.5/20, 2},
		// sqrt(1.8) = 1.34 is within 1.4; 0.7^(1/4) = 0.9147 is below 0.95 with A < 0.
		{"gspo", Objective{Surrogate: SurrogateSequence, ClipLow: 0.05, ClipHigh: 0.4}, []float64{-s / 4, -s / 4}, []float64{0, 0, 0, 0},
			-s/2 + 2*0.95/2, 4},
		{"gspo free", Objective{Surrogate: SurrogateSequence, ClipLow: 0.1, ClipHigh: 0.4}, []float64{-s / 4, -s / 4}, []float64{2 * z / 8, 2 * z / 8, 2 * z / 8, 2 * z / 8},
			-s/2 + 2*z/2, 0},
		// the bounded ratio multiplies the gradient: 1.2, 1.25; 0.7, 1, 1, 1.
		{"cispo", Objective{Surrogate: SurrogateCISPO, Weighting: WeighTokens, ClipLow: 1, ClipHigh: 0.25},
			[]float64{-1.2 / 6, -1.25 / 6}, []float64{2 * 0.7 / 6, 2. / 6, 2. / 6, 2. / 6},
			-(1.2*l6+1.25*l3)/6 + 2*(0.7*l7+3*l5)/6, 1},
	} {
		var m Measures
		for _, x := range []struct {
			s    Scored
			want []float64
		}{{a, c.a}, {b, c.b}} {
			coef := make([]float32, len(x.s.New))
			m.Add(c.o.Coefficients(coef, x.s, n))
			for j := range coef {
				near(t, c.name+": a coefficient", float64(coef[j]), x.want[j])
			}
		}
		near(t, c.name+": the loss", m.Loss, c.loss)
		if m.Clipped != c.cut || m.Tokens != 6 {
			t.Errorf("%s: %d of %d tokens clipped, want %d of 6", c.name, m.Clipped, m.Tokens, c.cut)
		}
		near(t, c.name+": the largest ratio", m.RatioMax, 1.5)
	}
}

// TestDivergenceByHand: pi_ref = 0.4, pi_new = 0.5, pi_old = 0.25, so u = 0.8 and r = 2.
func TestDivergenceByHand(t *testing.T) {
	s := Scored{New: []float32{ln(0.5)}, Old: []float32{ln(0.25)}, Ref: []float32{ln(0.4)}}
	n := Whole{1, 1}
	k3 := 0.8 - math.Log(0.8) - 1 // 0.0231436
	for _, c := range []struct {
		o          Objective
		loss, coef float64
	}{
		{Objective{KL: 0.1}, 0.1 * k3, 0.1 * (1 - 0.8)},
		// r*k3 = 2*k3; its derivative is r*(k3 + 1 - u) = -r*log u.
		{Objective{KL: 0.1, UnbiasedKL: true}, 0.2 * k3, -0.2 * math.Log(0.8)},
	} {
		coef := make([]float32, 1)
		m := c.o.Coefficients(coef, s, n)
		near(t, "the loss", m.Loss, c.loss)
		near(t, "the coefficient", float64(coef[0]), c.coef)
		near(t, "the divergence", m.KL, k3)
	}
}

// TestOffPolicyByHand: log(pi_old/pi_new) is log 2 and 0, 0.3466 on average.
func TestOffPolicyByHand(t *testing.T) {
	s := Scored{New: []float32{ln(0.25), ln(0.5)}, Old: []float32{ln(0.5), ln(0.5)}, Advantage: -1}
	for _, c := range []struct {
		delta, advantage float64
		masked           int
	}{{0.34, -1, 1}, {0.35, -1, 0}, {0.34, 1, 0}, {0, -1, 0}} {
		s.Advantage = c.advantage
		coef := make([]float32, 2)
		o := Objective{ClipLow: 0.9, ClipHigh: 0.9, OffPolicy: c.delta}
		if m := o.Coefficients(coef, s, Whole{1, 2}); m.Masked != c.masked || (coef[0] == 0) != (c.masked == 1) {
			t.Errorf("delta %v, advantage %v: masked %d, coefficients %v", c.delta, c.advantage, m.Masked, coef)
		}
	}
}

// variants are all shapes of objectives.
func variants() []Objective {
	var out []Objective
	for _, name := range Objectives() {
		o, err := ObjectiveByName(name)
		if err != nil {
			panic(err)
		}
		o.Length = 7
		if o.Surrogate == SurrogateSequence {
			o.ClipLow, o.ClipHigh = 0.1, 0.1
		}
		for _, kl := range []float64{0, 0.3} {
			for _, unbiased := range []bool{false, true} {
				o.KL, o.UnbiasedKL = kl, unbiased
				out = append(out, o)
			}
		}
	}
	return out
}

// loss64 is the loss of a sample by its definition, at float64 log-probabilities.
// frozen are the values at which CISPO's ratio stands still.
func loss64(o Objective, new, frozen []float64, s Scored, n Whole) float64 {
	length, w := float64(len(new)), 0.0
	switch o.Weighting {
	case WeighSequences:
		w = 1 / (float64(n.Samples) * length)
	case WeighTokens:
		w = 1 / float64(n.Tokens)
	case WeighConstant:
		w = 1 / (float64(n.Samples) * float64(o.Length))
	}
	sum, mean := 0.0, 0.0
	for t := range new {
		mean += (new[t] - float64(s.Old[t])) / length
	}
	for t := range new {
		r := math.Exp(new[t] - float64(s.Old[t]))
		x := r
		if o.Surrogate == SurrogateSequence {
			x = math.Exp(mean)
		}
		clip := func(r float64) float64 { return math.Min(math.Max(r, 1-o.ClipLow), 1+o.ClipHigh) }
		j := math.Min(x*s.Advantage, clip(x)*s.Advantage)
		if o.Surrogate == SurrogateCISPO {
			j = clip(math.Exp(frozen[t]-float64(s.Old[t]))) * s.Advantage * new[t]
		}
		u := math.Exp(float64(s.Ref[t]) - new[t])
		d := u - math.Log(u) - 1
		if o.UnbiasedKL {
			d *= r
		}
		sum -= w * (j - o.KL*d)
	}
	return sum
}

// TestCoefficientsAreDerivatives compares every variant with central differences of the
// loss at random places.
func TestCoefficientsAreDerivatives(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, o := range variants() {
		for range 200 {
			s, size := Scored{Advantage: rng.NormFloat64()}, 1+rng.IntN(5)
			var at []float64
			for range size {
				old := -3 * rng.Float64()
				s.Old = append(s.Old, float32(old))
				s.New = append(s.New, float32(old+0.3*rng.NormFloat64()))
				s.Ref = append(s.Ref, float32(old+0.3*rng.NormFloat64()))
				at = append(at, float64(s.New[len(s.New)-1]))
			}
			n, coef := Whole{3, 11}, make([]float32, size)
			m := o.Coefficients(coef, s, n)
			near(t, "the loss", m.Loss, loss64(o, at, at, s, n))
			const h = 1e-6
			for i := range at {
				up, down := slices.Clone(at), slices.Clone(at)
				up[i], down[i] = at[i]+h, at[i]-h
				hi, lo := loss64(o, up, at, s, n), loss64(o, down, at, s, n)
				if want := (hi - lo) / (2 * h); math.Abs(want-float64(coef[i])) > 1e-5 {
					t.Fatalf("%+v: the coefficient of token %d of %+v is %v, differences give %v", o, i, s, coef[i], want)
				}
			}
		}
	}
}

// TestOnPolicy: where nothing has moved, every objective of one weighting has the same
// gradient, the policy gradient's, and the ratio is exactly 1.
func TestOnPolicy(t *testing.T) {
	s := Scored{New: []float32{-0.1, -2.345, -7.5}, Old: []float32{-0.1, -2.345, -7.5}, Advantage: 0.75}
	for _, o := range variants() {
		if o.KL > 0 {
			continue
		}
		coef := make([]float32, 3)
		m := o.Coefficients(coef, s, Whole{2, 8})
		want := float32(-0.75 * o.weight(3, Whole{2, 8}))
		if m.RatioMax != 1 || m.Clipped != 0 || !slices.Equal(coef, []float32{want, want, want}) {
			t.Errorf("%+v: %v %+v, want %v", o, coef, m, want)
		}
	}
}

func TestAdvantages(t *testing.T) {
	if got := Advantages([]float64{0.1, 0.1, 0.1}, true); !slices.Equal(got, []float64{0, 0, 0}) {
		t.Errorf("equal rewards: %v", got)
	}
	// mean 0.25, variance 3/16.
	got, plain := Advantages([]float64{1, 0, 0, 0}, true), Advantages([]float64{1, 0, 0, 0}, false)
	if !slices.Equal(plain, []float64{0.75, -0.25, -0.25, -0.25}) {
		t.Errorf("without the deviation: %v", plain)
	}
	near(t, "the best one's advantage", got[0], 0.75/math.Sqrt(3./16))
	near(t, "the others'", got[3], -0.25/math.Sqrt(3./16))
}
