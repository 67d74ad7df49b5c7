package reason

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"sonde/engine"
	"sonde/model"
	"sonde/train"
)

// loop runs the steps that are left.
func (r *sftRun) loop(ctx context.Context) error {
	begun, before, first := time.Now(), r.Seconds, r.step
	for r.step < r.file.TotalSteps {
		rec, err := r.oneStep(ctx)
		if err != nil {
			return r.stopped(err)
		}
		r.Seconds = before + time.Since(begun).Seconds()
		left := time.Duration(float64(time.Since(begun)) / float64(r.step-first) * float64(r.file.TotalSteps-r.step))
		r.show(rec, left)
		if r.step%every(r.o.SaveEvery, 20, r.file.TotalSteps) == 0 || r.step == r.file.TotalSteps {
			if err := r.save(); err != nil {
				return r.stopped(err)
			}
		}
		if r.o.SampleEvery >= 0 && r.step%every(r.o.SampleEvery, 5, r.file.TotalSteps) == 0 {
			if err := r.sample(ctx); err != nil {
				return r.stopped(err)
			}
		}
	}
	return nil
}

// found is what the passes of a step found.
type found struct {
	nats, weight   float64
	tokens, target int64
	flops          float64
	loads          [][]int64
}

// lesson is what a step learns from.
type lesson struct {
	examples []Example
	weight   float64 // what the sum of the weighted losses is divided by
	used     int64   // of the stream
	kl       float64 // on policy: the divergence from the teacher
	numbers  []train.Number
}

// next draws a step's lesson: the stream's next examples, or what the model itself writes.
func (r *sftRun) next(ctx context.Context) (*lesson, error) {
	if r.c.policy != nil {
		return r.c.policy.lesson(ctx, r)
	}
	examples, err := r.stream.take(r.Next, r.end, r.o.Batch)
	l := &lesson{examples: examples, used: int64(len(examples))}
	for _, e := range examples {
		for _, w := range e.Weights[1:] {
			l.weight += float64(w)
		}
	}
	return l, err
}

// oneStep computes step r.step, logs it and counts it.
func (r *sftRun) oneStep(ctx context.Context) (*train.Record, error) {
	began := time.Now()
	l, err := r.next(ctx)
	if err != nil {
		return nil, err
	}
	f, err := r.gradients(ctx, l)
	if err != nil {
		r.opt.ZeroGrads()
		return nil, err
	}
	loss, norm, lr := f.nats/f.weight, r.opt.GradNorm(), r.rate.At(r.step)
	if r.c.policy != nil {
		loss = l.kl // what the gradient lessens; the weighted sum itself has no meaning
	}
	if bad := math.IsNaN(loss) || math.IsInf(loss, 0) || math.IsNaN(norm) || math.IsInf(norm, 0); bad {
		return nil, &train.Trouble{Step: r.step + 1, What: fmt.Sprintf("the loss is %v, the gradient's norm %v", loss, norm), Tensor: r.opt.Culprit(), LastGood: r.lastGood, LR: r.o.LR}
	}
	r.opt.Step(lr, *r.o.Decay, min(1, *r.o.Clip/norm))
	if r.o.Gamma > 0 {
		gamma := r.o.Gamma
		if r.step >= r.rate.Fall {
			gamma *= lr / r.rate.LR
		}
		model.UpdateBiases(r.model.Net, f.loads, float32(gamma))
	}
	r.step++
	r.count(f, l, loss)
	rec := &train.Record{Step: r.step, Loads: f.loads}
	for _, n := range []train.Number{{Name: "loss", Value: loss}, {Name: "lr", Value: lr}, {Name: "grad_norm", Value: norm}, {Name: "tokens", Value: float64(r.Tokens)},
		{Name: "examples", Value: float64(r.Examples)}, {Name: "tokens_per_s", Value: float64(f.tokens) / time.Since(began).Seconds()}} {
		rec.Set(n.Name, n.Value)
	}
	if worst := train.WorstLoad(f.loads); worst > 0 {
		rec.Set("load_max_mean", worst)
	}
	for _, n := range l.numbers {
		rec.Set(n.Name, n.Value)
	}
	if err := r.look(ctx, rec); err != nil {
		return nil, err
	}
	return rec, r.journal.Add(*rec)
}

// count adds a step to the run's totals.
func (r *sftRun) count(f *found, l *lesson, loss float64) {
	r.Next += l.used
	r.Examples += int64(len(l.examples))
	r.Tokens += f.tokens
	r.Learned += f.target
	r.FLOPs += 3 * f.flops
	r.Loss = loss
}

// gradients runs the passes of a step.
func (r *sftRun) gradients(ctx context.Context, l *lesson) (*found, error) {
	f := &found{weight: l.weight}
	sizes := make([]int, len(l.examples))
	for i := range l.examples {
		sizes[i] = l.examples[i].rows()
	}
	bins := bestFit(sizes, r.o.Micro)
	for _, bin := range bins {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		part := make([]Example, len(bin))
		for i, n := range bin {
			part[i] = l.examples[n]
		}
		r.pass(f, part, 1/float32(len(bins)))
	}
	return f, nil
}

// pass learns from examples side by side: the loss is the mean of the step's targets'
// negative log-probabilities by their weights.
func (r *sftRun) pass(f *found, examples []Example, scale float32) {
	mark := r.act.Mark()
	defer r.act.Release(mark)
	packed, weights := packExamples(examples)
	p := r.model.Net.Learn(r.act, packed, model.StepOptions{AuxAlpha: float32(r.o.Alpha), Scale: scale, Recompute: r.o.Recompute})
	coef := make([]float32, len(weights))
	for t, w := range weights {
		coef[t] = -w / float32(f.weight)
	}
	p.Backward(coef, r.opt.Grads())
	logp, _ := p.LogProbs()
	f.add(packed, weights, logp)
	f.loads = train.AddLoads(f.loads, p.Loads())
	for _, n := range packed.Lens {
		f.flops += float64(n) * r.model.Cfg.FlopsPerToken(n, true)
	}
}

// add sums a pass's losses.
func (f *found) add(p model.Packed, weights, logp []float32) {
	f.tokens += int64(len(p.Tokens))
	for t, w := range weights {
		if w != 0 {
			f.nats -= float64(w) * float64(logp[t])
			f.target++
		}
	}
}

// look measures the held-out examples when their time has come; the last look is
// finish's.
func (r *sftRun) look(ctx context.Context, rec *train.Record) error {
	if r.step%every(r.o.EvalEvery, 10, r.file.TotalSteps) != 0 || r.step == r.file.TotalSteps {
		return nil
	}
	found, err := r.heldOut(ctx)
	if errors.Is(err, context.Canceled) {
		return nil // the step counts; the loop ends at the next
	}
	if err != nil || found == nil {
		return err
	}
	rec.Set(found.Name, found.Value)
	return nil
}

// heldOut measures what was held out, by the kind of the run; nil where there is nothing.
func (r *sftRun) heldOut(ctx context.Context) (*train.Number, error) {
	if r.c.policy != nil {
		share, err := r.c.policy.accuracy(ctx, r)
		return &train.Number{Name: heldoutAccuracy, Value: share}, err
	}
	if len(r.data.heldout) == 0 {
		return nil, nil
	}
	loss, err := r.measure(ctx)
	return &train.Number{Name: heldoutLoss, Value: loss}, err
}

// Names of what heldOut finds.
const (
	heldoutLoss     = "heldout_loss"
	heldoutAccuracy = "heldout_accuracy"
)

// measure is the loss of the held-out examples: of each source those first ones that are
// looked at.
func (r *sftRun) measure(ctx context.Context) (float64, error) {
	f := &found{}
	for _, s := range r.data.heldout {
		examples, err := r.looked(s)
		if err != nil {
			return 0, err
		}
		for len(examples) > 0 {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			n, rows := 0, 0
			for ; n < len(examples) && (n == 0 || rows+examples[n].rows() <= r.o.Micro); n++ {
				rows += examples[n].rows()
			}
			r.forward(f, examples[:n])
			examples = examples[n:]
		}
	}
	return f.nats / f.weight, nil
}

// looked is a source's examples that a look costs: no more than two steps' tokens, so that
// ten looks are little beside a run.
func (r *sftRun) looked(s Source) ([]Example, error) {
	var out []Example
	rows := 0
	for i := range min(s.Len(), heldoutExamples) {
		e, err := s.At(i)
		if err != nil {
			return nil, err
		}
		if rows += e.rows(); len(out) > 0 && rows > 2*r.o.Batch {
			break
		}
		out = append(out, e)
	}
	return out, nil
}

func (r *sftRun) forward(f *found, examples []Example) {
	mark := r.act.Mark()
	defer r.act.Release(mark)
	packed, weights := packExamples(examples)
	logp, _ := r.model.Net.Learn(r.act, packed, model.StepOptions{}).LogProbs()
	f.add(packed, weights, logp)
	for _, w := range weights {
		f.weight += float64(w)
	}
}

// show tells how the run goes.
func (r *sftRun) show(rec *train.Record, left time.Duration) {
	loss, _ := rec.Get("loss")
	speed, _ := rec.Get("tokens_per_s")
	what := "loss"
	if kl, ok := rec.Get("kl"); ok {
		what, loss = "kl", kl
	}
	line := fmt.Sprintf("step %d/%d  %s %.4f  %s tok/s", r.step, r.file.TotalSteps, what, loss, train.Thousands(speed))
	if load, ok := rec.Get("load_max_mean"); ok {
		line += fmt.Sprintf("  load %.2f", load)
	}
	held, looked := rec.Get(heldoutLoss)
	if looked {
		line += fmt.Sprintf("  held-out %.4f", held)
	} else if held, looked = rec.Get(heldoutAccuracy); looked {
		line += fmt.Sprintf("  held-out %.1f %% right", 100*held)
	}
	line += fmt.Sprintf("  %s left", train.Clock(left))
	if looked {
		r.p.Note("%s", line)
		return
	}
	r.p.Show(line, r.step == 1 || r.step == r.file.TotalSteps)
}

// sampleTokens is the length of the answers shown on the way.
const sampleTokens = 160

// sample shows the most probable answer to the prompt of an example, one that was held
// out where there is one. Training does not notice.
func (r *sftRun) sample(ctx context.Context) error {
	if r.c.policy != nil {
		return nil // its rollouts are kept
	}
	src := r.data.train
	if len(r.data.heldout) > 0 {
		src = r.data.heldout[0]
	}
	e, err := src.At(int64(r.step) % max(min(src.Len(), heldoutExamples), 1))
	if err != nil {
		return err
	}
	n := 0
	for n < len(e.Weights) && e.Weights[n] < 1 {
		n++
	}
	if n == 0 || n >= r.model.Cfg.Context() {
		return nil // everything is learned: no prompt can be told from an answer
	}
	roller := engine.NewRoller(r.model.Net)
	defer roller.Close()
	params := engine.RollParams{Params: engine.Params{MaxTokens: sampleTokens}, EOS: r.model.Tok.EOS()}
	params.StopTokens = r.model.Ends()
	err = roller.Roll(ctx, []engine.Roll{{Prompt: e.Tokens[:n], Samples: 1}}, params, func(out *engine.Rolled) {
		r.p.Text(fmt.Sprintf("answer at step %d:", r.step), r.model.Tok.Decode(e.Tokens[:n])+r.model.Tok.Decode(out.Tokens))
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("an answer on the way: %w", err)
	}
	return nil
}
