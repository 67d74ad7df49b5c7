package deepseek

import (
	"testing"

	"sonde/compute/cpu"
	"sonde/model"
)

// BenchmarkLearn is forward, log-probabilities and backward of a GRPO step of chain sums:
// 32 prompts of 17 tokens, 16 answers of 17 to each.
func BenchmarkLearn(b *testing.B) {
	cfg, err := Preset("r1-sums")
	if err != nil {
		b.Fatal(err)
	}
	be, err := cpu.New(cpu.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer be.Close()
	ar := be.NewArena("weights")
	defer ar.Free()
	m := New(cfg, be, ar)
	m.Init(1)
	g := m.Twin(ar)
	var p model.Packed
	add := func(n, prefix int, target int32) {
		p.Lens, p.Prefix = append(p.Lens, n), append(p.Prefix, prefix)
		for j := range n {
			p.Tokens, p.Targets = append(p.Tokens, int32((j*7+len(p.Lens)*3)%cfg.VocabSize)), append(p.Targets, target)
		}
	}
	for range 32 {
		prompt := len(p.Lens)
		add(16, -1, -1)
		for range 16 {
			add(18, prompt, 3)
		}
	}
	coef := make([]float32, len(p.Tokens))
	for i := range coef {
		coef[i] = float32(i%7) - 3
	}
	rows := ar.Mark()
	for b.Loop() {
		ar.Release(rows)
		pass := m.Learn(ar, p, model.StepOptions{Scale: 1, AuxAlpha: 1e-4})
		pass.LogProbs()
		pass.Backward(coef, g)
	}
	b.ReportMetric(float64(b.N*len(p.Tokens))/b.Elapsed().Seconds(), "tokens/s")
	b.ReportMetric(6*float64(b.N*len(p.Tokens))*float64(cfg.ActiveParams())/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}
