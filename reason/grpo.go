package reason

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/engine"
	"sonde/nn"
	"sonde/reason/task"
	"sonde/train"
)

// GRPOConfig is what GRPO needs: the options, and the machine to run on.
type GRPOConfig struct {
	GRPOOptions
	Resume  bool            // go on with the run in Out
	Backend compute.Backend // where the model lives
	// Mix are tasks to learn from beside those that the options name, for tasks made in Go.
	// A run that goes on needs the same.
	Mix task.Mix
}

// grpo is a run in memory.
type grpo struct {
	c         *GRPOConfig
	o         *GRPOOptions
	be        compute.Backend
	objective Objective
	reward    RewardOptions
	mix       task.Mix
	heldOut   []task.Problem

	model    *Model
	opt      *train.Optimizer
	ref      *reference // nil without a KL term
	refAr    *compute.Arena
	act      *compute.Arena // records of passes
	answerer *answerer
	slots    int

	journal          *train.Journal
	p                *train.Progress
	last             *looked            // the newest evaluation
	curve, heldCurve []train.CurvePoint // right answers in %

	step  int // done
	state grpoState
	drawn int  // problems so far
	saved int  // step of the newest checkpoint, -1 for none
	begun bool // run.json was written by this call
}

// GRPO reinforces a model on problems with verifiable answers, or goes on with a run, and
// reports to out. A step draws Prompts problems, has the model answer each Group times,
// judges the answers, and makes those likelier that are better than the others of their
// group. Cancelling ctx saves the state after the step at hand is given up, and returns
// train.ErrInterrupted. c.Backend must not be used by others meanwhile.
func GRPO(ctx context.Context, c GRPOConfig, out io.Writer) (s *GRPOSummary, err error) {
	switch {
	case c.Out == "":
		return nil, errors.New("where should the run be kept? Name a folder with --out")
	case c.Backend == nil:
		return nil, errors.New("reason: GRPOConfig.Backend is missing")
	}
	r := &grpo{c: &c, o: &c.GRPOOptions, be: c.Backend, p: train.NewProgress(out), saved: -1}
	if err := r.precheck(); err != nil { // before the folder is made
		return nil, err
	}
	lock, err := train.LockFolder(c.Out)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	defer r.close()
	defer func() {
		if lack := compute.AsOutOfMemory(recover()); lack != nil {
			s, err = nil, fmt.Errorf("%w: fewer --slots, a smaller --micro or --recompute need less", lack)
		}
	}()
	err = checkpoint.Guard(func() error { // the weights under an adapter lie in files
		s, err = r.all(ctx)
		return err
	})
	if err != nil && r.begun && r.saved < 0 {
		discard(c.Out)
	}
	return s, err
}

// all takes a run from its options to its summary.
func (r *grpo) all(ctx context.Context) (*GRPOSummary, error) {
	if err := r.beginOrResume(); err != nil {
		return nil, err
	}
	if s := r.finished(); s != nil {
		r.p.Note("%s is finished: %d steps", r.o.Out, s.Steps)
		return s, nil
	}
	if err := r.allocate(); err != nil {
		return nil, err
	}
	if err := r.restore(); err != nil {
		return nil, err
	}
	if err := r.first(ctx); err != nil {
		return nil, r.stopped(err)
	}
	if err := r.loop(ctx); err != nil {
		return nil, r.stopped(err)
	}
	return r.finish()
}

// first evaluates the model as it is and saves it, where nothing has been done yet, so
// that the folder holds a model from the beginning.
func (r *grpo) first(ctx context.Context) error {
	if r.step > 0 || r.saved == 0 && (r.state.Before != nil || len(r.heldOut) == 0) {
		return nil
	}
	before, err := r.look(ctx)
	if err != nil {
		return err
	}
	r.state.Before = before
	if before != nil {
		r.p.Note("before     %s", before)
	}
	return r.save()
}

// loop runs the steps that are left.
func (r *grpo) loop(ctx context.Context) error {
	begun, before, first := time.Now(), r.state.Seconds, r.step
	for r.step < r.o.Steps {
		rec, err := r.oneStep(ctx)
		if err != nil {
			return err
		}
		r.state.Seconds = before + time.Since(begun).Seconds()
		left := time.Duration(float64(time.Since(begun)) / float64(r.step-first) * float64(r.o.Steps-r.step))
		r.show(rec, left)
		if r.step%every(r.o.SaveEvery, 20, r.o.Steps) == 0 || r.step == r.o.Steps {
			if err := r.save(); err != nil {
				return err
			}
		}
	}
	return nil
}

// oneStep writes, judges and learns, and evaluates where the time has come.
func (r *grpo) oneStep(ctx context.Context) (*train.Record, error) {
	began, drawn := time.Now(), r.drawn
	b, err := r.rollOut(ctx)
	if err != nil {
		r.drawn = drawn // the step is given up: it will be done from its beginning
		return nil, err
	}
	l, err := r.learn(b)
	if err != nil {
		return nil, err
	}
	r.step++
	if r.ref != nil && r.step%r.o.RefEvery == 0 {
		r.ref.refresh()
	}
	r.count(b, l)
	rec := r.record(b, l, time.Since(began).Seconds())
	if r.step%every(r.o.EvalEvery, 10, r.o.Steps) == 0 || r.step == r.o.Steps {
		seen, err := r.look(context.WithoutCancel(ctx))
		if err != nil {
			return nil, err
		}
		seen.note(rec)
		r.last = seen
	}
	return rec, r.write(rec, b)
}

// allocate makes the optimiser and what else needs memory.
func (r *grpo) allocate() (err error) {
	r.be = r.model.Net.Backend() // an adapter's is one of its own
	r.act, r.refAr = r.be.NewArena("records of a pass"), r.be.NewArena("the reference")
	r.opt = train.NewOptimizer(r.model.Net)
	if r.o.KL > 0 {
		r.ref = newReference(r.be, r.refAr, r.model.Net)
	}
	r.answerer = newAnswerer(r.model, r.o.Think, engine.RollParams{Slots: r.slots, Params: engine.Params{
		Temperature: r.o.Temperature, TopP: r.o.TopP, TopK: r.o.TopK, MinP: r.o.MinP, MaxTokens: r.o.MaxTokens}})
	r.answerer.reward = r.reward
	return r.chooseHeldOut()
}

// refParams are the reference's weights by names of their own.
func (r *grpo) refParams() []nn.Param {
	if r.ref == nil {
		return nil
	}
	var out []nn.Param
	for _, b := range r.ref.old.Blocks() {
		for _, p := range b.Each() {
			p.Name = "ref." + p.Name
			out = append(out, p)
		}
	}
	return out
}

func (r *grpo) close() {
	if r.journal != nil {
		r.journal.Close()
	}
	if r.answerer != nil {
		r.answerer.close()
	}
	if r.opt != nil {
		r.opt.Free()
	}
	for _, ar := range []*compute.Arena{r.act, r.refAr} {
		if ar != nil {
			ar.Free()
		}
	}
	if r.model != nil {
		r.model.Close()
	}
	r.p.Keep()
}
