package deepseek

import (
	"encoding/json"
	"math"
)

// readPositions reads what the rotary positions are made from, in either form. Both
// forms may be there, and then must agree.
func (c *Config) readPositions(keys map[string]json.RawMessage) error {
	if raw, ok := keys["rope_theta"]; ok && !isNull(raw) {
		if err := json.Unmarshal(raw, &c.RopeTheta); err != nil {
			return bad("rope_theta", "is %s, expected a number", clip(raw))
		}
	}
	outer, first := c.RopeTheta, ""
	for _, key := range []string{"rope_scaling", "rope_parameters"} {
		raw, ok := keys[key]
		if !ok || isNull(raw) {
			continue
		}
		before := c.Rope
		c.Rope = Yarn{}
		if err := c.readRope(key, raw); err != nil {
			return err
		}
		if raw, ok := keys["rope_theta"]; ok && !isNull(raw) && c.RopeTheta != outer {
			return bad(key, "has the rope_theta %v, but beside it rope_theta is %v; keep the right one", c.RopeTheta, outer)
		}
		if first != "" && c.Rope != before {
			return bad(key, "contradicts %q; keep the right one", first)
		}
		first = key
	}
	return nil
}

// readRope reads both the old form (rope_scaling with "type" beside rope_theta) and
// the new one (rope_parameters with "rope_type" and rope_theta inside).
func (c *Config) readRope(key string, raw json.RawMessage) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return bad(key, "should be an object: %v", err)
	}
	var kind string
	for _, k := range []string{"type", "rope_type"} {
		if v, ok := keys[k]; ok {
			if err := json.Unmarshal(v, &kind); err != nil {
				return bad(key+"."+k, "is %s, expected a name", clip(v))
			}
		}
	}
	if v, ok := keys["rope_theta"]; ok {
		if err := json.Unmarshal(v, &c.RopeTheta); err != nil {
			return bad(key+".rope_theta", "is %s, expected a number", clip(v))
		}
	}
	switch kind {
	case "", "default":
		return rejectScaling(key, keys)
	case "yarn", "deepseek_yarn":
		return c.readYarn(key, keys)
	}
	return bad(key, "asks for the scaling %q; only yarn is supported", kind)
}

func rejectScaling(key string, keys map[string]json.RawMessage) error {
	if v, ok := keys["factor"]; ok && string(v) != "1" && string(v) != "1.0" {
		return bad(key, "has the factor %s but names no kind of scaling", clip(v))
	}
	return nil
}

func (c *Config) readYarn(key string, keys map[string]json.RawMessage) error {
	y := Yarn{BetaFast: 32, BetaSlow: 1}
	targets := map[string]any{"factor": &y.Factor, "beta_fast": &y.BetaFast, "beta_slow": &y.BetaSlow, "mscale": &y.MScale,
		"mscale_all_dim": &y.MScaleAllDim, "original_max_position_embeddings": &y.OriginalMax, "attention_factor": &y.AttentionFact}
	for _, k := range sortedKeys(keys) {
		v := keys[k]
		p, ok := targets[k]
		switch {
		case ok && isNull(v), k == "type", k == "rope_type", k == "rope_theta":
		case ok:
			if err := json.Unmarshal(v, p); err != nil {
				return bad(key+"."+k, "is %s: %v", clip(v), err)
			}
		case k == "truncate" && string(v) == "true":
		default:
			return bad(key+"."+k, "is not known for yarn, and could change the result")
		}
	}
	if !(y.Factor >= 1) || math.IsInf(y.Factor, 0) {
		return bad(key+".factor", "is %v, expected a number of at least 1", y.Factor)
	}
	if y.BetaFast <= y.BetaSlow || y.BetaSlow <= 0 {
		return bad(key, "has beta_fast %v and beta_slow %v; expected beta_fast > beta_slow > 0", y.BetaFast, y.BetaSlow)
	}
	if y.OriginalMax == 0 {
		y.OriginalMax = c.MaxPositionEmbedding
	}
	if y.OriginalMax < 1 {
		return bad(key+".original_max_position_embeddings", "is %d, expected a positive number", y.OriginalMax)
	}
	c.Rope = y
	return nil
}
