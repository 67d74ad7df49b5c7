package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"sonde"
)

// inspectCmd says what a model's files hold.
type inspectCmd struct {
	Model   string `arg:"" help:"The model: a folder, a .gguf or .safetensors file, or a name on the hub."`
	Context int    `help:"Reckon the memory for a text of so many tokens; 0 is the model's whole context." placeholder:"N"`
	Tensors bool   `help:"List every tensor."`
	JSON    bool   `name:"json" help:"Print one JSON object, tensors included."`
	activationsFlag
}

// Help is shown with the flags.
func (inspectCmd) Help() string {
	return `Architecture, formats and sizes, the memory that a text of a given length needs, what will be slow on this machine and why, and whether the chat template is one that Sonde knows. Weights are not read.

Examples:
  sonde inspect model.gguf --context 4096
  sonde inspect DeepSeek-V2-Lite-Chat --tensors`
}

// Run prints the report.
func (c inspectCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	if _, err := located(ctx, s, c.Model); err != nil {
		return err
	}
	i, err := sonde.Inspect(c.Model, c.Context, sonde.Options{Activations: c.Activations})
	if err != nil {
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(s.out)
		enc.SetIndent("", "  ")
		return enc.Encode(i)
	}
	return printInspection(s.out, i, c.Tensors)
}

func printInspection(w io.Writer, i *sonde.Inspection, tensors bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(key, format string, args ...any) { fmt.Fprintf(t, key+"\t"+format+"\n", args...) }
	line("files", "%s (%s)", i.Path, i.Files)
	line("architecture", "%s, %d layers of %d, vocabulary %d, context %d", i.Architecture, i.Layers, i.Hidden, i.Vocab, i.Context)
	line("parameters", "%s, %s active per token", count(i.Params), count(i.Active))
	for _, u := range i.Types {
		line("  "+u.Type, "%d tensors, %s, %.1f %%", u.Tensors, sonde.Bytes(u.Bytes), 100*float64(u.Bytes)/float64(max(1, i.Memory.Weights)))
	}
	line("memory", "%s: weights %s (mapped), keys and values of %d tokens %s", sonde.Bytes(i.Memory.Total), sonde.Bytes(i.Memory.Weights), i.Memory.Context, sonde.Bytes(i.Memory.Keys))
	if i.Memory.Machine > 0 {
		line("", "this machine has %s", sonde.Bytes(i.Memory.Machine))
	}
	switch {
	case i.Template == "":
		line("chat template", "none: a model for completing text")
	case i.Known:
		line("chat template", "%s (known)", i.Template)
	default:
		line("chat template", "%s (not a known one: it runs in a sandbox)", i.Template)
	}
	for _, x := range i.Slow {
		line("slow", "%s", x)
	}
	for _, x := range i.Warnings {
		line("warning", "%s", x)
	}
	if tensors {
		fmt.Fprintln(t)
		for _, x := range i.Tensors {
			fmt.Fprintf(t, "%s\t%s\t%v\t%s\n", x.Name, x.Type, x.Shape, sonde.Bytes(x.Bytes))
		}
	}
	return t.Flush()
}

// count shows a number of parameters for people.
func count(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f billion", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f million", float64(n)/1e6)
	}
	return fmt.Sprint(n)
}
