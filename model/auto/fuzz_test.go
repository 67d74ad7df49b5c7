package auto

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"sonde/model"
)

// seeds are the configs of the small goldens in the tree.
func seeds(t testing.TB) [][]byte {
	paths, err := filepath.Glob("../*/testdata/golden/*/config.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no configs: %v", err)
	}
	var out [][]byte
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, raw)
	}
	return out
}

// nasty are values that a key may be given in place of its own.
var nasty = []string{`null`, `0`, `-1`, `1`, `2`, `3`, `16777216`, `16777217`, `9223372036854775807`, `-9223372036854775808`, `1e308`, `1e-320`, `0.5`, `1e999`,
	`""`, `"yarn"`, `"llama3"`, `"\u0000"`, `[]`, `[0]`, `[-1,1e9]`, `{}`, `true`, `false`, `[[[[[]]]]]`, `["full_attention","sliding_attention"]`,
	`{"type":"yarn","factor":1e300,"original_max_position_embeddings":1}`, `{"rope_type":"llama3","factor":8,"low_freq_factor":1e-300,"high_freq_factor":1e300}`,
	`{"rope_type":"factors","factors":[1,2,3,4,5]}`, `{"type":"linear","factor":1e308}`}

// mutate replaces, drops or renames some of a config's keys as seed says.
func mutate(raw []byte, seed uint64) []byte {
	var keys map[string]json.RawMessage
	if json.Unmarshal(raw, &keys) != nil {
		return raw
	}
	names := model.Keys(keys).Names()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range rng.IntN(4) {
		if len(names) == 0 {
			break
		}
		name := names[rng.IntN(len(names))]
		switch rng.IntN(8) {
		case 0:
			delete(keys, name)
		case 1:
			keys[names[rng.IntN(len(names))]] = keys[name]
		default:
			keys[name] = json.RawMessage(nasty[rng.IntN(len(nasty))])
		}
	}
	out, err := json.Marshal(keys)
	if err != nil {
		return raw
	}
	return out
}

// FuzzParseConfig: whatever a config.json holds, it is refused with an error about it, or
// is a config whose sizes can be computed with and which comes back as it is written.
func FuzzParseConfig(f *testing.F) {
	for i, raw := range seeds(f) {
		f.Add(raw, uint64(i))
	}
	f.Fuzz(func(t *testing.T, raw []byte, seed uint64) {
		c, _, err := ParseConfig(mutate(raw, seed))
		if err != nil {
			if !errors.Is(err, model.ErrConfig) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if c.Vocab() < 1 || c.Context() < 1 || c.Layers() < 1 || c.Hidden() < 1 || c.TotalParams() < 1 || c.ActiveParams() < 1 ||
			c.KVBytesPerToken() < 1 || !(c.FlopsPerToken(c.Context(), true) > 0) {
			t.Fatalf("accepted, with sizes that make no sense: %+v", c)
		}
		again, err := c.MarshalJSON()
		if err != nil {
			t.Fatalf("cannot be written: %v", err)
		}
		if other, warnings, err := ParseConfig(again); err != nil || len(warnings) > 0 || other.TotalParams() != c.TotalParams() {
			t.Fatalf("%s comes back as %+v, %v, %v", again, other, warnings, err)
		}
	})
}

// TestMutatedConfigs is a little of the fuzzing for every run of the tests.
func TestMutatedConfigs(t *testing.T) {
	refused := 0
	for i, raw := range seeds(t) {
		for n := range uint64(300) {
			c, _, err := ParseConfig(mutate(raw, n*100+uint64(i)))
			switch {
			case err == nil && (c.TotalParams() < 1 || c.KVBytesPerToken() < 1):
				t.Errorf("accepted, with sizes that make no sense: %+v", c)
			case err != nil && !errors.Is(err, model.ErrConfig):
				t.Errorf("an error of another kind: %v", err)
			case err != nil:
				refused++
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}
