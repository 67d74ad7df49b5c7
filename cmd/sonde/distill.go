package main

import (
	"context"

	"sonde/compute"
	"sonde/reason"
)

// distillCmd teaches a smaller model what a larger one knows.
type distillCmd struct {
	Teacher               string `arg:"" optional:"" help:"The model to learn from: a folder, such as a run's, or a name on the hub."`
	reason.DistillOptions `embed:""`
	reason.SFTOptions     `embed:""`
	Resume                bool `help:"Go on with the run in --out; the teacher and the other flags may be left out."`
	learnFlags
}

// Help is shown with the flags.
func (distillCmd) Help() string {
	return `Distillation: the teacher answers problems, the answers that a verifier finds right are kept, thoughts included (samples.jsonl in the run's folder), and a smaller student with the teacher's tokenizer is fine-tuned on them. With --on-policy the student answers instead, and learns from how likely the teacher finds each of its tokens. Ctrl-C saves; --resume goes on bit for bit.

Examples:
  sonde distill runs/rl --preset r1-dense --tasks all --problems 20000 --out runs/small
  sonde distill runs/rl --student runs/small --on-policy --tasks all --steps 200 --out runs/small2
  sonde distill --out runs/small --resume`
}

// Run learns until the end or a signal.
func (c distillCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	o := c.DistillOptions
	var err error
	if o.Teacher, err = locatedModel(ctx, s, c.Teacher); err != nil {
		return err
	}
	return c.learn(ctx, s, c.SFTOptions.Out, func(be compute.Backend) error {
		_, err := reason.Distill(ctx, reason.DistillConfig{SFTOptions: c.SFTOptions, DistillOptions: o, Resume: c.Resume, Backend: be}, s.out)
		return err
	})
}
