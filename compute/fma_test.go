package compute

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// exactFMA rounds once, by arbitrary precision.
func exactFMA(a, b, c float32) float32 {
	bf := func(x float32) *big.Float { return new(big.Float).SetPrec(1000).SetFloat64(float64(x)) }
	x := bf(a)
	x.Mul(x, bf(b)).Add(x, bf(c))
	f, _ := x.Float32()
	return f
}

func TestFMARoundsOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	hit := 0
	for i := range 200000 {
		a := math.Float32frombits(rng.Uint32()&0x807fffff | uint32(117+rng.IntN(20))<<23)
		b := math.Float32frombits(rng.Uint32()&0x807fffff | uint32(117+rng.IntN(20))<<23)
		c := math.Float32frombits(rng.Uint32()&0x807fffff | uint32(97+rng.IntN(60))<<23)
		switch i % 4 {
		case 0: // few bits each: many half ways
			a, b = float32(rng.IntN(1<<13)), float32(1+rng.IntN(1<<13))
			c = float32(math.Ldexp(float64(rng.IntN(64)-32), -60+rng.IntN(90)))
		case 1: // subnormal results
			a *= 0x1p-60
			b *= 0x1p-75
			c *= 0x1p-130
		case 2: // half way plus a crumb: the case that double rounding gets wrong
			a, b = 1+float32(rng.IntN(1<<12))*0x1p-12, 1+0x1p-12+float32(rng.IntN(1<<11))*0x1p-11
			c = 0x1p-60 * (rng.Float32() - 0.5)
		}
		want := exactFMA(a, b, c)
		if naive := float32(float64(a)*float64(b) + float64(c)); naive != want {
			hit++
		}
		if got := fma(a, b, c); math.Float32bits(got) != math.Float32bits(want) && got != want {
			t.Fatalf("fma(%v, %v, %v) = %v, expected %v", a, b, c, got, want)
		}
	}
	if hit < 100 {
		t.Errorf("only %d cases would show double rounding", hit)
	}
}
