package main

import (
	"context"

	"sonde/compute"
	"sonde/reason"
)

// sftCmd teaches a model by examples.
type sftCmd struct {
	Model             string `arg:"" optional:"" help:"The model to begin with: a folder, such as a run's, or a name on the hub."`
	reason.SFTOptions `embed:""`
	loraFlags
	Resume bool `help:"Go on with the run in --out; the model and the other flags may be left out."`
	learnFlags
}

// Help is shown with the flags.
func (sftCmd) Help() string {
	return `Supervised fine-tuning: the model learns to give the answers of examples. They come from JSONL files, a line each, with "messages" in OpenAI's form (thoughts in "reasoning_content", tool calls too) or with "prompt" and "completion", or from the built-in tasks. What memory it takes is said beforehand. The run's folder is a model in Hugging Face's layout (with --lora an adapter in PEFT's), with the state of training beside it. Ctrl-C saves; a run that was stopped in any way goes on with --resume, and gives the very numbers it would have given without the stop.

Examples:
  sonde sft runs/base --data talks.jsonl --out runs/sft
  sonde sft runs/base --tasks "chain-sum,addition@1-3" --steps 500 --out runs/cold --ui
  sonde sft HuggingFaceTB/SmolLM2-135M-Instruct --data mine.jsonl --lora 16 --out runs/mine
  sonde sft --out runs/sft --resume`
}

// Run learns until the end or a signal.
func (c sftCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	o := c.SFTOptions
	var err error
	if o.Model, err = locatedModel(ctx, s, c.Model); err != nil {
		return err
	}
	if o.LoRA, err = c.loraFlags.options(seedOr1(o.Seed)); err != nil {
		return err
	}
	return c.learn(ctx, s, o.Out, func(be compute.Backend) error {
		_, err := reason.SFT(ctx, reason.SFTConfig{SFTOptions: o, Resume: c.Resume, Backend: be}, s.out)
		return err
	})
}

func seedOr1(seed *uint64) uint64 {
	if seed == nil {
		return 1
	}
	return *seed
}
