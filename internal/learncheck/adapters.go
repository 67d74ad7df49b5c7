package learncheck

import (
	"math/rand/v2"
	"testing"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/model"
	"sonde/model/lora"
)

// AdapterBackend is a backend for adapters, and an arena.
func AdapterBackend(t *testing.T, threads int) (*lora.Backend, *compute.Arena) {
	t.Helper()
	be, err := cpu.New(cpu.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	over := lora.New(be)
	ar := over.NewArena("test")
	t.Cleanup(func() { ar.Free(); over.Close() })
	return over, ar
}

// Adapted gives a model adapters whose B is no longer zero, so that every part of them matters.
func Adapted(t *testing.T, base model.Learner, ar *compute.Arena, o lora.Options) *lora.Model {
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
