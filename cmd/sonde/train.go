package main

import (
	"context"

	"sonde/compute"
	"sonde/train"
)

// trainCmd trains a model.
type trainCmd struct {
	train.Options `embed:""`
	Resume        bool `help:"Go on with the run in --out; the other flags may be left out."`
	learnFlags
}

// Help is shown with the flags.
func (trainCmd) Help() string {
	return `The run's folder becomes a model in Hugging Face's layout, with the state of training beside it. Ctrl-C saves; a run that was stopped in any way goes on with --resume, and gives the losses it would have given without the stop.

Examples:
  sonde train --preset nano --data "$(go env GOROOT)/src" --out runs/go --minutes 10
  sonde train --out runs/go --resume --ui
  sonde train --preset mini --data notes --data more.jsonl --out runs/notes --steps 2000 --seed 7`
}

// Run trains until the end or a signal.
func (c trainCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	return c.learn(ctx, s, c.Out, func(be compute.Backend) error {
		_, err := train.Run(ctx, train.Config{Options: c.Options, Resume: c.Resume, Backend: be}, s.out)
		return err
	})
}
