package llama

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/model"
	"sonde/nn"
	"sonde/num"
)

// toys are configs small enough for the reference, one for each detail in which the
// architectures differ.
func toys() []*Config {
	base := Config{Class: "LlamaForCausalLM", VocabSize: 50, HiddenSize: 24, IntermediateSize: 40, NumHiddenLayers: 3, NumAttentionHeads: 4,
		NumKeyValueHeads: 2, HeadDim: 6, MaxPositionEmbedding: 2048, InitializerRange: 0.2, RMSNormEps: 1e-6, Rope: model.Rope{Theta: 10000}, BOSTokenID: -1}
	llama, biased, qwen2, qwen3 := base, base, base, base
	llama.TieEmbeddings = true
	llama.Rope = model.Rope{Theta: 500000, Kind: "llama3", Factor: 8, LowFreq: 1, HighFreq: 4, OriginalMax: 16}
	biased.QKVBias, biased.OutBias, biased.MLPBias, biased.RopeInterleaved = true, true, true, true
	qwen2.Class, qwen2.QKVBias, qwen2.NumKeyValueHeads = "Qwen2ForCausalLM", true, 1
	qwen3.Class, qwen3.QKNorm, qwen3.HeadDim, qwen3.TieEmbeddings = "Qwen3ForCausalLM", true, 10, true
	qwen3.Rope = model.Rope{Theta: 1e6, Kind: "yarn", Factor: 4, OriginalMax: 16, BetaFast: 32, BetaSlow: 1}
	return []*Config{&llama, &biased, &qwen2, &qwen3}
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
	t.Cleanup(m.Close)
	m.Init(3)
	for i, p := range m.Params() { // so that biases and norms do something
		if !p.Decay {
			rng := rand.New(rand.NewPCG(7, uint64(i)))
			m.fill(p.T, func() float32 { return float32(0.8 + 0.1*rng.NormFloat64()) })
		}
	}
	return m, ar, shiftedBatch(randomIDs(cfg, 3*12), 3, 12)
}

func randomIDs(cfg *Config, n int) []int32 {
	rng := rand.New(rand.NewPCG(1, 2))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(rng.IntN(cfg.VocabSize))
	}
	return ids
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

// all is the logits of every position of ids, fed at once.
func all(t *testing.T, m *Model, ids []int32) []float32 {
	t.Helper()
	s := m.NewSequence(len(ids))
	defer s.Close()
	parts := []model.Part{{Sequence: s, IDs: ids, Want: model.WantAll}}
	if err := m.Forward(parts); err != nil {
		t.Fatal(err)
	}
	return parts[0].Logits
}

// TestThreadsSameBits: losses, gradients and logits do not depend on the number of
// threads.
func TestThreadsSameBits(t *testing.T) {
	for _, cfg := range toys() {
		var losses []float64
		var grads, logits [][]float32
		for _, threads := range []int{1, 2, 5} {
			be, err := cpu.New(cpu.Options{Threads: threads})
			if err != nil {
				t.Fatal(err)
			}
			defer be.Close()
			m, ar, b := toyModelOn(t, be, cfg)
			g := m.Twin(ar)
			losses = append(losses, m.LossAndGrad(ar, b, g, model.StepOptions{Scale: 1}).Loss)
			grads, logits = append(grads, flatten(g)), append(logits, all(t, m, b.Tokens))
		}
		for i := range losses {
			if losses[i] != losses[0] || !slices.Equal(grads[i], grads[0]) || !slices.Equal(logits[i], logits[0]) {
				t.Errorf("%s: run %d differs from the run with one thread", cfg.Class, i)
			}
		}
	}
}

// TestRecomputeSameBits: dropping a layer's record and running the layer again in the
// backward changes nothing.
func TestRecomputeSameBits(t *testing.T) {
	for _, cfg := range toys() {
		m, ar, b := toyModel(t, cfg)
		kept, again := m.Twin(ar), m.Twin(ar)
		r1 := m.LossAndGrad(ar, b, kept, model.StepOptions{Scale: 1})
		r2 := m.LossAndGrad(ar, b, again, model.StepOptions{Scale: 1, Recompute: true})
		if r1.Loss != r2.Loss || !slices.Equal(flatten(kept), flatten(again)) {
			t.Errorf("%s: recomputation gives other bits: losses %v against %v", cfg.Class, r2.Loss, r1.Loss)
		}
	}
}

// TestModelGradientAlongItself: the slope of the loss along its own gradient is the
// gradient's length; tied embeddings' gradient has both shares.
func TestModelGradientAlongItself(t *testing.T) {
	for _, cfg := range toys() {
		m, ar, b := toyModel(t, cfg)
		g := m.Twin(ar)
		m.LossAndGrad(ar, b, g, model.StepOptions{Scale: 1})
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
			return m.Loss(ar, b, model.StepOptions{}).Loss
		}
		up := at(eps)
		slope := (up - at(-2*eps)) / (2 * eps)
		if math.Abs(slope/norm-1) > 2e-3 {
			t.Errorf("%s: slope %.5f along a gradient of length %.5f", cfg.Class, slope, norm)
		}
	}
}

// TestTrainerEqualsEngine: log-probabilities by the trainer's pass are those of the
// logits that Forward gives.
func TestTrainerEqualsEngine(t *testing.T) {
	for _, cfg := range toys() {
		m, ar, b := toyModel(t, cfg)
		ids := b.Tokens[:12]
		logits := all(t, m, ids)
		got, _ := m.Learn(ar, model.Packed{Lens: []int{12}, Tokens: ids, Targets: b.Targets[0][:12]}, model.StepOptions{Scale: 1}).LogProbs()
		for i, target := range b.Targets[0][:12] {
			want := 0.0
			if target >= 0 {
				row, sum := logits[i*cfg.VocabSize:(i+1)*cfg.VocabSize], 0.0
				for _, l := range row {
					sum += math.Exp(float64(l))
				}
				want = float64(row[target]) - math.Log(sum)
			}
			if math.Abs(float64(got[i])-want) > 1e-5 {
				t.Errorf("%s: log-probability %d is %v, expected %v", cfg.Class, i, got[i], want)
			}
		}
	}
}

// TestForwardSideBySide: parts of many lengths and wishes, longer than a pass, give each
// sequence the bits that it has alone, whatever was beside it and wherever it was cut.
func TestForwardSideBySide(t *testing.T) {
	be, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer be.Close()
	for _, cfg := range toys()[:1] {
		m, _, _ := toyModelOn(t, be, cfg)
		lengths := []int{1, 700, 3, 40, 600}
		var want [][]float32
		var parts []model.Part
		for i, n := range lengths {
			ids := randomIDs(cfg, n+i)[i:]
			want = append(want, all(t, m, ids))
			s := m.NewSequence(n)
			defer s.Close()
			parts = append(parts, model.Part{Sequence: s, IDs: ids, Want: model.Want(i % 3)})
		}
		parts[1].Want, parts[4].Want = model.WantAll, model.WantLast
		if err := m.Forward(parts); err != nil {
			t.Fatal(err)
		}
		for i, p := range parts {
			w := want[i]
			switch p.Want {
			case model.WantNone:
				w = nil
			case model.WantLast:
				w = w[len(w)-cfg.VocabSize:]
			}
			if !slices.Equal(p.Logits, w) {
				t.Errorf("part %d (%d tokens): %d logits that are not those of the sequence alone", i, lengths[i], len(p.Logits))
			}
			if p.Sequence.Len() != lengths[i] {
				t.Errorf("part %d holds %d tokens, expected %d", i, p.Sequence.Len(), lengths[i])
			}
		}
	}
}

// TestSequenceTruncate: after Truncate a sequence goes on as if the rest had never been
// there; its memory grows with it.
func TestSequenceTruncate(t *testing.T) {
	cfg := toys()[3]
	m, _, _ := toyModel(t, cfg)
	ids := randomIDs(cfg, 300)
	want := all(t, m, ids)
	s := m.NewSequence(cfg.MaxPositionEmbedding)
	defer s.Close()
	feed := func(ids []int32, want []float32) {
		t.Helper()
		p := []model.Part{{Sequence: s, IDs: ids, Want: model.WantLast}}
		if err := m.Forward(p); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(p[0].Logits, want) {
			t.Errorf("other logits after %d tokens", s.Len())
		}
	}
	v := cfg.VocabSize
	feed(ids[:200], want[199*v:200*v])
	s.Truncate(50)
	s.Truncate(60)
	if s.Len() != 50 {
		t.Fatalf("%d tokens after Truncate(50)", s.Len())
	}
	feed(ids[50:290], want[289*v:290*v])
	if rows := s.(*sequence).cache.T(0).NumRows(); rows > 1024 {
		t.Errorf("memory for %d tokens while 290 are there", rows)
	}
	feed(ids[290:], want[299*v:])
	if s.Max() != cfg.MaxPositionEmbedding {
		t.Errorf("room for %d tokens", s.Max())
	}
}

func TestForwardErrors(t *testing.T) {
	m, _, _ := toyModel(t, toys()[0])
	other, _, _ := toyModel(t, toys()[0])
	s, foreign := m.NewSequence(8), other.NewSequence(8)
	defer s.Close()
	defer foreign.Close()
	one := []int32{1}
	for name, parts := range map[string][]model.Part{
		"no tokens": {{Sequence: s}}, "above the vocabulary": {{Sequence: s, IDs: []int32{50}}}, "negative": {{Sequence: s, IDs: []int32{-1}}},
		"too many": {{Sequence: s, IDs: make([]int32, 9)}}, "another model's": {{Sequence: foreign, IDs: one}}, "none": {{IDs: one}},
		"twice": {{Sequence: s, IDs: one}, {Sequence: s, IDs: one}}, "the second is bad": {{Sequence: s, IDs: one}, {Sequence: foreign, IDs: one}},
	} {
		if err := m.Forward(parts); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if s.Len() != 0 {
		t.Errorf("refused calls left %d tokens", s.Len())
	}
	if s := m.NewSequence(1 << 30); s.Max() != m.cfg.MaxPositionEmbedding {
		t.Errorf("a sequence may hold %d tokens", s.Max())
	}
}

// TestTapLinear: a tap sees what every matrix met: the products of what it saw are what
// the model computes.
func TestTapLinear(t *testing.T) {
	for _, cfg := range toys() {
		m, _, _ := toyModel(t, cfg)
		tap := &inputs{m: m, seen: map[string][]int{}}
		m.SetTap(tap)
		all(t, m, randomIDs(cfg, 5))
		m.SetTap(nil)
		all(t, m, randomIDs(cfg, 5))
		for _, p := range m.Params() {
			matrix := p.Decay && (p.Name != "model.embed_tokens.weight" || cfg.TieEmbeddings)
			if want := []int{5, p.T.NumCols()}; matrix && !slices.Equal(tap.seen[p.Name], want) || !matrix && tap.seen[p.Name] != nil {
				t.Errorf("%s: the tap saw %v for %s", cfg.Class, tap.seen[p.Name], p.Name)
			}
		}
		if len(tap.hidden) != cfg.NumHiddenLayers+1 {
			t.Errorf("%s: the tap saw the hidden states %v", cfg.Class, tap.hidden)
		}
	}
}

type inputs struct {
	model.NoTap
	m      *Model
	seen   map[string][]int
	hidden []int
}

func (i *inputs) Linear(name string, x compute.Tensor) {
	if i.m.be.SumSquares(x) == 0 {
		return
	}
	i.seen[name] = append(i.seen[name], x.NumRows(), x.NumCols())
}

func (i *inputs) Hidden(layer int, _ compute.Tensor) { i.hidden = append(i.hidden, layer) }

// TestInterleavedIsPermuted: llama.cpp's files hold the rows of queries and keys so that
// adjacent pairs rotate together; with rope_interleave such a model is the original one.
func TestInterleavedIsPermuted(t *testing.T) {
	cfg := *toys()[0]
	cfg.QKVBias = true
	m, ar, b := toyModel(t, &cfg)
	turned := cfg
	turned.RopeInterleaved = true
	p := New(&turned, m.be, ar)
	defer p.Close()
	theirs := p.Params()
	for i, w := range m.Params() {
		m.be.Copy(theirs[i].T, w.T)
		if !strings.Contains(w.Name, "q_proj") && !strings.Contains(w.Name, "k_proj") {
			continue
		}
		ours := w.T.Reshape(w.T.Len()/w.T.NumCols(), w.T.NumCols())
		to := theirs[i].T
		if w.T.NumRows() == 1 { // a bias
			ours, to = w.T.Reshape(w.T.Len(), 1), to.Reshape(to.Len(), 1)
		}
		for r := range ours.NumRows() {
			h, c := r/cfg.HeadDim*cfg.HeadDim, r%cfg.HeadDim
			half := cfg.HeadDim / 2
			m.be.Copy(to.Rows(h+c%half*2+c/half, h+c%half*2+c/half+1), ours.Rows(r, r+1))
		}
	}
	if e := relError(all(t, p, b.Tokens), all(t, m, b.Tokens)); e > 1e-5 {
		t.Errorf("the permuted model's logits differ by %.2g", e)
	}
}

// TestFrozenWeights: with weights that are only read, gradients of the others are the
// same bits as with all.
func TestFrozenWeights(t *testing.T) {
	m, ar, b := toyModel(t, toys()[1])
	whole, part := m.Twin(ar), m.Twin(ar)
	m.LossAndGrad(ar, b, whole, model.StepOptions{Scale: 1})
	nn.Walk(part, "", false, func(p nn.Param, field *compute.Tensor, _ bool) {
		if p.Decay {
			*field = compute.Tensor{}
		}
	})
	m.LossAndGrad(ar, b, part, model.StepOptions{Scale: 1})
	want := map[string]compute.Tensor{}
	for _, p := range whole.Params() {
		want[p.Name] = p.T
	}
	for _, p := range part.Params() {
		if got, w := p.T.Float32s(), want[p.Name].Float32s(); !slices.Equal(got, w) {
			t.Errorf("%s: %v, expected %v", p.Name, got[:2], w[:2])
		}
	}
}

// TestInitReproducible: a seed gives the same weights, another seed others, and the
// spread is the config's.
func TestInitReproducible(t *testing.T) {
	cfg := toys()[1]
	be := compute.NewReference()
	ar := be.NewArena("toy")
	defer ar.Free()
	m := New(cfg, be, ar)
	m.Init(3)
	first := flatten(m)
	m.Init(3)
	if !slices.Equal(first, flatten(m)) {
		t.Error("the same seed gave other weights")
	}
	m.Init(4)
	if slices.Equal(first, flatten(m)) {
		t.Error("another seed gave the same weights")
	}
	if std := math.Sqrt(be.SumSquares(m.Embed) / float64(m.Embed.Len())); math.Abs(std-0.2) > 0.02 {
		t.Errorf("the embedding's spread is %.3f, expected 0.2", std)
	}
	if l := m.Layers[0]; be.SumSquares(l.Attn.QBias) != 0 || l.PostNorm.RowF32(0)[3] != 1 {
		t.Error("biases should begin at zero and norms at one")
	}
}

func ExampleParseConfig() {
	_, _, err := ParseConfig([]byte(`{"architectures": ["LlamaForCausalLM"], "vocab_size": 0}`))
	fmt.Println(err)
	// Output:
	// config.json: "hidden_size" is missing
	// config.json: "intermediate_size" is missing
	// config.json: "num_hidden_layers" is missing
	// config.json: "num_attention_heads" is missing
}

// TestQuantisedBase: on weights that are only read, in blocks or in half precision,
// logits and what gradients remain are those of the model with the weights widened, bit
// for bit. So an adapter beside a quantised base trains as beside the widened one.
func TestQuantisedBase(t *testing.T) {
	cfg := *toys()[0]
	cfg.HiddenSize, cfg.IntermediateSize, cfg.HeadDim, cfg.NumAttentionHeads, cfg.NumKeyValueHeads, cfg.VocabSize = 64, 96, 16, 4, 2, 70
	cfg.QKVBias, cfg.NumHiddenLayers = true, 2
	for name, be := range testBackends(t) {
		for _, dt := range []compute.DType{compute.BlockDType(num.Q8_0), compute.BlockDType(num.Q4_1), compute.F16} {
			for _, tied := range []bool{true, false} {
				cfg.TieEmbeddings = tied
				m, ar, b := toyModelOn(t, be, &cfg)
				quantise(t, m, ar, dt)
				wide := New(&cfg, be, ar)
				theirs := wide.Params()
				for i, p := range m.Params() {
					v := make([]float32, p.T.Len())
					be.DownloadF32(v, p.T)
					be.UploadF32(theirs[i].T, v)
				}
				if !slices.Equal(all(t, m, b.Tokens), all(t, wide, b.Tokens)) {
					t.Errorf("%s, %v, tied %v: other logits than with widened weights", name, dt, tied)
				}
				got, want := m.Twin(ar), wide.Twin(ar)
				r1 := m.LossAndGrad(ar, b, got, model.StepOptions{Scale: 1})
				r2 := wide.LossAndGrad(ar, b, want, model.StepOptions{Scale: 1})
				if r1.Loss != r2.Loss {
					t.Errorf("%s, %v, tied %v: loss %v, expected %v", name, dt, tied, r1.Loss, r2.Loss)
				}
				kept := map[string]compute.Tensor{}
				for _, p := range want.Params() {
					kept[p.Name] = p.T
				}
				for _, p := range got.Params() {
					if !slices.Equal(p.T.Float32s(), kept[p.Name].Float32s()) {
						t.Errorf("%s, %v, tied %v: another gradient of %s", name, dt, tied, p.Name)
					}
				}
				if len(got.Params()) != len(m.Blocks()) || len(m.Blocks()) == 0 {
					t.Errorf("%s: %d gradients for %d trained weights", name, len(got.Params()), len(m.Blocks()))
				}
				wide.Close()
			}
		}
	}
}

// quantise replaces the matrices of m by others of format dt in ar.
func quantise(t *testing.T, m *Model, ar *compute.Arena, dt compute.DType) {
	t.Helper()
	for _, s := range m.Slots() {
		if s.FP32 {
			continue
		}
		rows, cols := s.T.NumRows(), s.T.NumCols()
		v := make([]float32, rows*cols)
		m.be.DownloadF32(v, s.T)
		w := ar.Alloc(dt, rows, cols)
		raw := unsafe.Slice((*byte)(w.Ptr()), rows*dt.RowBytes(cols))
		if b, ok := dt.Block(); ok {
			b.Encode(raw, v, nil)
		} else {
			for i, x := range v {
				binary.LittleEndian.PutUint16(raw[2*i:], num.F16FromF32(x))
			}
		}
		*s.Field = w
	}
}

// TestCuttingDeep: far beyond a block of keys, with float32 weights and with weights in
// blocks that meet rows quantised to int8, the logits are the same bits whether the text
// comes whole, in pieces or token by token, on one thread or two.
func TestCuttingDeep(t *testing.T) {
	if testing.Short() {
		t.Skip("texts of such length take minutes where plain Go computes in an emulator")
	}
	cfg := *toys()[3]
	cfg.HiddenSize, cfg.IntermediateSize, cfg.HeadDim, cfg.NumAttentionHeads, cfg.NumKeyValueHeads, cfg.VocabSize = 64, 96, 16, 6, 2, 70
	ids := randomIDs(&cfg, 620)
	cuts := map[string][]int{"one by one from 480": {480}, "pieces of 37": {37, 74, 111, 148, 185, 222, 259, 296, 333, 370, 407, 444, 481, 518, 555, 592},
		"at the passes' end": {511, 512, 513}}
	for i := 481; i < 620; i++ {
		cuts["one by one from 480"] = append(cuts["one by one from 480"], i)
	}
	for _, dt := range []compute.DType{compute.F32, compute.BlockDType(num.Q4_1), compute.BlockDType(num.Q8_0)} {
		var whole []float32
		for _, threads := range []int{1, 2} {
			be, err := cpu.New(cpu.Options{Threads: threads})
			if err != nil {
				t.Fatal(err)
			}
			defer be.Close()
			m, ar, _ := toyModelOn(t, be, &cfg)
			if dt != compute.F32 {
				quantise(t, m, ar, dt)
				for _, s := range m.Slots() {
					*s.Field = s.Field.WithActivations(compute.ActInt8)
				}
			}
			got := all(t, m, ids)
			if whole == nil {
				whole = got
			} else if !slices.Equal(got, whole) {
				t.Errorf("%v: other logits on %d threads", dt, threads)
			}
			for name, cut := range cuts {
				if !slices.Equal(cutAt(t, m, ids, cut), whole) {
					t.Errorf("%v, %d threads: other logits when cut %s", dt, threads, name)
				}
			}
			if got := forkedAt(t, m, ids, 280); !slices.Equal(got, whole[280*cfg.VocabSize:]) {
				t.Errorf("%v, %d threads: other logits after a beginning that was taken over", dt, threads)
			}
		}
	}
}

// forkedAt is the logits from place n on of a sequence that takes over the first n of
// another's tokens; their keys take 16 bits where activations take 8.
func forkedAt(t *testing.T, m *Model, ids []int32, n int) []float32 {
	t.Helper()
	from, s := m.NewSequence(len(ids)).(*sequence), m.NewSequence(len(ids)).(*sequence)
	defer from.Close()
	defer s.Close()
	if err := m.Forward([]model.Part{{Sequence: from, IDs: ids[:n+20]}}); err != nil {
		t.Fatal(err)
	}
	s.Fork(from, n)
	p := []model.Part{{Sequence: s, IDs: ids[n:], Want: model.WantAll}}
	if err := m.Forward(p); err != nil {
		t.Fatal(err)
	}
	want := compute.F32
	if m.Layers[0].Attn.Q.Activations() == compute.ActInt8 {
		want = compute.F16
	}
	if got := s.cache.T(0).DType(); got != want {
		t.Errorf("keys are kept as %v, expected %v", got, want)
	}
	return p[0].Logits
}

// cutAt is all, with ids cut at the given places.
func cutAt(t *testing.T, m *Model, ids []int32, cuts []int) []float32 {
	t.Helper()
	s := m.NewSequence(len(ids))
	defer s.Close()
	var out []float32
	at := 0
	for _, to := range append(slices.Clone(cuts), len(ids)) {
		p := []model.Part{{Sequence: s, IDs: ids[at:to], Want: model.WantAll}}
		if err := m.Forward(p); err != nil {
			t.Fatal(err)
		}
		out, at = append(out, p[0].Logits...), to
	}
	return out
}
