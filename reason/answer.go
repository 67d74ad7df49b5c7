package reason

import (
	"context"
	"fmt"
	"runtime"

	"sonde/engine"
	"sonde/reason/task"
)

// answerer has a model answer problems, each several times, and judges the answers.
type answerer struct {
	model  *Model
	roller *engine.Roller
	reward RewardOptions
	think  Think
	p      engine.RollParams
}

// newAnswerer makes one; MaxTokens of p bounds an answer, 0 leaves what the context has room
// for. close ends it.
func newAnswerer(m *Model, think Think, p engine.RollParams) *answerer {
	p.EOS, p.StopTokens = -1, m.Ends()
	return &answerer{model: m, roller: engine.NewRoller(m.Net), think: think, p: p}
}

func (a *answerer) close() { a.roller.Close() }

// answer is one answer with all that is known of it.
type answer struct {
	*engine.Rolled
	Judged
	problem *task.Problem
	prompt  []int32
	text    string
}

// toAsk is a problem with the seed of its answers.
type toAsk struct {
	problem task.Problem
	seed    uint64
}

// question is a problem to be answered: with its prompt, and the seed of its answers.
type question struct {
	problem *task.Problem
	prompt  []int32
	seed    uint64
}

// ask writes n answers to each problem and judges them. They come back problem after
// problem; those whose prompt leaves no room for an answer are nil.
func (a *answerer) ask(ctx context.Context, problems []toAsk, n int) ([]*answer, error) {
	var questions []question
	var of []int
	for i := range problems {
		p := &problems[i].problem
		ids, err := a.model.Prompt(p.Prompt, a.think)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.ID, err)
		}
		if len(ids) < a.model.Cfg.Context() {
			questions, of = append(questions, question{p, ids, problems[i].seed}), append(of, i)
		}
	}
	answers, err := a.answer(ctx, questions, n, a.p)
	if err != nil {
		return nil, err
	}
	out := make([]*answer, len(problems)*n)
	for k, i := range of {
		copy(out[i*n:], answers[k*n:(k+1)*n])
	}
	return out, nil
}

// answer writes n answers to each question as p says and judges them, while others are
// being written. They come back question after question.
func (a *answerer) answer(ctx context.Context, questions []question, n int, p engine.RollParams) ([]*answer, error) {
	rolls := make([]engine.Roll, len(questions))
	for i, q := range questions {
		rolls[i] = engine.Roll{Prompt: q.prompt, Samples: n, Seed: q.seed}
	}
	out := make([]*answer, len(questions)*n)
	j := newJudges(max(runtime.NumCPU(), 2))
	err := a.roller.Roll(ctx, rolls, p, func(x *engine.Rolled) {
		q := &questions[x.Roll]
		s := &answer{Rolled: x, problem: q.problem, prompt: q.prompt}
		out[x.Roll*n+x.Sample] = s
		j.work <- func() { a.judge(ctx, s) }
	})
	j.finish()
	if err == nil {
		err = ctx.Err() // verdicts may have been cut short
	}
	return out, err
}

// judge reads what was written.
func (a *answerer) judge(ctx context.Context, s *answer) {
	ids := s.Tokens
	if s.Finish == engine.FinishStop {
		ids = ids[:len(ids)-1]
	}
	s.text = string(a.model.Tok.DecodeBytes(ids))
	s.Judged = a.reward.Judge(ctx, Text{Problem: s.problem, Output: s.text, Opened: a.think == ThinkForce,
		Tokens: len(s.Tokens), CutOff: s.Finish == engine.FinishLength}, a.p.MaxTokens)
}
