package sonde

import (
	"context"
	"fmt"
	"math"
	"time"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/engine"
	"sonde/model"
	"sonde/model/deepseek"
)

// Machine is the processor that computes, with what it reaches at most.
type Machine struct {
	Model    string   `json:"cpu"`
	Features []string `json:"features"`
	Kernels  string   `json:"kernels"` // the chosen width
	Threads  int      `json:"threads"`
	// Peak is what a loop of multiply-adds on registers reaches, Bandwidth what a loop
	// that reads memory reaches.
	Peak      float64 `json:"peak_gflops"`
	Bandwidth float64 `json:"read_gb_per_s"`
}

// MeasureMachine describes this machine and measures it for about a second.
func MeasureMachine(be *cpu.Backend) (Machine, error) {
	info, err := cpu.Info()
	return Machine{Model: info.Model, Features: info.Features, Kernels: be.Name(), Threads: be.Threads(),
		Peak: be.MeasurePeak(), Bandwidth: be.MeasureReadBandwidth()}, err
}

// GenerationSpeed is how fast a model starts, reads and writes, in tokens per second. A
// figure is 0 where the model's context is too short for it.
type GenerationSpeed struct {
	Load      float64 `json:"load_s"`      // seconds to open the files
	Prefill   float64 `json:"pp512"`       // reading a prompt of 512 tokens
	Decode    float64 `json:"tg64"`        // writing 64 tokens from the beginning
	Deep      float64 `json:"tg32_d1024"`  // writing 32 tokens after 1,024
	Together  float64 `json:"tg_b8"`       // writing 8 texts of 64 tokens together, the tokens of all
	Anonymous float64 `json:"rss_anon_mb"` // most memory that is no file's, after loading or a measurement; 0 where the system does not tell
	CPU       string  `json:"cpu"`
	Threads   int     `json:"threads"`
}

// MeasureGeneration measures a model just opened, which took load.
func (m *Model) MeasureGeneration(ctx context.Context, load time.Duration) (GenerationSpeed, error) {
	info, err := cpu.Info()
	if err != nil {
		return GenerationSpeed{}, err
	}
	s := GenerationSpeed{Load: load.Seconds(), CPU: info.Model, Threads: m.be.Threads(), Anonymous: anonymousMB()}
	leave, err := m.enter()
	if err != nil {
		return s, err
	}
	defer leave()
	if _, err := m.eng.Measure(ctx, 1, 16, 2); err != nil { // warms up
		return s, err
	}
	for _, w := range []struct {
		rate                 *float64
		seqs, prompt, tokens int
		count                int // tokens that the rate counts
		took                 func(engine.Speed) time.Duration
	}{
		{&s.Prefill, 1, 512, 0, 512, func(v engine.Speed) time.Duration { return v.Read }},
		{&s.Decode, 1, 1, 64, 64, func(v engine.Speed) time.Duration { return v.Wrote }},
		{&s.Deep, 1, 1024, 32, 32, func(v engine.Speed) time.Duration { return v.Wrote }},
		{&s.Together, 8, 1, 64, 8 * 64, func(v engine.Speed) time.Duration { return v.Wrote }},
	} {
		if w.prompt+w.tokens > m.eng.Context() {
			continue
		}
		took, err := fastest(func() (time.Duration, error) {
			v, err := m.eng.Measure(ctx, w.seqs, w.prompt, w.tokens)
			return w.took(v), err
		})
		if err != nil {
			return s, err
		}
		*w.rate = float64(w.count) / took.Seconds()
		s.Anonymous = max(s.Anonymous, anonymousMB())
	}
	return s, nil
}

// fastest is the least of a few measurements, because other programs only ever make one
// slower; of long ones there are fewer.
func fastest(measure func() (time.Duration, error)) (best time.Duration, err error) {
	for total, i := time.Duration(0), 0; i < 3 && total < 4*time.Second; i++ {
		took, err := measure()
		if err != nil {
			return 0, err
		}
		if total += took; i == 0 || took < best {
			best = took
		}
	}
	return best, nil
}

// TrainingSpeed is how fast a model of a given shape trains in float32.
type TrainingSpeed struct {
	Name         string  `json:"preset"`
	Params       int64   `json:"params"`
	Active       int64   `json:"active_params"`
	SeqLen       int     `json:"seq_len"`
	BatchTokens  int     `json:"batch_tokens"`
	TokensPerSec float64 `json:"tokens_per_s"`
	StepSeconds  float64 `json:"step_s"`
	// Utilisation is the model's operations per second over the machine's peak; MTP
	// modules' operations count.
	Utilisation float64 `json:"mfu"`
}

// trainingSteps is how many steps are timed; the fastest counts, because other
// programs only ever make one slower.
const trainingSteps = 3

// MeasureTraining times whole steps (forward, backward, clipping, AdamW, the routers'
// biases) on random tokens: seqs
// sequences of seqLen tokens each, on a machine with a peak of so many GFLOP/s.
func MeasureTraining(ctx context.Context, be compute.Backend, preset string, seqs, seqLen int, peak float64) (s TrainingSpeed, err error) {
	cfg, err := deepseek.Preset(preset)
	if err != nil {
		return s, err
	}
	if seqs < 1 || seqLen < 2 || seqLen > cfg.MaxPositionEmbedding {
		return s, fmt.Errorf("%d sequences of %d tokens cannot be measured: take at least 1 sequence, of 2 to %d tokens", seqs, seqLen, cfg.MaxPositionEmbedding)
	}
	defer func() {
		if lack := compute.AsOutOfMemory(recover()); lack != nil {
			err = fmt.Errorf("%w; take a smaller preset or fewer sequences", lack)
		}
	}()
	t := newTraining(cfg, be, seqs, seqLen)
	defer t.free()
	best := time.Duration(0)
	for i := range trainingSteps + 1 { // the first warms up
		if err := ctx.Err(); err != nil {
			return s, err
		}
		start := time.Now()
		t.step(i + 1)
		if d := time.Since(start); i == 1 || i > 1 && d < best {
			best = d
		}
	}
	n := seqs * seqLen
	s = TrainingSpeed{Name: preset, Params: cfg.TotalParams(), Active: cfg.ActiveParams(), SeqLen: seqLen, BatchTokens: n,
		TokensPerSec: float64(n) / best.Seconds(), StepSeconds: best.Seconds()}
	s.Utilisation = 3 * (cfg.FlopsPerToken(seqLen, true) + cfg.MTPFlopsPerToken(seqLen)) * s.TokensPerSec / (peak * 1e9)
	return s, nil
}

// training is a model with all that a step of AdamW needs.
type training struct {
	be            compute.Backend
	ar, work      *compute.Arena
	m             *deepseek.Model
	grads, m1, m2 *deepseek.Model
	batch         model.Batch
}

func newTraining(cfg *deepseek.Config, be compute.Backend, seqs, seqLen int) *training {
	t := &training{be: be, ar: be.NewArena("weights and their moments"), work: be.NewArena("activations")}
	t.m = deepseek.New(cfg, be, t.ar)
	t.m.Init(1)
	t.grads, t.m1, t.m2 = t.m.Twin(t.ar), t.m.Twin(t.ar), t.m.Twin(t.ar)
	for _, w := range []*deepseek.Model{t.grads, t.m1, t.m2} {
		for _, b := range w.Blocks() {
			be.Zero(b.T)
		}
	}
	n := seqs * seqLen
	t.batch = model.Batch{Seqs: seqs, SeqLen: seqLen, Tokens: make([]int32, n)}
	for i := range n {
		t.batch.Tokens[i] = int32(uint32(i*i) * 2654435761 % uint32(cfg.VocabSize))
	}
	for range 1 + cfg.NumNextnPredict {
		t.batch.Targets = append(t.batch.Targets, t.batch.Tokens)
	}
	return t
}

// step is one whole step, the n-th.
func (t *training) step(n int) {
	t.work.Reset()
	res := t.m.LossAndGrad(t.work, t.batch, t.grads, model.StepOptions{MTPLambda: 0.3, AuxAlpha: 1e-4, Scale: 1})
	g, m, v := t.grads.Blocks(), t.m1.Blocks(), t.m2.Blocks()
	squares := 0.0
	for _, b := range g {
		squares += t.be.SumSquares(b.T)
	}
	clip := float32(1 / math.Max(1, math.Sqrt(squares))) // to a norm of 1
	for i, p := range t.m.Blocks() {
		t.be.AdamW(compute.AdamWArgs{P: p.T, G: g[i].T, M: m[i].T, V: v[i].T, LR: 1e-4, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8,
			WeightDecay: 0.1, Correct1: 1 - pow(0.9, n), Correct2: 1 - pow(0.95, n), GradScale: clip})
		t.be.Zero(g[i].T)
	}
	model.UpdateBiases(t.m, res.Loads, 1e-3)
}

func pow(x float64, n int) float32 { return float32(math.Pow(x, float64(n))) }

func (t *training) free() {
	t.work.Free()
	t.ar.Free()
}
