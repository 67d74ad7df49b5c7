package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"sonde/compute"
	"sonde/reason"
)

// r1Cmd takes a model from nothing to one that reasons.
type r1Cmd struct {
	reason.R1Options `embed:""`
	Resume           bool `help:"Go on with the run in --out; the other flags may be left out."`
	Show             bool `help:"Print the recipe and stop: the beginning of one's own."`
	learnFlags
}

// Help is shown with the flags.
func (r1Cmd) Help() string {
	return `The road of DeepSeek-R1 on a laptop: a base model is pre-trained on problems of which some are worked out, learns to think by reinforcement with verifiable rewards, is taught by its own right answers, and teaches a smaller one. Every stage is a run of its own below --out. The recipes: ` + strings.Join(reason.RecipeNames(), ", ") + `.

Examples:
  sonde r1 --preset chain --out runs/chain --ui
  sonde r1 --out runs/r1 --ui
  sonde r1 --out runs/r1 --resume
  sonde r1 --preset nano --show > mine.json; sonde r1 --recipe mine.json --out runs/mine`
}

// Run runs the stages until the end or a signal.
func (c r1Cmd) Run(ctx context.Context, s streams) error {
	if c.Show {
		return c.show(s)
	}
	ctx, stop := untilSignal(ctx)
	defer stop()
	return c.learn(ctx, s, c.Out, func(be compute.Backend) error {
		_, err := reason.R1(ctx, reason.R1Config{R1Options: c.R1Options, Resume: c.Resume, Backend: be}, s.out)
		return err
	})
}

// show prints a recipe.
func (c r1Cmd) show(s streams) error {
	name := c.Preset
	if name == "" {
		name = reason.DefaultRecipe
	}
	r, err := reason.RecipeByName(name)
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s\n", raw)
	return err
}
