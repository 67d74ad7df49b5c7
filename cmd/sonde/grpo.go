package main

import (
	"context"

	"sonde/compute"
	"sonde/reason"
)

// grpoCmd reinforces a model.
type grpoCmd struct {
	Model              string `arg:"" optional:"" help:"The model to begin with: a folder, such as a run's, or a name on the hub."`
	reason.GRPOOptions `embed:""`
	loraFlags
	Resume bool `help:"Go on with the run in --out; the model and the other flags may be left out."`
	learnFlags
}

// Help is shown with the flags.
func (grpoCmd) Help() string {
	return `Reinforcement learning with verifiable rewards: the model answers each problem several times, a program judges the answers, and those that are better than the others become likelier. The run's folder is a model in Hugging Face's layout (with --lora an adapter in PEFT's), with the state of training beside it. Ctrl-C saves; a run that was stopped in any way goes on with --resume, and gives the very numbers it would have given without the stop.

Examples:
  sonde grpo runs/base --tasks chain-sum@4 --out runs/rl --steps 60 --lr 3e-4
  sonde grpo runs/sft --tasks "all" --objective dapo --out runs/rl
  sonde grpo runs/sft --data problems.jsonl --kl 0.001 --group 8 --out runs/rl
  sonde grpo smollm2-q4_1.gguf --data sums.jsonl --lora 16 --out runs/sums
  sonde grpo --out runs/rl --resume --ui`
}

// Run learns until the end or a signal.
func (c grpoCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	o := c.GRPOOptions
	var err error
	if o.Model, err = locatedModel(ctx, s, c.Model); err != nil {
		return err
	}
	if o.LoRA, err = c.loraFlags.options(seedOr1(o.Seed)); err != nil {
		return err
	}
	return c.learn(ctx, s, o.Out, func(be compute.Backend) error {
		_, err := reason.GRPO(ctx, reason.GRPOConfig{GRPOOptions: o, Resume: c.Resume, Backend: be}, s.out)
		return err
	})
}
