package reason

import (
	"fmt"

	"sonde/checkpoint"
	"sonde/model"
	"sonde/model/auto"
)

// fits refuses a model whose training cannot fit into the machine, before its weights are
// read: 4 bytes a weight for the weights, 4 for gradients and 8 for moments, and in bf16
// 2 more.
func (r *sftRun) fits() error { return fits(r.o.Model, r.o.Compute) }

func fits(path, format string) error {
	if checkpoint.IsAdapter(path) {
		return nil // only the adapter is trained
	}
	src, err := checkpoint.Open(path)
	if err != nil {
		return err
	}
	defer src.Close()
	cfg, _, err := auto.ParseConfig(src.Config)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	each := int64(16)
	if format == "bf16" {
		each = 18
	}
	need, have := each*cfg.TotalParams(), checkpoint.MachineMemory()
	if have > 0 && need > have {
		return fmt.Errorf("%s has %d parameters, which take %s to train all of them, and the machine has %s: train an adapter (--lora 16), or take a smaller model",
			path, cfg.TotalParams(), gigabytes(need), gigabytes(have))
	}
	return nil
}

// passBytes is about what passes of Micro tokens take.
func (r *sftRun) passBytes() int64 { return passBytes(r.model, r.o.Micro, r.o.Recompute) }

// passBytes is about what a pass of so many rows takes: a small one is run and measured.
func passBytes(m *Model, rows int, recompute bool) int64 {
	n := min(64, m.Cfg.Context())
	p := model.Packed{Lens: []int{n}, Tokens: make([]int32, n), Targets: make([]int32, n)}
	probe := m.Net.Backend().NewArena("a small pass")
	defer probe.Free()
	m.Net.Learn(probe, p, model.StepOptions{Recompute: recompute}).LogProbs()
	return int64(probe.Used()) / int64(n) * int64(rows)
}

// gigabytes shows a size.
func gigabytes(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
