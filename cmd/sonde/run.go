package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"sonde"
)

// runCmd continues a text.
type runCmd struct {
	Model  string  `arg:"" help:"The model: a folder, a .gguf file, or a name on the hub."`
	Prompt *string `arg:"" optional:"" help:"Text to continue; without it standard input is read."`
	samplingFlags
	MaxTokens int `help:"Write at most so many tokens; 0 goes on to the context's end (default: ${default})." default:"256" placeholder:"N"`
	threadFlag
	activationsFlag
	adapterFlag
}

// Help is shown with the flags.
func (runCmd) Help() string {
	return `Only the continuation is written to standard output, not the prompt. A prompt from standard input loses one line break at its end, as a shell's $(...) does. A prompt that begins with a dash comes last, after --.

Examples:
  sonde run runs/go "func Reverse("
  sonde run runs/go "func Reverse(" --temp 0 --max-tokens 64
  sonde run runs/go --seed 7 --stop "}" < beginning.txt
  sonde run runs/go --temp 0 -- "- first item"`
}

// Run prints the continuation as it comes.
func (c runCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	p := c.params(c.MaxTokens)
	if err := p.Validate(); err != nil {
		return err
	}
	prompt, err := c.prompt(s.in)
	if err != nil {
		return err
	}
	m, err := open(ctx, s, c.Model, sonde.Options{Threads: c.Threads, Activations: c.Activations, Adapter: c.Adapter})
	if err != nil {
		return err
	}
	defer m.Close()
	for piece, err := range m.Generate(ctx, prompt, p) {
		if err != nil {
			return err
		}
		if _, err := io.WriteString(s.out, piece); err != nil {
			return fmt.Errorf("writing the continuation: %w", err)
		}
	}
	if isTerminal(s.out) {
		fmt.Fprintln(s.out)
	}
	return nil
}

// maxPrompt bounds what is read from standard input, in bytes.
const maxPrompt = 64 << 20

// prompt is the argument or standard input.
func (c runCmd) prompt(in *os.File) (string, error) {
	if c.Prompt != nil {
		return *c.Prompt, nil
	}
	if term.IsTerminal(int(in.Fd())) {
		return "", usageError{errors.New("there is no text to continue: give it after the model, or on standard input"), "run"}
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxPrompt+1))
	if err != nil {
		return "", fmt.Errorf("reading the prompt from standard input: %w", err)
	}
	if len(raw) > maxPrompt {
		return "", fmt.Errorf("the prompt on standard input is larger than %d MiB; give a shorter one", maxPrompt>>20)
	}
	return strings.TrimSuffix(string(raw), "\n"), nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
