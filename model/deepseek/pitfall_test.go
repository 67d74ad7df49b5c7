package deepseek

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sonde/compute"
	"sonde/model"
)

// What other implementations of these models got wrong, each as a test.

// route runs one token's logits through a router with that bias.
func route(be compute.Backend, ar *compute.Arena, c *Config, logits, bias []float32) (experts []int32, weights []float32) {
	d, e := c.moe(), len(logits)
	l, b := ar.F32(1, e), ar.F32(1, e)
	be.UploadF32(l, logits)
	be.UploadF32(b, bias)
	a := compute.RouteArgs{TopK: d.TopK, Groups: d.Groups, TopGroups: d.TopGroups, Normalize: d.Normalize, Scale: d.Scale,
		Logits: l, Bias: b, Scores: ar.F32(1, e), Experts: ar.I32(1, d.TopK), Weights: ar.F32(1, d.TopK),
		Offsets: ar.I32(1, e+1), Token: ar.I32(1, d.TopK), Slot: ar.I32(1, d.TopK), RowW: ar.F32(1, d.TopK)}
	be.Route(a)
	experts, weights = make([]int32, d.TopK), make([]float32, d.TopK)
	be.DownloadI32(experts, a.Experts)
	be.DownloadF32(weights, a.Weights)
	return experts, weights
}

func eachBackend(t *testing.T, f func(t *testing.T, be compute.Backend, ar *compute.Arena)) {
	for name, be := range testBackends(t) {
		t.Run(name, func(t *testing.T) {
			ar := be.NewArena("pitfalls")
			defer ar.Free()
			f(t, be, ar)
		})
	}
}

func repeat(n int, v float32) []float32 { return slices.Repeat([]float32{v}, n) }

// TestPitfall1GroupsMaskedWithZero: experts of dropped groups are out even where all
// biased scores are below zero.
func TestPitfall1GroupsMaskedWithZero(t *testing.T) {
	eachBackend(t, func(t *testing.T, be compute.Backend, ar *compute.Arena) {
		// Two groups of four; the second has the best pair.
		logits := []float32{0, 0, 0, 0, 1, 1, -3, -2}
		if got, _ := route(be, ar, toy(), logits, repeat(8, -5)); !slices.Equal(got, []int32{4, 5}) {
			t.Errorf("with scores below 0 experts %v are chosen, expected 4 and 5", got)
		}
		c := toy()
		c.NumExpertsPerTok = 3 // the third comes from the kept group, poor as it is
		if got, _ := route(be, ar, c, logits, repeat(8, -5)); !slices.Equal(got, []int32{4, 5, 7}) {
			t.Errorf("of three the last is not from the kept group: %v", got)
		}
	})
}

// TestPitfall2BiasInWeights: the bias chooses and does not weigh; it and the router stay
// float32 in a model of narrow weights; groups limit the choice.
func TestPitfall2BiasInWeights(t *testing.T) {
	eachBackend(t, func(t *testing.T, be compute.Backend, ar *compute.Arena) {
		c := toy()
		c.NGroup, c.TopKGroup = 1, 1
		logits := []float32{-2, 1, 0.5, 0, -1, 0, 0, 0}
		bias := repeat(8, 0)
		bias[0], bias[4] = 4, 4.001 // one and the same in bfloat16
		experts, weights := route(be, ar, c, logits, bias)
		if !slices.Equal(experts, []int32{0, 4}) {
			t.Fatalf("experts %v, expected those with a bias", experts)
		}
		s := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
		for i, want := range []float64{s(-2) / (s(-2) + s(-1)) * 2.5, s(-1) / (s(-2) + s(-1)) * 2.5} {
			if math.Abs(float64(weights[i])-want) > 1e-6 {
				t.Errorf("expert %d weighs %v, expected %.6f: the bias is not part of it", experts[i], weights[i], want)
			}
		}
		c.NumExpertsPerTok = 1
		if experts, _ := route(be, ar, c, repeat(8, 0), bias); experts[0] != 4 {
			t.Errorf("expert %d wins over one whose bias is greater by 0.001", experts[0])
		}
		// The best expert of all is alone in its group, which loses.
		if experts, _ := route(be, ar, toy(), []float32{5, -9, -9, -9, 1, 1, 0, 0}, repeat(8, 0)); !slices.Equal(experts, []int32{4, 5}) {
			t.Errorf("groups do not limit the choice: %v", experts)
		}
		for _, s := range NewWith(toy(), be, ar, compute.BF16).Slots() {
			if router := strings.Contains(s.Name, ".mlp.gate."); router && (s.T.DType() != compute.F32 || !s.FP32) {
				t.Errorf("%s is %v", s.Name, s.T.DType())
			}
		}
	})
}

// TestPitfall3MScale: YaRN scales the softmax by mscale_all_dim, squared, and turns slow
// pairs slower; both reach the logits.
func TestPitfall3MScale(t *testing.T) {
	c := toy()
	plain := c.softmaxScale()
	c.Rope = model.Rope{Theta: 10000, Kind: "yarn", Factor: 40, OriginalMax: 16, BetaFast: 32, BetaSlow: 1, MScale: 0.707, MScaleAllDim: 0.707}
	m := 0.1*0.707*math.Log(40) + 1
	if got := c.softmaxScale(); math.Abs(got-plain*m*m) > 1e-9 {
		t.Errorf("the softmax scale is %v, expected %v", got, plain*m*m)
	}
	logits := func(r model.Rope) []float32 {
		c := toy()
		c.Rope = r
		m, _, b := toyModel(t, c)
		return feed(t, m, 12, b.Tokens[:12])[0]
	}
	full, unscaled := logits(c.Rope), c.Rope
	unscaled.MScale, unscaled.MScaleAllDim = 0, 0
	unscaled.AttentionFactor = 1
	if relError(logits(unscaled), full) < 1e-3 {
		t.Error("without mscale the logits are the same")
	}
	if relError(logits(model.Rope{Theta: 10000}), full) < 1e-3 {
		t.Error("without YaRN the logits are the same")
	}
}

// TestPitfall6MTPOrder: a module's projection takes the next token's embedding in its
// first half and the hidden state in its second, and that state after the final norm.
func TestPitfall6MTPOrder(t *testing.T) {
	cfg := toy()
	cfg.NumNextnPredict = 1
	d := cfg.HiddenSize
	run := func(edit func(m *Model), ids []int32) []float32 {
		m, _, _ := toyModel(t, cfg)
		edit(m)
		out := &mtpLogits{m: m}
		m.SetTap(out)
		m.Loss(m.be.NewArena("test"), shiftedBatch(ids, 1, len(ids), 1), model.StepOptions{MTPLambda: 1})
		return out.v
	}
	clear := func(from, to int) func(m *Model) {
		return func(m *Model) { m.be.Zero(m.MTP[0].Proj.Cols(from, to)) }
	}
	ids := []int32{3, 14, 15, 9, 26, 5}
	first, last := slices.Clone(ids), slices.Clone(ids)
	first[0], last[5] = 7, 7
	row := func(v []float32, i int) []float32 { return v[i*cfg.VocabSize : (i+1)*cfg.VocabSize] }
	// Token 0 is nobody's next token: without the hidden half it counts for nothing.
	if without := clear(d, 2*d); !slices.Equal(run(without, ids), run(without, first)) {
		t.Error("the first token matters although the hidden state's half is zero")
	}
	// At position 4 token 5 is the next one, and not seen yet.
	without := clear(0, d)
	if !slices.Equal(row(run(without, ids), 4), row(run(without, last), 4)) {
		t.Error("the next token matters although the embedding's half is zero")
	}
	// A column that the final norm drops does not reach the module.
	drop := func(m *Model) { m.be.Zero(m.Norm.Cols(5, 6)) }
	both := func(m *Model) { drop(m); m.be.Zero(m.MTP[0].Proj.Cols(d+5, d+6)) }
	if !slices.Equal(run(drop, ids), run(both, ids)) {
		t.Error("the module sees the hidden state before the final norm")
	}
}

// mtpLogits keeps the logits of the first MTP module.
type mtpLogits struct {
	model.NoTap
	m *Model
	v []float32
}

func (o *mtpLogits) Logits(i int, h, head compute.Tensor) {
	if i == 1 {
		out := o.m.be.NewArena("test").F32(h.NumRows(), head.NumRows())
		o.m.be.MatMul(compute.MatMulArgs{Form: compute.NT, C: out, A: h, B: head})
		o.v = make([]float32, out.Len())
		o.m.be.DownloadF32(o.v, out)
	}
}

// TestPitfall7YarnInShortContexts: YaRN holds from the first position on, however short
// the context or the sequence.
func TestPitfall7YarnInShortContexts(t *testing.T) {
	c := toy()
	c.Rope = model.Rope{Theta: 10000, Kind: "yarn", Factor: 8, OriginalMax: 64, BetaFast: 32, BetaSlow: 1, MScale: 1, MScaleAllDim: 1}
	c.MaxPositionEmbedding = 512
	long, _, b := toyModel(t, c)
	want := feed(t, long, 12, b.Tokens[:12])[0]
	short := *c
	short.MaxPositionEmbedding = 32 // below the original context
	m, _, _ := toyModel(t, &short)
	if !slices.Equal(feed(t, m, 12, b.Tokens[:12])[0], want) {
		t.Error("a shorter context changes the positions")
	}
	s := long.NewSequence(300)
	defer s.Close()
	p := []model.Part{{Sequence: s, IDs: b.Tokens[:12], Want: model.WantAll}}
	if err := long.Forward(p); err != nil || !slices.Equal(p[0].Logits, want) {
		t.Errorf("room for a longer sequence changes the positions (%v)", err)
	}
}

// TestPitfall8RaggedFP8: the blocks of an FP8 matrix's factors at its edges are smaller
// than 128 where its shape says so.
func TestPitfall8RaggedFP8(t *testing.T) {
	const rows, cols, block = 200, 136, 128
	rng := rand.New(rand.NewPCG(1, 8))
	codes, wide := make([]byte, rows*cols), make([]float32, rows*cols)
	factors := []float32{0.5, 3, 0.01, 7}
	for i := range codes {
		for codes[i] = byte(rng.UintN(256)); codes[i]&0x7f == 0x7f; codes[i]++ { // not a number
		}
		wide[i] = e4m3(codes[i]) * factors[i/cols/block*2+i%cols/block]
	}
	x := make([]float32, 3*cols)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	eachBackend(t, func(t *testing.T, be compute.Backend, ar *compute.Arena) {
		w, s := ar.Alloc(compute.E4M3, rows, cols), ar.F32(2, 2)
		be.Upload(w, compute.E4M3, codes)
		be.UploadF32(s, factors)
		w = compute.FP8(w, &compute.Scales{T: s, BlockRows: block, BlockCols: block})
		plain, a := ar.F32(rows, cols), ar.F32(3, cols)
		be.UploadF32(plain, wide)
		be.UploadF32(a, x)
		product := func(w compute.Tensor) []float32 {
			y, v := ar.F32(3, w.NumRows()), make([]float32, 3*w.NumRows())
			be.MatMul(compute.MatMulArgs{Form: compute.NT, C: y, A: a, B: w})
			be.DownloadF32(v, y)
			return v
		}
		if !slices.Equal(product(w), product(plain)) {
			t.Error("a ragged FP8 matrix is not its widened self")
		}
		// A view in the middle keeps its place among the blocks.
		if !slices.Equal(product(w.Rows(100, 190)), product(plain.Rows(100, 190))) {
			t.Error("rows of a ragged FP8 matrix have other factors")
		}
	})
}

// TestPitfall5HiddenStatesBeyondHalf: deep layers of the real models leave the range of
// 16-bit floats; here the residual stream is float32, whatever the weights are.
func TestPitfall5HiddenStatesBeyondHalf(t *testing.T) {
	m, _, b := toyModel(t, toy())
	const grown = 1e6 // times 0.2: beyond 65504
	for _, p := range m.Params() {
		if p.Name == "model.embed_tokens.weight" {
			m.Backend().Scale(p.T, grown)
		}
	}
	tap := &largest{be: m.Backend()}
	m.SetTap(tap)
	defer m.SetTap(nil)
	for _, l := range feed(t, m, 12, b.Tokens[:12])[0] {
		if math.IsNaN(float64(l)) || math.IsInf(float64(l), 0) {
			t.Fatalf("a logit is %v", l)
		}
	}
	if tap.most < 65504 {
		t.Errorf("the largest hidden value is %v: nothing was tried", tap.most)
	}
}

// largest is a tap that keeps the largest hidden value.
type largest struct {
	model.NoTap
	be   compute.Backend
	most float32
}

func (l *largest) Hidden(_ int, x compute.Tensor) {
	v := make([]float32, x.Len())
	l.be.DownloadF32(v, x)
	for _, f := range v {
		l.most = max(l.most, float32(math.Abs(float64(f))))
	}
}
