// Package llama is the Llama architecture (arXiv 2302.13971, 2407.21783) and those that
// differ from it by a detail: Qwen2 (biases of queries, keys and values), Qwen3 (norms of
// each head's queries and keys) and Mistral. The structs' fields carry the names of
// Hugging Face's checkpoints.
package llama

import (
	"math/rand/v2"
	"strings"

	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// Model holds the weights on one backend. It is also the type of its gradients, moments
// and master weights (see Twin).
type Model struct {
	cfg  *Config
	be   compute.Backend
	rope *model.RopeTable
	work *compute.Arena // activations of Forward
	tap  model.Tap
	// rollouts is NewRollout's memory, nil until it is needed.
	rollouts *nn.CachePool
	// shown says that tap is not model.NoTap.
	shown bool

	Embed  compute.Tensor `weight:"model.embed_tokens.weight"` // [V, D]
	Layers []*Layer       `weight:"model.layers.%d"`
	Norm   compute.Tensor `weight:"model.norm.weight,norm"` // [1, D]
	Head   compute.Tensor `weight:"lm_head.weight"`         // [V, D]; absent where Embed is the head
}

// Layer is one decoder layer.
type Layer struct {
	InputNorm compute.Tensor `weight:"input_layernorm.weight,norm"`
	Attn      nn.GQA         `weight:"self_attn"`
	PostNorm  compute.Tensor `weight:"post_attention_layernorm.weight,norm"`
	MLP       nn.MLP         `weight:"mlp"`
}

var _ model.Net = (*Model)(nil)

// New allocates a model in ar; its weights are undefined until Init or a load. Matrices
// are F32. Nothing is written to ar.
func New(cfg *Config, be compute.Backend, ar *compute.Arena) *Model {
	return NewWith(cfg, be, ar, compute.F32)
}

// NewWith is New with matrices of the given format. Norms and biases stay F32.
func NewWith(cfg *Config, be compute.Backend, ar *compute.Arena, dt compute.DType) *Model {
	b, m, d := builder{cfg, ar, dt}, empty(cfg, be), cfg.HiddenSize
	m.Embed, m.Norm = b.matrix(cfg.VocabSize, d), b.vector(d)
	if !cfg.TieEmbeddings {
		m.Head = b.matrix(cfg.VocabSize, d)
	}
	for range cfg.NumHiddenLayers {
		m.Layers = append(m.Layers, &Layer{InputNorm: b.vector(d), PostNorm: b.vector(d), Attn: b.attention(), MLP: b.mlp()})
	}
	return m
}

// empty is a model without weights.
func empty(cfg *Config, be compute.Backend) *Model {
	freq, mag := cfg.Rope.Frequencies(cfg.HeadDim)
	return &Model{cfg: cfg, be: be, tap: model.NoTap{}, work: be.NewArena("activations"),
		rope: model.NewRopeTable(be, freq, mag, cfg.MaxPositionEmbedding)}
}

type builder struct {
	cfg *Config
	ar  *compute.Arena
	dt  compute.DType
}

func (b builder) matrix(rows, cols int) compute.Tensor { return b.ar.Alloc(b.dt, rows, cols) }
func (b builder) vector(n int) compute.Tensor          { return b.ar.F32(1, n) }

// optional is a vector, or the absent tensor.
func (b builder) optional(there bool, n int) compute.Tensor {
	if !there {
		return compute.Tensor{}
	}
	return b.vector(n)
}

func (b builder) attention() nn.GQA {
	c := b.cfg
	d, q, kv := c.HiddenSize, c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	return nn.GQA{Q: b.matrix(q, d), K: b.matrix(kv, d), V: b.matrix(kv, d), O: b.matrix(d, q),
		QBias: b.optional(c.QKVBias, q), KBias: b.optional(c.QKVBias, kv), VBias: b.optional(c.QKVBias, kv), OBias: b.optional(c.OutBias, d),
		QNorm: b.optional(c.QKNorm, c.HeadDim), KNorm: b.optional(c.QKNorm, c.HeadDim)}
}

func (b builder) mlp() nn.MLP {
	c := b.cfg
	d, f := c.HiddenSize, c.IntermediateSize
	return nn.MLP{Gate: b.matrix(f, d), Up: b.matrix(f, d), Down: b.matrix(d, f),
		GateBias: b.optional(c.MLPBias, f), UpBias: b.optional(c.MLPBias, f), DownBias: b.optional(c.MLPBias, d)}
}

// Twin allocates an F32 model of the same shapes, zeroed: gradients, moments, or master
// weights. It lacks the weights of m that are only read, those neither F32 nor BF16.
func (m *Model) Twin(ar *compute.Arena) *Model {
	t := empty(m.cfg, m.be)
	t.Embed, t.Norm, t.Head = m.Embed, m.Norm, m.Head
	for _, l := range m.Layers {
		c := *l
		t.Layers = append(t.Layers, &c)
	}
	nn.Walk(t, "", true, func(p nn.Param, field *compute.Tensor, _ bool) {
		*field = compute.Tensor{}
		if trained(p) {
			*field = ar.F32(p.T.NumRows(), p.T.NumCols())
			m.be.Zero(*field)
		}
	})
	return t
}

func trained(p nn.Param) bool { return p.T.DType() == compute.F32 || p.T.DType() == compute.BF16 }

// Config is the model's shape.
func (m *Model) Config() *Config { return m.cfg }

// Describe is Config.
func (m *Model) Describe() model.Config { return m.cfg }

// Backend is where the weights live.
func (m *Model) Backend() compute.Backend { return m.be }

// Close frees the memory of activations and tables; a later call takes it anew. The
// weights' arena is the caller's.
func (m *Model) Close() {
	m.work.Free()
	m.rope.Close()
}

// Params lists the weights by Hugging Face's names.
func (m *Model) Params() []nn.Param {
	var out []nn.Param
	nn.Walk(m, "", false, func(p nn.Param, _ *compute.Tensor, _ bool) { out = append(out, p) })
	return out
}

// Slots lists the weights as places that a loader fills.
func (m *Model) Slots() []nn.Slot { return nn.Slots(m, "") }

// Blocks lists each trained weight once, for optimisers. The order is the same in every
// twin.
func (m *Model) Blocks() []nn.Param {
	var out []nn.Param
	for _, p := range m.Params() {
		if trained(p) {
			out = append(out, p)
		}
	}
	return out
}

// Init draws the matrices from a normal distribution with the config's
// initializer_range; norms are one, biases zero. The same seed gives the same weights
// everywhere: every tensor has a stream of its own.
func (m *Model) Init(seed uint64) {
	for i, p := range m.Params() {
		switch {
		case strings.HasSuffix(p.Name, ".bias"):
			m.be.Zero(p.T)
		case !p.Decay:
			m.fill(p.T, func() float32 { return 1 })
		default:
			rng := rand.New(rand.NewPCG(seed, uint64(i+1)))
			m.fill(p.T, func() float32 { return float32(rng.NormFloat64() * m.cfg.InitializerRange) })
		}
	}
}

// fill uploads a tensor row by row, so that little of it is ever on Go's heap.
func (m *Model) fill(t compute.Tensor, next func() float32) {
	row := make([]float32, t.NumCols())
	for i := range t.NumRows() {
		for j := range row {
			row[j] = next()
		}
		m.be.UploadF32(t.Rows(i, i+1), row)
	}
}

// head is the matrix at the vocabulary and its name.
func (m *Model) head() (compute.Tensor, string) {
	if m.Head.IsZero() {
		return m.Embed, "model.embed_tokens.weight"
	}
	return m.Head, "lm_head.weight"
}

func (m *Model) eps() float32 { return float32(m.cfg.RMSNormEps) }

func (c *Config) gqa() nn.GQADims {
	return nn.GQADims{Heads: c.NumAttentionHeads, KVHeads: c.NumKeyValueHeads, Dim: c.HeadDim, Eps: float32(c.RMSNormEps),
		Scale: c.softmaxScale(), Interleaved: c.RopeInterleaved}
}
