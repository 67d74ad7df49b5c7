package deepseek

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/model"
)

// toy is a config small enough for the reference, with everything that V3 has.
func toy() *Config {
	return &Config{VocabSize: 50, HiddenSize: 24, IntermediateSize: 40, MoEIntermediateSize: 16, NumHiddenLayers: 3, NumNextnPredict: 2,
		NumAttentionHeads: 2, NumKeyValueHeads: 2, NSharedExperts: 1, NRoutedExperts: 8, RoutedScalingFactor: 2.5, KVLoraRank: 12, QLoraRank: 10,
		QKRopeHeadDim: 4, QKNopeHeadDim: 6, VHeadDim: 5, NGroup: 2, TopKGroup: 1, NumExpertsPerTok: 2, FirstKDenseReplace: 1, NormTopKProb: true,
		MaxPositionEmbedding: 64, InitializerRange: 0.2, RMSNormEps: 1e-6, RopeTheta: 10000, EOSTokenID: 1}
}

func toyModel(t *testing.T, cfg *Config) (*Model, *compute.Arena, model.Batch) {
	t.Helper()
	return toyModelOn(t, compute.NewReference(), cfg)
}

func toyModelOn(t *testing.T, be compute.Backend, cfg *Config) (*Model, *compute.Arena, model.Batch) {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	ar := be.NewArena("toy")
	t.Cleanup(ar.Free)
	m := New(cfg, be, ar)
	m.Init(3)
	rng := rand.New(rand.NewPCG(1, 2))
	ids := make([]int32, 3*12)
	for i := range ids {
		ids[i] = int32(rng.IntN(cfg.VocabSize))
	}
	return m, ar, shiftedBatch(ids, 3, 12, cfg.NumNextnPredict)
}

// TestThreadsSameBits: losses, gradients and generation do not depend on the number
// of threads.
func TestThreadsSameBits(t *testing.T) {
	var losses [][2]float64
	var grads, logits [][]float32
	for _, threads := range []int{1, 2, 5} {
		be, err := cpu.New(cpu.Options{Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		defer be.Close()
		m, ar, b := toyModelOn(t, be, toy())
		g := m.Twin(ar)
		r := m.LossAndGrad(ar, b, g, model.StepOptions{MTPLambda: 0.3, AuxAlpha: 0.01, Scale: 1})
		losses, grads = append(losses, [2]float64{r.Loss, r.MTPLoss}), append(grads, flatten(g))
		s := m.NewState(12)
		defer s.Close()
		l, err := m.ExtendAll(s, b.Tokens[:12])
		if err != nil {
			t.Fatal(err)
		}
		logits = append(logits, l)
	}
	for i := range losses {
		if losses[i] != losses[0] || !slices.Equal(grads[i], grads[0]) || !slices.Equal(logits[i], logits[0]) {
			t.Errorf("run %d differs from the run with one thread: losses %v and %v", i, losses[i], losses[0])
		}
	}
}

func flatten(m *Model) []float32 {
	var out []float32
	for _, b := range m.Blocks() {
		v := make([]float32, b.T.Len())
		m.be.DownloadF32(v, b.T)
		out = append(out, v...)
	}
	return out
}

// TestRecomputeSameBits: dropping a layer's record and running the layer again in
// the backward changes nothing.
func TestRecomputeSameBits(t *testing.T) {
	m, ar, b := toyModel(t, toy())
	o := model.StepOptions{MTPLambda: 0.3, AuxAlpha: 0.01, Scale: 1}
	kept, again := m.Twin(ar), m.Twin(ar)
	r1 := m.LossAndGrad(ar, b, kept, o)
	o.Recompute = true
	r2 := m.LossAndGrad(ar, b, again, o)
	if r1.Loss != r2.Loss || r1.MTPLoss != r2.MTPLoss || !slices.Equal(flatten(kept), flatten(again)) {
		t.Errorf("recomputation gives other bits: losses %v, %v against %v, %v", r2.Loss, r2.MTPLoss, r1.Loss, r1.MTPLoss)
	}
	if len(r1.Loads) != 4 || !slices.EqualFunc(r1.Loads, r2.Loads, slices.Equal) {
		t.Errorf("loads %v against %v", r2.Loads, r1.Loads)
	}
}

// TestModelGradientAlongItself: with two MTP modules chained, the slope of the total
// loss along its own gradient is the gradient's length.
func TestModelGradientAlongItself(t *testing.T) {
	cfg := toy()
	// Every expert is chosen: a choice that flips within the step has no slope.
	cfg.NGroup, cfg.TopKGroup, cfg.NumExpertsPerTok = 1, 1, cfg.NRoutedExperts
	m, ar, b := toyModel(t, cfg)
	g := m.Twin(ar)
	o := model.StepOptions{MTPLambda: 0.5, Scale: 1}
	m.LossAndGrad(ar, b, g, o)
	norm := 0.0
	for _, p := range g.Blocks() {
		norm += m.be.SumSquares(p.T)
	}
	norm = math.Sqrt(norm)
	const eps = 2e-3
	at := func(step float64) float64 {
		for i, p := range m.Blocks() {
			d := ar.F32(p.T.NumRows(), p.T.NumCols())
			m.be.Copy(d, g.Blocks()[i].T)
			m.be.Scale(d, float32(step/norm))
			m.be.Add(p.T, d)
		}
		r := m.Loss(ar, b, o)
		return r.Loss + 0.5*r.MTPLoss
	}
	up := at(eps)
	slope := (up - at(-2*eps)) / (2 * eps)
	if math.Abs(slope/norm-1) > 2e-3 {
		t.Errorf("slope %.5f along a gradient of length %.5f", slope, norm)
	}
}

func TestUpdateBias(t *testing.T) {
	m, _, _ := toyModel(t, toy())
	loads := make([][]int32, len(m.Biases()))
	for i := range loads {
		loads[i] = []int32{4, 4, 4, 4, 9, 0, 3, 4} // mean 4
	}
	m.UpdateBias(loads, 0.5)
	got := make([]float32, 8)
	for _, bias := range m.Biases() {
		m.be.DownloadF32(got, bias)
		if want := []float32{0, 0, 0, 0, -0.5, 0.5, 0.5, 0}; !slices.Equal(got, want) {
			t.Errorf("bias %v, expected %v", got, want)
		}
	}
}

// TestInitReproducible: a seed gives the same weights, another seed others, and the
// spread is the config's.
func TestInitReproducible(t *testing.T) {
	m, _, _ := toyModel(t, toy())
	first := flatten(m)
	m.Init(3)
	if !slices.Equal(first, flatten(m)) {
		t.Error("the same seed gave other weights")
	}
	m.Init(4)
	if slices.Equal(first, flatten(m)) {
		t.Error("another seed gave the same weights")
	}
	std := math.Sqrt(m.be.SumSquares(m.Embed) / float64(m.Embed.Len()))
	if math.Abs(std-0.2) > 0.02 {
		t.Errorf("the embedding's spread is %.3f, expected 0.2", std)
	}
}

func TestExtendErrors(t *testing.T) {
	m, _, _ := toyModel(t, toy())
	s := m.NewState(8)
	defer s.Close()
	for _, ids := range [][]int32{nil, {50}, {-1}, make([]int32, 9)} {
		if _, err := m.Extend(s, ids); err == nil {
			t.Errorf("%v was accepted", ids)
		}
	}
	if s.Len() != 0 {
		t.Errorf("a refused call left %d tokens", s.Len())
	}
}
