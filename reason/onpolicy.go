package reason

import (
	"context"
	"errors"
	"fmt"

	"sonde/compute"
	"sonde/engine"
	"sonde/model"
	"sonde/reason/task"
	"sonde/train"
)

// onPolicy has a student learn from its own answers what a teacher thinks of every token
// (on-policy distillation; the reverse divergence of MiniLLM, arXiv 2306.08543, and GKD,
// arXiv 2306.13649, without their sums over later tokens). For a token y drawn by the
// student after x its advantage is
//
//	A = log p_teacher(y | x) - log p_student(y | x)
//
// whose mean over draws is minus the divergence of the student from the teacher there, and
// the gradient that is followed is the mean over tokens of A * grad log p_student(y | x).
// No answer need be right for it, and no verifier is asked.
type onPolicy struct {
	teacher *Model
	mix     task.Mix
	own     []task.Problem // of files, asked in turn
	name    string
	o       *DistillOptions
	seed    uint64
	ar      *compute.Arena // for the teacher's passes
	ask     *answerer      // made with the student
}

// Len is 0: problems have no end.
func (*onPolicy) Len() int64 { return 0 }

// Name describes the problems.
func (p *onPolicy) Name() string { return fmt.Sprintf("on policy, %s, seed %d", p.name, p.seed) }

// At has no examples to give: the student writes them.
func (*onPolicy) At(int64) (Example, error) {
	return Example{}, errors.New("an on-policy source holds no examples")
}

// close gives back the memory.
func (p *onPolicy) close() {
	if p.ask != nil {
		p.ask.close()
	}
	if p.ar != nil {
		p.ar.Free()
	}
}

// answerer is the student's.
func (p *onPolicy) answerer(r *sftRun) *answerer {
	if p.ask == nil {
		p.ask = newAnswerer(r.model, p.o.Think, engine.RollParams{Slots: p.o.Slots,
			Params: engine.Params{Temperature: p.o.Temperature, TopP: 1, MaxTokens: p.o.MaxTokens}})
		p.ar = r.be.NewArena("the teacher's passes")
	}
	return p.ask
}

// problem is problem i of the run.
func (p *onPolicy) problem(i int64, split task.Split) (toAsk, error) {
	x := toAsk{seed: mixSeeds(p.seed, seedAnswers, uint64(split), uint64(i))}
	if n := int64(len(p.own)); n > 0 && (len(p.mix) == 0 || i%2 == 0) && split == task.Train {
		x.problem = p.own[(i/2)%n]
		return x, nil
	}
	if len(p.mix) == 0 {
		return x, errors.New("there are no held-out problems")
	}
	var err error
	x.problem, err = p.mix.Draw(task.NewRand(mixSeeds(p.seed, seedAsked, uint64(split), uint64(i))), split)
	return x, err
}

// answers asks the student n problems from number first on, times answers to each.
func (p *onPolicy) answers(ctx context.Context, r *sftRun, split task.Split, first int64, n, times int, logProbs bool) ([]*answer, error) {
	a := p.answerer(r)
	a.p.LogProbs = logProbs
	var asked []toAsk
	for i := range n {
		x, err := p.problem(first+int64(i), split)
		if err != nil {
			return nil, err
		}
		asked = append(asked, x)
	}
	return a.ask(ctx, asked, times)
}

// lesson is a step's answers with the teacher's opinion of every token.
func (p *onPolicy) lesson(ctx context.Context, r *sftRun) (*lesson, error) {
	answers, err := p.answers(ctx, r, task.Train, r.Next, p.o.Prompts, p.o.Samples, true)
	if err != nil {
		return nil, err
	}
	l := &lesson{used: int64(p.o.Prompts)}
	var kept []*answer
	var texts []train.Rollout
	right, tokens, kl := 0, 0, 0.0
	for i, a := range answers {
		if a == nil || len(a.prompt)+len(a.Tokens) > p.teacher.Cfg.Context() {
			continue
		}
		kept = append(kept, a)
		texts = append(texts, a.rollout(r.step+1, i/p.o.Samples, i%p.o.Samples))
		if a.Right() {
			right++
		}
	}
	if l.examples, err = p.judge(ctx, kept, r.o.Micro); err != nil {
		return nil, err
	}
	for i, e := range l.examples {
		for _, w := range e.Weights[len(kept[i].prompt):] {
			kl -= float64(w)
			tokens++
		}
	}
	if tokens == 0 {
		return nil, fmt.Errorf("no problem leaves room for an answer in contexts of %d tokens: lower the difficulty", min(r.model.Cfg.Context(), p.teacher.Cfg.Context()))
	}
	l.weight, l.kl = float64(tokens), kl/float64(tokens)
	l.numbers = []train.Number{{Name: "kl", Value: l.kl}, {Name: "accuracy", Value: float64(right) / float64(len(l.examples))},
		{Name: "length", Value: float64(tokens) / float64(len(l.examples))}}
	return l, r.journal.WriteRollouts(r.step+1, texts)
}

// judge makes examples of answers, whose weights are the advantages; the teacher reads
// about micro tokens at a time.
func (p *onPolicy) judge(ctx context.Context, answers []*answer, micro int) ([]Example, error) {
	out := make([]Example, len(answers))
	for from := 0; from < len(answers); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		to, rows := from, 0
		for ; to < len(answers) && (to == from || rows+len(answers[to].prompt)+len(answers[to].Tokens) <= micro); to++ {
			ids := append(append([]int32(nil), answers[to].prompt...), answers[to].Tokens...)
			out[to] = Example{Tokens: ids, Weights: ones(len(ids))}
			rows += len(ids)
		}
		p.weigh(out[from:to], answers[from:to])
		from = to
	}
	return out, nil
}

// weigh asks the teacher and sets the examples' weights.
func (p *onPolicy) weigh(examples []Example, answers []*answer) {
	mark := p.ar.Mark()
	defer p.ar.Release(mark)
	packed, _ := packExamples(examples)
	packed.Temperature = float32(p.o.Temperature)
	logp, _ := p.teacher.Net.Learn(p.ar, packed, model.StepOptions{}).LogProbs()
	for i := range examples {
		e, a := &examples[i], answers[i]
		clear(e.Weights)
		for t, student := range a.LogProbs {
			at := len(a.prompt) + t
			e.Weights[at] = logp[at-1] - student
		}
		logp = logp[e.rows():]
	}
}

func ones(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

// rollout is the answer as the journal keeps it.
func (a *answer) rollout(step, group, sample int) train.Rollout {
	return train.Rollout{Step: step, Group: group, Sample: sample, Task: a.problem.Task, Prompt: a.problem.Prompt, Text: a.text, Thought: a.Thought,
		Answer: a.Judged.Answer, Reference: a.problem.Answer, Right: a.Right(), Score: a.Score, Reward: a.Reward, Length: len(a.Tokens), Finish: string(a.Finish), Verdict: a.Reason}
}

// accuracy is the share of held-out problems that the student answers right.
func (p *onPolicy) accuracy(ctx context.Context, r *sftRun) (float64, error) {
	answers, err := p.answers(ctx, r, task.HeldOut, 0, heldoutExamples, 1, false)
	if err != nil {
		return 0, err
	}
	right := 0
	for _, a := range answers {
		if a != nil && a.Right() {
			right++
		}
	}
	return float64(right) / float64(len(answers)), nil
}
