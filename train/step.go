package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"sonde/model"
)

// batch lays out pass number pass of step.
func (r *run) batch(step, pass int) (model.Batch, error) {
	first := r.sched.sequences(step) + int64(pass)*int64(r.sched.microSeqs)
	s := r.o.SeqLen
	targets := make([][]int32, len(r.targets))
	for i := range r.sched.microSeqs {
		if err := r.train.read(r.window, r.sampler.start(first+int64(i))); err != nil {
			return model.Batch{}, err
		}
		for d := range targets {
			targets[d] = r.targets[d][i*s : (i+1)*s]
		}
		fillTargets(r.tokens[i*s:(i+1)*s], targets, r.window)
	}
	return model.Batch{Seqs: r.sched.microSeqs, SeqLen: s, Tokens: r.tokens, Targets: r.targets}, nil
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
	if line.GradNorm > *r.o.Clip {
		scale = *r.o.Clip / line.GradNorm
	}
	r.opt.Step(line.LR, *r.o.Decay, scale)
	if gamma := r.sched.gamma(r.step); gamma > 0 {
		model.UpdateBiases(r.model, loads, float32(gamma))
	}
	r.step++
	took := time.Since(began).Seconds()
	tokens := r.sched.tokens(r.step) - r.sched.tokens(r.step-1)
	line.TokensPerS = float64(tokens) / took
	if r.peak > 0 {
		flops := r.cfg.FlopsPerToken(r.o.SeqLen, true)
		if m, ok := r.cfg.(interface{ MTPFlopsPerToken(int) float64 }); ok && *r.o.MTPLambda > 0 {
			flops += m.MTPFlopsPerToken(r.o.SeqLen)
		}
		line.MFU = 3 * flops * line.TokensPerS / (1e9 * r.peak)
	}
	if r.due(r.o.EvalEvery, evalTimes) && r.step < r.sched.Steps {
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
	o := model.StepOptions{MTPLambda: float32(r.sched.mtpLambda(r.step)), AuxAlpha: float32(*r.o.Alpha),
		Scale: 1 / float32(passes), Recompute: r.o.Recompute}
	line := &Line{Step: r.step + 1, Tokens: r.sched.tokens(r.step + 1), LR: r.sched.At(r.step)}
	var loads [][]int64
	for pass := range passes {
		if ctx.Err() != nil {
			r.opt.ZeroGrads()
			return nil, nil, ctx.Err()
		}
		b, err := r.batch(r.step, pass)
		if err != nil {
			return nil, nil, err
		}
		res := r.model.LossAndGrad(r.act, b, r.opt.Grads(), o)
		line.Loss += res.Loss / float64(passes)
		line.MTPLoss += res.MTPLoss / float64(passes)
		loads = AddLoads(loads, res.Loads)
	}
	line.GradNorm = r.opt.GradNorm()
	line.LoadMaxMean, line.Loads = WorstLoad(loads), loads
	return line, loads, nil
}

// check looks for numbers that are not, and for spikes, before weights are touched.
func (r *run) check(l *Line) error {
	what := ""
	switch {
	case !finite(l.Loss):
		what = fmt.Sprintf("the loss is %v", l.Loss)
	case !finite(l.GradNorm):
		what = fmt.Sprintf("the gradient's norm is %v", l.GradNorm)
	case r.spikes.add(l.Loss) && l.Step > r.sched.Warmup:
		what = fmt.Sprintf("the loss spiked to %.3f (%s)", l.Loss, r.spikes.describe())
	}
	if what == "" {
		return nil
	}
	return r.trouble(l.Step, what)
}

// record writes the step to the journal and the curve.
func (r *run) record(l *Line) error {
	l.BPB = r.bpb(l.Loss)
	r.remember(*l)
	return r.journal.Add(l.record())
}

// remember keeps a step for the curve, of which a few hundred places are enough.
func (r *run) remember(l Line) {
	if r.curve = append(r.curve, CurvePoint{l.Step, l.BPB}); len(r.curve) >= 4096 {
		r.curve = append(r.curve[:0], mergePoints(r.curve, 2048)...)
	}
	if l.HeldoutBPB != nil {
		r.heldCurv = append(r.heldCurv, CurvePoint{l.Step, *l.HeldoutBPB})
	}
}

// bpb turns nats per token into bits per byte of the training text.
func (r *run) bpb(nats float64) float64 { return nats / math.Ln2 / r.data.bytesPerToken() }

// due says whether something that happens every so many steps (0: that often in the
// run) happens after this one.
func (r *run) due(every, times int) bool {
	if every == 0 {
		every = max(r.sched.Steps/times, 1)
	}
	return r.step%every == 0
}
