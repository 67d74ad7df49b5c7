package reason

import (
	"context"
	"fmt"
	"math"
	"time"

	"sonde/engine"
	"sonde/reason/task"
	"sonde/train"
)

// GRPOSummary is the outcome of a finished run, as summary.json holds it.
type GRPOSummary struct {
	Steps   int     `json:"steps"`
	Seconds float64 `json:"seconds"` // over all its sessions, evaluations included
	Effort
	Before *looked `json:"before,omitempty"` // on held-out problems; absent where there are none
	After  *looked `json:"after,omitempty"`
}

// Effort is what a run's steps took in tokens, evaluations not counted.
type Effort struct {
	Read    int64 `json:"read"`    // of prompts, before answers were written
	Written int64 `json:"written"` // of answers
	Learned int64 `json:"learned"` // that went through the model forward and backward
}

// looked is an evaluation on held-out problems.
type looked struct {
	Problems int     `json:"problems"`
	Greedy   float64 `json:"greedy"`   // share of right answers, the most probable tokens
	Sampled  float64 `json:"sampled"`  // the same, drawn as in training
	Thinking float64 `json:"thinking"` // share of drawn answers with a thought
	Length   float64 `json:"length"`   // mean tokens of drawn answers
	Seconds  float64 `json:"seconds"`
}

// String is one line for people.
func (l *looked) String() string {
	return fmt.Sprintf("held-out: greedy %.1f %%, sampled %.1f %%, thinking %.0f %%, %.1f tokens (%d problems, %.1f s)",
		100*l.Greedy, 100*l.Sampled, 100*l.Thinking, l.Length, l.Problems, l.Seconds)
}

// note puts an evaluation into a step's record.
func (l *looked) note(rec *train.Record) {
	if l != nil {
		rec.Set("heldout_greedy", l.Greedy)
		rec.Set("heldout_accuracy", l.Sampled)
	}
}

// chooseHeldOut draws the problems of evaluations, the same in every run of these tasks.
func (r *grpo) chooseHeldOut() error {
	if r.o.EvalProblems < 0 {
		return nil
	}
	for i, part := range r.mix {
		var problems []task.Problem
		if c, ok := part.Task.(*task.Collection); ok {
			for _, p := range c.Problems() {
				if task.SplitOf(p) == task.HeldOut && len(problems) < r.o.EvalProblems {
					problems = append(problems, p)
				}
			}
			if len(problems) == 0 {
				r.p.Note("note       none of the %d problems of %s is held out (one in eight is, by a hash): there is no evaluation on it", len(c.Problems()), c.Info().Name)
			}
		} else {
			for level := part.Low; level <= part.High; level++ {
				some, err := differentProblems(part.Task, mixSeeds(seedHeldOut, uint64(i)), max(r.o.EvalProblems/(part.High-part.Low+1), 1), level)
				if err != nil {
					return err
				}
				problems = append(problems, some...)
			}
		}
		r.heldOut = append(r.heldOut, problems...)
	}
	return nil
}

// look evaluates the model on held-out problems; nil where there are none.
func (r *grpo) look(ctx context.Context) (*looked, error) {
	if len(r.heldOut) == 0 {
		return nil, nil
	}
	began := time.Now()
	qs := make([]question, len(r.heldOut))
	for i := range r.heldOut {
		ids, err := r.prompt(&r.heldOut[i])
		if err != nil {
			return nil, err
		}
		qs[i] = question{&r.heldOut[i], ids, mixSeeds(*r.o.Seed, seedEvaluation, uint64(i))}
	}
	drawn, greedy := r.answerer.p, r.answerer.p
	greedy.Temperature = 0
	l := &looked{Problems: len(qs)}
	share := 1 / float64(len(qs))
	for _, p := range []engine.RollParams{greedy, drawn} {
		samples, err := r.ask(ctx, qs, 1, p)
		if err != nil {
			return nil, err
		}
		for _, s := range samples {
			switch {
			case p.Temperature == 0 && s.Right():
				l.Greedy += share
			case p.Temperature > 0:
				l.Length += share * float64(len(s.Tokens))
				if s.Right() {
					l.Sampled += share
				}
				if s.Thinking {
					l.Thinking += share
				}
			}
		}
	}
	l.Seconds = time.Since(began).Seconds()
	return l, nil
}

// count adds a step to the run's effort.
func (r *grpo) count(b *batch, l *learned) {
	e := &r.state.Effort
	e.Read, e.Written, e.Learned = e.Read+int64(b.read), e.Written+int64(b.tokens), e.Learned+int64(l.rows)
}

// record is what a step leaves in the journal.
func (r *grpo) record(b *batch, l *learned, seconds float64) *train.Record {
	rec := &train.Record{Step: r.step, Loads: l.loads}
	n := float64(max(len(b.samples), 1))
	var reward, squares, right, form, thinking, length, thoughts, entropy float64
	tokens := 0
	for _, s := range b.samples {
		reward += s.Reward / n
		squares += s.Reward * s.Reward / n
		length += float64(len(s.Tokens)) / n
		tokens += len(s.Tokens)
		if s.Right() {
			right += 1 / n
		}
		if s.Format {
			form += 1 / n
		}
		if s.Thinking {
			thinking++
			thoughts += float64(r.thoughtLength(s))
		}
		for _, h := range s.Entropy {
			entropy += float64(h)
		}
	}
	rec.Set("loss", l.Loss)
	rec.Set("tokens", float64(r.state.Learned)) // so far
	rec.Set("lr", r.o.rate().At(r.step-1))
	rec.Set("grad_norm", l.gradNorm)
	rec.Set("reward", reward)
	rec.Set("reward_std", math.Sqrt(max(squares-reward*reward, 0)))
	rec.Set("accuracy", right)
	rec.Set("format", form)
	rec.Set("thinking", thinking/n)
	rec.Set("length", length)
	rec.Set("thought_length", thoughts/max(thinking, 1))
	rec.Set("entropy", entropy/float64(max(tokens, 1)))
	if r.ref != nil {
		rec.Set("kl", l.KL/float64(max(l.Tokens, 1)))
	}
	rec.Set("ratio_max", l.ratio)
	if r.o.Updates*r.o.Epochs > 1 {
		rec.Set("ratio_moved", l.RatioMax)
	}
	rec.Set("clip_share", float64(l.Clipped)/float64(max(l.Tokens, 1)))
	if r.o.OffPolicy > 0 {
		rec.Set("masked", float64(l.Masked)/n)
	}
	rec.Set("groups_mixed", float64(b.mixed)/float64(max(b.drawn, 1)))
	rec.Set("seconds", seconds)
	rec.Set("gen_share", b.seconds/seconds)
	rec.Set("gen_tokens_per_s", float64(b.tokens)/b.seconds)
	rec.Set("tokens_per_s", float64(l.rows)/(seconds-b.seconds))
	if len(l.loads) > 0 {
		rec.Set("load_max_mean", train.WorstLoad(l.loads))
	}
	return rec
}

// write puts a step into the journal, with its samples where they are kept.
func (r *grpo) write(rec *train.Record, b *batch) error {
	if r.o.KeepRollouts > 0 && r.step%r.o.KeepRollouts == 0 {
		texts := make([]train.Rollout, len(b.samples))
		for i, s := range b.samples {
			texts[i] = train.Rollout{Step: r.step, Group: s.group, Sample: s.Sample, Task: s.problem.Task, Prompt: s.problem.Prompt,
				Text: s.text, Thought: s.Thought, Answer: s.Answer, Reference: s.problem.Answer, Right: s.Right(), Score: s.Score,
				Reward: s.Reward, Advantage: s.advantage, Length: len(s.Tokens), Finish: string(s.Finish), Verdict: s.Reason}
		}
		if err := r.journal.WriteRollouts(r.step, texts); err != nil {
			return err
		}
	}
	r.remember(*rec)
	return r.journal.Add(*rec)
}

// remember keeps a step for the curve.
func (r *grpo) remember(rec train.Record) {
	if a, ok := rec.Get("accuracy"); ok {
		r.curve = append(r.curve, train.CurvePoint{Step: rec.Step, Y: 100 * a})
	}
	if a, ok := rec.Get("heldout_greedy"); ok {
		r.heldCurve = append(r.heldCurve, train.CurvePoint{Step: rec.Step, Y: 100 * a})
	}
}

// show tells how the run stands.
func (r *grpo) show(rec *train.Record, left time.Duration) {
	get := func(name string) float64 { v, _ := rec.Get(name); return v }
	line := fmt.Sprintf("step %d/%d  reward %.3f  right %.1f %%  thinking %.0f %%  length %.1f  entropy %.3f  %.2f s (%.0f %% writing)  %s left",
		r.step, r.o.Steps, get("reward"), 100*get("accuracy"), 100*get("thinking"), get("length"), get("entropy"), get("seconds"), 100*get("gen_share"), train.Clock(left))
	if ratio := get("ratio_max"); ratio != 1 {
		r.p.Note("warning    step %d: training and rollouts disagree by a factor of %g in a token's probability: please report this", r.step, ratio)
	}
	if _, seen := rec.Get("heldout_greedy"); seen {
		r.p.Note("%s", line)
		r.p.Note("           %s", r.last)
		return
	}
	r.p.Show(line, r.step == 1 || r.step == r.o.Steps)
}

// finish writes the summary.
func (r *grpo) finish() (*GRPOSummary, error) {
	s := &GRPOSummary{Steps: r.step, Seconds: r.state.Seconds, Effort: r.state.Effort, Before: r.state.Before, After: r.last}
	if err := train.WriteJSON(train.SummaryPath(r.o.Out), s); err != nil {
		return nil, err
	}
	r.p.Keep()
	r.p.Note("\nright answers in %%: while learning, drawn (dots), and to held-out problems, most probable (●)\n%s",
		train.DrawCurve(r.curve, r.heldCurve, 0, r.step, 80, 10))
	r.p.Note("%d steps in %s", s.Steps, train.Clock(time.Duration(s.Seconds*float64(time.Second))))
	if s.Before != nil && s.After != nil {
		r.p.Note("before     %s", s.Before)
		r.p.Note("after      %s", s.After)
	}
	out := train.ShellQuote(r.o.Out)
	r.p.Note("model      %s", r.o.Out)
	next := "  sonde chat " + out
	if r.o.Tasks != "" {
		next += "\n  sonde eval " + out + " --tasks " + train.ShellQuote(r.o.Tasks)
	}
	r.p.Note("\nWhat to type next:\n%s", next)
	return s, nil
}
