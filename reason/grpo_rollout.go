package reason

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sonde/engine"
	"sonde/reason/task"
)

// sample is one answer with what is learned from it.
type sample struct {
	*answer
	group     int // of the step
	advantage float64
	ref       []float32 // log-probabilities under the reference, where there is one
}

// rows is the number of rows that the sample takes of a training pass.
func (s *sample) rows() int { return len(s.prompt) + len(s.Tokens) - 1 }

// batch is what a step learns from: the samples, group after group.
type batch struct {
	samples []*sample
	groups  int // of those in samples
	mixed   int // of the groups drawn
	drawn   int
	seconds float64 // spent on generation and judging
	tokens  int     // written
	read    int     // of prompts
}

// Seeds of streams that must not meet.
const (
	seedProblems = iota + 1
	seedRollouts
	seedShuffle
	seedHeldOut
	seedEvaluation
	seedRandom
	seedTokenizer
	seedStage
)

// mixSeeds makes one seed of several.
func mixSeeds(parts ...uint64) uint64 {
	h := uint64(0x736f6e6465)
	for _, p := range parts {
		h = (h ^ p) * 0x9e3779b97f4a7c15
		h = (h ^ h>>29) * 0xbf58476d1ce4e5b9
		h ^= h >> 32
	}
	return h
}

// problem is number n of the run's problems, a function of the seed and n alone.
func (r *grpo) problem(n int) (*task.Problem, []int32, error) {
	p, err := r.mix.Draw(task.NewRand(mixSeeds(*r.o.Seed, seedProblems, uint64(n))), task.Train)
	if err != nil {
		return nil, nil, err
	}
	ids, err := r.prompt(&p)
	return &p, ids, err
}

// prompt is a problem's, which must leave room for an answer.
func (r *grpo) prompt(p *task.Problem) ([]int32, error) {
	ids, err := r.model.Prompt(p.Prompt, r.o.Think)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.ID, err)
	}
	if c := r.model.Cfg.Context(); len(ids)+r.o.MaxTokens > c {
		return nil, fmt.Errorf("%w: %s of difficulty %d takes %d tokens, and with an answer of up to %d (--max-tokens) that is more than the model's context, %d; choose shorter answers, lower difficulties (--tasks name@1-2), or a model with a longer context",
			engine.ErrContext, p.ID, p.Difficulty, len(ids), r.o.MaxTokens, c)
	}
	return ids, nil
}

// dynamicRounds is how often, at most, dynamic sampling draws again for one step.
const dynamicRounds = 5

// rollOut writes and judges a step's samples. With dynamic sampling it draws problems until
// there are enough groups whose rewards differ, or the rounds are used up.
func (r *grpo) rollOut(ctx context.Context) (*batch, error) {
	began, b := time.Now(), &batch{}
	rounds := 1
	if r.o.Dynamic {
		rounds = dynamicRounds
	}
	for round := 0; round < rounds && b.groups < r.o.Prompts; round++ {
		if err := r.round(ctx, b, r.o.Prompts-b.groups); err != nil {
			return nil, err
		}
	}
	b.seconds = time.Since(began).Seconds()
	return b, nil
}

// round draws n problems and adds the groups that are to be learned from.
func (r *grpo) round(ctx context.Context, b *batch, n int) error {
	samples, err := r.answer(ctx, r.drawn, n)
	if err != nil {
		return err
	}
	r.drawn += n
	b.drawn += n
	for g := 0; g < n; g++ {
		group := samples[g*r.o.Group : (g+1)*r.o.Group]
		b.read += len(group[0].prompt)
		rewards := make([]float64, len(group))
		for i, s := range group {
			rewards[i] = s.Reward
			b.tokens += len(s.Tokens)
		}
		mixed := Mixed(rewards)
		if mixed {
			b.mixed++
		} else if r.o.Dynamic {
			continue
		}
		for i, a := range Advantages(rewards, r.objective.Std) {
			group[i].advantage, group[i].group = a, b.groups
		}
		b.samples = append(b.samples, group...)
		b.groups++
	}
	return nil
}

// answer generates and judges the groups of problems first to first+n-1.
func (r *grpo) answer(ctx context.Context, first, n int) ([]*sample, error) {
	var qs []question
	for i := range n {
		p, ids, err := r.problem(first + i)
		if err != nil {
			return nil, err
		}
		qs = append(qs, question{p, ids, mixSeeds(*r.o.Seed, seedRollouts, uint64(first+i))})
	}
	p := r.answerer.p
	p.LogProbs, p.KeepMask, p.KeepRoutes = true, r.o.KeepMask, r.o.KeepRouting
	samples, err := r.ask(ctx, qs, r.o.Group, p)
	if err == nil && r.o.RandomRewards {
		for i, s := range samples {
			s.Reward = float64(mixSeeds(*r.o.Seed, seedRandom, uint64(first), uint64(i)) >> 63)
		}
	}
	return samples, err
}

// ask has the model answer questions, n times each. The samples come back question after
// question.
func (r *grpo) ask(ctx context.Context, questions []question, n int, p engine.RollParams) ([]*sample, error) {
	answers, err := r.answerer.answer(ctx, questions, n, p)
	if errors.Is(err, engine.ErrNotFinite) {
		return nil, r.trouble("the model's logits are not finite numbers")
	}
	if err != nil {
		return nil, err
	}
	out := make([]*sample, len(answers))
	for i, a := range answers {
		out[i] = &sample{answer: a, group: i / n}
	}
	return out, nil
}

// thoughtLength is the tokens of a sample's thought.
func (r *grpo) thoughtLength(s *sample) int {
	if !s.Thinking {
		return 0
	}
	return len(r.model.Tok.Encode(s.Thought))
}
