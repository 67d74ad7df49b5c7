// Package lora teaches a model by a few numbers beside it: low-rank adaptation (arXiv
// 2106.09685). The weights of the base stay as their file has them, in FP8 or in GGUF's
// blocks too. A linear layer W [out, in] gets two small F32 matrices, A [r, in] and
// B [out, r], and computes
//
//	y = x W^T + s (x A^T) B^T
//
// with s = alpha/r, or alpha/sqrt(r) (rank-stabilised, arXiv 2312.03732). B begins at
// zero, so that an untrained adapter changes nothing.
//
// It works below the models: a Backend that adds the adapter's share wherever one of
// the adapted weights is multiplied. Training, rollouts and serving all go through it,
// so a rollout's logits are the trainer's, bit for bit. Dropout is left out, since with it
// they could not be.
package lora

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"

	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// Options say which weights are adapted and how. They mean what the keys of PEFT's
// adapter_config.json mean.
type Options struct {
	Rank int `json:"rank"` // r, 1 to MaxRank
	// Alpha is lora_alpha; 0 stands for 2*Rank.
	Alpha float64 `json:"alpha,omitempty"`
	// RSLoRA divides alpha by sqrt(r) instead of r (use_rslora).
	RSLoRA bool `json:"rslora,omitempty"`
	// Targets are the ends of names of linear layers, "q_proj" or "mlp.up_proj", or
	// AllLinear (target_modules); none stands for AllLinear.
	Targets []string `json:"targets,omitempty"`
	// Ranks and Alphas are exceptions: regular expressions for the ends of layers' names
	// (rank_pattern, alpha_pattern).
	Ranks  map[string]int     `json:"ranks,omitempty"`
	Alphas map[string]float64 `json:"alphas,omitempty"`
	// Seed is that of A's numbers.
	Seed uint64 `json:"seed"`
}

// AllLinear as a target stands for every linear layer that can be adapted: those of
// attention and of the dense feed-forward, shared experts among them. Routed experts,
// routers, the indexer of V3.2, embedding and head are not.
const AllLinear = "all-linear"

// MaxRank bounds ranks: beyond it an adapter is no small thing beside its base.
const MaxRank = 4096

// Validate says what is wrong with the options, whatever the model.
func (o Options) Validate() error {
	if o.Rank < 1 || o.Rank > MaxRank {
		return fmt.Errorf("lora: rank %d: give 1 to %d; 8 to 64 are usual", o.Rank, MaxRank)
	}
	for key, r := range o.Ranks {
		if r < 1 || r > MaxRank {
			return fmt.Errorf("lora: rank %d for %q: give 1 to %d", r, key, MaxRank)
		}
	}
	if !(o.Alpha >= 0 && o.Alpha <= math.MaxFloat32) {
		return fmt.Errorf("lora: alpha %v: give a positive number; twice the rank is usual", o.Alpha)
	}
	for key, a := range o.Alphas {
		if !(a > 0 && a <= math.MaxFloat32) {
			return fmt.Errorf("lora: alpha %v for %q: give a positive number", a, key)
		}
	}
	for _, list := range [][]string{keys(o.Ranks), keys(o.Alphas)} {
		for _, key := range list {
			if _, err := pattern(key); err != nil {
				return fmt.Errorf("lora: %q is no regular expression: %w", key, err)
			}
		}
	}
	return nil
}

func keys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// pattern matches names that end, at a dot, as key says.
func pattern(key string) (*regexp.Regexp, error) {
	return regexp.Compile(`^(?:.*\.)?(?:` + key + `)$`)
}

// exception is the value of the first pattern, in their order, that module matches.
func exception[V any](m map[string]V, module string, otherwise V) V {
	for _, key := range keys(m) {
		if re, err := pattern(key); err == nil && re.MatchString(module) {
			return m[key]
		}
	}
	return otherwise
}

// RankOf is r of a layer's adapter.
func (o Options) RankOf(module string) int { return exception(o.Ranks, module, o.Rank) }

// ScaleOf is s of a layer's adapter.
func (o Options) ScaleOf(module string) float32 {
	r := float64(o.RankOf(module))
	if o.RSLoRA {
		r = math.Sqrt(r)
	}
	return float32(exception(o.Alphas, module, o.AlphaOrDefault()) / r)
}

// AlphaOrDefault is Alpha, or what 0 stands for.
func (o Options) AlphaOrDefault() float64 {
	if o.Alpha == 0 {
		return 2 * float64(o.Rank)
	}
	return o.Alpha
}

// Adapter is what one linear layer gets.
type Adapter struct {
	// Module is the layer's name, "model.layers.0.self_attn.q_proj".
	Module string
	// Rank is r, Scale s.
	Rank  int
	Scale float32
	A, B  compute.Tensor // F32 [r, in], [out, r]
}

// Model is a model whose base is frozen and whose adapters are trained: a
// model.Learner whose weights in training are A and B of every adapter.
type Model struct {
	model.Learner
	be       *Backend
	options  Options
	adapters []*Adapter
	weights  weights
}

var _ model.Learner = (*Model)(nil)

// Attach gives base, which was built over a Backend of this package and has its weights,
// adapters allocated in ar: A uniform in +-1/sqrt(in), as PEFT draws it, B zero. The
// same seed gives the same numbers everywhere.
func Attach(base model.Learner, ar *compute.Arena, o Options) (*Model, error) {
	be, ok := base.Backend().(*Backend)
	if !ok {
		return nil, fmt.Errorf("lora: the model computes on %T: build it over a backend that lora.New made", base.Backend())
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	layers, err := o.choose(base)
	if err != nil {
		return nil, err
	}
	m := &Model{Learner: base, be: be, options: o}
	for i, l := range layers {
		out, in, r := l.T.NumRows(), l.T.NumCols(), o.RankOf(l.module)
		a := &Adapter{Module: l.module, Rank: r, Scale: o.ScaleOf(l.module), A: ar.F32(r, in), B: ar.F32(out, r)}
		uniform(be, a.A, rand.New(rand.NewPCG(o.Seed, uint64(i+1))))
		be.Zero(a.B)
		be.adapt(l.T, a)
		m.adapters = append(m.adapters, a)
	}
	m.weights = m.over(func(a *Adapter) pair { return pair{a.A, a.B} })
	return m, nil
}

// uniform fills t row by row with numbers in +-1/sqrt(columns).
func uniform(be compute.Backend, t compute.Tensor, rng *rand.Rand) {
	bound := 1 / math.Sqrt(float64(t.NumCols()))
	row := make([]float32, t.NumCols())
	for i := range t.NumRows() {
		for j := range row {
			row[j] = float32((2*rng.Float64() - 1) * bound)
		}
		be.UploadF32(t.Rows(i, i+1), row)
	}
}

// Options are those that the adapters were made by.
func (m *Model) Options() Options { return m.options }

// Adapters lists the adapters in the order of the model's layers.
func (m *Model) Adapters() []*Adapter { return m.adapters }

// Without runs f with the adapters out of the way: what f computes is the base's. f may
// not go backward.
func (m *Model) Without(f func()) {
	defer m.be.mute(m.be.mute(true))
	f()
}

// Numbers is how many numbers are trained.
func (m *Model) Numbers() (n int64) {
	for _, a := range m.adapters {
		n += int64(a.A.Len() + a.B.Len())
	}
	return n
}

// Biases is empty: the routers are frozen, their selection biases too.
func (m *Model) Biases() []compute.Tensor { return nil }

// Blocks lists A and B of every adapter by PEFT's names.
func (m *Model) Blocks() []nn.Param { return m.weights.Blocks() }

// NewTwin allocates F32 tensors for the adapters, zeroed.
func (m *Model) NewTwin(ar *compute.Arena) model.Weights {
	return m.over(func(a *Adapter) pair {
		p := pair{ar.F32(a.A.NumRows(), a.A.NumCols()), ar.F32(a.B.NumRows(), a.B.NumCols())}
		m.be.Zero(p.a)
		m.be.Zero(p.b)
		return p
	})
}

// Learn is the base's, and its Backward goes to the adapters.
func (m *Model) Learn(ar *compute.Arena, p model.Packed, o model.StepOptions) model.Pass {
	return pass{m.Learner.Learn(ar, p, o), m}
}

type pass struct {
	model.Pass
	m *Model
}

// Backward adds the adapters' gradients to grads, a twin of the Model.
func (p pass) Backward(coef []float32, grads model.Weights) {
	defer p.m.be.collect(grads.(weights).pairs)()
	p.Pass.Backward(coef, nil)
}

// pair is two tensors of the shapes of an adapter's A and B.
type pair struct{ a, b compute.Tensor }

// weights are such pairs for all adapters of a model.
type weights struct {
	list  []nn.Param
	pairs map[*Adapter]pair
}

// Blocks lists them by PEFT's names.
func (w weights) Blocks() []nn.Param { return w.list }

// over makes weights of a pair for each adapter.
func (m *Model) over(of func(*Adapter) pair) weights {
	w := weights{pairs: make(map[*Adapter]pair, len(m.adapters))}
	for _, a := range m.adapters {
		p := of(a)
		w.pairs[a] = p
		w.list = append(w.list, param(a.NameA(), p.a), param(a.NameB(), p.b))
	}
	return w
}

func param(name string, t compute.Tensor) nn.Param {
	return nn.Param{Name: name, T: t, Shape: []int{t.NumRows(), t.NumCols()}, Decay: true}
}

// Prefix is what PEFT's names put before a layer's.
const Prefix = "base_model.model."

// NameA is the name of A in PEFT's files.
func (a *Adapter) NameA() string { return Prefix + a.Module + ".lora_A.weight" }

// NameB is the name of B in PEFT's files.
func (a *Adapter) NameB() string { return Prefix + a.Module + ".lora_B.weight" }
