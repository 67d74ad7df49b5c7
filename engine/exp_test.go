package engine

import (
	"math"
	"testing"
)

func TestExpDown(t *testing.T) {
	worst := 0.0
	for i := range 2_000_000 {
		x := -float64(i) * 0.000353
		want := math.Exp(x)
		worst = max(worst, math.Abs(expDown(x)-want)/want)
	}
	if worst > 4.5e-16 {
		t.Errorf("relative error %g", worst)
	}
	if v := expDown(0); v != 1 {
		t.Errorf("e^0 is %v", v)
	}
	for _, x := range []float64{math.Inf(-1), -709, -1e300} {
		if v := expDown(x); v != 0 {
			t.Errorf("e^%v is %v", x, v)
		}
	}
}

func BenchmarkExpDown(b *testing.B) {
	for name, f := range map[string]func(float64) float64{"own": expDown, "math": math.Exp} {
		b.Run(name, func(b *testing.B) {
			sum := 0.0
			for i := range b.N {
				sum += f(-float64(i&1023) / 50)
			}
			if sum == 0 {
				b.Fatal("nothing")
			}
		})
	}
}
