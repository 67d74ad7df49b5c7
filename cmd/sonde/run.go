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
	Model  string  `arg:"" optional:"" help:"The model: a folder, a .gguf file, or a name on the hub; the embedded one where it is left out."`
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

Without a model the embedded one answers the text as a message, with its thought before the answer. A single argument with a space in it that is no model is such a text.

Examples:
  sonde run "Add up 771, 620, 786."
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
	c.textAlone()
	prompt, err := c.prompt(s.in)
	if err != nil {
		return err
	}
	m, err := open(ctx, s, c.Model, sonde.Options{Threads: c.Threads, Activations: c.Activations, Adapter: c.Adapter})
	if err != nil {
		return err
	}
	defer m.Close()
	c.adopt(&p, m)
	pieces := m.Generate(ctx, prompt, p)
	if m.Recipe() != nil { // it learned to answer, not to go on
		pieces = m.Chat(ctx, []sonde.Message{{Role: "user", Content: prompt}}, p)
	}
	for piece, err := range pieces {
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

// textAlone takes a single argument for the text where it can be no model.
func (c *runCmd) textAlone() {
	if c.Prompt != nil || !strings.ContainsAny(c.Model, " \n\t") {
		return
	}
	if _, err := os.Stat(c.Model); err != nil {
		prompt := c.Model
		c.Model, c.Prompt = "", &prompt
	}
}

// maxPrompt bounds what is read from standard input, in bytes.
const maxPrompt = 64 << 20

// errNoText says that there is nothing to begin with.
var errNoText = usageError{errors.New("there is no text to continue: give it after the model, or on standard input"), "run"}

// prompt is the argument or standard input.
func (c runCmd) prompt(in *os.File) (string, error) {
	if c.Prompt != nil {
		return *c.Prompt, nil
	}
	if term.IsTerminal(int(in.Fd())) {
		return "", errNoText
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxPrompt+1))
	if err != nil {
		return "", fmt.Errorf("reading the prompt from standard input: %w", err)
	}
	if len(raw) > maxPrompt {
		return "", fmt.Errorf("the prompt on standard input is larger than %d MiB; give a shorter one", maxPrompt>>20)
	}
	if len(raw) == 0 && c.Model == "" {
		return "", errNoText // nothing at all was given
	}
	return strings.TrimSuffix(string(raw), "\n"), nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
