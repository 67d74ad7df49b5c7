package reason

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"sonde/checkpoint"
	"sonde/train"
)

// save commits the state and then the model's folder, as of the step just done.
func (r *sftRun) save() error {
	if n := r.opt.Norm(); math.IsNaN(n) || math.IsInf(n, 0) {
		return &train.Trouble{Step: r.step, What: "weights that are not finite would be saved", Tensor: r.opt.Culprit(), LastGood: r.lastGood, LR: r.o.LR}
	}
	if err := r.journal.Sync(); err != nil {
		return err
	}
	values, err := json.Marshal(r.sftState)
	if err != nil {
		return err
	}
	if err := checkpoint.SaveState(r.o.Out, r.step, r.opt.State(values)); err != nil {
		return err
	}
	r.saved = r.step
	r.lastGood = fmt.Sprintf("that of step %d in %s", r.step, r.o.Out)
	if err := r.model.Save(r.o.Out); err != nil {
		return err
	}
	return checkpoint.Prune(r.o.Out, r.o.Keep)
}

// restore loads the newest whole state, or leaves the run at step 0, and opens the
// journal as of that step.
func (r *sftRun) restore() (err error) {
	if err := r.load(); err != nil {
		return err
	}
	r.journal, err = train.OpenJournal(r.o.Out, r.step, nil)
	return err
}

func (r *sftRun) load() error {
	var v sftState
	s, err := train.LatestState(r.o.Out, &v, r.p)
	if err != nil {
		return err
	}
	if s == nil {
		return nil
	}
	defer s.Close()
	if v.Data != r.Data {
		return fmt.Errorf("the run began with the data %q, and this is %q: restore the files, or begin another run with another --out", v.Data, r.Data)
	}
	if s.Step > r.file.TotalSteps || v.Next < 0 || v.Tokens < 0 {
		return fmt.Errorf("%s belongs to another run: move that folder away to begin this one anew", s.Dir)
	}
	if err := r.opt.Load(s); err != nil {
		return err
	}
	r.opt.SetSteps(s.Step)
	r.step, r.saved, r.sftState = s.Step, s.Step, v
	r.lastGood = fmt.Sprintf("that of step %d in %s", r.step, r.o.Out)
	r.p.Resumed(s, r.be.Name(), r.file.TotalSteps)
	return r.model.Save(r.o.Out) // a kill between the two leaves a model older than its state
}

// stopped turns what ended the loop into what the user reads; when it was the user, the
// state is saved first.
func (r *sftRun) stopped(err error) error {
	if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return r.explain(err)
	}
	if r.saved != r.step {
		if err := r.save(); err != nil {
			return r.explain(err)
		}
	}
	return fmt.Errorf("%w after step %d of %d, all saved: go on with\n  %s", train.ErrInterrupted, r.step, r.file.TotalSteps, r.again())
}

// explain adds the step and the way out to failures such as a full disk.
func (r *sftRun) explain(err error) error {
	var t *train.Trouble
	if errors.As(err, &t) {
		return err
	}
	good := "there is no checkpoint yet, a resume begins at step 0"
	if r.lastGood != "" {
		good = "the last good checkpoint is " + r.lastGood
	}
	return fmt.Errorf("step %d: %w; %s. Once the cause is gone, go on with\n  %s", r.step, err, good, r.again())
}
