package serve

import (
	"context"
	"errors"
	"net/http"
	"time"

	"sonde/engine"
	"sonde/text"
)

// prompt is a text to continue.
type prompt struct {
	ids   []int32
	begin int // of which so many are beginning-of-text tokens
}

// job is a checked request: every prompt continued n times.
type job struct {
	id      string
	created int64
	m       Model
	params  engine.Params
	prompts []prompt
	chat    *text.ChatPrompt // of a conversation
	n       int
	silent  bool // nothing is to be generated (max_tokens 0)
	usage   usage
}

func newJob(prefix string, m Model, s *sampling) (*job, error) {
	n, err := s.choices()
	if err != nil {
		return nil, err
	}
	params, err := s.params(m)
	if err != nil {
		return nil, err
	}
	return &job{id: newID(prefix), created: time.Now().Unix(), m: m, params: params, n: n}, nil
}

// check refuses what generating would refuse, before an answer begins.
func (j *job) check() error {
	for _, p := range j.prompts {
		if err := j.m.Engine().Check(p.ids, j.params); err != nil {
			return err
		}
	}
	return nil
}

// choice is one text of an answer, as it comes.
type choice interface {
	// prompt comes first: the prompt's tokens scored, where that was asked for.
	delta(index int, d engine.Delta) error
	finish(index int, res engine.Result) error
}

// run generates every choice in turn under one ticket. scored, where present, comes
// before each choice, with the ticket to score its prompt.
func (j *job) run(ctx context.Context, to choice, scored func(t *engine.Ticket, index int, p prompt) error) error {
	if err := j.check(); err != nil {
		return err
	}
	ticket, err := j.m.Engine().Admit(ctx)
	if err != nil {
		return err
	}
	defer ticket.Release()
	for pi, p := range j.prompts {
		for k := range j.n {
			index := pi*j.n + k
			if scored != nil {
				if err := scored(ticket, index, p); err != nil {
					return err
				}
			}
			res, err := j.one(ctx, ticket, index, p, to)
			if err != nil {
				return err
			}
			prompt := res.PromptTokens
			if k > 0 {
				prompt = 0 // a prompt counts once
			}
			j.usage.add(prompt, res.CompletionTokens)
			if err := to.finish(index, res); err != nil {
				return err
			}
		}
	}
	return nil
}

// one generates the choice index; each has a seed of its own.
func (j *job) one(ctx context.Context, t *engine.Ticket, index int, p prompt, to choice) (engine.Result, error) {
	if j.silent {
		return engine.Result{PromptTokens: len(p.ids), Finish: engine.FinishLength}, nil
	}
	params := j.params
	params.Seed += uint64(index)
	return t.Generate(ctx, p.ids, params, func(d engine.Delta) error { return to.delta(index, d) })
}

// answerError answers a request that failed and logs what is the server's fault.
func (s *server) answerError(w http.ResponseWriter, r *http.Request, err error) {
	s.logError(r, err)
	writeError(w, err)
}

func (s *server) logError(r *http.Request, err error) {
	if asAPI(err).status >= 500 && !errors.Is(err, context.Canceled) {
		s.log.Error("a request failed", "path", r.URL.Path, "error", err)
	}
}
