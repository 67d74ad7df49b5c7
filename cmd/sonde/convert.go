package main

import (
	"context"
	"fmt"
	"strings"

	"sonde"
	"sonde/checkpoint"
)

// convertCmd writes a model in another container or format.
type convertCmd struct {
	Source  string `arg:"" help:"The model: a folder, or a .gguf or .safetensors file."`
	Dest    string `arg:"" name:"destination" help:"Where to write it: a name that ends in .gguf, or a folder."`
	DType   string `name:"dtype" help:"Format of the matrices: f32, f16, bf16, or in safetensors fp8. By default they keep theirs; FP8, and in safetensors quantised ones, become bf16." placeholder:"TYPE"`
	ShardMB int64  `name:"shard-mb" help:"Cut the weights into files of about so many megabytes (default: 5 GiB for safetensors, one file for GGUF)." placeholder:"N"`
	Force   bool   `help:"Overwrite what is there."`
}

// Help is shown with the flags.
func (convertCmd) Help() string {
	return `Between safetensors, as Hugging Face lays them out, and GGUF, both ways. The tokenizer and the chat template go along. What is at the destination stays until everything is written.

Examples:
  sonde convert DeepSeek-V2-Lite-Chat v2-lite.gguf
  sonde convert model.gguf model-folder --dtype bf16
  sonde convert DeepSeek-V3.1 V3.1-bf16`
}

// dtypes are the formats by the names of the command line.
var dtypes = map[string]checkpoint.DType{"": "", "f32": checkpoint.F32, "f16": checkpoint.F16, "bf16": checkpoint.BF16, "fp8": checkpoint.F8E4M3}

// Run converts.
func (c convertCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	dt, ok := dtypes[strings.ToLower(c.DType)]
	if !ok {
		return usageError{fmt.Errorf("there is no format %q for --dtype: choose f32, f16, bf16 or fp8; \"sonde quantize\" has smaller ones", c.DType), "convert"}
	}
	src, err := openFiles(ctx, s, c.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	p := newProgress(s, "writing "+c.Dest)
	err = src.Convert(ctx, c.Dest, checkpoint.ConvertOptions{DType: dt, ShardBytes: c.ShardMB * 1e6, Overwrite: c.Force, Progress: p.bytes})
	p.end()
	if err != nil {
		return err
	}
	return wrote(s, c.Dest)
}

// wrote says what was written.
func wrote(s streams, path string) error {
	src, err := checkpoint.Open(path)
	if err != nil {
		return fmt.Errorf("reading back what was written: %w", err)
	}
	defer src.Close()
	_, err = fmt.Fprintf(s.out, "%s: %d tensors, %s\n", path, len(src.Tensors()), sonde.Bytes(src.WeightBytes()))
	return err
}
