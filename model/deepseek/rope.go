package deepseek

import (
	"math"
	"strconv"
)

func itoa(i int) string { return strconv.Itoa(i) }

// ropeFrequencies gives the angle per position of every pair, YaRN applied, and the
// factor on cosines and sines (1 where mscale equals mscale_all_dim).
func (c *Config) ropeFrequencies() ([]float32, float32) {
	dim := c.QKRopeHeadDim
	freq := make([]float32, dim/2)
	for i := range freq {
		freq[i] = float32(1 / math.Pow(c.RopeTheta, float64(2*i)/float64(dim)))
	}
	y := c.Rope
	if y.Factor == 0 {
		return freq, 1
	}
	low := max(math.Floor(c.yarnDim(y.BetaFast)), 0)
	high := min(math.Ceil(c.yarnDim(y.BetaSlow)), float64(dim-1))
	if low == high {
		high += 0.001
	}
	for i := range freq {
		ramp := min(max((float64(i)-low)/(high-low), 0), 1)
		f := float64(freq[i])
		freq[i] = float32(f/y.Factor*ramp + f*(1-ramp))
	}
	return freq, float32(y.attentionFactor())
}

// yarnDim is the pair that turns `rotations` times over the original context.
func (c *Config) yarnDim(rotations float64) float64 {
	return float64(c.QKRopeHeadDim) * math.Log(float64(c.Rope.OriginalMax)/(rotations*2*math.Pi)) / (2 * math.Log(c.RopeTheta))
}

func (y Yarn) attentionFactor() float64 {
	switch {
	case y.AttentionFact != 0:
		return y.AttentionFact
	case y.MScale != 0 && y.MScaleAllDim != 0:
		return yarnMScale(y.Factor, y.MScale) / yarnMScale(y.Factor, y.MScaleAllDim)
	}
	return yarnMScale(y.Factor, 1)
}

func yarnMScale(factor, m float64) float64 {
	if factor <= 1 {
		return 1
	}
	return 0.1*m*math.Log(factor) + 1
}

// softmaxScale is (Nope+Rope)^-0.5 times YaRN's mscale_all_dim correction, squared.
func (c *Config) softmaxScale() float64 {
	s := 1 / math.Sqrt(float64(c.QKNopeHeadDim+c.QKRopeHeadDim))
	if c.Rope.Factor > 0 && c.Rope.MScaleAllDim != 0 {
		m := yarnMScale(c.Rope.Factor, c.Rope.MScaleAllDim)
		s *= m * m
	}
	return s
}
