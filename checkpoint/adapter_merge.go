package checkpoint

import (
	"fmt"
	"slices"
	"strings"

	"sonde/model/lora"
)

// Adapt merges an adapter into what Convert and Quantize write from now on: every
// adapted weight W becomes W + s B A, summed in float64 and rounded once. The files
// themselves stay as they are; a must stay open. An adapter that does not fit the model
// is a *LoadError.
func (s *Source) Adapt(a *Adapter) error {
	list, err := s.matrices()
	if err != nil {
		return err
	}
	shapes := map[string][2]int{}
	for _, m := range list {
		if module, ok := strings.CutSuffix(m.name, ".weight"); ok && len(m.shape) == 2 {
			shapes[module] = [2]int{m.rows, m.cols}
		}
	}
	var problems []Problem
	for _, module := range a.Options.Targets {
		problems = append(problems, a.misfits(module, shapes[module])...)
	}
	if len(problems) > 0 {
		return &LoadError{Path: a.Path, Problems: problems, Try: "the adapter must be one of this model: " + s.Path}
	}
	s.adapter = a
	return nil
}

// onto is m with its layer's adapter merged into it, where it has one.
func (a *Adapter) onto(m rows) (rows, error) {
	module, ok := strings.CutSuffix(m.name, ".weight")
	if _, found := slices.BinarySearchFunc(a.Options.Targets, module, compareNames); !ok || !found {
		return m, nil
	}
	matA, err := a.numbers(lora.Prefix + module + loraA)
	if err != nil {
		return m, err
	}
	matB, err := a.numbers(lora.Prefix + module + loraB)
	if err != nil {
		return m, err
	}
	base, r, scale := m.read, a.Options.RankOf(module), float64(a.Options.ScaleOf(module))
	if matA.cols != m.cols || matA.rows != r || matB.rows != m.rows || matB.cols != r {
		return m, fmt.Errorf("the adapter of %s changed while it was open", quote(m.name))
	}
	m.raw, m.changed = nil, true
	m.read = func(dst []float32, from, n int) error {
		if err := base(dst, from, n); err != nil {
			return err
		}
		av, bv := make([]float32, r*m.cols), make([]float32, n*r)
		if err := matA.read(av, 0, r); err != nil {
			return err
		}
		if err := matB.read(bv, from, n); err != nil {
			return err
		}
		addProduct(dst, bv, av, n, r, m.cols, scale)
		return nil
	}
	return m, nil
}

// addProduct is dst[n, cols] += scale * b[n, r] a[r, cols], each element summed in float64.
func addProduct(dst, b, a []float32, n, r, cols int, scale float64) {
	sum := make([]float64, cols)
	for i := range n {
		clear(sum)
		for k := range r {
			f := float64(b[i*r+k])
			for j, x := range a[k*cols : (k+1)*cols] {
				sum[j] += f * float64(x)
			}
		}
		row := dst[i*cols : (i+1)*cols]
		for j := range row {
			row[j] = float32(float64(row[j]) + scale*sum[j])
		}
	}
}
