package main

import (
	"context"

	"sonde/compute/cpu"
	"sonde/reason"
)

// rejectCmd samples answers and keeps the right ones.
type rejectCmd struct {
	Model                string `arg:"" optional:"" help:"The model that answers: a folder, such as a run's, or a name on the hub."`
	reason.RejectOptions `embed:""`
	Resume               bool `help:"Go on with the file in --out; the model and the other flags may be left out."`
	threadFlag
}

// Help is shown with the flags.
func (rejectCmd) Help() string {
	return `Rejection sampling: the model answers each problem several times, and the answers that a verifier finds right are written, thoughts included, as examples that sonde sft reads. Ctrl-C keeps what there is; --resume goes on to the same file.

Examples:
  sonde reject runs/rl --tasks all --problems 5000 --samples 8 --out right.jsonl
  sonde reject runs/rl --tasks "countdown,addition" --keep all --per-task 2000 --out right.jsonl
  sonde sft runs/base --data right.jsonl --out runs/sft2`
}

// Run samples until the end or a signal.
func (c rejectCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	o := c.RejectOptions
	var err error
	if o.Model, err = locatedModel(ctx, s, c.Model); err != nil {
		return err
	}
	be, err := cpu.New(cpu.Options{Threads: c.Threads})
	if err != nil {
		return err
	}
	defer be.Close()
	_, err = reason.Reject(ctx, reason.RejectConfig{RejectOptions: o, Resume: c.Resume, Backend: be}, s.out)
	return err
}
