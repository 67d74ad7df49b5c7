package lora_test

import (
	"slices"
	"testing"

	"sonde/compute"
	"sonde/internal/learncheck"
	"sonde/model"
	"sonde/model/llama"
	"sonde/model/lora"
)

// small is a Qwen3 over a backend for adapters, its matrices of format dt.
func small(t *testing.T, dt compute.DType, threads int) (*llama.Model, *compute.Arena) {
	t.Helper()
	cfg, _, err := llama.ParseConfig([]byte(`{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 70, "hidden_size": 48,
		"intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
		"max_position_embeddings": 64, "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "initializer_range": 0.15}`))
	if err != nil {
		t.Fatal(err)
	}
	be, ar := learncheck.AdapterBackend(t, threads)
	m := llama.NewWith(cfg, be, ar, dt)
	m.Init(3)
	t.Cleanup(m.Close)
	return m, ar
}

// TestLearner: what a model writes with adapters has the bits of what it learns from, with
// any number of threads, and gradients add up.
func TestLearner(t *testing.T) {
	for name, open := range map[string]func(threads int) (model.Learner, *compute.Arena){
		"f32":  func(n int) (model.Learner, *compute.Arena) { return small(t, compute.F32, n) },
		"bf16": func(n int) (model.Learner, *compute.Arena) { return small(t, compute.BF16, n) },
	} {
		var first []float32
		for _, threads := range []int{1, 3} {
			base, ar := open(threads)
			m := learncheck.Adapted(t, base, ar, lora.Options{Rank: 5, Seed: 1})
			bits := learncheck.RatioOne(t, m)
			if first == nil {
				first = bits
			}
			if !slices.Equal(bits, first) {
				t.Fatalf("%s: %d threads give other bits than one", name, threads)
			}
			learncheck.Gradients(t, m)
			if name != "bf16" { // where gradients are rounded on their way
				learncheck.Prefix(t, m)
			}
		}
	}
}

// TestUntrained: an adapter changes nothing before it has learned, whatever its seed; the
// same seed gives the same A.
func TestUntrained(t *testing.T) {
	base, ar := small(t, compute.F32, 1)
	value := func(m model.Learner) []float32 {
		work := m.Backend().NewArena("work")
		defer work.Free()
		logp, _ := m.Learn(work, learncheck.Pack([]int32{1, 2, 3, 4, 5}), model.StepOptions{Scale: 1}).LogProbs()
		return logp
	}
	before := value(base)
	m, err := lora.Attach(base, ar, lora.Options{Rank: 2, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(before, value(m)) {
		t.Error("a fresh adapter changes what the model computes")
	}
	first := learncheck.Flatten(m.Backend(), m)
	for seed, same := range map[uint64]bool{1: true, 2: false} {
		other, ar := small(t, compute.F32, 2)
		n, err := lora.Attach(other, ar, lora.Options{Rank: 2, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(first, learncheck.Flatten(n.Backend(), n)) != same {
			t.Errorf("seed %d: the same numbers as seed 1: %v, expected %v", seed, !same, same)
		}
	}
}
