package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unicode/utf8"

	"sonde"
	"sonde/checkpoint"
)

// quantizeCmd writes a model in fewer bits.
type quantizeCmd struct {
	Source      string `arg:"" help:"The model: a folder, or a .gguf or .safetensors file."`
	Dest        string `arg:"" name:"destination" help:"The file to write; it ends in .gguf."`
	Type        string `required:"" help:"How to quantise: ${recipes}." placeholder:"TYPE"`
	Imatrix     string `help:"Weigh the columns of matrices by an importance matrix: a text for the model to read, or a file that --save-imatrix wrote." placeholder:"FILE"`
	SaveImatrix string `help:"Write the importance matrix, for other quantisations of the model." placeholder:"FILE"`
	ShardMB     int64  `name:"shard-mb" help:"Cut the file into parts of about so many megabytes." placeholder:"N"`
	Force       bool   `help:"Overwrite what is there."`
	threadFlag
}

// Help is shown with the flags.
func (quantizeCmd) Help() string {
	return `The names are llama.cpp's, and so is the choice of which matrices get more bits. A text for --imatrix should be of the kind that the model will meet; a few hundred kilobytes are enough.

Examples:
  sonde quantize DeepSeek-V2-Lite-Chat v2-lite-q4.gguf --type Q4_K_M
  sonde quantize model-f16.gguf model-q3.gguf --type Q3_K_M --imatrix calibration.txt`
}

// Run quantises.
func (c quantizeCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	if err := checkpoint.CheckRecipe(c.Type); err != nil {
		return usageError{err, "quantize"}
	}
	if c.SaveImatrix != "" && c.Imatrix == "" {
		return usageError{errors.New("--save-imatrix needs --imatrix and the text for the model to read"), "quantize"}
	}
	importance, err := c.importance(ctx, s)
	if err != nil {
		return err
	}
	src, err := openFiles(ctx, s, c.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	p := newProgress(s, "writing "+c.Dest)
	err = src.Quantize(ctx, c.Dest, checkpoint.QuantizeOptions{Type: c.Type, Importance: importance, ShardBytes: c.ShardMB * 1e6, Overwrite: c.Force, Progress: p.bytes})
	p.end()
	if err != nil {
		return err
	}
	return wrote(s, c.Dest)
}

// importance reads a saved importance matrix, or has the model read a text.
func (c quantizeCmd) importance(ctx context.Context, s streams) (*checkpoint.Importance, error) {
	if c.Imatrix == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(c.Imatrix)
	if err != nil {
		return nil, fmt.Errorf("--imatrix: %w", err)
	}
	if checkpoint.IsImportance(raw) {
		return checkpoint.LoadImportance(c.Imatrix)
	}
	if !utf8.Valid(raw) {
		return nil, fmt.Errorf("--imatrix: %s is neither UTF-8 text nor an importance matrix that sonde saved", c.Imatrix)
	}
	m, err := open(ctx, s, c.Source, sonde.Options{Threads: c.Threads, Activations: sonde.ActivationsF32})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	p := newProgress(s, "reading "+c.Imatrix)
	importance, err := m.Importance(ctx, string(raw), p.tokens)
	p.end()
	if err == nil && c.SaveImatrix != "" {
		err = importance.Save(c.SaveImatrix)
	}
	return importance, err
}
