package deepseek

import (
	"slices"
	"testing"

	"sonde/internal/learncheck"
	"sonde/model"
)

// TestRoutesAreFollowed: given experts are used and counted, and gradients flow through
// their weights.
func TestRoutesAreFollowed(t *testing.T) {
	m, ar, _ := toyModel(t, toy())
	text := learncheck.Texts(3, 4, 20, 50)[3]
	p := learncheck.Pack(text)
	own, _ := m.Learn(ar, p, model.StepOptions{Scale: 1}).LogProbs()
	for range m.cfg.moeLayers() {
		p.Routes = append(p.Routes, slices.Repeat([]int32{2, 7}, len(text)))
	}
	for _, recompute := range []bool{false, true} {
		pass := m.Learn(ar, p, model.StepOptions{Scale: 1, Recompute: recompute})
		if got, _ := pass.LogProbs(); slices.Equal(got, own) {
			t.Error("the log-probabilities are those of the routers' own choice")
		}
		for l, loads := range pass.Loads()[:m.cfg.moeLayers()] {
			for e, n := range loads {
				want := 0
				if e == 2 || e == 7 {
					want = len(text)
				}
				if int(n) != want {
					t.Errorf("layer %d: expert %d has %d tokens, expected %d", l, e, n, want)
				}
			}
		}
		g := m.Twin(ar)
		pass.Backward(slices.Repeat([]float32{1}, len(text)), g)
		f := m.cfg.MoEIntermediateSize
		for e := range m.cfg.NRoutedExperts {
			got := m.be.SumSquares(g.Layers[1].MoE.Gate.Rows(e*f, (e+1)*f)) > 0
			if got != (e == 2 || e == 7) {
				t.Errorf("expert %d has a gradient: %v", e, got)
			}
		}
	}
}
