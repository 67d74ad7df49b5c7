package checkpoint

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// EndTokens are the tokens below vocab that the files say end an answer: those that
// generation_config.json, or config.json where there is none, names, and those of a GGUF
// file beside them.
func (s *Source) EndTokens(vocab int) []int32 {
	var out []int32
	add := func(id int32) {
		if id >= 0 && int(id) < vocab && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	var c struct {
		EOS json.RawMessage `json:"eos_token_id"`
	}
	raw := s.GenerationConfig
	if raw == nil {
		raw = s.Config
	}
	if json.Unmarshal(raw, &c) == nil {
		var one int32
		var many []int32
		if json.Unmarshal(c.EOS, &one) == nil {
			add(one)
		} else if json.Unmarshal(c.EOS, &many) == nil {
			for _, id := range many {
				add(id)
			}
		}
	}
	if s.GGUF != nil {
		for _, key := range []string{"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"} {
			if id, ok := s.GGUF.Values[key].(uint32); ok {
				add(int32(min(id, math.MaxInt32)))
			}
		}
	}
	return out
}

// HasLayer reports whether there are weights of layer i, as modules of multi-token
// prediction are counted too.
func (s *Source) HasLayer(i int) bool {
	prefix := fmt.Sprintf("model.layers.%d.", i)
	return slices.ContainsFunc(s.Tensors(), func(t Info) bool { return strings.HasPrefix(t.Name, prefix) })
}

// WeightBytes is the size of all weights.
func (s *Source) WeightBytes() (n int64) {
	for _, x := range s.Tensors() {
		n += x.Bytes
	}
	return n
}

// FitsMemory reports whether the machine can hold all weights, so that it is worth reading
// them before they are asked for.
func (s *Source) FitsMemory() bool { return s.WeightBytes() < MachineMemory()/2 }
