package deepseek

import (
	"fmt"
	"testing"
	"time"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/model"
)

// rolloutConfig is a model of about 0.3 million active parameters.
func rolloutConfig(b *testing.B) *Config {
	cfg, err := Preset("nano")
	if err != nil {
		b.Fatal(err)
	}
	cfg.VocabSize, cfg.HiddenSize, cfg.IntermediateSize, cfg.NumHiddenLayers, cfg.NumNextnPredict = 32, 96, 192, 3, 0
	cfg.MoEIntermediateSize, cfg.NRoutedExperts, cfg.NumExpertsPerTok, cfg.NGroup, cfg.TopKGroup = 48, 8, 2, 1, 1
	cfg.QLoraRank, cfg.KVLoraRank = 0, 48
	return cfg
}

// BenchmarkRollout is one token for each of 512 sequences, and beside it a product of as
// many operations with rows that wide.
func BenchmarkRollout(b *testing.B) {
	cfg := rolloutConfig(b)
	be, err := cpu.New(cpu.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer be.Close()
	weights := be.NewArena("weights")
	defer weights.Free()
	m := New(cfg, be, weights)
	m.Init(1)
	const rows = 512
	for _, start := range []int{8, 32, 64} {
		b.Run(fmt.Sprintf("from%d", start), func(b *testing.B) {
			parts := make([]model.Part, rows)
			for i := range parts {
				s := m.NewRollout(start + 40)
				defer s.Close()
				parts[i] = model.Part{Sequence: s, IDs: make([]int32, start), Want: model.WantLast}
			}
			if err := m.Forward(parts); err != nil {
				b.Fatal(err)
			}
			for i := range parts {
				parts[i].IDs = parts[i].IDs[:1]
			}
			best := time.Duration(1 << 62)
			for b.Loop() {
				for range 8 {
					t := time.Now()
					if err := m.Forward(parts); err != nil {
						b.Fatal(err)
					}
					best = min(best, time.Since(t))
				}
				for i := range parts {
					parts[i].Sequence.Truncate(start)
				}
			}
			flops := 2 * float64(rows) * float64(cfg.ActiveParams())
			ar := be.NewArena("product")
			defer ar.Free()
			d := cfg.HiddenSize
			p := compute.MatMulArgs{Form: compute.NT, C: ar.F32(rows, 4*d), A: ar.F32(rows, d), B: ar.F32(4*d, d)}
			product := time.Duration(1 << 62)
			for range 200 {
				t := time.Now()
				be.MatMul(p)
				product = min(product, time.Since(t))
			}
			b.ReportMetric(float64(best.Microseconds()), "us/pass")
			b.ReportMetric(rows/best.Seconds(), "tokens/s")
			b.ReportMetric(flops/best.Seconds()/1e9, "GFLOP/s")
			b.ReportMetric(2*float64(rows*4*d*d)/product.Seconds()/1e9, "GFLOP/s_of_a_product")
		})
	}
}
