// Command sonde trains DeepSeek-V3-style models, runs them, and serves them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"sonde/checkpoint"
	"sonde/engine"
	"sonde/text"
	"sonde/train"
)

//go:generate go test -run TestDocs -update

// cli is the whole command line: a field per verb.
type cli struct {
	Train      trainCmd      `cmd:"" help:"Train a model from text, or go on with a run."`
	Sft        sftCmd        `cmd:"" help:"Teach a model by examples (supervised fine-tuning)."`
	Grpo       grpoCmd       `cmd:"" help:"Reinforce a model on problems whose answers a program can judge."`
	R1         r1Cmd         `cmd:"" name:"r1" help:"Take a model from nothing to one that reasons, as DeepSeek-R1 was made."`
	Reject     rejectCmd     `cmd:"" help:"Sample answers to problems and keep the right ones as examples to learn from."`
	Distill    distillCmd    `cmd:"" help:"Teach a smaller model what a larger one knows."`
	Run        runCmd        `cmd:"" help:"Continue a text."`
	Chat       chatCmd       `cmd:"" help:"Talk to a model in the terminal."`
	Serve      serveCmd      `cmd:"" help:"Serve models over OpenAI's HTTP API, with a page to try them."`
	Runs       runsCmd       `cmd:"" help:"Show runs of training on a page, side by side."`
	Pull       pullCmd       `cmd:"" help:"Fetch a model from the hub."`
	List       listCmd       `cmd:"" help:"List the models that were fetched."`
	Show       showCmd       `cmd:"" help:"Show a fetched model's files."`
	Rm         rmCmd         `cmd:"" help:"Remove fetched models."`
	Convert    convertCmd    `cmd:"" help:"Write a model as GGUF or safetensors, or in another number format."`
	Quantize   quantizeCmd   `cmd:"" help:"Write a model in fewer bits."`
	Merge      mergeCmd      `cmd:"" help:"Write a model with an adapter merged into it."`
	Inspect    inspectCmd    `cmd:"" help:"Say what a model's files hold and what it needs."`
	Plan       planCmd       `cmd:"" help:"Say what a model costs before anything is allocated."`
	Eval       evalCmd       `cmd:"" help:"Evaluate a model on problems whose answers can be verified."`
	Perplexity perplexityCmd `cmd:"" help:"Measure how well a model predicts a text."`
	Bench      benchCmd      `cmd:"" help:"Measure this machine, and a model on it."`
	Version    versionCmd    `cmd:"" help:"Say which Sonde this is."`
	Logits     logitsCmd     `cmd:"" hidden:"" help:"Print logits, for developers."`
}

// streams are what verbs read and write.
type streams struct {
	in       *os.File
	out, err io.Writer
}

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() { os.Exit(program()) }

// program runs the command line of the process.
func program() int {
	return execute(context.Background(), os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
}

// untilSignal is ctx until the process is asked to end. A second signal ends it at
// once.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// newParser makes the parser; help goes to s.out.
func newParser(c *cli, s streams, exit func(int)) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("sonde"),
		kong.Description("The DeepSeek stack in one program: train a V3-style model, run it, serve it."),
		kong.Writers(s.out, s.err),
		kong.Exit(exit),
		kong.Vars{"templates": strings.Join(text.TemplateNames(), ", ")},
		kong.Vars{"recipes": strings.Join(checkpoint.Recipes(), ", ")},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)
}

// execute parses args, runs the verb and returns the exit code.
func execute(ctx context.Context, args []string, s streams) (code int) {
	defer func() {
		if r := recover(); r != nil {
			if os.Getenv("SONDE_DEBUG") != "" {
				panic(r)
			}
			fmt.Fprintf(s.err, "sonde: this is a bug: %v\nSONDE_DEBUG=1 shows where it happened\n", r)
			code = exitFailed
		}
	}()
	var c cli
	parser, err := newParser(&c, s, os.Exit)
	if err != nil {
		fmt.Fprintln(s.err, "sonde:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kc, err := parser.Parse(args)
	if err != nil {
		return report(s.err, usageError{err, verbOf(args)})
	}
	kc.BindTo(ctx, (*context.Context)(nil))
	return report(s.err, kc.Run(s))
}

// usageError is a command line that cannot be obeyed.
type usageError struct {
	err  error
	verb string // "" where none was recognised
}

// Error says what is wrong and where the help is.
func (e usageError) Error() string {
	return fmt.Sprintf("%v\n\"sonde %s\" shows what is possible", e.err, strings.TrimSpace(e.verb+" --help"))
}

// Unwrap is the error without the hint.
func (e usageError) Unwrap() error { return e.err }

// verbs are the names of cli's fields as they are typed, but for hidden ones.
func verbs() []string {
	var names []string
	t := reflect.TypeFor[cli]()
	for i := range t.NumField() {
		if _, hidden := t.Field(i).Tag.Lookup("hidden"); !hidden {
			names = append(names, strings.ToLower(t.Field(i).Name))
		}
	}
	return names
}

// verbOf is the verb that args begin with, "" where there is none.
func verbOf(args []string) string {
	if slices.Contains(verbs(), args[0]) {
		return args[0]
	}
	return ""
}

// flagOf is the flag behind a parameter of the engine.
var flagOf = map[string]string{"temperature": "--temp", "top_k": "--top-k", "top_p": "--top-p", "min_p": "--min-p",
	"max_tokens": "--max-tokens", "stop": "--stop"}

// report prints an error, if there is one, and returns the exit code.
func report(w io.Writer, err error) int {
	var usage usageError
	var param *engine.ParamError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &param):
		fmt.Fprintf(w, "sonde: %s %s\n", flagOf[param.Name], param.Problem)
		return exitUsage
	case errors.As(err, &usage):
		fmt.Fprintln(w, "sonde:", err)
		return exitUsage
	case errors.Is(err, train.ErrInterrupted):
		fmt.Fprintln(w, "sonde:", err)
		return exitInterrupted
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	fmt.Fprintln(w, "sonde:", err)
	return exitFailed
}
