package reason

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"sonde/checkpoint"
	"sonde/reason/task"
	"sonde/train"
)

// grpoRun is run.json.
type grpoRun = train.RunFile[GRPOOptions]

// kindGRPO is the run's kind in run.json.
const kindGRPO = "grpo"

// grpoState is the small rest of a training state.
type grpoState struct {
	Drawn   int     `json:"drawn"` // problems so far
	Updates int     `json:"updates"`
	Seconds float64 `json:"seconds"` // of the run so far
	Effort
	Before *looked `json:"before,omitempty"`
}

// precheck finds the mistakes that can be seen without touching the disk.
func (r *grpo) precheck() error {
	stored, err := train.ReadRun[GRPOOptions](r.o.Out, kindGRPO)
	switch {
	case err == nil && !r.c.Resume:
		return r.alreadyThere(stored)
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return err
	case r.c.Resume:
		return fmt.Errorf("%s holds no run to go on with: check --out, or leave --resume out to begin one", r.o.Out)
	}
	if r.o.Model == "" {
		return errors.New("which model is to learn? Name the folder of one: sonde grpo MODEL --tasks ... --out FOLDER")
	}
	o := *r.o // a copy: defaults that the model decides come later
	if _, err := o.resolve(); err != nil {
		return err
	}
	_, err = r.tasks()
	return err
}

func (r *grpo) alreadyThere(stored *grpoRun) error {
	out := train.ShellQuote(r.o.Out)
	if s := train.ReadSummary[GRPOSummary](r.o.Out); s != nil && s.Steps == stored.Options.Steps {
		return fmt.Errorf("%w: %s is finished. Use it with\n  sonde chat %s\nor begin another with another --out", train.ErrExists, r.o.Out, out)
	}
	return fmt.Errorf("%w: %s. Go on with\n  sonde grpo --out %s --resume\nor begin another with another --out", train.ErrExists, r.o.Out, out)
}

// beginOrResume opens the model and settles the options: a new run's, checked and
// written, or those of the run that goes on.
func (r *grpo) beginOrResume() error {
	stored, err := train.ReadRun[GRPOOptions](r.o.Out, kindGRPO)
	switch {
	case err == nil && r.c.Resume:
		return r.goOn(stored)
	case err == nil:
		return r.alreadyThere(stored)
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	if err := train.MustBeFree(r.o.Out); err != nil {
		return err
	}
	if err := r.open(); err != nil {
		return err
	}
	if err := r.checkPrompts(); err != nil {
		return err
	}
	r.begun = true
	return (&grpoRun{Kind: kindGRPO, Options: *r.o, Model: r.model.files.ConfigJSON, TotalSteps: r.o.Steps}).Write(r.o.Out)
}

// checkPrompts finds problems that do not fit the context, all of a file's and some of a
// family's, before anything is begun.
func (r *grpo) checkPrompts() error {
	for _, part := range r.mix {
		c, ok := part.Task.(*task.Collection)
		if !ok {
			continue
		}
		for _, p := range c.Problems() {
			if _, err := r.prompt(&p); err != nil {
				return err
			}
		}
	}
	for n := range 64 {
		if _, _, err := r.problem(n); err != nil {
			return err
		}
	}
	return nil
}

// discard removes what a run that could not begin has left, so that the corrected command
// is not refused.
func discard(run string) {
	entries, _ := os.ReadDir(run)
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "run.json", name == "log.jsonl", name == "rollouts", strings.HasPrefix(name, "events.out.tfevents."):
			os.RemoveAll(filepath.Join(run, name))
		}
	}
}

// goOn takes over the stored options; those that may differ are the user's.
func (r *grpo) goOn(stored *grpoRun) error {
	if err := train.Conflicts(r.o, &stored.Options); err != nil {
		return err
	}
	train.Fill(r.o, stored.Options)
	return r.open()
}

// open resolves the options, opens the model and chooses what depends on both.
func (r *grpo) open() (err error) {
	if r.objective, err = r.o.resolve(); err != nil {
		return err
	}
	if r.mix, err = r.tasks(); err != nil {
		return err
	}
	if r.o.LoRA == nil {
		if err := fits(r.o.Model, r.o.Compute); err != nil {
			return err
		}
	}
	if r.model, err = openTrained(r.o.Model, r.be, r.o.Compute, r.o.LoRA); err != nil {
		return err
	}
	for _, w := range r.model.Warnings {
		r.p.Note("warning    %s", w)
	}
	context := r.model.Cfg.Context()
	if r.o.MaxTokens == 0 {
		if r.o.MaxTokens, err = r.roomForAnswers(); err != nil {
			return err
		}
	}
	if r.o.MaxTokens >= context {
		return fmt.Errorf("--max-tokens is %d, but the model's context holds %d tokens, prompts included", r.o.MaxTokens, context)
	}
	r.objective.Length = r.o.MaxTokens
	r.reward = RewardOptions{Partial: r.o.Partial, Format: r.o.FormatReward, Overlong: r.o.Overlong}
	if r.o.Overlong == 0 && r.o.Objective == "dapo" {
		r.reward.Overlong = r.o.MaxTokens / 5 // DAPO: 4,096 of 20,480
	}
	if err := r.reward.Check(r.o.MaxTokens); err != nil {
		return err
	}
	r.stateMemory()
	return nil
}

// roomForAnswers is the default of MaxTokens: what the context leaves after the longest of
// the first prompts and an eighth more.
func (r *grpo) roomForAnswers() (int, error) {
	longest, room := 0, r.model.Cfg.Context()
	for n := range 256 {
		p, err := r.mix.Draw(task.NewRand(mixSeeds(*r.o.Seed, seedProblems, uint64(n))), task.Train)
		if err != nil {
			return 0, err
		}
		ids, err := r.model.Prompt(p.Prompt, r.o.Think)
		if err != nil {
			return 0, err
		}
		longest = max(longest, len(ids))
	}
	if room -= longest + longest/8; room < 1 {
		return 0, fmt.Errorf("the prompts of these tasks take up to %d tokens, which leaves no room for an answer in the model's context of %d: choose lower difficulties (--tasks name@1-2) or a model with a longer context", longest, r.model.Cfg.Context())
	}
	return min(room, 512), nil
}

// tasks are all that there is to learn.
func (r *grpo) tasks() (task.Mix, error) {
	mix := append(task.Mix(nil), r.c.Mix...)
	if r.o.Tasks != "" {
		named, err := task.ParseMix(r.o.Tasks)
		if err != nil {
			return nil, err
		}
		mix = append(mix, named...)
	}
	for _, name := range r.o.Data {
		c, err := task.Load(name)
		if err != nil {
			return nil, err
		}
		mix = append(mix, task.Part{Task: c, Weight: 1, Low: 1, High: 1})
	}
	if len(mix) == 0 {
		return nil, errors.New("what is to be learned? Name tasks with --tasks (such as chain-sum), or a file of your own with --data")
	}
	return mix, nil
}

// save commits the state and then the model's folder, as of the step just done.
func (r *grpo) save() error {
	if n := r.opt.Norm(); math.IsNaN(n) || math.IsInf(n, 0) {
		return r.trouble("weights that are not finite would be saved")
	}
	if err := r.journal.Sync(); err != nil {
		return err
	}
	r.state.Drawn, r.state.Updates = r.drawn, r.opt.Steps()
	values, err := json.Marshal(r.state)
	if err != nil {
		return err
	}
	s := r.opt.State(values)
	s.Weights = append(s.Weights, r.refParams()...)
	if err := checkpoint.SaveState(r.o.Out, r.step, s); err != nil {
		return err
	}
	r.saved = r.step
	if err := r.model.Save(r.o.Out); err != nil {
		return err
	}
	return checkpoint.Prune(r.o.Out, r.o.Keep)
}

// restore loads the newest whole state, or leaves the run at step 0, and opens the journal
// as of that step.
func (r *grpo) restore() (err error) {
	s, err := train.LatestState(r.o.Out, &r.state, r.p)
	if err != nil {
		return err
	}
	if s == nil {
		return r.openJournal()
	}
	defer s.Close()
	if err := r.opt.Load(s, r.refParams()...); err != nil {
		return err
	}
	r.opt.SetSteps(r.state.Updates)
	// A run that was killed between the two leaves a model older than its state.
	if err := r.model.Save(r.o.Out); err != nil {
		return err
	}
	r.step, r.saved, r.drawn = s.Step, s.Step, r.state.Drawn
	r.p.Resumed(s, r.be.Name(), r.o.Steps)
	return r.openJournal()
}

func (r *grpo) openJournal() (err error) {
	r.journal, err = train.OpenJournal(r.o.Out, r.step, func(rec train.Record) {
		r.remember(rec)
		if greedy, ok := rec.Get("heldout_greedy"); ok {
			sampled, _ := rec.Get("heldout_accuracy")
			r.last = &looked{Problems: len(r.heldOut), Greedy: greedy, Sampled: sampled}
		}
	})
	return err
}

// trouble is an error of numbers that went wrong.
func (r *grpo) trouble(what string) error {
	good := "there is no checkpoint yet"
	if r.saved >= 0 {
		good = fmt.Sprintf("the model in %s is that of step %d", r.o.Out, r.saved)
	}
	return fmt.Errorf("step %d: %s; look at the %s; %s. Begin again with a lower --lr (now %g) or a lower --clip (now %g)",
		r.step+1, what, r.opt.Culprit(), good, r.o.LR, r.o.Clip)
}

// stopped turns what ended the loop into what the user reads; when it was the user, the
// state is saved first.
func (r *grpo) stopped(err error) error {
	again := "  sonde grpo --out " + train.ShellQuote(r.o.Out) + " --resume"
	if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		var failed *checkpoint.SaveError
		if errors.As(err, &failed) {
			return fmt.Errorf("step %d: %w. Once the cause is gone, go on with\n%s", r.step, err, again)
		}
		return err
	}
	if r.saved != r.step {
		if err := r.save(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w after step %d of %d, all saved: go on with\n%s", train.ErrInterrupted, r.step, r.o.Steps, again)
}

// finished returns the summary of a run that needs nothing more.
func (r *grpo) finished() *GRPOSummary {
	if s := train.ReadSummary[GRPOSummary](r.o.Out); s != nil && s.Steps == r.o.Steps {
		return s
	}
	return nil
}
