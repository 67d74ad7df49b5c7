package llama

import (
	"slices"
	"testing"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/internal/learncheck"
	"sonde/model"
)

// TestRatioOne: what Forward gives for rollouts is what Learn gives for the same texts,
// to the last bit, for any batch split, order and number of threads.
func TestRatioOne(t *testing.T) {
	for _, cfg := range toys() {
		m, _, _ := toyModel(t, cfg)
		learncheck.RatioOne(t, m)
		var one []float32
		for _, threads := range []int{1, 2, 5} {
			be, err := cpu.New(cpu.Options{Threads: threads})
			if err != nil {
				t.Fatal(err)
			}
			defer be.Close()
			m, _, _ := toyModelOn(t, be, cfg)
			got := learncheck.RatioOne(t, m)
			if one == nil {
				one = got
			}
			if !slices.Equal(got, one) {
				t.Errorf("%s: %d threads give other bits", cfg.Class, threads)
			}
		}
	}
}

// TestRatioOneBF16: so it is with weights in bfloat16.
func TestRatioOneBF16(t *testing.T) {
	be, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer be.Close()
	ar := be.NewArena("toy")
	defer ar.Free()
	m := NewWith(toys()[3], be, ar, compute.BF16)
	defer m.Close()
	m.Init(3)
	learncheck.RatioOne(t, m)
}

func TestLearnGradients(t *testing.T) {
	for _, cfg := range toys() {
		m, _, _ := toyModel(t, cfg)
		learncheck.Gradients(t, m)
	}
}

// TestLearnEqualsLossAndGrad: with coefficients of -1/N a pass is the cross-entropy's, to
// the last bit of every gradient.
func TestLearnEqualsLossAndGrad(t *testing.T) {
	for _, cfg := range toys() {
		m, ar, b := toyModel(t, cfg)
		n := model.CountTargets(b.Targets[0])
		coef := make([]float32, len(b.Tokens))
		for i := range coef {
			coef[i] = -1 / float32(n)
		}
		g, h := m.Twin(ar), m.NewTwin(ar)
		m.LossAndGrad(ar, b, g, model.StepOptions{Scale: 1})
		m.Learn(ar, model.Packed{Lens: b.Lens(), Tokens: b.Tokens, Targets: b.Targets[0]}, model.StepOptions{Scale: 1}).Backward(coef, h)
		if !slices.Equal(flatten(g), flatten(h.(*Model))) {
			t.Errorf("%s: gradients differ", cfg.Class)
		}
	}
}

// TestForkOfAnother: a sequence takes over no more than there is, of its own model.
func TestForkOfAnother(t *testing.T) {
	m, _, _ := toyModel(t, toys()[0])
	o, _, _ := toyModel(t, toys()[0])
	s, other := m.NewRollout(8), o.NewRollout(8)
	defer s.Close()
	defer other.Close()
	for _, from := range []model.Sequence{other, s} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("taken over")
				}
			}()
			s.(model.Forker).Fork(from, 1)
		}()
	}
}

// TestLearnPrefix: sequences that continue another see it as their own beginning.
func TestLearnPrefix(t *testing.T) {
	be, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer be.Close()
	for _, cfg := range toys() {
		m, _, _ := toyModel(t, cfg)
		learncheck.Prefix(t, m)
		m, _, _ = toyModelOn(t, be, cfg)
		learncheck.Prefix(t, m)
	}
}
