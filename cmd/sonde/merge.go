package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sonde/checkpoint"
)

// mergeCmd writes a model with an adapter merged into its weights.
type mergeCmd struct {
	Model   string `arg:"" help:"The model that the adapter is of: a folder, a .gguf file, or a name on the hub."`
	Adapter string `arg:"" help:"The adapter's folder, in PEFT's layout."`
	Dest    string `arg:"" name:"destination" help:"Where to write the merged model: a folder, or a name that ends in .gguf."`
	DType   string `name:"dtype" help:"Format of the matrices: f32, f16 or bf16, or in safetensors fp8. By default they keep theirs; FP8, and in safetensors quantised ones, become bf16." placeholder:"TYPE"`
	Type    string `help:"Quantise the merged model, for a name that ends in .gguf: ${recipes}." placeholder:"TYPE"`
	Force   bool   `help:"Overwrite what is there."`
}

// Help is shown with the flags.
func (mergeCmd) Help() string {
	return `Every adapted weight W becomes W + s B A, rounded once to the format it is written in. A quantised model is merged from what its codes stand for.

Examples:
  sonde merge SmolLM2-135M-Instruct runs/adds merged
  sonde merge smollm2-q4_1.gguf runs/adds merged --dtype f32
  sonde merge smollm2-q4_1.gguf runs/adds merged.gguf --type Q4_K_M`
}

// Run merges.
func (c mergeCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	dt, err := c.check()
	if err != nil {
		return usageError{err, "merge"}
	}
	src, err := openFiles(ctx, s, c.Model)
	if err != nil {
		return err
	}
	defer src.Close()
	a, err := checkpoint.OpenAdapter(c.Adapter)
	if err != nil {
		return err
	}
	defer a.Close()
	if err := src.Adapt(a); err != nil {
		return err
	}
	p := newProgress(s, "writing "+c.Dest)
	if c.Type != "" {
		err = src.Quantize(ctx, c.Dest, checkpoint.QuantizeOptions{Type: c.Type, Overwrite: c.Force, Progress: p.bytes})
	} else {
		err = src.Convert(ctx, c.Dest, checkpoint.ConvertOptions{DType: dt, Overwrite: c.Force, Progress: p.bytes})
	}
	p.end()
	if err != nil {
		return err
	}
	return wrote(s, c.Dest)
}

// check is the format that --dtype names, or what is wrong with the flags.
func (c mergeCmd) check() (checkpoint.DType, error) {
	dt, ok := dtypes[strings.ToLower(c.DType)]
	switch {
	case !ok:
		return dt, fmt.Errorf("there is no format %q for --dtype: choose f32, f16, bf16 or fp8; --type has smaller ones", c.DType)
	case c.Type != "" && c.DType != "":
		return dt, errors.New("--dtype and --type both say what the merged model's numbers are: give one")
	case c.Type != "":
		return dt, checkpoint.CheckRecipe(c.Type)
	}
	return dt, nil
}
