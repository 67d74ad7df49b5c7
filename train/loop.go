package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/model"
	"sonde/model/auto"
	"sonde/text"
)

// Config is what Run needs: the options, and the machine to run on.
type Config struct {
	Options
	Resume  bool            // go on with the run in Options.Out
	Backend compute.Backend // where the model lives
}

// run is a training run in memory.
type run struct {
	c       *Config
	o       *Options
	file    *runFile
	cfg     model.Config
	data    *dataset
	tok     *text.Tokenizer
	model   model.Trainer
	weights *compute.Arena
	opt     *Optimizer
	act     *compute.Arena
	sched   schedule
	sampler sampler
	train   *tokenFile
	heldout *tokenFile
	eval    *evaluator
	hf      checkpoint.HF
	journal *Journal
	p       *Progress
	spikes  spikeWatch
	peak    float64 // GFLOP/s that the backend reaches at most; 0: unknown

	step     int // steps done
	seconds  float64
	lastGood string
	saved    int // step of the newest checkpoint
	curve    []CurvePoint
	heldCurv []CurvePoint

	tokens  []int32 // one pass
	targets [][]int32
	window  []int32
}

// Run trains a model, or goes on with a run, and reports to out. Cancelling ctx saves
// the state after the pass at hand and returns ErrInterrupted. Everything but small
// tables lives in arenas of the backend; c.Backend must not be used by others
// meanwhile.
func Run(ctx context.Context, c Config, out io.Writer) (s *Summary, err error) {
	if c.Out == "" {
		return nil, errors.New("where should the run be kept? Name a folder with --out")
	}
	if c.Backend == nil {
		return nil, errors.New("train: Config.Backend is missing")
	}
	started := time.Now()
	c.threadCount = c.Backend.Threads()
	r := &run{c: &c, o: &c.Options, p: NewProgress(out)}
	if err := precheck(r.c); err != nil { // before the folder is made
		return nil, err
	}
	lock, err := LockFolder(c.Out)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	defer r.close()
	defer func() {
		if lack := compute.AsOutOfMemory(recover()); lack != nil {
			if r.step == 0 && !c.Resume {
				discard(c.Out)
			}
			s, err = nil, fmt.Errorf("%w: a smaller --micro, --recompute or --compute bf16 needs less", lack)
		}
	}()
	return r.all(ctx, started)
}

// all takes a run from its options to its summary.
func (r *run) all(ctx context.Context, started time.Time) (*Summary, error) {
	var err error
	if r.file, err = beginOrResume(r.c, r.p); err != nil {
		return nil, err
	}
	if s := r.finished(); s != nil {
		r.p.Note("%s is finished: %d steps, %.4f bits per byte held out. Use it with\n  sonde run %s \"your text\"", r.o.Out, s.Steps, s.HeldoutBPB, ShellQuote(r.o.Out))
		return s, nil
	}
	if err := r.open(ctx); err != nil {
		if ctx.Err() == nil && !r.c.Resume {
			discard(r.o.Out)
		}
		return nil, interrupted(err, r.o.Out)
	}
	if err := r.fixSteps(ctx, started); err != nil {
		return nil, interrupted(err, r.o.Out)
	}
	if err := r.restore(); err != nil {
		return nil, err
	}
	if err := r.loop(ctx); err != nil {
		return nil, err
	}
	return r.finish(ctx)
}

// open prepares the data and allocates the model.
func (r *run) open(ctx context.Context) error {
	var err error
	if r.cfg, err = modelConfig(r.file); err != nil {
		return err
	}
	if r.data, r.tok, err = prepare(ctx, r.o, r.p); err != nil {
		return err
	}
	if r.tok.VocabSize() != r.data.Vocab {
		return fmt.Errorf("%s has %d tokens, the packed data was made with %d: restore the run's tokenizer, or begin another run",
			filepath.Join(r.o.Out, "tokenizer.json"), r.tok.VocabSize(), r.data.Vocab)
	}
	auto.SetVocab(r.cfg, r.data.Vocab, int(r.tok.BOS()), int(r.tok.EOS()))
	dir := dataDir(r.o.Out)
	if r.train, err = openTokens(filepath.Join(dir, trainTokensFile), r.data, r.data.TrainTokens); err != nil {
		return err
	}
	if r.heldout, err = openTokens(filepath.Join(dir, heldoutTokensFile), r.data, r.data.HeldoutTokens); err != nil {
		return err
	}
	if r.sampler, err = newSampler(r.data.TrainTokens, r.o.SeqLen, 1+auto.MTPDepth(r.cfg), *r.o.Seed); err != nil {
		return err
	}
	if r.hf, err = folderFiles(r.cfg, r.tok); err != nil {
		return err
	}
	r.allocate()
	return nil
}

func (r *run) allocate() {
	dt := compute.F32
	if r.o.Compute == "bf16" {
		dt = compute.BF16
	}
	r.weights = r.c.Backend.NewArena("weights")
	r.model = auto.New(r.cfg, r.c.Backend, r.weights, dt)
	r.opt = NewOptimizer(r.model)
	r.opt.Init(*r.o.Seed)
	r.act = r.c.Backend.NewArena("activations")
	if m, ok := r.c.Backend.(interface{ MeasurePeak() float64 }); ok {
		r.peak = m.MeasurePeak()
	}
	n := r.o.Micro
	r.tokens, r.window = make([]int32, n), make([]int32, r.o.SeqLen+1+auto.MTPDepth(r.cfg))
	r.targets = make([][]int32, 1+auto.MTPDepth(r.cfg))
	for i := range r.targets {
		r.targets[i] = make([]int32, n)
	}
	r.eval = newEvaluator(r.model, r.heldout, r.data.Counts.HeldoutBytes, r.o.SeqLen, n/r.o.SeqLen)
	r.p.Note("model      %s parameters, %s active; %d tokens a sequence, %d to %d a step",
		Thousands(float64(r.cfg.TotalParams())), Thousands(float64(r.cfg.ActiveParams())), r.o.SeqLen, r.o.BatchStart, r.o.Batch)
}

// loop runs the steps that are left.
func (r *run) loop(ctx context.Context) error {
	begun, beforeSeconds := time.Now(), r.seconds
	first := r.step
	for r.step < r.sched.Steps {
		line, err := r.oneStep(ctx)
		if err != nil {
			return r.stopped(err)
		}
		r.seconds = beforeSeconds + time.Since(begun).Seconds()
		left := time.Duration(float64(time.Since(begun)) / float64(r.step-first) * float64(r.sched.Steps-r.step))
		r.p.step(line, r.sched.Steps, left)
		if err := r.afterStep(ctx); err != nil {
			return r.stopped(err)
		}
	}
	return nil
}

// afterStep saves and samples when their time has come.
func (r *run) afterStep(ctx context.Context) error {
	if r.due(r.o.SaveEvery, 20) || r.step == r.sched.Steps {
		if err := r.save(); err != nil {
			return err
		}
	}
	if r.due(r.o.SampleEvery, 5) {
		return r.sample(ctx)
	}
	return nil
}

// finish evaluates all of the held-out text and writes the summary.
func (r *run) finish(ctx context.Context) (*Summary, error) {
	began := time.Now()
	r.p.Keep()
	r.p.Show("held-out   evaluating", true)
	res, err := r.eval.run(ctx, r.act, 1)
	if err != nil {
		return nil, r.stopped(err)
	}
	gz, err := gzipBPB(filepath.Join(dataDir(r.o.Out), heldoutTextFile))
	if err != nil {
		return nil, err
	}
	s := &Summary{Steps: r.step, Tokens: r.sched.tokens(r.step), Seconds: r.seconds + time.Since(began).Seconds(),
		HeldoutBPB: res.bpb, GzipBPB: gz, LoadMaxMean: WorstLoad(res.loads)}
	if err := r.journal.Amend(Number{heldoutBPB, res.bpb}); err != nil {
		return nil, r.explain(err)
	}
	r.heldCurv = append(r.heldCurv, CurvePoint{r.step, res.bpb})
	if err := WriteJSON(SummaryPath(r.o.Out), s); err != nil {
		return nil, r.explain(err)
	}
	r.p.report(s, r.o.Out, r.curve, r.heldCurv)
	return s, nil
}

// finished returns the summary of a run that needs nothing more.
func (r *run) finished() *Summary {
	s := ReadSummary[Summary](r.o.Out)
	if s == nil || s.Steps != r.file.TotalSteps {
		return nil
	}
	return s
}

func (r *run) close() {
	for _, f := range []*tokenFile{r.train, r.heldout} {
		if f != nil {
			f.close()
		}
	}
	if r.journal != nil {
		r.journal.Close()
	}
	if r.opt != nil {
		r.opt.Free()
	}
	if r.weights != nil {
		r.weights.Free()
	}
	if r.act != nil {
		r.act.Free()
	}
	r.p.Keep()
}
