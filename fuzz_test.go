package sonde

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sonde/internal/tiny"
	"sonde/model/auto"
)

// llamaConfig is a model of the Llama architecture in the size of package tiny's.
const llamaConfig = `{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":320,"hidden_size":64,"intermediate_size":64,
"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,"max_position_embeddings":96,"rms_norm_eps":1e-6,
"rope_theta":10000,"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":32},
"hidden_act":"silu","tie_word_embeddings":true,"attention_bias":false,"mlp_bias":false}`

// configSeeds are configs of every architecture, each also with one key after the other
// at an edge of what it can be.
func configSeeds(f *testing.F, own []byte) (seeds []string) {
	var configs [][]byte
	for _, class := range auto.Architectures() {
		base := llamaConfig
		if strings.HasPrefix(class, "Deepseek") {
			base = string(own)
		}
		configs = append(configs, []byte(regexp.MustCompile(`"[A-Za-z0-9]+ForCausalLM"`).ReplaceAllLiteralString(base, strconv.Quote(class))))
	}
	for _, raw := range configs {
		seeds = append(seeds, string(raw))
		var c map[string]any
		if err := json.Unmarshal(raw, &c); err != nil {
			f.Fatal(err)
		}
		edges := []any{0, 1 << 24, "x", -1, 1 << 62, nil, []int{}, 1e300, map[string]int{}}
		for i, key := range slices.Sorted(maps.Keys(c)) {
			was := c[key]
			c[key] = edges[(i+len(seeds))%len(edges)]
			changed, err := json.Marshal(c)
			if err != nil {
				f.Fatal(err)
			}
			seeds = append(seeds, string(changed))
			c[key] = was
		}
	}
	return append(seeds, "{}", "[]", `{"architectures":["LlamaForCausalLM"]}`, strings.Repeat("[", 10000))
}

// FuzzConfig opens a model whose config.json is anything: it is refused, or the model
// runs a token; in a second, and in memory that is bounded by the files' size.
func FuzzConfig(f *testing.F) {
	dir := f.TempDir()
	if err := tiny.Write(dir); err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(dir, "config.json")
	own, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range configSeeds(f, own) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, config string) {
		if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		m, err := Open(dir, Options{Threads: 1})
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		const size = 1 << 20 // of the tiny model's files
		if got := after.TotalAlloc - before.TotalAlloc; got > 2*size+64<<20 {
			t.Errorf("%d MiB were allocated", got>>20)
		}
		if took > 5*time.Second { // one, where nothing else runs
			t.Errorf("took %v", took)
		}
		if err != nil {
			return
		}
		defer m.Close()
		for _, err := range m.Generate(t.Context(), "a", GenerateOptions{MaxTokens: 1, Temperature: 0}) {
			if err != nil && !strings.Contains(err.Error(), "not finite") {
				t.Log(err)
			}
		}
	})
}
