// Package engine generates text: it feeds a prompt to a model piece by piece,
// samples token after token, watches for stop strings, and streams text that is
// never cut within a character. Several callers share one model: a bounded number
// of sequences go through it together, step by step, a bounded number wait, the rest
// are told to come back.
//
// A sequence's logits depend on its own tokens alone, to the last bit: not on the
// pieces the prompt was fed in, on other sequences or on the number of threads.
package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"sonde/compute"
)

// Errors that callers tell apart.
var (
	// ErrBusy says that the queue is full: try again later.
	ErrBusy = errors.New("all places are taken and the queue is full; try again shortly")
	// ErrContext says that the prompt does not fit into the model's context.
	ErrContext = errors.New("the prompt is too long")
	// ErrToken says that an id is outside the model's vocabulary.
	ErrToken = errors.New("no such token")
	// ErrEmpty says that there is nothing to continue.
	ErrEmpty = errors.New("the prompt is empty: give at least one character, or a beginning-of-text token")
)

// Decoder turns ids into text, holding back incomplete characters.
type Decoder interface {
	// Next adds a token and returns the characters that are complete now.
	Next(id int32) string
	// Flush returns what is left, replacement characters for incomplete ones.
	Flush() string
}

// Codec is what generation needs of a tokenizer.
type Codec interface {
	NewDecoder() Decoder
	// DecodeBytes are the bytes of ids, which may cut characters.
	DecodeBytes(ids []int32) []byte
	// EOS is the token that ends a text, -1 where there is none.
	EOS() int32
}

// Limits bound what the engine takes on at a time. A zero field takes the default.
type Limits struct {
	Slots   int // sequences generated together; default 4
	Queue   int // callers waiting for a slot; default 64, negative: none
	Piece   int // tokens of prompts in one step, which prompts share evenly; default 256
	Context int // most tokens of a sequence; default and upper bound: the model's
}

// Engine generates from one model. It is safe for concurrent use.
type Engine struct {
	model   Source
	codec   Codec
	lim     Limits
	turn    chan struct{} // the one permit to use the model
	slots   chan struct{}
	waiting atomic.Int64
	tickets atomic.Uint64 // given out so far
	batch   batch
}

// Of makes an engine over any model and tokenizer.
func Of(m Source, c Codec, lim Limits) *Engine {
	if lim.Slots <= 0 {
		lim.Slots = 4
	}
	if lim.Queue == 0 {
		lim.Queue = 64
	}
	if lim.Piece <= 0 {
		lim.Piece = 256
	}
	if lim.Context <= 0 || lim.Context > m.Context() {
		lim.Context = m.Context()
	}
	return &Engine{model: m, codec: c, lim: lim,
		turn: make(chan struct{}, 1), slots: make(chan struct{}, lim.Slots)}
}

// Context is the most tokens that prompt and answer may have together.
func (e *Engine) Context() int { return e.lim.Context }

// Load is how many sequences are being generated and how many callers wait.
func (e *Engine) Load() (active, waiting int) {
	return len(e.slots), int(e.waiting.Load())
}

// Ticket is a place among the sequences being generated. Its calls must not overlap.
type Ticket struct {
	e     *Engine
	order uint64 // of admission
}

func (e *Engine) ticket() *Ticket { return &Ticket{e, e.tickets.Add(1)} }

// Admit waits for a place, or returns ErrBusy where too many wait already. The
// ticket must be released once.
func (e *Engine) Admit(ctx context.Context) (*Ticket, error) {
	select {
	case e.slots <- struct{}{}:
		return e.ticket(), nil
	default:
	}
	if e.waiting.Add(1) > int64(max(e.lim.Queue, 0)) {
		e.waiting.Add(-1)
		return nil, ErrBusy
	}
	defer e.waiting.Add(-1)
	select {
	case e.slots <- struct{}{}:
		return e.ticket(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Release gives the place to the next.
func (t *Ticket) Release() { <-t.e.slots }

// Use runs f while nobody else uses the model: not a sequence under way, nor another
// caller. Waiters get their turn in order. Out
// of memory becomes an error.
func (e *Engine) Use(ctx context.Context, f func() error) (err error) {
	if err := e.permit(ctx); err != nil {
		return err
	}
	return e.guarded(f)
}

// permit waits for the permit to use the model.
func (e *Engine) permit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case e.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// guarded runs f with the permit in hand and gives the permit back.
func (e *Engine) guarded(f func() error) (err error) {
	defer func() { <-e.turn }()
	defer compute.CatchOutOfMemory(&err)
	return f()
}

// Check says whether prompt can be continued with p, without waiting for a place.
func (e *Engine) Check(prompt []int32, p Params) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if len(prompt) == 0 {
		return ErrEmpty
	}
	if len(prompt) >= e.lim.Context {
		return fmt.Errorf("%w: it has %d tokens and the context holds %d, of which one is for the answer; shorten it",
			ErrContext, len(prompt), e.lim.Context)
	}
	for _, id := range prompt {
		if id < 0 || int(id) >= e.model.Vocab() {
			return fmt.Errorf("%w: %d is outside the model's vocabulary of %d", ErrToken, id, e.model.Vocab())
		}
	}
	return nil
}
