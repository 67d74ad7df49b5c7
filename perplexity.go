package sonde

import (
	"context"
	"errors"
	"fmt"
	"math"

	"sonde/engine"
)

// PerplexityOptions say which tokens of a text count, and with how much before them.
// The zero value counts every token but the first, in windows as long as the model's
// context that overlap by half.
type PerplexityOptions struct {
	// Window, where set, cuts the text into windows of so many tokens side by side.
	// Only full windows that at least one token follows count: place i of a window
	// predicts the token after it.
	Window int
	// CountFrom is the first place of each window that counts. With Window 0 it is
	// how many tokens a window repeats of the one before.
	CountFrom int
	// BOS puts the beginning-of-text token before the text.
	BOS bool
	// Progress, where present, is called with the tokens counted so far and their total.
	Progress func(done, total int)
}

// Perplexity is how well a model predicts a text. The logarithm is natural.
type Perplexity struct {
	Tokens       int     `json:"tokens"` // counted
	NatsPerToken float64 `json:"nats_per_token"`
	Perplexity   float64 `json:"perplexity"`
	BitsPerByte  float64 `json:"bits_per_byte"`
}

// window is a stretch of tokens of which the targets from place from on count.
type window struct{ start, length, from int }

// Perplexity measures the model on text, which it reads as plain text.
func (m *Model) Perplexity(ctx context.Context, text string, o PerplexityOptions) (Perplexity, error) {
	leave, err := m.enter()
	if err != nil {
		return Perplexity{}, err
	}
	defer leave()
	var ids []int32
	if o.BOS {
		if m.tok.BOS() < 0 {
			return Perplexity{}, errors.New("this model's tokenizer has no beginning-of-text token; measure without it")
		}
		ids = append(ids, m.tok.BOS())
	}
	ids = m.tok.AppendEncode(ids, text)
	windows, err := cut(len(ids), m.cfg.MaxPositionEmbedding, o)
	if err != nil {
		return Perplexity{}, err
	}
	return m.measure(ctx, ids, windows, o.Progress)
}

// cut lays windows over n tokens for a model whose context holds span.
func cut(n, span int, o PerplexityOptions) ([]window, error) {
	switch {
	case o.Window < 0 || o.Window > span:
		return nil, fmt.Errorf("the window is %d; it must lie between 1 and the model's context of %d, or be 0 for a sliding one", o.Window, span)
	case o.CountFrom < 0 || o.Window > 0 && o.CountFrom >= o.Window:
		return nil, fmt.Errorf("counting from place %d is not possible in a window of %d; give a place below it", o.CountFrom, o.Window)
	case n < 2:
		return nil, fmt.Errorf("the text has %d tokens; at least 2 are needed, one to predict from and one to predict", n)
	}
	if o.Window == 0 {
		return slide(n, span, o.CountFrom)
	}
	var ws []window
	for s := 0; s+o.Window < n; s += o.Window {
		ws = append(ws, window{s, o.Window, o.CountFrom})
	}
	if ws == nil {
		return nil, fmt.Errorf("the text has %d tokens and fills no window of %d with a token after it; give a longer text or a smaller window", n, o.Window)
	}
	return ws, nil
}

// slide lays windows of span tokens so that each repeats overlap tokens of the one
// before (half of span where 0) and every token but the first is counted once.
func slide(n, span, overlap int) ([]window, error) {
	if overlap == 0 {
		overlap = span / 2
	}
	if overlap >= span {
		return nil, fmt.Errorf("windows of the model's context of %d cannot repeat %d tokens; count from a smaller place", span, overlap)
	}
	ws := []window{{0, min(span, n-1), 0}}
	for {
		last := ws[len(ws)-1]
		end := last.start + last.length // the next token to count is end+1
		if end >= n-1 {
			return ws, nil
		}
		start := end - overlap
		ws = append(ws, window{start, min(span, n-1-start), overlap})
	}
}

// measure adds up the windows in order. Between two of them others use the model.
func (m *Model) measure(ctx context.Context, ids []int32, windows []window, progress func(int, int)) (Perplexity, error) {
	ar := m.be.NewArena("the text being measured")
	defer ar.Free()
	nats, bytes, total := 0.0, 0, 0
	for _, w := range windows {
		total += w.length - w.from
	}
	var p Perplexity
	for _, w := range windows {
		tokens, targets := ids[w.start:w.start+w.length], ids[w.start+1:w.start+w.length+1]
		var logp []float32
		err := m.eng.Use(ctx, func() error {
			ar.Reset()
			logp = m.net.LogProbs(ar, 1, tokens, targets)
			return nil
		})
		if err != nil {
			return p, err
		}
		for _, lp := range logp[w.from:] {
			nats -= float64(lp)
		}
		bytes += len(m.tok.DecodeBytes(targets[w.from:]))
		p.Tokens += w.length - w.from
		if progress != nil {
			progress(p.Tokens, total)
		}
	}
	if math.IsNaN(nats) || math.IsInf(nats, 0) {
		return p, engine.ErrNotFinite
	}
	p.NatsPerToken = nats / float64(p.Tokens)
	p.Perplexity = math.Exp(p.NatsPerToken)
	p.BitsPerByte = nats / math.Ln2 / float64(max(bytes, 1))
	return p, nil
}
