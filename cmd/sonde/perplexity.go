package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unicode/utf8"

	"sonde"
)

// perplexityCmd measures a model on a text.
type perplexityCmd struct {
	Model     string `arg:"" help:"The model: a folder, a .gguf file, or a name on the hub."`
	Data      string `required:"" help:"File with the text." placeholder:"FILE"`
	Window    int    `help:"Cut the text into windows of so many tokens side by side; only full ones that at least one token follows count. By default every token counts, in windows of the model's context that overlap by half." placeholder:"N"`
	CountFrom int    `help:"Count tokens from this place of each window on; without --window, how many tokens a window repeats of the one before." placeholder:"N"`
	BOS       bool   `name:"bos" help:"Put the beginning-of-text token before the text, or before each window."`
	JSON      bool   `name:"json" help:"Print one JSON object."`
	threadFlag
	activationsFlag
}

// Help is shown with the flags.
func (perplexityCmd) Help() string {
	return `Prints the tokens that counted, nats per token, the perplexity, and bits per byte.

Examples:
  sonde perplexity runs/go --data strings.go
  sonde perplexity runs/go --data strings.go --window 512 --count-from 256 --json`
}

// Run measures and prints.
func (c perplexityCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	info, err := os.Stat(c.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no file %s; --data names the text to measure", c.Data)
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a folder; --data names one file of text", c.Data)
	}
	text, err := os.ReadFile(c.Data)
	if err != nil {
		return err
	}
	if len(text) == 0 {
		return fmt.Errorf("%s is empty; --data names the text to measure", c.Data)
	}
	if !utf8.Valid(text) {
		return fmt.Errorf("%s is not UTF-8 text; --data names the text to measure", c.Data)
	}
	m, err := open(ctx, s, c.Model, sonde.Options{Threads: c.Threads, Activations: c.Activations})
	if err != nil {
		return err
	}
	defer m.Close()
	o := sonde.PerplexityOptions{Window: c.Window, CountFrom: c.CountFrom, BOS: c.BOS}
	if isTerminal(s.err) {
		o.Progress = func(done, total int) { fmt.Fprintf(s.err, "\r%d of %d tokens", done, total) }
	}
	p, err := m.Perplexity(ctx, string(text), o)
	if o.Progress != nil {
		fmt.Fprint(s.err, "\r\033[K")
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(p)
	}
	_, err = fmt.Fprintf(s.out, "tokens          %d\nnats per token  %.4f\nperplexity      %.4f\nbits per byte   %.4f\n",
		p.Tokens, p.NatsPerToken, p.Perplexity, p.BitsPerByte)
	return err
}
