package deepseek

import (
	"errors"
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
		MaxPositionEmbedding: 64, InitializerRange: 0.2, RMSNormEps: 1e-6, Rope: model.Rope{Theta: 10000}, EOSTokenID: 1}
}

// toyV2 is toy with V2's router and no low-rank queries.
func toyV2() *Config {
	c := toy()
	c.Arch, c.TopKMethod, c.NormTopKProb, c.QLoraRank, c.NumNextnPredict = V2, groupLimited, false, 0, 0
	return c
}

// toyV32 is toy with an indexer that picks 5 keys.
func toyV32() *Config {
	c := toy()
	c.Arch, c.IndexNHeads, c.IndexHeadDim, c.IndexTopK = V32, 3, 6, 5
	return c
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
		logits = append(logits, feed(t, m, 12, b.Tokens[:12])[0])
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

func TestUpdateBiases(t *testing.T) {
	m, _, _ := toyModel(t, toy())
	loads := make([][]int32, len(m.Biases()))
	for i := range loads {
		loads[i] = []int32{4, 4, 4, 4, 9, 0, 3, 4} // mean 4
	}
	model.UpdateBiases(m, loads, 0.5)
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

// feed runs texts side by side, piece tokens of each at a time, and returns the logits
// of every position of each.
func feed(t testing.TB, m *Model, piece int, texts ...[]int32) [][]float32 {
	t.Helper()
	out := make([][]float32, len(texts))
	seqs := make([]model.Sequence, len(texts))
	for i := range texts {
		seqs[i] = m.NewSequence(len(texts[i]))
		defer seqs[i].Close()
	}
	for {
		var parts []model.Part
		var who []int
		for i, s := range seqs {
			if at := s.Len(); at < len(texts[i]) {
				parts = append(parts, model.Part{Sequence: s, IDs: texts[i][at:min(at+piece, len(texts[i]))], Want: model.WantAll})
				who = append(who, i)
			}
		}
		if parts == nil {
			return out
		}
		if err := m.Forward(parts); err != nil {
			t.Fatal(err)
		}
		for j, i := range who {
			out[i] = append(out[i], parts[j].Logits...)
		}
	}
}

func TestForwardErrors(t *testing.T) {
	m, _, _ := toyModel(t, toy())
	other, _, _ := toyModel(t, toy())
	s, foreign := m.NewSequence(8), other.NewSequence(8)
	defer s.Close()
	defer foreign.Close()
	part := func(ids ...int32) model.Part { return model.Part{Sequence: s, IDs: ids} }
	for name, parts := range map[string][]model.Part{
		"no tokens": {part()}, "beyond the vocabulary": {part(50)}, "negative": {part(-1)}, "too long": {part(make([]int32, 9)...)},
		"twice": {part(1), part(2)}, "of another model": {part(1), {Sequence: foreign, IDs: []int32{1}}}, "no sequence": {{IDs: []int32{1}}},
	} {
		if err := m.Forward(parts); !errors.Is(err, model.ErrPart) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.Len() != 0 {
		t.Errorf("refused calls left %d tokens", s.Len())
	}
}

// TestForwardSideBySide: texts of different lengths together, in any pieces, longer than
// a chunk and than the first reservation of memory, give the bits that each gives alone
// in one call.
func TestForwardSideBySide(t *testing.T) {
	for name, cfg := range map[string]*Config{"V3": toy(), "V2": toyV2(), "V3.2": toyV32()} {
		cfg.MaxPositionEmbedding = 600
		be, err := cpu.New(cpu.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer be.Close()
		m, _, _ := toyModelOn(t, be, cfg)
		defer m.Close()
		rng := rand.New(rand.NewPCG(5, 6))
		var texts [][]int32
		var want [][]float32
		for _, n := range []int{1, 560, 17, 64} {
			ids := make([]int32, n)
			for i := range ids {
				ids[i] = int32(rng.IntN(cfg.VocabSize))
			}
			texts = append(texts, ids)
			want = append(want, feed(t, m, n, ids)[0])
		}
		for _, piece := range []int{3, 100, 560} {
			got := feed(t, m, piece, texts...)
			for i := range texts {
				if !slices.Equal(got[i], want[i]) {
					t.Errorf("%s: text %d has other bits beside the others, %d tokens at a time", name, i, piece)
				}
			}
		}
	}
}

// scored compares the log-probabilities of a text's tokens, two of them passed over, with
// the softmax of its logits.
func scored(t *testing.T, m *Model, text []int32, logits []float32) {
	t.Helper()
	s := m.NewSequence(len(text))
	defer s.Close()
	targets := append(slices.Clone(text[1:]), -1)
	targets[4] = -1
	p := []model.Part{{Sequence: s, IDs: text, Want: model.WantLogProbs, Targets: targets}}
	if err := m.Forward(p); err != nil {
		t.Fatal(err)
	}
	for i, id := range targets {
		want := 0.0
		if id >= 0 {
			row, sum := logits[i*m.cfg.VocabSize:(i+1)*m.cfg.VocabSize], 0.0
			for _, l := range row {
				sum += math.Exp(float64(l))
			}
			want = float64(row[id]) - math.Log(sum)
		}
		if math.Abs(float64(p[0].LogP[i])-want) > 1e-5 {
			t.Errorf("token %d has the log-probability %v, expected %v", i, p[0].LogP[i], want)
		}
	}
	for _, bad := range [][]int32{text[1:], append(slices.Clone(text[1:]), int32(m.cfg.VocabSize))} {
		p[0].Sequence.Truncate(0)
		p[0].Targets = bad
		if err := m.Forward(p); !errors.Is(err, model.ErrPart) {
			t.Errorf("targets %v: %v", bad, err)
		}
	}
}

// TestTruncate: a sequence cut back goes on as one that never went further; wants other
// than all give the same rows.
func TestTruncate(t *testing.T) {
	m, _, b := toyModel(t, toyV32())
	want := feed(t, m, 12, b.Tokens[:12])[0]
	s := m.NewSequence(12)
	defer s.Close()
	v := m.cfg.VocabSize
	run := func(w model.Want, ids ...int32) []float32 {
		p := []model.Part{{Sequence: s, IDs: ids, Want: w}}
		if err := m.Forward(p); err != nil {
			t.Fatal(err)
		}
		return p[0].Logits
	}
	if got := run(model.WantNone, b.Tokens[:7]...); len(got) != 0 {
		t.Errorf("%d logits that nobody wanted", len(got))
	}
	run(model.WantAll, 3, 4, 5)
	scored(t, m, b.Tokens[:12], want)
	s.Truncate(7)
	if got := run(model.WantLast, b.Tokens[7:12]...); !slices.Equal(got, want[11*v:]) || s.Len() != 12 {
		t.Errorf("after a cut the last logits differ, %d tokens", s.Len())
	}
}
