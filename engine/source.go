package engine

import (
	"sonde/model"
	"sonde/text"
)

// Source is what the engine needs of a model; its calls never overlap. model.Net says
// what they do.
type Source interface {
	// NewSequence makes an empty sequence that will hold at most maxLen tokens.
	NewSequence(maxLen int) model.Sequence
	// Forward appends each part's tokens to its sequence.
	Forward(parts []model.Part) error
	// Context is the most tokens that one sequence may hold.
	Context() int
	// Vocab is the number of logits.
	Vocab() int
}

// New makes an engine over a model with the default limits. The engine does not own
// the model: close the model after the last call has returned.
func New(n model.Net, t *text.Tokenizer) *Engine { return NewLimited(n, t, Limits{}) }

// NewLimited is New with limits.
func NewLimited(n model.Net, t *text.Tokenizer, lim Limits) *Engine {
	return Of(net{n}, tokens{t}, lim)
}

type net struct{ model.Net }

func (n net) Context() int { return n.Describe().Context() }
func (n net) Vocab() int   { return n.Describe().Vocab() }

type tokens struct{ *text.Tokenizer }

func (t tokens) NewDecoder() Decoder { return t.NewStream() }
