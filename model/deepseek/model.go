// Package deepseek is DeepSeek-V2 (arXiv 2405.04434), V3 (arXiv 2412.19437), whose
// architecture R1 and V3.1 have too, and V3.2: multi-head latent attention, a mixture
// of experts, V3's multi-token prediction and V3.2's sparse attention. The structs'
// fields carry the names of Hugging Face's checkpoints.
package deepseek

import (
	"math"
	"math/rand/v2"

	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// Model holds the weights of a DeepSeek model on one backend. It is also the type of
// its gradients, moments and master weights (see Twin).
type Model struct {
	cfg     *Config
	be      compute.Backend
	rope    *model.RopeTable
	work    *compute.Arena // Forward's, nil until it is needed
	tap     model.Tap
	feeding feeding // Forward's
	// rollouts is NewRollout's memory, nil until it is needed.
	rollouts *nn.CachePool

	Embed  compute.Tensor `weight:"model.embed_tokens.weight"` // [V, D]
	Layers []*Layer       `weight:"model.layers.%d"`
	Norm   compute.Tensor `weight:"model.norm.weight,norm"` // [1, D]
	Head   compute.Tensor `weight:"lm_head.weight"`         // [V, D]
	MTP    []*MTPModule   // walked by walk, after the layers' numbers
}

// Layer is one decoder layer; MLP or MoE is nil.
type Layer struct {
	InputNorm compute.Tensor `weight:"input_layernorm.weight,norm"`
	Attn      nn.MLA         `weight:"self_attn"`
	PostNorm  compute.Tensor `weight:"post_attention_layernorm.weight,norm"`
	MLP       *nn.MLP        `weight:"mlp"`
	MoE       *nn.MoE        `weight:"mlp"`
}

// MTPModule predicts one token further (section 2.2). Its embedding and head are
// the main model's.
type MTPModule struct {
	Layer `weight:""`
	Embed compute.Tensor `weight:"embed_tokens.weight,shared"`
	ENorm compute.Tensor `weight:"enorm.weight,norm"` // of the embedding
	HNorm compute.Tensor `weight:"hnorm.weight,norm"` // of the hidden state
	Proj  compute.Tensor `weight:"eh_proj.weight"`    // [D, 2D]: embedding half first
	Norm  compute.Tensor `weight:"shared_head.norm.weight,norm"`
	Head  compute.Tensor `weight:"shared_head.head.weight,shared"`
}

var _ model.Net = (*Model)(nil)

// New allocates a model in ar; its weights are undefined until Init or a load.
// Matrices are F32.
func New(cfg *Config, be compute.Backend, ar *compute.Arena) *Model {
	return NewWith(cfg, be, ar, compute.F32)
}

// NewWith is New with matrices of the given format. Norms, the router and the
// selection bias stay F32.
func NewWith(cfg *Config, be compute.Backend, ar *compute.Arena, dt compute.DType) *Model {
	b := builder{cfg, ar, dt}
	m := &Model{cfg: cfg, be: be}
	d := cfg.HiddenSize
	m.Embed, m.Head, m.Norm = b.matrix(cfg.VocabSize, d), b.matrix(cfg.VocabSize, d), b.vector(d)
	for i := range cfg.NumHiddenLayers {
		l := b.layer(i < cfg.FirstKDenseReplace)
		m.Layers = append(m.Layers, &l)
	}
	for range cfg.NumNextnPredict {
		m.MTP = append(m.MTP, &MTPModule{Layer: b.layer(false), Embed: m.Embed, Head: m.Head,
			ENorm: b.vector(d), HNorm: b.vector(d), Proj: b.matrix(d, 2*d), Norm: b.vector(d)})
	}
	m.rope = cfg.ropeTable(be)
	return m
}

func (c *Config) ropeTable(be compute.Backend) *model.RopeTable {
	freq, magnitude := c.Rope.Frequencies(c.QKRopeHeadDim)
	return model.NewRopeTable(be, freq, magnitude, c.MaxPositionEmbedding)
}

// Close frees the memory that Forward works in and the table of positions; the next
// call takes it anew. The weights are the arena's.
func (m *Model) Close() {
	m.rope.Close()
	if m.work != nil {
		m.work.Free()
		m.work = nil
	}
}

// Twin allocates an F32 model of the same shapes, zeroed: gradients, moments, or
// master weights. Weights that are only read, in FP8 or in blocks or an expert at a
// time, are absent in it.
func (m *Model) Twin(ar *compute.Arena) *Model {
	t := m.twin(func(w compute.Tensor) compute.Tensor {
		z := ar.F32(w.NumRows(), w.NumCols())
		m.be.Zero(z)
		return z
	})
	t.rope = m.cfg.ropeTable(m.be)
	return t
}

// frozen is a twin that lacks every weight.
func (m *Model) frozen() *Model {
	return m.twin(func(compute.Tensor) compute.Tensor { return compute.Tensor{} })
}

// twin is a model of the same shapes whose trained weights are what make makes of m's.
func (m *Model) twin(make func(w compute.Tensor) compute.Tensor) *Model {
	t := &Model{cfg: m.cfg, be: m.be, Embed: m.Embed, Norm: m.Norm, Head: m.Head}
	for _, l := range m.Layers {
		c := l.copy()
		t.Layers = append(t.Layers, &c)
	}
	for _, x := range m.MTP {
		c := *x
		c.Layer = x.copy()
		t.MTP = append(t.MTP, &c)
	}
	t.walk(true, func(p nn.Param, field *compute.Tensor, _ bool) {
		trained := p.T.DType() == compute.F32 || p.T.DType() == compute.BF16
		*field = compute.Tensor{}
		if trained && !p.Shared {
			*field = make(p.T)
		}
	})
	for _, x := range t.MTP {
		x.Embed, x.Head = t.Embed, t.Head
	}
	return t
}

// copy is a layer with fields of its own for the same weights, experts in parts left
// out.
func (l *Layer) copy() Layer {
	c := *l
	if l.Attn.Index != nil {
		index := *l.Attn.Index
		c.Attn.Index = &index
	}
	if l.MLP != nil {
		mlp := *l.MLP
		c.MLP = &mlp
	}
	if l.MoE != nil {
		moe := *l.MoE
		moe.GateParts, moe.UpParts, moe.DownParts = nil, nil, nil
		if moe.Shared != nil {
			shared := *moe.Shared
			moe.Shared = &shared
		}
		c.MoE = &moe
	}
	return c
}

// Config is the model's shape.
func (m *Model) Config() *Config { return m.cfg }

// Describe is Config, as rooms know it that run any architecture.
func (m *Model) Describe() model.Config { return m.cfg }

// Backend is where the weights live.
func (m *Model) Backend() compute.Backend { return m.be }

type builder struct {
	cfg *Config
	ar  *compute.Arena
	dt  compute.DType
}

func (b builder) matrix(rows, cols int) compute.Tensor { return b.ar.Alloc(b.dt, rows, cols) }
func (b builder) vector(n int) compute.Tensor          { return b.ar.F32(1, n) }

func (b builder) layer(dense bool) Layer {
	c := b.cfg
	d := c.HiddenSize
	l := Layer{InputNorm: b.vector(d), PostNorm: b.vector(d), Attn: b.attention()}
	if dense {
		l.MLP = b.mlp(c.IntermediateSize)
		return l
	}
	e, f := c.NRoutedExperts, c.MoEIntermediateSize
	l.MoE = &nn.MoE{Experts: e, Router: nn.Router{W: b.ar.F32(e, d)},
		Gate: b.matrix(e*f, d), Up: b.matrix(e*f, d), Down: b.matrix(e*d, f)}
	if c.TopKMethod != greedy && c.TopKMethod != groupLimited {
		l.MoE.Router.Bias = b.vector(e)
	}
	if c.NSharedExperts > 0 {
		l.MoE.Shared = b.mlp(c.NSharedExperts * f)
	}
	return l
}

func (b builder) mlp(f int) *nn.MLP {
	d := b.cfg.HiddenSize
	return &nn.MLP{Gate: b.matrix(f, d), Up: b.matrix(f, d), Down: b.matrix(d, f)}
}

func (b builder) attention() nn.MLA {
	c, m := b.cfg, b.cfg.mla()
	a := nn.MLA{KVA: b.matrix(m.Latent(), c.HiddenSize), KVNorm: b.vector(m.KVLora),
		KVB: b.matrix(m.Heads*(m.Nope+m.V), m.KVLora), O: b.matrix(c.HiddenSize, m.Heads*m.V)}
	if m.QLora == 0 {
		a.Q = b.matrix(m.Heads*m.QK(), c.HiddenSize)
		return a
	}
	a.QA, a.QANorm, a.QB = b.matrix(m.QLora, c.HiddenSize), b.vector(m.QLora), b.matrix(m.Heads*m.QK(), m.QLora)
	if x := m.Index; x.TopK > 0 {
		a.Index = &nn.Indexer{QB: b.matrix(x.Heads*x.Dim, m.QLora), K: b.matrix(x.Dim, c.HiddenSize),
			KNorm: b.vector(x.Dim), KBias: b.vector(x.Dim), Heads: b.ar.F32(x.Heads, c.HiddenSize)}
	}
	return a
}

// latentEps is the epsilon of the norms inside MLA: the original implementations fix
// it, whatever rms_norm_eps says.
const latentEps = 1e-6

// mla gives the attention's shapes and its softmax scale.
func (c *Config) mla() nn.MLADims {
	return nn.MLADims{Heads: c.NumAttentionHeads, Nope: c.QKNopeHeadDim, Rope: c.QKRopeHeadDim, V: c.VHeadDim,
		QLora: c.QLoraRank, KVLora: c.KVLoraRank, Eps: latentEps, Scale: float32(c.softmaxScale()),
		Index: nn.IndexerDims{Heads: c.IndexNHeads, Dim: c.IndexHeadDim, TopK: c.IndexTopK, Rope: c.QKRopeHeadDim}}
}

// softmaxScale is (Nope+Rope)^-0.5 times YaRN's mscale_all_dim correction, squared.
func (c *Config) softmaxScale() float64 {
	s := 1 / math.Sqrt(float64(c.QKNopeHeadDim+c.QKRopeHeadDim))
	if r := c.Rope; r.Kind != "" && r.MScaleAllDim != 0 && r.Factor > 1 {
		m := 0.1*r.MScaleAllDim*math.Log(r.Factor) + 1
		s *= m * m
	}
	return s
}

// V2's ways to choose experts (topk_method).
const (
	greedy       = "greedy"
	groupLimited = "group_limited_greedy"
)

func (c *Config) moe() nn.MoEDims {
	d := nn.MoEDims{Experts: c.NRoutedExperts, TopK: c.NumExpertsPerTok, Groups: c.NGroup, TopGroups: c.TopKGroup,
		Normalize: c.NormTopKProb, Scale: float32(c.RoutedScalingFactor)}
	if c.Arch != V2 {
		return d
	}
	d.Softmax, d.GroupMax = true, true
	if c.TopKMethod == greedy {
		d.Groups, d.TopGroups = 1, 1
	}
	if d.Normalize {
		d.Scale = 1 // V2's code takes the one or the other
	}
	return d
}

// walk visits every weight: embedding, layers, norm, head, then the MTP modules
// under the layers' numbers that follow.
func (m *Model) walk(merge bool, visit func(p nn.Param, field *compute.Tensor, fp32 bool)) {
	nn.Walk(m, "", merge, visit)
	for i, mtp := range m.MTP {
		nn.Walk(mtp, layerName(len(m.Layers)+i)+".", merge, visit)
	}
}

// Slots lists the weights that Params lists as places for a loader to fill.
func (m *Model) Slots() []nn.Slot {
	out := nn.Slots(m, "")
	for i, mtp := range m.MTP {
		out = append(out, nn.Slots(mtp, layerName(len(m.Layers)+i)+".")...)
	}
	return out
}

// Params lists the weights by Hugging Face's names, experts one by one, the shared
// names of MTP modules included.
func (m *Model) Params() []nn.Param {
	var out []nn.Param
	m.walk(false, func(p nn.Param, _ *compute.Tensor, _ bool) { out = append(out, p) })
	return out
}

// Blocks lists each trained weight once, the experts of a layer as one tensor; for
// optimisers. The order is the same in every twin.
func (m *Model) Blocks() []nn.Param {
	var out []nn.Param
	m.walk(true, func(p nn.Param, _ *compute.Tensor, _ bool) {
		if !p.Shared && !p.Buffer {
			out = append(out, p)
		}
	})
	return out
}

// Biases lists the routers' selection biases [1, E], MTP's last.
func (m *Model) Biases() []compute.Tensor {
	var out []compute.Tensor
	m.eachMoE(func(e *nn.MoE) {
		if !e.Router.Bias.IsZero() {
			out = append(out, e.Router.Bias)
		}
	})
	return out
}

func (m *Model) eachMoE(f func(*nn.MoE)) {
	for _, l := range m.Layers {
		if l.MoE != nil {
			f(l.MoE)
		}
	}
	for _, x := range m.MTP {
		f(x.MoE)
	}
}

// Init draws the weights from a normal distribution with the config's
// initializer_range, norms at one, selection bias at zero. The same seed gives the
// same weights everywhere: every tensor has a stream of its own.
func (m *Model) Init(seed uint64) {
	stream := uint64(0)
	m.walk(true, func(p nn.Param, _ *compute.Tensor, _ bool) {
		stream++
		switch {
		case p.Shared:
		case p.Buffer:
			m.be.Zero(p.T)
		case !p.Decay:
			m.fill(p.T, func() float32 { return 1 })
		default:
			rng := rand.New(rand.NewPCG(seed, stream))
			std := m.cfg.InitializerRange
			m.fill(p.T, func() float32 { return float32(rng.NormFloat64() * std) })
		}
	})
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
