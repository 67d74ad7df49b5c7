package deepseek

import (
	"math/rand/v2"
	"testing"

	"sonde/compute/cpu"
	"sonde/model"
)

// BenchmarkTrainStep times forward and backward of the presets, reporting tokens/s
// and model FLOPs.
func BenchmarkTrainStep(b *testing.B) {
	for _, c := range []struct {
		preset    string
		seqs, len int
	}{{"nano", 16, 256}, {"mini", 8, 512}} {
		b.Run(c.preset, func(b *testing.B) { benchStep(b, c.preset, c.seqs, c.len) })
	}
}

func benchStep(b *testing.B, preset string, seqs, n int) {
	be, err := cpu.New(cpu.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer be.Close()
	cfg, err := Preset(preset)
	if err != nil {
		b.Fatal(err)
	}
	ar, work := be.NewArena("weights"), be.NewArena("records")
	defer ar.Free()
	defer work.Free()
	m := New(cfg, be, ar)
	m.Init(1)
	g := m.Twin(ar)
	rng := rand.New(rand.NewPCG(1, 2))
	ids := make([]int32, seqs*n)
	for i := range ids {
		ids[i] = int32(rng.IntN(cfg.VocabSize))
	}
	batch := shiftedBatch(ids, seqs, n, 1)
	o := model.StepOptions{MTPLambda: 0.3, AuxAlpha: 1e-4, Scale: 1}
	m.LossAndGrad(work, batch, g, o)
	b.ResetTimer()
	for b.Loop() {
		m.LossAndGrad(work, batch, g, o)
	}
	tokens := float64(b.N * len(ids))
	b.ReportMetric(tokens/b.Elapsed().Seconds(), "tokens/s")
	b.ReportMetric(3*(cfg.FlopsPerToken(n, true)+cfg.MTPFlopsPerToken(n))*tokens/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	b.ReportMetric(float64(work.Bytes()>>20), "MiB")
}
