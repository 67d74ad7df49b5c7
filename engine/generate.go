package engine

import (
	"context"
	"strings"
	"time"

	"sonde/model"
)

// TokenLogProb is a token with the logarithm of the probability the model gave it
// (before temperature and filters).
type TokenLogProb struct {
	ID      int32
	Text    string // its bytes: perhaps a part of a character
	LogProb float64
	Top     []TokenLogProb // the most probable alternatives, where asked for
}

// Delta is a piece of text as it streams out, always whole characters.
type Delta struct {
	Text string
	// Tokens has the log-probabilities of tokens that became text since the last
	// Delta, where Params.LogProbs asks for them.
	Tokens []TokenLogProb
}

// Finish says why a text ended.
type Finish string

// The reasons, as the HTTP API spells them.
const (
	FinishStop   Finish = "stop"   // end of sequence or a stop string
	FinishLength Finish = "length" // MaxTokens or the context's end
)

// Result is what a generation amounted to.
type Result struct {
	Text             string
	Finish           Finish
	StopString       string // the stop string met, if one was
	Tokens           []int32
	LogProbs         []TokenLogProb
	PromptTokens     int
	CompletionTokens int           // without the end-of-sequence token
	Prefill, Decode  time.Duration // time for the prompt, and for the tokens after it
}

// Generate continues prompt and calls emit (which may be nil) with every piece of
// text. It returns when the text ends, when emit returns an error, or between two
// steps when ctx is done; the Result holds what there was until then. Other callers'
// sequences go through the model together with this one; an emit that takes its time
// holds up no other.
func (e *Engine) Generate(ctx context.Context, prompt []int32, p Params, emit func(Delta) error) (Result, error) {
	if err := e.Check(prompt, p); err != nil {
		return Result{PromptTokens: len(prompt)}, err
	}
	t, err := e.Admit(ctx)
	if err != nil {
		return Result{PromptTokens: len(prompt)}, err
	}
	defer t.Release()
	return t.Generate(ctx, prompt, p, emit)
}

// Generate is Engine.Generate for a caller who has a place already.
func (t *Ticket) Generate(ctx context.Context, prompt []int32, p Params, emit func(Delta) error) (Result, error) {
	g := &generation{e: t.e, order: t.order, p: p, emit: emit}
	g.res.PromptTokens = len(prompt)
	if err := t.e.Check(prompt, p); err != nil {
		return g.res, err
	}
	err := g.run(ctx, prompt)
	g.res.Text = g.text.String()
	return g.res, err
}

// generation is one call of Generate under way.
type generation struct {
	e      *Engine
	order  uint64
	p      Params
	emit   func(Delta) error
	m      *member
	logits []float32 // after the last token
	res    Result
	text   strings.Builder
	stop   stopper
	chars  Decoder
	// unsent are tokens whose text has not gone out; each begins at byte start of
	// the text decoded so far, of which sent bytes have gone out.
	unsent        []heldToken
	decoded, sent int
}

type heldToken struct {
	start int
	lp    TokenLogProb
}

func (g *generation) run(ctx context.Context, prompt []int32) error {
	limit := g.e.lim.Context - len(prompt)
	if g.p.MaxTokens > 0 {
		limit = min(limit, g.p.MaxTokens)
	}
	began := time.Now()
	defer g.close()
	g.m = g.e.batch.join(g.order, len(prompt)+limit)
	if err := g.extend(ctx, prompt); err != nil {
		return err
	}
	fed := time.Now()
	g.res.Prefill = fed.Sub(began)
	defer func() { g.res.Decode = time.Since(fed) }()
	return g.decode(ctx, limit)
}

// extend appends ids and keeps the logits after them.
func (g *generation) extend(ctx context.Context, ids []int32) (err error) {
	g.logits, err = g.e.forward(ctx, g.m, ids, model.WantLast)
	return err
}

// close frees the sequence, whatever the context says: memory must come back.
func (g *generation) close() {
	g.m.leave()
	if g.m.seq != nil {
		g.e.turn <- struct{}{}
		_ = g.e.guarded(func() error {
			g.m.seq.Close()
			return nil
		})
	}
}

// decode samples up to limit tokens.
func (g *generation) decode(ctx context.Context, limit int) error {
	sam := newSampler(g.p)
	g.chars = g.e.codec.NewDecoder()
	g.stop = stopper{stops: g.p.Stop}
	for {
		id, err := sam.next(g.logits)
		if err != nil {
			return err
		}
		if g.ends(id) {
			return g.finish(FinishStop)
		}
		if done, err := g.accept(id); done || err != nil {
			return err
		}
		if limit--; limit == 0 {
			return g.finish(FinishLength)
		}
		if err := g.extend(ctx, []int32{id}); err != nil {
			return err
		}
	}
}

// ends reports whether id is an end-of-text token.
func (g *generation) ends(id int32) bool {
	for _, s := range g.p.StopTokens {
		if id == s {
			return true
		}
	}
	return id == g.e.codec.EOS() && !g.p.IgnoreEOS
}

// accept adds a token and sends the text it completes; done says that a stop string
// was met.
func (g *generation) accept(id int32) (done bool, err error) {
	g.res.Tokens = append(g.res.Tokens, id)
	g.res.CompletionTokens++
	if g.p.LogProbs {
		lp := g.e.logProb(g.logits, id, g.p.TopLogProbs)
		g.unsent = append(g.unsent, heldToken{g.decoded, lp})
	}
	text := g.chars.Next(id)
	g.decoded += len(text)
	out, hit := g.stop.push(text)
	if hit != "" {
		g.res.Finish, g.res.StopString = FinishStop, hit
		return true, g.send(out, false)
	}
	return false, g.send(out, false)
}

// finish sends what was held back and notes the reason.
func (g *generation) finish(why Finish) error {
	g.res.Finish = why
	out, hit := g.stop.push(g.chars.Flush())
	if hit != "" {
		g.res.Finish, g.res.StopString = FinishStop, hit
	} else {
		out += g.stop.flush()
	}
	return g.send(out, hit == "")
}

// send emits text with the tokens that begin in it; with all, every token left.
func (g *generation) send(text string, all bool) error {
	g.text.WriteString(text)
	g.sent += len(text)
	d := Delta{Text: text}
	n := 0
	for n < len(g.unsent) && (all || g.unsent[n].start < g.sent) {
		d.Tokens = append(d.Tokens, g.unsent[n].lp)
		n++
	}
	g.unsent = g.unsent[n:]
	g.res.LogProbs = append(g.res.LogProbs, d.Tokens...)
	if g.emit == nil || text == "" && n == 0 {
		return nil
	}
	return g.m.aside(func() error { return g.emit(d) })
}

// logProb looks id up in the softmax of logits, with n alternatives.
func (e *Engine) logProb(logits []float32, id int32, n int) TokenLogProb {
	lse := logSumExp(logits)
	at := func(id int32) TokenLogProb {
		return TokenLogProb{ID: id, Text: string(e.codec.DecodeBytes([]int32{id})), LogProb: float64(logits[id]) - lse}
	}
	lp := at(id)
	if n > 0 {
		for _, t := range topTokens(logits, n) {
			lp.Top = append(lp.Top, at(t))
		}
	}
	return lp
}
