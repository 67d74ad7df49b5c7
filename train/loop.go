package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/model/deepseek"
	"sonde/text"
)

// Config is what Run needs: the options, and the machine to run on.
type Config struct {
	Options
	Resume  bool            // go on with the run in Options.Out
	Backend compute.Backend // where the model lives
}

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

// run is a training run in memory.
type run struct {
	c       *Config
	o       *Options
	file    *runFile
	cfg     *deepseek.Config
	data    *dataset
	tok     *text.Tokenizer
	w       *weights
	act     *compute.Arena
	sched   schedule
	sampler sampler
	train   *tokenFile
	heldout *tokenFile
	eval    *evaluator
	hf      checkpoint.HF
	log     *stepLog
	events  *events
	p       *progress
	spikes  spikeWatch
	peak    float64 // GFLOP/s that the backend reaches at most; 0: unknown

	step     int // steps done
	seconds  float64
	lastGood string
	saved    int // step of the newest checkpoint
	curve    []point
	heldCurv []point

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
	r := &run{c: &c, o: &c.Options, p: newProgress(out)}
	if err := precheck(r.c); err != nil { // before the folder is made
		return nil, err
	}
	lock, err := checkpoint.LockRun(c.Out)
	if errors.Is(err, checkpoint.ErrLocked) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("the run's folder: %w: name one that can be written with --out", err)
	}
	defer lock.Unlock()
	defer r.close()
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case *compute.OutOfMemory:
			if r.step == 0 && !c.Resume {
				discard(c.Out)
			}
			s, err = nil, fmt.Errorf("%w: a smaller --micro, --recompute or --compute bf16 needs less", cause)
		default:
			panic(cause)
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
		r.p.note("%s is finished: %d steps, %.4f bits per byte held out. Use it with\n  sonde run %s \"your text\"", r.o.Out, s.Steps, s.HeldoutBPB, shellQuote(r.o.Out))
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
	if r.cfg, err = r.file.config(); err != nil {
		return err
	}
	if r.data, r.tok, err = prepare(ctx, r.o, r.p); err != nil {
		return err
	}
	if r.tok.VocabSize() != r.data.Vocab {
		return fmt.Errorf("%s has %d tokens, the packed data was made with %d: restore the run's tokenizer, or begin another run",
			filepath.Join(r.o.Out, "tokenizer.json"), r.tok.VocabSize(), r.data.Vocab)
	}
	r.cfg.VocabSize = r.data.Vocab
	r.cfg.BOSTokenID, r.cfg.EOSTokenID = int(r.tok.BOS()), int(r.tok.EOS())
	dir := dataDir(r.o.Out)
	if r.train, err = openTokens(filepath.Join(dir, trainTokensFile), r.data, r.data.TrainTokens); err != nil {
		return err
	}
	if r.heldout, err = openTokens(filepath.Join(dir, heldoutTokensFile), r.data, r.data.HeldoutTokens); err != nil {
		return err
	}
	if r.sampler, err = newSampler(r.data.TrainTokens, r.o.SeqLen, 1+r.cfg.NumNextnPredict, r.o.Seed); err != nil {
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
	r.w = newWeights(r.cfg, r.c.Backend, dt)
	r.w.init(r.o.Seed)
	r.w.zeroGrads()
	r.act = r.c.Backend.NewArena("activations")
	if m, ok := r.c.Backend.(interface{ MeasurePeak() float64 }); ok {
		r.peak = m.MeasurePeak()
	}
	n := r.o.Micro
	r.tokens, r.window = make([]int32, n), make([]int32, r.o.SeqLen+1+r.cfg.NumNextnPredict)
	r.targets = make([][]int32, 1+r.cfg.NumNextnPredict)
	for i := range r.targets {
		r.targets[i] = make([]int32, n)
	}
	r.eval = newEvaluator(r.w.model, r.heldout, r.data.Counts.HeldoutBytes, r.o.SeqLen, n/r.o.SeqLen)
	r.p.note("model      %s parameters, %s active; %d tokens a sequence, %d to %d a step",
		thousands(float64(r.cfg.TotalParams())), thousands(float64(r.cfg.ActiveParams())), r.o.SeqLen, r.o.BatchStart, r.o.Batch)
}

// batch lays out pass number pass of step.
func (r *run) batch(step, pass int) (deepseek.Batch, error) {
	first := r.sched.sequences(step) + int64(pass)*int64(r.sched.microSeqs)
	s := r.o.SeqLen
	targets := make([][]int32, len(r.targets))
	for i := range r.sched.microSeqs {
		if err := r.train.read(r.window, r.sampler.start(first+int64(i))); err != nil {
			return deepseek.Batch{}, err
		}
		for d := range targets {
			targets[d] = r.targets[d][i*s : (i+1)*s]
		}
		fillTargets(r.tokens[i*s:(i+1)*s], targets, r.window)
	}
	return deepseek.Batch{Seqs: r.sched.microSeqs, SeqLen: s, Tokens: r.tokens, Targets: r.targets}, nil
}

// loop runs the steps that are left.
func (r *run) loop(ctx context.Context) error {
	begun, beforeSeconds := time.Now(), r.seconds
	first := r.step
	for r.step < r.sched.steps {
		line, err := r.oneStep(ctx)
		if err != nil {
			return r.stopped(err)
		}
		r.seconds = beforeSeconds + time.Since(begun).Seconds()
		left := time.Duration(float64(time.Since(begun)) / float64(r.step-first) * float64(r.sched.steps-r.step))
		r.p.step(line, r.sched.steps, r.bpb(line.Loss), left)
		if err := r.afterStep(ctx); err != nil {
			return r.stopped(err)
		}
	}
	return nil
}

// oneStep computes step r.step, logs it and counts it.
func (r *run) oneStep(ctx context.Context) (*Line, error) {
	began := time.Now()
	line, loads, err := r.gradients(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.check(line); err != nil {
		return nil, err
	}
	scale := 1.0
	if line.GradNorm > r.o.Clip {
		scale = r.o.Clip / line.GradNorm
	}
	r.w.update(r.step+1, line.LR, r.o.Decay, scale)
	if gamma := r.sched.gamma(r.step); gamma > 0 {
		r.w.model.UpdateBias(narrow(loads), float32(gamma))
	}
	r.step++
	took := time.Since(began).Seconds()
	tokens := r.sched.tokens(r.step) - r.sched.tokens(r.step-1)
	line.TokensPerS = float64(tokens) / took
	if r.peak > 0 {
		line.MFU = 3 * r.cfg.FlopsPerToken(r.o.SeqLen, *r.o.MTPLambda > 0) * line.TokensPerS / (1e9 * r.peak)
	}
	if r.due(r.o.EvalEvery, evalTimes) && r.step < r.sched.steps {
		res, err := r.eval.run(ctx, r.act, max(r.eval.passes()/evalShare, 1))
		if err == nil && !finite(res.bpb) {
			return nil, r.trouble(r.step, fmt.Sprintf("the held-out text needs %v bits per byte", res.bpb))
		}
		if err == nil {
			line.HeldoutBPB = &res.bpb
		} else if !errors.Is(err, context.Canceled) {
			return nil, err
		}
	}
	return line, r.record(line)
}

// evalShare is the number of passes of a look at the held-out text on the way.
const evalShare = 16

// evalTimes is how often the run looks at it unless told otherwise.
const evalTimes = 10

// gradients runs the passes of the step.
func (r *run) gradients(ctx context.Context) (*Line, [][]int64, error) {
	passes := r.sched.micro(r.step)
	o := deepseek.StepOptions{MTPLambda: float32(r.sched.mtpLambda(r.step)), AuxAlpha: float32(*r.o.Alpha),
		Scale: 1 / float32(passes), Recompute: r.o.Recompute}
	line := &Line{Step: r.step + 1, Tokens: r.sched.tokens(r.step + 1), LR: r.sched.rate(r.step)}
	var loads [][]int64
	for pass := range passes {
		if ctx.Err() != nil {
			r.w.zeroGrads()
			return nil, nil, ctx.Err()
		}
		b, err := r.batch(r.step, pass)
		if err != nil {
			return nil, nil, err
		}
		res := r.w.model.LossAndGrad(r.act, b, r.w.grads, o)
		line.Loss += res.Loss / float64(passes)
		line.MTPLoss += res.MTPLoss / float64(passes)
		loads = addLoads(loads, res.Loads)
	}
	line.GradNorm = r.w.gradNorm()
	line.LoadMaxMean = worstLoad(loads)
	return line, loads, nil
}

func narrow(loads [][]int64) [][]int32 {
	out := make([][]int32, len(loads))
	for i, l := range loads {
		out[i] = make([]int32, len(l))
		for e, n := range l {
			out[i][e] = int32(n)
		}
	}
	return out
}

// check looks for numbers that are not, and for spikes, before weights are touched.
func (r *run) check(l *Line) error {
	what := ""
	switch {
	case !finite(l.Loss):
		what = fmt.Sprintf("the loss is %v", l.Loss)
	case !finite(l.GradNorm):
		what = fmt.Sprintf("the gradient's norm is %v", l.GradNorm)
	case r.spikes.add(l.Loss) && l.Step > r.sched.warmup:
		what = fmt.Sprintf("the loss spiked to %.3f (%s)", l.Loss, r.spikes.describe())
	}
	if what == "" {
		return nil
	}
	return r.trouble(l.Step, what)
}

func (r *run) trouble(step int, what string) error {
	return &Trouble{Step: step, What: what, Tensor: r.w.culprit(), LastGood: r.lastGood, LR: r.o.LR}
}

// record writes the step to the log, the event file and the curve.
func (r *run) record(l *Line) error {
	r.remember(*l)
	if err := r.log.add(l); err != nil {
		return err
	}
	tags := []string{"loss", "bits_per_byte", "mtp_loss", "learning_rate", "grad_norm", "load_max_mean", "tokens_per_s", "mfu"}
	values := []float64{l.Loss, r.bpb(l.Loss), l.MTPLoss, l.LR, l.GradNorm, l.LoadMaxMean, l.TokensPerS, l.MFU}
	if l.HeldoutBPB != nil {
		tags, values = append(tags, "heldout_bits_per_byte"), append(values, *l.HeldoutBPB)
	}
	return r.events.scalars(l.Step, tags, values)
}

// remember keeps a step for the curve, of which a few hundred places are enough.
func (r *run) remember(l Line) {
	if r.curve = append(r.curve, point{l.Step, r.bpb(l.Loss)}); len(r.curve) >= 4096 {
		r.curve = append(r.curve[:0], mergePoints(r.curve, 2048)...)
	}
	if l.HeldoutBPB != nil {
		r.heldCurv = append(r.heldCurv, point{l.Step, *l.HeldoutBPB})
	}
}

// bpb turns nats per token into bits per byte of the training text.
func (r *run) bpb(nats float64) float64 { return nats / math.Ln2 / r.data.bytesPerToken() }

// due says whether something that happens every so many steps (0: that often in the
// run) happens after this one.
func (r *run) due(every, times int) bool {
	if every == 0 {
		every = max(r.sched.steps/times, 1)
	}
	return r.step%every == 0
}

// afterStep saves and samples when their time has come.
func (r *run) afterStep(ctx context.Context) error {
	if r.due(r.o.SaveEvery, 20) || r.step == r.sched.steps {
		if err := r.save(); err != nil {
			return err
		}
	}
	if r.due(r.o.SampleEvery, 5) {
		return r.sample(ctx)
	}
	return nil
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
	return fmt.Errorf("%w after step %d of %d, all saved: go on with\n  sonde train --out %s --resume", ErrInterrupted, r.step, r.sched.steps, shellQuote(r.o.Out))
}

// explain adds the step and the last good checkpoint to failures such as a full disk.
func (r *run) explain(err error) error {
	var t *Trouble
	if errors.As(err, &t) {
		return err
	}
	again := fmt.Sprintf("Once the cause is gone, go on with\n  sonde train --out %s --resume", shellQuote(r.o.Out))
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
		return fmt.Errorf("%w before the first step: begin again with\n  sonde train --out %s --resume", ErrInterrupted, shellQuote(run))
	}
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: free space on that disk, or choose another folder with --out", err)
	}
	return err
}

// finish evaluates all of the held-out text and writes the summary.
func (r *run) finish(ctx context.Context) (*Summary, error) {
	began := time.Now()
	r.p.keep()
	r.p.show("held-out   evaluating", true)
	res, err := r.eval.run(ctx, r.act, 1)
	if err != nil {
		return nil, r.stopped(err)
	}
	gz, err := gzipBPB(filepath.Join(dataDir(r.o.Out), heldoutTextFile))
	if err != nil {
		return nil, err
	}
	s := &Summary{Steps: r.step, Tokens: r.sched.tokens(r.step), Seconds: r.seconds + time.Since(began).Seconds(),
		HeldoutBPB: res.bpb, GzipBPB: gz, LoadMaxMean: worstLoad(res.loads)}
	if err := r.log.amend(res.bpb); err != nil {
		return nil, r.explain(err)
	}
	r.heldCurv = append(r.heldCurv, point{r.step, res.bpb})
	if err := writeJSON(summaryPath(r.o.Out), s); err != nil {
		return nil, r.explain(err)
	}
	r.p.report(s, r.o.Out, r.curve, r.heldCurv)
	return s, nil
}

// finished returns the summary of a run that needs nothing more.
func (r *run) finished() *Summary {
	raw, err := os.ReadFile(summaryPath(r.o.Out))
	if err != nil {
		return nil
	}
	s := &Summary{}
	if json.Unmarshal(raw, s) != nil || s.Steps != r.file.TotalSteps {
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
	if r.log != nil {
		r.log.close()
	}
	if r.events != nil {
		r.events.close()
	}
	if r.w != nil {
		r.w.free()
	}
	if r.act != nil {
		r.act.Free()
	}
	r.p.keep()
}
