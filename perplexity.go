package sonde

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"sonde/engine"
	"sonde/model"
)

// PerplexityOptions say which tokens of a text count, and with how much before them.
// The zero value counts every token but the first, in windows as long as the model's
// context that overlap by half.
type PerplexityOptions struct {
	// Window, where set, cuts the text into windows of so many tokens side by side;
	// only full ones that at least one token follows are measured. A token is predicted
	// from those before it in its window.
	Window int
	// CountFrom is the place in each window of the first token that counts. With
	// Window 0 it is how many tokens a window repeats of the one before.
	CountFrom int
	// BOS puts the beginning-of-text token before the text, or before each window
	// where Window is set, and so lets the first token count too.
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

// window is a stretch of tokens: targets[i] comes after tokens[i] and counts from
// i = from on.
type window struct {
	tokens, targets []int32
	from            int
}

// Perplexity measures the model on text, which it reads as plain text, in the form in
// which it generates. The head's activations stay float32.
func (m *Model) Perplexity(ctx context.Context, text string, o PerplexityOptions) (Perplexity, error) {
	leave, err := m.enter()
	if err != nil {
		return Perplexity{}, err
	}
	defer leave()
	var begin []int32
	if o.BOS {
		if m.tok.BOS() < 0 {
			return Perplexity{}, errors.New("this model's tokenizer has no beginning-of-text token; measure without it")
		}
		begin = []int32{m.tok.BOS()}
	}
	windows, err := cut(begin, m.tok.Encode(text), m.cfg.Context(), o)
	if err != nil {
		return Perplexity{}, err
	}
	return m.measure(ctx, windows, o.Progress)
}

// cut lays windows over ids for a model whose context holds span tokens. begin is
// empty or the beginning-of-text token.
func cut(begin, ids []int32, span int, o PerplexityOptions) ([]window, error) {
	switch n := len(begin) + len(ids); {
	case o.Window < 0 || o.Window == 1 || o.Window > span:
		return nil, fmt.Errorf("the window is %d; it must lie between 2 and the model's context of %d, or be 0 for a sliding one", o.Window, span)
	case o.CountFrom < 0 || o.Window > 0 && o.CountFrom >= o.Window:
		return nil, fmt.Errorf("counting from place %d is not possible in a window of %d; give a place below it", o.CountFrom, o.Window)
	case n < 2:
		return nil, fmt.Errorf("the text has %d tokens; at least 2 are needed, one to predict from and one to predict", n)
	}
	if o.Window == 0 {
		return slide(append(begin, ids...), span, o.CountFrom)
	}
	var ws []window
	for s := 0; s+o.Window < len(ids); s += o.Window {
		all := append(begin[:len(begin):len(begin)], ids[s:s+o.Window]...)
		last := len(all) - 1
		// all[i+1] is at place i+1-len(begin) of the window.
		ws = append(ws, window{all[:last], all[1:], max(o.CountFrom+len(begin)-1, 0)})
	}
	if ws == nil {
		return nil, fmt.Errorf("the text has %d tokens and fills no window of %d with a token after it; give a longer text or a smaller window", len(ids), o.Window)
	}
	return ws, nil
}

// slide lays windows of span tokens so that each repeats overlap tokens of the one
// before (half of span where 0) and every token but the first is counted once.
func slide(ids []int32, span, overlap int) ([]window, error) {
	if overlap == 0 {
		overlap = span / 2
	}
	if overlap >= span {
		return nil, fmt.Errorf("windows of the model's context of %d cannot repeat %d tokens; count from a smaller place", span, overlap)
	}
	var ws []window
	for start, from := 0, 0; ; from = overlap {
		end := min(start+span, len(ids)-1)
		ws = append(ws, window{ids[start:end], ids[start+1 : end+1], from})
		if end == len(ids)-1 {
			return ws, nil
		}
		start = end - overlap
	}
}

// scorePiece is how many tokens of a window are read between two turns of others.
const scorePiece = 512

// score gives the log-probability of each of w's targets, 0 for those that do not count.
func (m *Model) score(ctx context.Context, w window) ([]float32, error) {
	var seq model.Sequence
	if err := m.eng.Use(ctx, func() error { seq = m.net.NewSequence(len(w.tokens)); return nil }); err != nil {
		return nil, err
	}
	defer m.eng.Use(context.WithoutCancel(ctx), func() error { seq.Close(); return nil })
	targets := slices.Clone(w.targets)
	for i := range w.from {
		targets[i] = -1
	}
	var out []float32
	for at := 0; at < len(w.tokens); at += scorePiece {
		to := min(at+scorePiece, len(w.tokens))
		p := []model.Part{{Sequence: seq, IDs: w.tokens[at:to], Want: model.WantLogProbs, Targets: targets[at:to]}}
		if err := m.eng.Use(ctx, func() error { return m.net.Forward(p) }); err != nil {
			return nil, err
		}
		out = append(out, p[0].LogP...)
	}
	return out, nil
}

// measure adds up the windows in order. Between two pieces of one others use the model.
func (m *Model) measure(ctx context.Context, windows []window, progress func(int, int)) (Perplexity, error) {
	nats, bytes, total := 0.0, 0, 0
	for _, w := range windows {
		total += len(w.targets) - w.from
	}
	var p Perplexity
	for _, w := range windows {
		logp, err := m.score(ctx, w)
		if err != nil {
			return p, err
		}
		for _, lp := range logp[w.from:] {
			nats -= float64(lp)
		}
		bytes += len(m.tok.DecodeBytes(w.targets[w.from:]))
		p.Tokens += len(w.targets) - w.from
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
