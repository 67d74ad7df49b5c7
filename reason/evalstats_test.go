package reason

import (
	"math"
	"math/bits"
	"testing"
)

func TestPassAtK(t *testing.T) {
	for _, c := range []struct {
		n, c, k int
		want    float64
	}{
		{5, 2, 1, 0.4}, {5, 2, 2, 0.7}, {5, 2, 3, 0.9}, {5, 2, 4, 1}, {10, 3, 5, 1 - 21.0/252}, {200, 1, 100, 0.5}, {4, 0, 4, 0}, {4, 4, 1, 1}, {1, 1, 1, 1},
	} {
		if got := PassAtK(c.n, c.c, c.k); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("pass@%d of %d in %d: %v, want %v", c.k, c.c, c.n, got, c.want)
		}
	}
	for _, c := range [][3]int{{3, 1, 0}, {3, 1, 4}, {3, 4, 1}, {3, -1, 1}, {0, 0, 0}} {
		if got := PassAtK(c[0], c[1], c[2]); !math.IsNaN(got) {
			t.Errorf("%v: %v, want NaN", c, got)
		}
	}
}

// TestPassAtKCounts compares with the share of all subsets that have a right answer.
func TestPassAtKCounts(t *testing.T) {
	for n := 1; n <= 9; n++ {
		for c := 0; c <= n; c++ {
			for k := 1; k <= n; k++ {
				hit, all := 0, 0
				for s := range uint(1) << n {
					if bits.OnesCount(s) == k {
						all++
						if s&(1<<c-1) != 0 { // the first c are the right ones
							hit++
						}
					}
				}
				if got, want := PassAtK(n, c, k), float64(hit)/float64(all); math.Abs(got-want) > 1e-12 {
					t.Errorf("n %d, c %d, k %d: %v, want %v", n, c, k, got, want)
				}
			}
		}
	}
}

func TestWilson(t *testing.T) {
	for _, c := range []struct{ p, n, low, high float64 }{
		{0.5, 20, 0.29929, 0.70071}, {0, 10, 0, 0.27753}, {1, 10, 0.72247, 1}, {0.93, 100, 0.86254, 0.96567}, {0.5, 0, 0, 1},
	} {
		low, high := Wilson(c.p, c.n)
		if math.Abs(low-c.low) > 5e-5 || math.Abs(high-c.high) > 5e-5 {
			t.Errorf("%v of %v: %.5f to %.5f, want %v to %v", c.p, c.n, low, high, c.low, c.high)
		}
	}
}

// TestClusters: answers to one problem that are alike count as one, independent ones as
// many.
func TestClusters(t *testing.T) {
	width := func(p Proportion) float64 { return p.High - p.Low }
	wilson := func(p, n float64) float64 { low, high := Wilson(p, n); return high - low }
	half := make([]float64, 100) // half of the problems are always right, half never
	for i := range half {
		half[i] = float64(i % 2)
	}
	if got, want := width(proportionOf(half, 800)), wilson(0.5, 100); math.Abs(got-want) > 1e-9 {
		t.Errorf("alike: %v, want %v", got, want)
	}
	if got, want := width(proportionOf(half, 100)), wilson(0.5, 100); math.Abs(got-want) > 1e-9 {
		t.Errorf("one answer each: %v, want %v", got, want)
	}
	// Eight answers each, of a binomial's spread: variance p(1-p)/8.
	spread := make([]float64, 100)
	for i := range spread {
		spread[i] = 0.5 + math.Sqrt(0.25/8*99/100)*float64(1-i%2*2)
	}
	if got, want := width(proportionOf(spread, 800)), wilson(0.5, 800); math.Abs(got-want) > 1e-9 {
		t.Errorf("independent: %v, want %v", got, want)
	}
	for _, v := range []float64{0, 1} { // no spread is no certainty
		all := []float64{v, v, v, v}
		if got, want := width(proportionOf(all, 400)), wilson(v, 4); math.Abs(got-want) > 1e-9 {
			t.Errorf("all %v: %v, want %v", v, got, want)
		}
	}
}

func TestMajority(t *testing.T) {
	right := func(a string) EvalSample { return EvalSample{Answer: a, Right: true} }
	wrong := func(a string) EvalSample { return EvalSample{Answer: a} }
	for name, c := range map[string]struct {
		samples []EvalSample
		want    bool
	}{
		"right ones count as one":   {[]EvalSample{wrong("3"), right("1/2"), right("0.5")}, true},
		"wrong ones by their sense": {[]EvalSample{right("2"), wrong("1/2"), wrong(`\frac{1}{2}`)}, false},
		"wrong words":               {[]EvalSample{right("no"), wrong("Yes  indeed"), wrong("yes indeed")}, false},
		"different wrong ones":      {[]EvalSample{wrong("3"), right("2"), wrong("4"), right("2"), wrong("5")}, true},
		"the first of equals":       {[]EvalSample{right("2"), wrong("3")}, true},
		"the first of equals wins":  {[]EvalSample{wrong("3"), right("2")}, false},
		"no vote without answer":    {[]EvalSample{wrong(""), wrong(""), right("2")}, true},
		"nobody":                    {[]EvalSample{wrong("")}, false},
		"none":                      {nil, false},
	} {
		if got := majority(t.Context(), c.samples); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
