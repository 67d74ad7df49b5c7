package deepseek

import (
	"errors"
	"slices"
	"testing"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/internal/learncheck"
	"sonde/model"
)

// TestRatioOne: what Forward gives for rollouts is what Learn gives for the same texts,
// to the last bit, for any batch split, order and number of threads; so are the routes.
func TestRatioOne(t *testing.T) {
	for _, cfg := range []*Config{toy(), toyV2(), toyV32()} {
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
				t.Errorf("%s: %d threads give other bits", cfg.Architecture(), threads)
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
	m := NewWith(toy(), be, ar, compute.BF16)
	defer m.Close()
	m.Init(3)
	learncheck.RatioOne(t, m)
}

func TestLearnGradients(t *testing.T) {
	for _, cfg := range []*Config{toy(), toyV2()} {
		m, _, _ := toyModel(t, cfg)
		learncheck.Gradients(t, m)
	}
}

// TestLearnEqualsLossAndGrad: with coefficients of -1/N a pass is the cross-entropy's
// without MTP, to the last bit of every gradient, loads included.
func TestLearnEqualsLossAndGrad(t *testing.T) {
	m, ar, b := toyModel(t, toy())
	n := model.CountTargets(b.Targets[0])
	coef := make([]float32, len(b.Tokens))
	for i := range coef {
		coef[i] = -1 / float32(n)
	}
	o := model.StepOptions{Scale: 1, AuxAlpha: 0.01}
	g, h := m.Twin(ar), m.NewTwin(ar)
	res := m.LossAndGrad(ar, b, g, o)
	pass := m.Learn(ar, model.Packed{Lens: b.Lens(), Tokens: b.Tokens, Targets: b.Targets[0]}, o)
	pass.Backward(coef, h)
	if !slices.Equal(flatten(g), flatten(h.(*Model))) {
		t.Error("gradients differ")
	}
	if !slices.EqualFunc(res.Loads, pass.Loads(), slices.Equal) {
		t.Errorf("loads %v and %v", res.Loads, pass.Loads())
	}
}

// TestFormsDoNotMix: a call takes rollouts or others, and nothing is appended where it
// gets both; nor does one begin as the other.
func TestFormsDoNotMix(t *testing.T) {
	m, _, _ := toyModel(t, toy())
	a, b := m.NewRollout(8), m.NewSequence(8)
	defer a.Close()
	defer b.Close()
	err := m.Forward([]model.Part{{Sequence: a, IDs: []int32{1}}, {Sequence: b, IDs: []int32{1}}})
	if !errors.Is(err, model.ErrPart) || a.Len() != 0 || b.Len() != 0 {
		t.Errorf("%v, %d and %d tokens", err, a.Len(), b.Len())
	}
	defer func() {
		if recover() == nil {
			t.Error("taken over")
		}
	}()
	a.(model.Forker).Fork(b, 0)
}

// TestBackwardWithoutGradients: nil gradients leave the weights alone and go the whole
// way: what watches linear layers (nn.WeightObserver) sees each of them.
func TestBackwardWithoutGradients(t *testing.T) {
	m, ar, b := toyModel(t, toy())
	seen := &observer{Backend: m.be}
	m.be = seen
	pass := m.Learn(ar, model.Packed{Lens: b.Lens(), Tokens: b.Tokens, Targets: b.Targets[0]}, model.StepOptions{Scale: 1})
	pass.Backward(slices.Repeat([]float32{1}, len(b.Tokens)), nil)
	// Five matrices of each attention; gate, up and down of the first layer; the router
	// and three of shared experts of two more.
	if want := 3*5 + 3 + 2*4; seen.n != want {
		t.Errorf("%d linear layers seen, expected %d", seen.n, want)
	}
}

type observer struct {
	compute.Backend
	n int
}

func (o *observer) ObserveWeight(_, _, _ compute.Tensor) { o.n++ }

// TestLearnPrefix: sequences that continue another see it as their own beginning.
func TestLearnPrefix(t *testing.T) {
	be, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer be.Close()
	for _, cfg := range []*Config{toy(), toyV2(), toyV32()} {
		m, _, _ := toyModel(t, cfg)
		learncheck.Prefix(t, m)
		m, _, _ = toyModelOn(t, be, cfg)
		learncheck.Prefix(t, m)
	}
}
