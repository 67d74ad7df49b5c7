// Package plan says what a model costs before anything is allocated: parameters,
// memory, floating-point operations, time and money. It computes from the config
// alone.
package plan

import (
	"sonde/model"
	"sonde/model/deepseek"
	"sonde/model/llama"
)

// Report is what a model costs. Sizes are in bytes, FLOPs are floating-point
// operations (a multiply-add counts as two), per token.
type Report struct {
	Shape     Shape     `json:"shape"`
	Params    Params    `json:"params"`
	Weights   Weights   `json:"weights_bytes"`
	Training  Training  `json:"training_bytes"`
	KV        KV        `json:"kv_bytes_per_token"`
	FLOPs     FLOPs     `json:"flops_per_token"`
	Estimates []Cost    `json:"estimates,omitempty"`
	Breakdown []Portion `json:"breakdown"`
}

// Shape repeats the config's sizes that matter most.
type Shape struct {
	Layers        int `json:"layers"`
	DenseLayers   int `json:"dense_layers"`
	Hidden        int `json:"hidden"`
	Heads         int `json:"heads"`
	KVHeads       int `json:"kv_heads"`
	Experts       int `json:"experts"`
	SharedExperts int `json:"shared_experts"`
	ExpertsPerTok int `json:"experts_per_token"`
	MTPDepth      int `json:"mtp_depth"`
	Vocab         int `json:"vocab"`
}

// Params counts weights. Active are those that one token is multiplied by: the head
// counts, the embedding, a look-up, does not. MTP are those that the MTP modules add;
// Checkpoint is all that a file holds, where every MTP module has copies of embedding
// and head.
type Params struct {
	Total      int64 `json:"total"`
	Active     int64 `json:"active"`
	MTP        int64 `json:"mtp"`
	Checkpoint int64 `json:"checkpoint"`
}

// Portion is one kind of weight in the main model.
type Portion struct {
	Kind   string `json:"kind"`
	Params int64  `json:"params"`
	Active int64  `json:"active"`
}

// Weights is the size of a checkpoint by format. FP8 is DeepSeek's kind: projections
// in e4m3 with a float32 scale for each block of 128 x 128, the rest in bfloat16.
type Weights struct {
	F32  int64 `json:"f32"`
	BF16 int64 `json:"bf16"`
	FP8  int64 `json:"fp8"`
}

// Training is the memory that training holds, MTP included, activations not. F32 is
// weights, gradients and AdamW's two moments, all float32. BF16 adds a working copy in
// bfloat16. V3 is the V3 report's recipe (3.3): FP8 weights to compute with, float32
// masters and gradients, bfloat16 moments.
type Training struct {
	Gradients int64 `json:"gradients"`
	Moments   int64 `json:"moments"`
	F32       int64 `json:"f32"`
	BF16      int64 `json:"bf16"`
	V3        int64 `json:"v3_recipe"`
}

// KV is the cache per token of context in 16 bit: Latent is MLA's (latent and shared
// rope key), Expanded what every head's keys and values take, or would take. LatentF32
// is the latent cache in float32. Cache is what a sequence takes here, in float32.
type KV struct {
	Latent    int64 `json:"latent,omitempty"`
	LatentF32 int64 `json:"latent_f32,omitempty"`
	Expanded  int64 `json:"expanded"`
	Cache     int64 `json:"cache"`
}

// FLOPs are per token of a sequence of SeqLen, causal attention counted as its
// average over the sequence. Training is three times Forward; the MTP modules' share
// is given apart.
type FLOPs struct {
	SeqLen      int     `json:"seq_len"`
	Forward     float64 `json:"forward"`
	Training    float64 `json:"training"`
	MTPTraining float64 `json:"mtp_training"`
}

// defaultSeqLen is the V3 report's length of pre-training sequences.
const defaultSeqLen = 4096

// sheet is what Of adds up for one architecture.
type sheet struct {
	shape     Shape
	kv        KV
	main, mtp []part
	copies    int64   // weights that a checkpoint holds twice
	mtpFLOPs  float64 // a token's training in the MTP modules
}

// Of computes what a model of this config costs, and what each of the runs does.
func Of(c model.Config, runs ...Run) Report {
	seq := min(defaultSeqLen, c.Context())
	var s sheet
	switch c := c.(type) {
	case *deepseek.Config:
		s = deepseekSheet(c, seq)
	case *llama.Config:
		s = llamaSheet(c)
	}
	s.kv.Cache = c.KVBytesPerToken()
	r := Report{Shape: s.shape, KV: s.kv}
	r.addParts(s)
	r.Params.Checkpoint = r.Params.Total + r.Params.MTP + s.copies
	r.Weights.F32, r.Weights.BF16 = 4*r.Params.Checkpoint, 2*r.Params.Checkpoint
	r.Training = trainingOf(r.Params.Total+r.Params.MTP, r.Weights.FP8-2*s.copies)
	r.FLOPs = FLOPs{SeqLen: seq, Forward: c.FlopsPerToken(seq, true), MTPTraining: s.mtpFLOPs}
	r.FLOPs.Training = 3 * r.FLOPs.Forward
	for _, run := range runs {
		r.Estimates = append(r.Estimates, run.cost(c))
	}
	return r
}

// addParts counts the weights, kind by kind.
func (r *Report) addParts(s sheet) {
	portions := map[string]*Portion{}
	for _, g := range groups {
		portions[g] = &Portion{Kind: g}
	}
	r.Weights.FP8 = 2 * s.copies
	for _, p := range s.main {
		active := p.each() * int64(p.active)
		r.Params.Total += p.params()
		r.Params.Active += active
		r.Weights.FP8 += p.fp8Bytes()
		portions[p.group].Params += p.params()
		portions[p.group].Active += active
	}
	for _, p := range s.mtp {
		r.Params.MTP += p.params()
		r.Weights.FP8 += p.fp8Bytes()
	}
	for _, g := range groups {
		if p := portions[g]; p.Params > 0 || p.Active > 0 {
			r.Breakdown = append(r.Breakdown, *p)
		}
	}
}

func trainingOf(params, fp8 int64) Training {
	t := Training{Gradients: 4 * params, Moments: 8 * params}
	t.F32 = 4*params + t.Gradients + t.Moments
	t.BF16 = t.F32 + 2*params
	t.V3 = fp8 + 4*params + t.Gradients + t.Moments/2
	return t
}
