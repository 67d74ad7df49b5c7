// Package model says what a language model is to the rooms above it, whatever its
// architecture: model/deepseek and model/llama are the architectures, model/auto
// chooses one by config.json.
package model

import (
	"sonde/compute"
	"sonde/nn"
)

// Config describes a model as Hugging Face's config.json does.
type Config interface {
	// Architecture is the class in transformers, such as "DeepseekV3ForCausalLM".
	Architecture() string
	// Vocab is the number of logits, Context the most tokens of a sequence.
	Vocab() int
	Context() int
	Layers() int
	Hidden() int
	TotalParams() int64
	ActiveParams() int64
	// FlopsPerToken are the operations of a forward pass for each of seqLen tokens;
	// causal counts visible keys alone.
	FlopsPerToken(seqLen int, causal bool) float64
	// KVBytesPerToken is what a token takes of a sequence's cache, all layers together.
	KVBytesPerToken() int64
	MarshalJSON() ([]byte, error)
}

// Net is a model with its weights. Its calls must not overlap.
type Net interface {
	Backend() compute.Backend
	// Describe is the model's config.
	Describe() Config
	// Params lists the weights by Hugging Face's names, experts one by one.
	Params() []nn.Param
	// Slots lists the same weights as places that a loader may fill with tensors over a
	// file's own memory.
	Slots() []nn.Slot
	// NewSequence makes an empty sequence of at most maxLen tokens.
	NewSequence(maxLen int) Sequence
	// Forward appends each part's tokens to its sequence, all in one pass. The logits of
	// a sequence do not depend, to the last bit, on the other parts or on how its tokens
	// were cut into calls. Nothing is appended when an error is returned.
	Forward(parts []Part) error
	// SetTap shows t what crosses the model from now on; nil ends it.
	SetTap(t Tap)
	// Close frees the working memory of Forward; a later Forward takes it anew. The
	// weights' arena is the caller's, and sequences are closed one by one.
	Close()
}

// Sequence is one text's keys and values in a model's memory.
type Sequence interface {
	Len() int
	Max() int
	// Truncate forgets the tokens from n on.
	Truncate(n int)
	Close()
}

// Want says which logits a Part asks for.
type Want uint8

// The logits of no position, of the last, of all; or, instead of logits, the
// log-probabilities of given tokens.
const (
	WantNone Want = iota
	WantLast
	WantAll
	WantLogProbs
)

// Part is one sequence's share of a Forward.
type Part struct {
	Sequence Sequence
	IDs      []int32
	Want     Want
	Logits   []float32 // result: [V], or [len(IDs), V] for WantAll; grown if too short
	// Targets are for WantLogProbs: the token after each of IDs, negative for places to
	// pass over, whose rows never meet the head. LogP is the result, as long, 0 there.
	Targets []int32
	LogP    []float32
	// WantRoutes asks for Routes, the experts that each of IDs chose, per MoE layer
	// [len(IDs)*K], ascending; grown if too short, empty for models without experts.
	WantRoutes bool
	Routes     [][]int32
}

// Tap is shown what crosses a model, for goldens, importance matrices and reports. Its
// tensors are valid during the call alone. A tap that embeds NoTap need not have all
// of the methods.
type Tap interface {
	Hidden(layer int, x compute.Tensor)     // 0 = embedding, i = after layer i-1; the last is after the final norm
	Route(name string, r compute.RouteArgs) // name as in the checkpoint, "model.layers.1.mlp.gate"
	// Index is shown V3.2's indexer's picks, of "model.layers.1.self_attn.indexer", before
	// they are used: what it writes there is read instead, so that a pass can follow
	// another's choice.
	Index(name string, picks compute.Tensor)
	Logits(module int, h, head compute.Tensor) // 0 = main, i = MTP module i-1: the rows that meet the head
	// Linear is shown the input rows of every weight matrix by its name; of experts
	// (rows nil for those without tokens) each by its own.
	Linear(name string, x compute.Tensor)
}

// NoTap is a Tap that looks at nothing.
type NoTap struct{}

// Hidden does nothing.
func (NoTap) Hidden(int, compute.Tensor) {}

// Route does nothing.
func (NoTap) Route(string, compute.RouteArgs) {}

// Index does nothing.
func (NoTap) Index(string, compute.Tensor) {}

// Logits does nothing.
func (NoTap) Logits(int, compute.Tensor, compute.Tensor) {}

// Linear does nothing.
func (NoTap) Linear(string, compute.Tensor) {}
