package train

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"sonde/checkpoint"
)

// ErrInterrupted is what Run wraps when its context is cancelled: the run was saved
// and can go on.
var ErrInterrupted = errors.New("interrupted")

// Trouble ends a run that has gone wrong.
type Trouble struct {
	Step     int
	What     string // what was seen
	Tensor   string // where to look
	LastGood string // newest checkpoint from before it, "" when there is none
	LR       float64
}

// Error names the step, the tensor, the last good checkpoint and the way out.
func (t *Trouble) Error() string {
	good := "there is no checkpoint yet"
	if t.LastGood != "" {
		good = "the last good checkpoint is " + t.LastGood + ", and the model in the folder is from it"
	}
	return fmt.Sprintf("step %d: %s; look at the %s; %s. The same run would end here again: begin another with a lower --lr (now %g), a longer --warmup or another --seed",
		t.Step, t.What, t.Tensor, good, t.LR)
}

func (r *run) trouble(step int, what string) error {
	return &Trouble{Step: step, What: what, Tensor: r.opt.Culprit(), LastGood: r.lastGood, LR: r.o.LR}
}

// stopped turns what ended the loop into what the user reads; when it was the user,
// the state is saved first.
func (r *run) stopped(err error) error {
	if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return r.explain(err)
	}
	if r.saved != r.step {
		if err := r.save(); err != nil {
			return r.explain(err)
		}
	}
	return fmt.Errorf("%w after step %d of %d, all saved: go on with\n  sonde train --out %s --resume", ErrInterrupted, r.step, r.sched.Steps, ShellQuote(r.o.Out))
}

// explain adds the step and the last good checkpoint to failures such as a full disk.
func (r *run) explain(err error) error {
	var t *Trouble
	if errors.As(err, &t) {
		return err
	}
	again := fmt.Sprintf("Once the cause is gone, go on with\n  sonde train --out %s --resume", ShellQuote(r.o.Out))
	var failed *checkpoint.SaveError
	if errors.As(err, &failed) && failed.LastGood != "" {
		return fmt.Errorf("step %d: %w. %s", r.step, err, again)
	}
	good := "there is no checkpoint yet, a resume begins at step 0"
	if r.lastGood != "" {
		good = "the last good checkpoint is " + r.lastGood
	}
	return fmt.Errorf("step %d: %w; %s. %s", r.step, err, good, again)
}

func interrupted(err error, run string) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w before the first step: begin again with\n  sonde train --out %s --resume", ErrInterrupted, ShellQuote(run))
	}
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: free space on that disk, or choose another folder with --out", err)
	}
	return err
}
