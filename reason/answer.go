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

// newAnswerer makes one; maxTokens bounds an answer, 0 leaves what the context has room
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

// ask writes n answers to each problem and judges them, while others are being written.
// They come back problem after problem; those whose prompt leaves no room for an answer
// are nil.
func (a *answerer) ask(ctx context.Context, problems []toAsk, n int) ([]*answer, error) {
	var rolls []engine.Roll
	var of []int
	for i := range problems {
		ids, err := a.model.Prompt(problems[i].problem.Prompt, a.think)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", problems[i].problem.ID, err)
		}
		if len(ids) < a.model.Cfg.Context() {
			rolls, of = append(rolls, engine.Roll{Prompt: ids, Samples: n, Seed: problems[i].seed}), append(of, i)
		}
	}
	out := make([]*answer, len(problems)*n)
	j := newJudges(max(runtime.NumCPU(), 2))
	err := a.roller.Roll(ctx, rolls, a.p, func(x *engine.Rolled) {
		s := &answer{Rolled: x, problem: &problems[of[x.Roll]].problem, prompt: rolls[x.Roll].Prompt}
		out[of[x.Roll]*n+x.Sample] = s
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
		Tokens: len(s.Tokens), CutOff: s.Finish == engine.FinishLength}, len(s.Tokens))
}
