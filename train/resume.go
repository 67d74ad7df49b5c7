package train

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sonde/checkpoint"
	"sonde/model"
	"sonde/text"
)

// stateValues is the small rest of a training state.
type stateValues struct {
	Steps   int     `json:"steps"`   // of the whole run
	Seconds float64 `json:"seconds"` // trained so far
	Data    string  `json:"data"`    // hash of the documents
	Compute string  `json:"compute"`
}

// save commits the state and then the model's folder, as of the step just done. The
// log is made durable first: it is never older than a state.
func (r *run) save() error {
	if !finite(r.opt.Norm()) {
		return r.trouble(r.step, "weights that are not finite would be saved")
	}
	if err := r.journal.Sync(); err != nil {
		return err
	}
	values, err := json.Marshal(stateValues{r.sched.Steps, r.seconds, r.data.Hash, r.o.Compute})
	if err != nil {
		return err
	}
	if err := checkpoint.SaveState(r.o.Out, r.step, r.opt.State(values)); err != nil {
		return err
	}
	r.saved = r.step
	r.lastGood = fmt.Sprintf("that of step %d in %s", r.step, r.o.Out)
	if err := checkpoint.SaveHF(r.o.Out, r.hf, r.model.Params(), r.c.Backend, 0); err != nil {
		return err
	}
	return checkpoint.Prune(r.o.Out, r.o.Keep)
}

// restore loads the newest whole state, or leaves the run at step 0, and opens the logs
// as of that step.
func (r *run) restore() error {
	var v stateValues
	s, err := LatestState(r.o.Out, &v, r.p)
	if err != nil {
		return err
	}
	if s == nil {
		return r.openJournal()
	}
	defer s.Close()
	if v.Steps != r.sched.Steps || v.Data != r.data.Hash || v.Compute != r.o.Compute {
		return fmt.Errorf("%s belongs to another run (%d steps on data %.12s in %s, this one has %d steps on data %.12s in %s): move that folder away to begin this run anew",
			s.Dir, v.Steps, v.Data, v.Compute, r.sched.Steps, r.data.Hash, r.o.Compute)
	}
	if err := r.opt.Load(s); err != nil {
		return err
	}
	r.opt.SetSteps(s.Step)
	// A run that was killed between the two leaves a model older than its state, and
	// one whose newest state is damaged a model newer than the one it goes on from.
	if err := checkpoint.SaveHF(r.o.Out, r.hf, r.model.Params(), r.c.Backend, 0); err != nil {
		return err
	}
	r.step, r.saved, r.seconds = s.Step, s.Step, v.Seconds
	r.lastGood = fmt.Sprintf("that of step %d in %s", r.step, r.o.Out)
	r.p.Resumed(s, r.c.Backend.Name(), r.sched.Steps)
	return r.openJournal()
}

func (r *run) openJournal() error {
	var err error
	r.journal, err = OpenJournal(r.o.Out, r.step, func(rec Record) {
		l := lineOf(rec)
		r.spikes.add(l.Loss)
		l.BPB = r.bpb(l.Loss) // older logs lack it
		r.remember(l)
	})
	return err
}

// fixSteps decides once how many steps the run has, and stores it.
func (r *run) fixSteps(ctx context.Context, started time.Time) error {
	if r.file.TotalSteps == 0 {
		n, err := r.countSteps(ctx, started)
		if err != nil {
			return err
		}
		r.file.TotalSteps = n
		if err := writeRun(r.file, r.cfg); err != nil {
			return err
		}
	}
	r.sched = newSchedule(r.o, r.file.TotalSteps)
	epochs := float64(r.sched.sequences(r.sched.Steps)) / float64(r.sampler.windows)
	r.p.Note("plan       %d steps, %d tokens (%.2f times the training side)", r.sched.Steps, r.sched.tokens(r.sched.Steps), epochs)
	return nil
}

func (r *run) countSteps(ctx context.Context, started time.Time) (int, error) {
	switch {
	case r.o.Steps > 0:
		return r.o.Steps, nil
	case r.o.Tokens > 0:
		return stepsForTokens(r.o, r.o.Tokens)
	}
	r.p.Show("measuring  the time of a step", true)
	m, err := r.measure(ctx)
	if err != nil {
		return 0, err
	}
	// What the preparation took, what looking at the held-out text will take, and
	// a twentieth for checkpoints and samples are not there for training, which gets
	// half of the time in any case.
	all := 60 * r.o.Minutes
	looks := float64(r.eval.passes() + evalTimes*min(evalShare, r.eval.passes()))
	left := 0.95*all - time.Since(started).Seconds() - m.look*looks
	return stepsForTime(r.o, max(left, all/2), m.pass, m.update), nil
}

// timings are seconds of one pass, one optimiser step, and one pass over held-out text.
type timings struct{ pass, update, look float64 }

// measure times passes over the first batches. It leaves no trace: the weights are
// drawn anew and the moments cleared.
func (r *run) measure(ctx context.Context) (timings, error) {
	r.sched = newSchedule(r.o, maxSteps/2)
	o := model.StepOptions{MTPLambda: float32(*r.o.MTPLambda), AuxAlpha: float32(*r.o.Alpha), Scale: 1, Recompute: r.o.Recompute}
	var passes, updates, looks []float64
	begun := time.Now()
	for i := 0; i < 4 || (i < 12 && time.Since(begun) < 3*time.Second); i++ {
		if err := ctx.Err(); err != nil {
			return timings{}, err
		}
		b, err := r.batch(i, 0)
		if err != nil {
			return timings{}, err
		}
		t := time.Now()
		r.model.LossAndGrad(r.act, b, r.opt.Grads(), o)
		passes = append(passes, time.Since(t).Seconds())
		t = time.Now()
		r.opt.GradNorm()
		r.opt.Step(0, 0, 1)
		updates = append(updates, time.Since(t).Seconds())
		t = time.Now()
		r.model.Loss(r.act, model.Batch{Seqs: b.Seqs, SeqLen: b.SeqLen, Tokens: b.Tokens, Targets: b.Targets[:1]}, model.StepOptions{Scale: 1})
		looks = append(looks, time.Since(t).Seconds())
	}
	r.opt.Init(*r.o.Seed)
	return timings{median(passes[1:]), median(updates[1:]), median(looks[1:])}, nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// folderFiles are the small files of the model's folder.
func folderFiles(cfg model.Config, tok *text.Tokenizer) (checkpoint.HF, error) {
	var hf checkpoint.HF
	var err error
	if hf.ConfigJSON, err = cfg.MarshalJSON(); err != nil {
		return hf, fmt.Errorf("the model's config: %w", err)
	}
	if hf.TokenizerJSON, err = tok.JSON(); err != nil {
		return hf, fmt.Errorf("the tokenizer: %w", err)
	}
	if hf.TokenizerConfigJSON, err = text.NewTokenizerConfig(tok, cfg.Context()).JSON(); err != nil {
		return hf, fmt.Errorf("the tokenizer's config: %w", err)
	}
	hf.GenerationConfigJSON, err = json.MarshalIndent(map[string]any{
		"bos_token_id": tok.BOS(), "eos_token_id": tok.EOS(), "do_sample": true, "temperature": 0.8, "top_p": 0.95}, "", "  ")
	return hf, err
}

// discard removes what a run that could not begin has left, so that the corrected
// command is not refused.
func discard(run string) {
	os.RemoveAll(dataDir(run))
	os.Remove(filepath.Join(run, "tokenizer.json"))
	os.Remove(runPath(run))
}
