package main

import (
	"context"
	"fmt"
	"time"

	"sonde"
	"sonde/engine"
	"sonde/reason"
	"sonde/train"
)

// evalCmd evaluates a model on problems whose answers can be verified.
type evalCmd struct {
	Model              string `arg:"" optional:"" help:"The model: a folder, a .gguf file, or a name on the hub; without it the embedded one."`
	reason.EvalOptions `embed:""`
	Resume             bool `help:"Go on with the evaluation in --out; the other flags may be left out."`
	JSON               bool `name:"json" help:"Print one JSON object instead of the table."`
	adapterFlag
	templateFlag
	threadFlag
	activationsFlag
}

// Help is shown with the flags.
func (evalCmd) Help() string {
	return `Asks a model problems and has verifiers judge its answers: the most probable answer to each (greedy), and drawn ones (sampled: pass@1), with 95 % confidence intervals; with several drawn answers a problem also pass@k and maj@k. Without --tasks and --data all families of problems are asked.

--data reads problems of one's own (see docs/tasks.md) and the files of GSM8K, MATH-500, AIME and HumanEval, which are asked as DeepSeek-R1 was: temperature 0.6, top-p 0.95, with the request to think step by step and to box the answer. HumanEval's programs run in a sandbox.

With --out every answer is kept; an evaluation that was stopped in any way goes on with --resume and ends with the same result.

Examples:
  sonde eval --tasks all --seed 7
  sonde eval runs/r1 --tasks countdown,chain-sum@6 --n 200 --samples 16 --k 1,4,16
  sonde eval qwen.gguf --data gsm8k_test.jsonl --n 100 --max-tokens 2048 --out evals/gsm8k
  sonde eval --out evals/gsm8k --resume
  sonde eval runs/r1 --tasks all --json > result.json`
}

// Run evaluates and prints the report.
func (c evalCmd) Run(ctx context.Context, s streams) (err error) {
	ctx, stop := untilSignal(ctx)
	defer stop()
	which := reason.EvalModel{Name: c.Model, Adapter: c.Adapter, ChatTemplate: c.ChatTemplate, Activations: c.Activations}
	o := c.EvalOptions
	if c.Resume {
		if c.Activations == sonde.ActivationsInt8 { // the default: nothing was asked for
			which.Activations = ""
		}
		which, o, err = reason.ResumeEval(which, o)
	} else {
		o, err = o.Settled()
	}
	if err != nil {
		return err
	}
	m, err := open(ctx, s, which.Name, sonde.Options{Threads: c.Threads, Activations: which.Activations, ChatTemplate: which.ChatTemplate, Adapter: which.Adapter,
		Limits: engine.Limits{Slots: max(c.Parallel, reason.EvalParallel)}})
	if err != nil {
		return err
	}
	defer m.Close()
	show := newEvalProgress(s)
	r, err := reason.RunEval(ctx, m, which, o, c.Resume, show.answer)
	show.end()
	if err != nil {
		return err
	}
	if c.JSON {
		return r.WriteJSON(s.out)
	}
	return r.WriteMarkdown(s.out)
}

// evalProgress shows how far an evaluation has come, and where nobody watches says so once
// in a while.
type evalProgress struct {
	*progress
	s    streams
	said time.Time
}

func newEvalProgress(s streams) *evalProgress {
	return &evalProgress{newProgress(s, "answers:"), s, time.Now()}
}

// answer is called after every answer.
func (p *evalProgress) answer(e reason.EvalProgress) {
	spent := time.Since(p.begun)
	left := time.Duration(float64(spent) / float64(e.New) * float64(e.All-e.Done))
	line := fmt.Sprintf("%s of %s (%s), %s tokens/s, about %s left", train.Thousands(float64(e.Done)), train.Thousands(float64(e.All)), e.Task,
		train.Thousands(float64(e.Tokens)/spent.Seconds()), train.Clock(left))
	p.show(line)
	if p.w == nil && time.Since(p.said) > time.Minute {
		p.said = time.Now()
		fmt.Fprintln(p.s.err, "sonde: answers:", line)
	}
}
