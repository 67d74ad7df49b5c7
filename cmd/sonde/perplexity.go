package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	Reference string `help:"Compare with this model, such as the one that was quantised: how far the predictions are from its own." placeholder:"MODEL"`
	BOS       bool   `name:"bos" help:"Put the beginning-of-text token before the text, or before each window."`
	JSON      bool   `name:"json" help:"Print one JSON object."`
	threadFlag
	activationsFlag
}

// Help is shown with the flags.
func (perplexityCmd) Help() string {
	return `Prints the tokens that counted, nats per token, the perplexity, and bits per byte. With --reference also the Kullback-Leibler divergence of the reference's predictions from the model's, in nats, and how often both find the same token most probable.

Examples:
  sonde perplexity runs/go --data strings.go
  sonde perplexity runs/go --data strings.go --window 512 --count-from 256 --json
  sonde perplexity q4.gguf --data text.txt --window 512 --reference original`
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
	if c.Reference != "" {
		return c.compare(ctx, s, m, string(text), o)
	}
	p, err := m.Perplexity(ctx, string(text), o)
	c.ended(s)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(p)
	}
	return writePerplexity(s.out, p)
}

// ended clears the line of progress.
func (c perplexityCmd) ended(s streams) {
	if isTerminal(s.err) {
		fmt.Fprint(s.err, "\r\033[K")
	}
}

func writePerplexity(w io.Writer, p sonde.Perplexity) error {
	_, err := fmt.Fprintf(w, "tokens          %d\nnats per token  %.4f\nperplexity      %.4f\nbits per byte   %.4f\n",
		p.Tokens, p.NatsPerToken, p.Perplexity, p.BitsPerByte)
	return err
}

// compare measures the model against the reference.
func (c perplexityCmd) compare(ctx context.Context, s streams, m *sonde.Model, text string, o sonde.PerplexityOptions) error {
	ref, err := open(ctx, s, c.Reference, sonde.Options{Threads: c.Threads, Activations: sonde.ActivationsF32})
	if err != nil {
		return err
	}
	defer ref.Close()
	d, err := m.Divergence(ctx, ref, text, o)
	c.ended(s)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(d)
	}
	if err := writePerplexity(s.out, d.Perplexity); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "the reference's %.4f\nmean KL         %.6f\nmedian KL       %.6f\n99 %% below      %.6f\nlargest KL      %.6f\nsame first      %.2f %%\n",
		d.Reference, d.MeanKL, d.MedianKL, d.KL99, d.MaxKL, 100*d.SameTop)
	return err
}
