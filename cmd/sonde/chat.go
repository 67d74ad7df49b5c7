package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"sonde"
	"sonde/engine"
	"sonde/text"
)

// chatCmd talks to a model.
type chatCmd struct {
	Model  string `arg:"" optional:"" help:"The model: a folder, a .gguf file, or a name on the hub; the embedded one where it is left out."`
	System string `help:"System message to begin with." placeholder:"TEXT"`
	samplingFlags
	MaxTokens int   `help:"Answer in at most so many tokens; 0 goes on to the context's end (default: ${default})." default:"512" placeholder:"N"`
	Thinking  *bool `negatable:"" help:"Switch thoughts on or off, for models that have the switch (V3.1, V3.2, Qwen3)."`
	threadFlag
	activationsFlag
	adapterFlag
	templateFlag
}

// Help is shown with the flags.
func (chatCmd) Help() string {
	return `A line is a message; the whole conversation is sent each time. Ctrl-C stops an answer, and ends the program where none is being written. A model that was only pre-trained goes on writing rather than answering. Thoughts stand between <think> and </think>, and are not sent again.

  /help   what can be typed
  /clear  begin a new conversation
  /exit   end; so does the end of the input (Ctrl-D)

Examples:
  sonde chat
  sonde chat runs/go
  sonde chat runs/go --system "You answer in one sentence." --temp 0.6
  sonde chat deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B --temp 0.6 --max-tokens 0` + embeddedHelp
}

// Run reads messages and writes answers until the input ends.
func (c chatCmd) Run(ctx context.Context, s streams) error {
	p := c.params(c.MaxTokens)
	if err := p.Validate(); err != nil {
		return err
	}
	m, err := open(ctx, s, c.Model, sonde.Options{Threads: c.Threads, Activations: c.Activations, Adapter: c.Adapter, ChatTemplate: c.ChatTemplate})
	if err != nil {
		return err
	}
	defer m.Close()
	c.adopt(&p, m)
	t := &talk{m: m, p: p, s: s, system: c.System, fixed: c.Seed != nil, thinking: c.Thinking}
	t.clear()
	if t.live = term.IsTerminal(int(s.in.Fd())); t.live {
		fmt.Fprintf(s.err, "%s, context of %d tokens. /help shows what can be typed.\n", m.Name(), m.Engine().Context())
		if m.Recipe() != nil {
			fmt.Fprintf(s.err, "%s It reads each message alone. Another model: sonde chat FOLDER, FILE.gguf or ORG/NAME.\n", m.About())
		}
	}
	return t.loop(ctx)
}

// talk is a conversation in the terminal.
type talk struct {
	m        *sonde.Model
	p        engine.Params
	s        streams
	system   string
	fixed    bool // the seed was given: answers are to be reproducible
	live     bool // a person types
	thinking *bool
	messages []sonde.Message
}

func (t *talk) clear() {
	t.messages = nil
	if t.system != "" {
		t.messages = []sonde.Message{{Role: "system", Content: t.system}}
	}
}

// maxLine bounds a message, in bytes.
const maxLine = 1 << 20

// loop reads lines until the input ends or a signal comes between two answers. The
// terminal itself edits the line.
func (t *talk) loop(ctx context.Context) error {
	lines, failed := make(chan string), make(chan error, 1)
	go func() {
		in := bufio.NewScanner(t.s.in)
		in.Buffer(nil, maxLine)
		for in.Scan() {
			lines <- in.Text()
		}
		failed <- in.Err()
	}()
	interrupt, end := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt)
	signal.Notify(end, syscall.SIGTERM)
	defer signal.Stop(interrupt)
	defer signal.Stop(end)
	for {
		if t.live {
			fmt.Fprint(t.s.err, "> ")
		}
		select {
		case line := <-lines:
			if done, err := t.line(ctx, line, interrupt); done || err != nil {
				return err
			}
		case err := <-failed:
			if errors.Is(err, bufio.ErrTooLong) {
				return fmt.Errorf("a message is longer than %d MiB; give a shorter one", maxLine>>20)
			}
			return err
		case <-interrupt:
			fmt.Fprintln(t.s.err)
			return nil
		case <-end:
			return nil
		}
	}
}

// line obeys one line; done says that the conversation is over.
func (t *talk) line(ctx context.Context, line string, interrupt <-chan os.Signal) (done bool, err error) {
	switch word := strings.TrimSpace(line); {
	case word == "":
	case word == "/exit" || word == "/quit":
		return true, nil
	case word == "/clear":
		t.clear()
		fmt.Fprintln(t.s.err, "a new conversation")
	case word == "/help":
		fmt.Fprintln(t.s.err, "/clear begins a new conversation, /exit ends; Ctrl-C stops an answer. Anything else is a message.")
	case strings.HasPrefix(word, "/") && !strings.ContainsAny(word[1:], " /\t") && len(word) < 12:
		fmt.Fprintf(t.s.err, "there is no %s; /help shows what can be typed\n", word)
	default:
		return false, t.answer(ctx, line, interrupt)
	}
	return false, nil
}

// answer sends the conversation with one more message and prints what comes back.
func (t *talk) answer(ctx context.Context, line string, interrupt <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // while an answer is written Ctrl-C belongs to it
		select {
		case <-interrupt:
			cancel()
		case <-ctx.Done():
		}
	}()
	messages := append(t.messages, sonde.Message{Role: "user", Content: line})
	var answer strings.Builder
	shown := show{w: t.s.out, dim: t.live && isTerminal(t.s.out)}
	for e, err := range t.m.Converse(ctx, messages, sonde.ChatOptions{Thinking: t.thinking}, t.p) {
		switch {
		case errors.Is(err, context.Canceled):
			fmt.Fprint(t.s.err, " (stopped)")
		case errors.Is(err, engine.ErrContext):
			fmt.Fprintf(t.s.err, "%v: /clear begins anew\n", err)
			return nil
		case err != nil:
			return err
		}
		if e.Kind == text.EventContent {
			answer.WriteString(e.Text)
		}
		if err := shown.event(e); err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
	}
	fmt.Fprintln(t.s.out, shown.end())
	t.messages = append(messages, sonde.Message{Role: "assistant", Content: answer.String()})
	if !t.fixed {
		t.p.Seed++
	}
	return nil
}

// show prints an answer: the thought before it within its tags, in grey where a person
// reads.
type show struct {
	w        io.Writer
	dim      bool
	thinking bool
}

func (s *show) event(e text.Event) error {
	out := ""
	switch thought := e.Kind == text.EventReasoning; {
	case thought && !s.thinking:
		out = "<think>\n"
		if s.dim {
			out = "\033[2m" + out
		}
	case !thought && s.thinking:
		out = s.end() + "\n"
	}
	s.thinking = e.Kind == text.EventReasoning
	_, err := io.WriteString(s.w, out+e.Text)
	return err
}

// end is what closes a thought that is open.
func (s *show) end() string {
	if !s.thinking {
		return ""
	}
	if s.dim {
		return "\n</think>\033[0m"
	}
	return "\n</think>"
}
