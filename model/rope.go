package model

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
)

// Rope says how fast rotary positions turn (arXiv 2104.09864) and how they are
// stretched beyond the context that a model was first trained on.
type Rope struct {
	Theta float64
	// Kind is "" for plain frequencies, or the stretching: "linear" (positions divided
	// by Factor), "llama3" (low frequencies divided, a smooth step between), "yarn"
	// (arXiv 2309.00071), or "factors" (each pair's frequency divided by its own).
	Kind   string
	Factor float64
	// OriginalMax is the context before stretching; llama3 and yarn.
	OriginalMax int
	// LowFreq and HighFreq bound llama3's step, in turns over the original context.
	LowFreq, HighFreq float64
	// BetaFast and BetaSlow bound yarn's ramp, in turns over the original context.
	BetaFast, BetaSlow float64
	// MScale and MScaleAllDim, where both are set, and AttentionFactor, where it is set,
	// say how yarn scales cosines and sines.
	MScale, MScaleAllDim, AttentionFactor float64
	// Unrounded leaves the ends of yarn's ramp between pairs ("truncate": false).
	Unrounded bool
	Factors   []float64
}

// ReadRope reads the rotary positions in either of Hugging Face's forms: rope_theta
// beside rope_scaling, or rope_parameters with everything inside. Both may be there, and
// then must agree. context is max_position_embeddings, pairs half the rotated columns.
func ReadRope(keys Keys, theta float64, context, pairs int) (Rope, error) {
	r := Rope{Theta: theta}
	if err := keys.Read("rope_theta", &r.Theta); err != nil {
		return r, err
	}
	outer, first := r.Theta, ""
	for _, key := range []string{"rope_scaling", "rope_parameters"} {
		if !keys.Has(key) {
			continue
		}
		got, err := readRope(key, keys[key], r.Theta, context, pairs)
		if err != nil {
			return r, err
		}
		if keys.Has("rope_theta") && got.Theta != outer {
			return r, BadKey(key, "has the rope_theta %v, but beside it rope_theta is %v; keep the right one", got.Theta, outer)
		}
		if first != "" && !got.equal(r) {
			return r, BadKey(key, "contradicts %q; keep the right one", first)
		}
		r, first = got, key
	}
	if !(r.Theta > 1) || math.IsInf(r.Theta, 0) {
		return r, BadKey("rope_theta", "is %v, expected a number above 1", r.Theta)
	}
	return r, nil
}

func (r Rope) equal(o Rope) bool {
	a, b := r.Factors, o.Factors
	r.Factors, o.Factors = nil, nil
	x, _ := json.Marshal(r)
	y, _ := json.Marshal(o)
	return string(x) == string(y) && slices.Equal(a, b)
}

// parts are the keys that each kind knows, beside its name and rope_theta.
var parts = map[string]string{
	"": "", "linear": "factor", "dynamic": "factor original_max_position_embeddings",
	"llama3":  "factor low_freq_factor high_freq_factor original_max_position_embeddings",
	"yarn":    "factor beta_fast beta_slow mscale mscale_all_dim attention_factor attn_factor original_max_position_embeddings truncate",
	"factors": "factors",
}

func readRope(name string, raw json.RawMessage, theta float64, context, pairs int) (Rope, error) {
	r := Rope{Theta: theta}
	keys, err := ReadKeys(raw)
	if err != nil {
		return r, BadKey(name, "should be an object")
	}
	if r.Kind, err = ropeKind(name, keys); err != nil {
		return r, err
	}
	if err := ropeKnown(name, r.Kind, keys); err != nil {
		return r, err
	}
	attn, err := r.read(name, keys)
	if err != nil {
		return r, err
	}
	switch r.Kind {
	case "":
		return Rope{Theta: r.Theta}, nil
	case "dynamic":
		// It stretches only what is longer than the context, which no sequence is.
		if r.OriginalMax != 0 && r.OriginalMax < context {
			return r, BadKey(name, "asks for dynamic scaling from %d to %d positions, which is not supported; set max_position_embeddings to %d to run without it", r.OriginalMax, context, r.OriginalMax)
		}
		return Rope{Theta: r.Theta}, nil
	case "llama3":
		if r.OriginalMax == 0 {
			r.OriginalMax = context
		}
	case "yarn":
		r.yarnDefaults(context)
		// DeepSeek-R1-0528-Qwen3-8B's key, as the engines that its authors name read it:
		// a factor on YaRN's own.
		if attn != 0 && r.AttentionFactor == 0 {
			r.AttentionFactor = attn * r.magnitude()
		}
	}
	return r, r.check(name, pairs)
}

// read reads the values; attn_factor is returned.
func (r *Rope) read(name string, keys Keys) (float64, error) {
	attn, rounded := 0.0, true
	for key, p := range map[string]any{"rope_theta": &r.Theta, "factor": &r.Factor, "original_max_position_embeddings": &r.OriginalMax,
		"low_freq_factor": &r.LowFreq, "high_freq_factor": &r.HighFreq, "beta_fast": &r.BetaFast, "beta_slow": &r.BetaSlow, "mscale": &r.MScale,
		"mscale_all_dim": &r.MScaleAllDim, "attention_factor": &r.AttentionFactor, "attn_factor": &attn, "truncate": &rounded, "factors": &r.Factors} {
		if err := keys.Read(key, p); err != nil {
			return 0, BadKey(name, "cannot be read: %v", err)
		}
	}
	r.Unrounded = !rounded
	return attn, nil
}

func ropeKind(name string, keys Keys) (string, error) {
	var kinds [2]string
	for i, k := range []string{"type", "rope_type"} {
		if err := keys.Read(k, &kinds[i]); err != nil {
			return "", BadKey(name+"."+k, "is %s, expected a name", keys.Show(k))
		}
		kinds[i] = strings.TrimPrefix(kinds[i], "deepseek_")
		if kinds[i] == "default" {
			kinds[i] = ""
		}
	}
	if keys.Has("type") && keys.Has("rope_type") && kinds[0] != kinds[1] {
		return "", BadKey(name, "has the type %q and the rope_type %q; keep the right one", kinds[0], kinds[1])
	}
	kind := kinds[0] + kinds[1]
	if keys.Has("type") && keys.Has("rope_type") {
		kind = kinds[0]
	}
	if _, ok := parts[kind]; !ok {
		return "", BadKey(name, "asks for the scaling %q; supported are default, linear, llama3 and yarn", kind)
	}
	return kind, nil
}

// ropeKnown refuses keys that could change the result.
func ropeKnown(name, kind string, keys Keys) error {
	known := strings.Fields(parts[kind])
	for _, k := range keys.Names() {
		one := map[string]string{"factor": "1", "partial_rotary_factor": "1"}[k]
		v := strings.TrimSuffix(keys.Show(k), ".0")
		switch {
		case !keys.Has(k), slices.Contains(known, k), k == "type", k == "rope_type", k == "rope_theta":
		case one != "" && v == one:
		case k == "factor":
			return BadKey(name, "has the factor %s but names no kind of scaling", v)
		case k == "original_max_position_embeddings" && kind != "factors":
		default:
			return BadKey(name+"."+k, "is not known for the kind %q, and could change the result", kind)
		}
	}
	return nil
}

func (r *Rope) yarnDefaults(context int) {
	if r.BetaFast == 0 {
		r.BetaFast = 32
	}
	if r.BetaSlow == 0 {
		r.BetaSlow = 1
	}
	if r.OriginalMax == 0 {
		r.OriginalMax = context
	}
	if r.Factor == 0 {
		r.Factor = float64(context) / float64(r.OriginalMax)
	}
}

func (r Rope) check(name string, pairs int) error {
	if r.Kind == "factors" {
		if len(r.Factors) != pairs {
			return BadKey(name+".factors", "has %d numbers for %d pairs of columns", len(r.Factors), pairs)
		}
		for i, f := range r.Factors {
			if !(f > 0) || math.IsInf(f, 0) {
				return BadKey(name+".factors", "holds %v at place %d, expected numbers above 0", f, i)
			}
		}
		return nil
	}
	for _, v := range []float64{r.Factor, r.LowFreq, r.HighFreq, r.BetaFast, r.BetaSlow, r.MScale, r.MScaleAllDim, r.AttentionFactor} {
		if math.IsInf(v, 0) || v < 0 {
			return BadKey(name, "holds the number %v", v)
		}
	}
	switch {
	case !(r.Factor >= 1):
		return BadKey(name+".factor", "is %v, expected a number of at least 1", r.Factor)
	case r.Kind == "llama3" && !(r.LowFreq > 0 && r.HighFreq > r.LowFreq):
		return BadKey(name, "has low_freq_factor %v and high_freq_factor %v; expected high > low > 0", r.LowFreq, r.HighFreq)
	case r.Kind == "yarn" && !(r.BetaSlow > 0 && r.BetaFast > r.BetaSlow):
		return BadKey(name, "has beta_fast %v and beta_slow %v; expected beta_fast > beta_slow > 0", r.BetaFast, r.BetaSlow)
	case r.Kind != "linear" && (r.OriginalMax < 1 || r.OriginalMax > 1<<30):
		return BadKey(name+".original_max_position_embeddings", "is %d, expected a positive number", r.OriginalMax)
	}
	return nil
}

// Scaling is the rope_scaling to write into a config.json, nil for plain positions.
func (r Rope) Scaling() any {
	if r.Kind == "" {
		return nil
	}
	m := map[string]any{"rope_type": r.Kind}
	for k, v := range map[string]float64{"factor": r.Factor, "low_freq_factor": r.LowFreq, "high_freq_factor": r.HighFreq, "beta_fast": r.BetaFast,
		"beta_slow": r.BetaSlow, "mscale": r.MScale, "mscale_all_dim": r.MScaleAllDim, "attention_factor": r.AttentionFactor} {
		if v != 0 {
			m[k] = v
		}
	}
	if r.OriginalMax != 0 {
		m["original_max_position_embeddings"] = r.OriginalMax
	}
	if r.Unrounded {
		m["truncate"] = false
	}
	if r.Factors != nil {
		m["factors"] = r.Factors
	}
	return m
}

// Frequencies are the angles per position of dim/2 pairs, stretching applied, and the
// factor on cosines and sines. The arithmetic is float32 where the original's is.
func (r Rope) Frequencies(dim int) ([]float32, float32) {
	freq := make([]float32, dim/2)
	for i := range freq {
		freq[i] = 1 / float32(math.Pow(r.Theta, float64(float32(2*i)/float32(dim))))
	}
	switch r.Kind {
	case "linear":
		for i := range freq {
			freq[i] /= float32(r.Factor)
		}
	case "factors":
		for i := range freq {
			freq[i] /= float32(r.Factors[i])
		}
	case "llama3":
		for i, f := range freq {
			freq[i] = r.llama3(f)
		}
	case "yarn":
		r.yarn(freq, dim)
		return freq, float32(r.magnitude())
	}
	return freq, 1
}

// llama3 is Llama 3.1's stretching: wavelengths above original/low are divided, those
// below original/high stay, between them a weighted mean.
func (r Rope) llama3(f float32) float32 {
	wave := 2 * math.Pi / f
	original := float64(r.OriginalMax)
	switch {
	case float64(wave) < original/r.HighFreq:
		return f
	case float64(wave) > original/r.LowFreq:
		return f / float32(r.Factor)
	}
	smooth := (float32(original)/wave - float32(r.LowFreq)) / float32(r.HighFreq-r.LowFreq)
	return (1-smooth)*f/float32(r.Factor) + smooth*f
}

// yarn divides the frequencies of pairs that turn seldom, keeps those that turn often,
// and goes over in a ramp between.
func (r Rope) yarn(freq []float32, dim int) {
	low, high := r.yarnPair(r.BetaFast, dim), r.yarnPair(r.BetaSlow, dim)
	if !r.Unrounded {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(dim-1))
	if low == high {
		high += 0.001
	}
	for i, f := range freq {
		ramp := min(max((float32(i)-float32(low))/float32(high-low), 0), 1)
		keep := 1 - ramp
		freq[i] = f/float32(r.Factor)*(1-keep) + f*keep
	}
}

// yarnPair is the pair that turns `turns` times over the original context.
func (r Rope) yarnPair(turns float64, dim int) float64 {
	return float64(dim) * math.Log(float64(r.OriginalMax)/(turns*2*math.Pi)) / (2 * math.Log(r.Theta))
}

func (r Rope) magnitude() float64 {
	switch {
	case r.AttentionFactor != 0:
		return r.AttentionFactor
	case r.MScale != 0 && r.MScaleAllDim != 0:
		return r.yarnMScale(r.MScale) / r.yarnMScale(r.MScaleAllDim)
	}
	return r.yarnMScale(1)
}

func (r Rope) yarnMScale(m float64) float64 {
	if r.Factor <= 1 {
		return 1
	}
	return 0.1*m*math.Log(r.Factor) + 1
}
