package reason

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/reason/task"
	"sonde/train"
)

// SFTConfig is what SFT needs: the options, and what it runs on.
type SFTConfig struct {
	SFTOptions
	Kind    string // of the run in run.json; "" is "sft"
	Resume  bool   // go on with the run in Out
	Backend compute.Backend
	// Mix are tasks to learn from beside those that the options name, for tasks made in Go.
	Mix task.Mix
	// Fresh, where not nil, is the model to begin with instead of the checkpoint Model.
	Fresh *Fresh
	// Source and Heldout, where Source is not nil, take the place of files and tasks.
	Source, Heldout Source

	begun  bool      // the folder is the caller's, who has looked into it
	policy *onPolicy // learn from what the model itself writes
}

// SFTSummary is the outcome of a finished run, as summary.json holds it.
type SFTSummary struct {
	Steps    int     `json:"steps"`
	Examples int64   `json:"examples"` // learned from, epochs counted
	Tokens   int64   `json:"tokens"`   // that went through the model
	Learned  int64   `json:"learned"`  // tokens that were targets
	Seconds  float64 `json:"seconds"`  // over all sessions
	Loss     float64 `json:"loss"`     // of the last step, nats per token
	// HeldoutLoss is that of the held-out examples at the end; nil where there are none.
	HeldoutLoss *float64 `json:"heldout_loss,omitempty"`
	// HeldoutAccuracy is the share of held-out problems that are answered right at the
	// end; nil but for on-policy distillation.
	HeldoutAccuracy *float64 `json:"heldout_accuracy,omitempty"`
	FLOPs           float64  `json:"flops"` // of passes forward and backward
}

// sftRun is a run in memory.
type sftRun struct {
	c       *SFTConfig
	o       *SFTOptions
	be      compute.Backend
	file    *train.RunFile[SFTOptions]
	model   *Model
	opt     *train.Optimizer
	act     *compute.Arena
	data    *material
	stream  stream
	end     int64 // of the stream, negative where steps alone end it
	rate    train.Rate
	journal *train.Journal
	p       *train.Progress

	step  int // done
	saved int
	sftState
	lastGood string
}

// sftState is the small rest of a run's state.
type sftState struct {
	Data     string  `json:"data"`
	Next     int64   `json:"next"` // example of the stream
	Tokens   int64   `json:"tokens"`
	Learned  int64   `json:"learned"`
	Seconds  float64 `json:"seconds"`
	Loss     float64 `json:"loss"`
	FLOPs    float64 `json:"flops"`
	Examples int64   `json:"examples"`
}

// SFT teaches a model by examples (supervised fine-tuning), or goes on with a run, and
// reports to out. The run's folder becomes the model. Cancelling ctx saves the state after
// the pass at hand and returns train.ErrInterrupted.
func SFT(ctx context.Context, c SFTConfig, out io.Writer) (s *SFTSummary, err error) {
	if c.Out == "" {
		return nil, errors.New("where should the run be kept? Name a folder with --out")
	}
	if c.Backend == nil {
		return nil, errors.New("sft: SFTConfig.Backend is missing")
	}
	if c.Kind == "" {
		c.Kind = "sft"
	}
	lock, err := train.LockFolder(c.Out)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	r := &sftRun{c: &c, o: &c.SFTOptions, be: c.Backend, p: train.NewProgress(out)}
	defer r.close()
	defer func() {
		if cause := compute.AsOutOfMemory(recover()); cause != nil {
			s, err = nil, fmt.Errorf("%w: a smaller --micro, --recompute, --compute bf16 or --lora needs less", cause)
		}
	}()
	err = checkpoint.Guard(func() (err error) { // the weights under an adapter lie in files
		s, err = r.all(ctx)
		return err
	})
	return s, err
}

// all takes a run from its options to its summary.
func (r *sftRun) all(ctx context.Context) (*SFTSummary, error) {
	began, err := r.describe()
	if err != nil {
		return nil, err
	}
	if s := r.finished(); s != nil {
		r.p.Note("%s is finished: %d steps. Use it with\n  sonde chat %s", r.o.Out, s.Steps, train.ShellQuote(r.o.Out))
		return s, nil
	}
	if err := r.open(ctx); err != nil {
		if began {
			os.Remove(filepath.Join(r.o.Out, "run.json")) // so that the corrected command is not refused
		}
		return nil, err
	}
	if err := r.restore(); err != nil {
		return nil, err
	}
	if err := r.loop(ctx); err != nil {
		return nil, err
	}
	return r.finish(ctx)
}

// describe begins run.json or takes up what it says; began says which.
func (r *sftRun) describe() (began bool, err error) {
	stored, err := train.ReadRun[SFTOptions](r.o.Out, r.c.Kind)
	switch {
	case err == nil && !r.c.Resume:
		return false, r.alreadyThere()
	case err == nil:
		if r.o.Model != "" && r.o.Model != stored.Options.Model {
			return false, fmt.Errorf("the run began with the model %s, not %s: leave it out, or begin another run with another --out", stored.Options.Model, r.o.Model)
		}
		if err := train.Conflicts(r.o, &stored.Options); err != nil {
			return false, err
		}
		train.Fill(r.o, stored.Options)
		r.file = stored
		r.file.Options = *r.o
		return false, nil
	case !errors.Is(err, os.ErrNotExist):
		return false, err
	case r.c.Resume:
		return false, fmt.Errorf("%s holds no run to go on with: check --out, or leave --resume out to begin one", r.o.Out)
	}
	r.file = &train.RunFile[SFTOptions]{Kind: r.c.Kind}
	if r.c.begun {
		return true, nil
	}
	return true, train.MustBeFree(r.o.Out)
}

func (r *sftRun) alreadyThere() error {
	return fmt.Errorf("%w: %s. Go on with\n  %s\nor begin another with another --out", train.ErrExists, r.o.Out, r.again())
}

// again is the command that goes on with the run.
func (r *sftRun) again() string {
	verb := r.c.Kind
	return fmt.Sprintf("sonde %s --out %s --resume", verb, train.ShellQuote(r.o.Out))
}

// open reads the data and brings the model into memory.
func (r *sftRun) open(ctx context.Context) error {
	if err := r.openModel(); err != nil {
		return err
	}
	for _, w := range r.model.Warnings {
		r.p.Note("warning    %s", w)
	}
	if err := r.o.resolve(r.model.Cfg, r.adapted()); err != nil {
		return err
	}
	if !r.adapted() {
		if taught, err := r.model.learnToChat(); err != nil {
			return err
		} else if taught {
			r.p.Note("template   the model's texts had no turns; it learns to answer in those of DeepSeek R1 (\"sonde-r1\")")
		}
	}
	if err := r.openData(ctx); err != nil {
		return err
	}
	r.act = r.be.NewArena("activations")
	r.opt = train.NewOptimizer(r.model.Net)
	if r.c.Fresh != nil {
		r.opt.Init(*r.o.Seed) // the masters, too
	}
	return r.fixSteps(ctx)
}

// adapted says whether an adapter is trained, a new one or one that is there already.
func (r *sftRun) adapted() bool { return r.model.save != nil }

// openModel opens the checkpoint, or the run's own folder where that has a newer one.
func (r *sftRun) openModel() (err error) {
	o := OpenOptions{Compute: r.o.Compute}
	switch {
	case r.c.Fresh != nil:
		seed := uint64(1)
		if r.o.Seed != nil {
			seed = *r.o.Seed
		}
		r.model, err = New(*r.c.Fresh, r.be, o, seed)
		return err
	case r.o.LoRA != nil:
		r.model, err = OpenAdapted(r.o.Model, r.be, *r.o.LoRA)
		return err
	case r.c.Resume && r.stateThere():
		r.model, err = Open(r.o.Out, r.be, o)
		return err
	case r.o.Model == "":
		return errors.New("which model is to be taught? Name its folder")
	}
	if err := r.fits(); err != nil {
		return err
	}
	r.model, err = Open(r.o.Model, r.be, o)
	return err
}

// stateThere says whether the run's folder holds a model of its own.
func (r *sftRun) stateThere() bool {
	_, err := os.Stat(filepath.Join(r.o.Out, "config.json"))
	return err == nil
}

// openData makes the source of examples.
func (r *sftRun) openData(ctx context.Context) error {
	if r.c.policy != nil {
		r.data = &material{train: r.c.policy}
	} else if r.c.Source != nil {
		r.data = &material{train: r.c.Source}
		if r.c.Heldout != nil {
			r.data.heldout = append(r.data.heldout, r.c.Heldout)
		}
	} else {
		r.p.Show("reading    the data", true)
		enc := &encoder{tok: r.model.Tok, cfg: r.model.TokCfg, learn: r.o.Learn, promptWeight: float32(r.o.PromptWeight)}
		var err error
		if r.data, err = r.o.gather(ctx, enc, r.c.Mix); err != nil {
			return err
		}
		if r.data.note != "" {
			r.p.Note("data       %s", r.data.note)
		}
	}
	r.stream = stream{r.data.train, *r.o.Seed}
	r.Data = r.data.train.Name()
	return nil
}

// fixSteps decides once how many steps the run has, and stores it with the options.
func (r *sftRun) fixSteps(ctx context.Context) error {
	n := r.data.train.Len()
	r.end = -1
	switch {
	case r.o.Steps > 0:
		r.file.TotalSteps = r.o.Steps
	case n == 0:
		return errors.New("problems of tasks have no end: say for how many --steps they are learned from, or how many there are with --task-examples")
	default:
		r.end = n * int64(r.o.Epochs)
	}
	if r.file.TotalSteps == 0 {
		steps, err := r.countSteps(ctx)
		if err != nil {
			return err
		}
		r.file.TotalSteps = steps
	}
	warmup := r.file.TotalSteps / 30
	if r.o.Warmup != nil {
		warmup = *r.o.Warmup
	}
	r.rate = train.NewRate(r.file.TotalSteps, warmup, *r.o.Constant, r.o.LR, r.o.LR**r.o.LREnd)
	r.say(n)
	raw, err := r.model.Cfg.MarshalJSON()
	if err != nil {
		return fmt.Errorf("the model's config: %w", err)
	}
	r.file.Model, r.file.Options = raw, *r.o
	return r.file.Write(r.o.Out)
}

// say tells what will happen and what it takes.
func (r *sftRun) say(examples int64) {
	cfg := r.model.Cfg
	r.p.Note("model      %s parameters, %s active, context %d", train.Thousands(float64(cfg.TotalParams())), train.Thousands(float64(cfg.ActiveParams())), cfg.Context())
	if examples > 0 {
		r.p.Note("data       %d examples", examples)
	}
	r.p.Note("plan       %d steps of %d tokens, learning rate %.3g to %.3g", r.file.TotalSteps, r.o.Batch, r.rate.LR, r.rate.End)
	r.p.Note("memory     %s for weights, gradients and moments; about %s for passes of %d tokens",
		gigabytes(int64(r.model.ar.Used()+r.opt.Bytes())), gigabytes(r.passBytes()), r.o.Micro)
}

// countSteps walks through the stream without learning.
func (r *sftRun) countSteps(ctx context.Context) (int, error) {
	sizes, err := r.sizes(ctx)
	if err != nil {
		return 0, err
	}
	steps, sum := 0, 0
	for k := int64(0); k < r.end; k++ {
		n := sizes[r.stream.place(k)]
		if sum += n; sum == n || sum > r.o.Batch {
			steps, sum = steps+1, n
		}
	}
	return steps, nil
}

// sizes are the rows of every example.
func (r *sftRun) sizes(ctx context.Context) ([]int, error) {
	out := make([]int, r.data.train.Len())
	for i := range out {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, err := r.data.train.At(int64(i))
		if err != nil {
			return nil, err
		}
		out[i] = e.rows()
	}
	return out, nil
}

// finished returns the summary of a run that needs nothing more.
func (r *sftRun) finished() *SFTSummary {
	s := train.ReadSummary[SFTSummary](r.o.Out)
	if s == nil || s.Steps == 0 || s.Steps != r.file.TotalSteps {
		return nil
	}
	return s
}

// finish measures the held-out examples and writes the summary.
func (r *sftRun) finish(ctx context.Context) (*SFTSummary, error) {
	began := time.Now()
	s := &SFTSummary{Steps: r.step, Examples: r.Examples, Tokens: r.Tokens, Learned: r.Learned, Loss: r.Loss, FLOPs: r.FLOPs}
	found, err := r.heldOut(ctx)
	if err != nil {
		return nil, r.stopped(err)
	}
	held := ""
	if found != nil {
		switch found.Name {
		case heldoutLoss:
			s.HeldoutLoss, held = &found.Value, fmt.Sprintf(", %.4f held out", found.Value)
		case heldoutAccuracy:
			s.HeldoutAccuracy, held = &found.Value, fmt.Sprintf(", %.1f %% right held out", 100*found.Value)
		}
		if err := r.journal.Amend(*found); err != nil {
			return nil, r.explain(err)
		}
	}
	s.Seconds = r.Seconds + time.Since(began).Seconds()
	if err := train.WriteJSON(train.SummaryPath(r.o.Out), s); err != nil {
		return nil, r.explain(err)
	}
	r.p.Keep()
	r.p.Note("%d steps, %d examples, %d tokens in %s; loss %.4f%s", s.Steps, s.Examples, s.Tokens, train.Clock(time.Duration(s.Seconds*float64(time.Second))), s.Loss, held)
	r.p.Note("model      %s\n\nWhat to type next:\n  sonde chat %s\n  sonde serve %s", r.o.Out, train.ShellQuote(r.o.Out), train.ShellQuote(r.o.Out))
	return s, nil
}

func (r *sftRun) close() {
	if r.journal != nil {
		r.journal.Close()
	}
	if r.opt != nil {
		r.opt.Free()
	}
	if r.act != nil {
		r.act.Free()
	}
	if r.c.policy != nil {
		r.c.policy.close()
	}
	if r.model != nil {
		r.model.Close()
	}
	r.p.Keep()
}
