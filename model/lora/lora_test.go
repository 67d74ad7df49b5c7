package lora_test

import (
	"math/rand/v2"
	"testing"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/internal/learncheck"
	"sonde/model"
	"sonde/model/llama"
	"sonde/model/lora"
)

// small is a Llama over a backend for adapters, its matrices of format dt.
func small(t *testing.T, dt compute.DType, threads int) (*llama.Model, *compute.Arena) {
	t.Helper()
	cfg, _, err := llama.ParseConfig([]byte(`{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 70, "hidden_size": 48,
		"intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
		"max_position_embeddings": 64, "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "initializer_range": 0.15}`))
	if err != nil {
		t.Fatal(err)
	}
	be, err := cpu.New(cpu.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	over := lora.New(be)
	ar := over.NewArena("test")
	t.Cleanup(func() { ar.Free(); over.Close() })
	m := llama.NewWith(cfg, over, ar, dt)
	m.Init(3)
	t.Cleanup(m.Close)
	return m, ar
}

// attach gives m adapters whose B is no longer zero, so that every part of them matters.
func attach(t *testing.T, base model.Learner, ar *compute.Arena, o lora.Options) *lora.Model {
	t.Helper()
	m, err := lora.Attach(base, ar, o)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for _, a := range m.Adapters() {
		v := make([]float32, a.B.Len())
		for i := range v {
			v[i] = float32(rng.NormFloat64() * 0.1)
		}
		m.Backend().UploadF32(a.B, v)
	}
	return m
}

// TestLearner: what a model writes with adapters has the bits of what it learns from, and
// gradients add up.
func TestLearner(t *testing.T) {
	for _, dt := range []compute.DType{compute.F32, compute.BF16} {
		var first []float32
		for _, threads := range []int{1, 3} {
			base, ar := small(t, dt, threads)
			m := attach(t, base, ar, lora.Options{Rank: 5, Seed: 1})
			bits := learncheck.RatioOne(t, m)
			if first == nil {
				first = bits
			}
			for i := range bits {
				if bits[i] != first[i] {
					t.Fatalf("%v: %d threads give other bits than one", dt, threads)
				}
			}
			learncheck.Gradients(t, m)
		}
	}
}
