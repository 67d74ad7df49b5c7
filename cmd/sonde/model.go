package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"golang.org/x/term"

	"sonde"
	"sonde/checkpoint"
	"sonde/engine"
)

// threadFlag is the number of workers.
type threadFlag struct {
	Threads int `help:"Threads to compute with; 0 takes every core." default:"0" placeholder:"N"`
}

// activationsFlag says what meets block-quantised weights.
type activationsFlag struct {
	Activations string `help:"What meets quantised weights: int8 is faster, f32 exact (default: ${default})." enum:"int8,f32" default:"int8"`
}

// templateFlag overrides the model's chat template.
type templateFlag struct {
	ChatTemplate string `help:"Chat template to use instead of the model's own: ${templates}." placeholder:"NAME"`
}

// embeddedHelp ends the help of verbs whose model may be left out.
const embeddedHelp = "\n\nWithout a model it is the one that is part of the program, which needs no download: a very small one that thinks before it answers, and solves small problems only. It reads one message at a time, not the conversation."

// located is the path of a model that is given by path or by its name on the hub. One
// that is not there is offered for pulling where somebody can answer.
func located(ctx context.Context, s streams, name string) (string, error) {
	path, err := sonde.Locate(name)
	missing := (*sonde.NotPulled)(nil)
	if !errors.As(err, &missing) || s.in == nil || !term.IsTerminal(int(s.in.Fd())) || !isTerminal(s.err) {
		return path, err
	}
	a, rerr := ask(s, name+" is not here. Fetch it from the hub? [Y/n] ")
	if rerr != nil || a != "" && a != "y" && a != "yes" {
		return "", err
	}
	return pull(ctx, s, name)
}

// locatedModel is located for a model that may be left out.
func locatedModel(ctx context.Context, s streams, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	return located(ctx, s, name)
}

// openFiles opens the files of the model at path or of that name.
func openFiles(ctx context.Context, s streams, name string) (*checkpoint.Source, error) {
	path, err := located(ctx, s, name)
	if err != nil {
		return nil, err
	}
	return checkpoint.Open(path)
}

// ask puts a question on the terminal and returns the answer in lower case.
func ask(s streams, question string) (string, error) {
	fmt.Fprint(s.err, question)
	answer, err := bufio.NewReader(io.LimitReader(s.in, 100)).ReadString('\n')
	return strings.ToLower(strings.TrimSpace(answer)), err
}

// open loads the model at path, or of that name on the hub, or the embedded one where path
// is "" or its name, and passes on its warnings.
func open(ctx context.Context, s streams, path string, o sonde.Options) (*sonde.Model, error) {
	if !sonde.IsEmbedded(path) {
		if _, err := located(ctx, s, path); err != nil {
			return nil, err
		}
	}
	m, err := sonde.Open(path, o)
	if err != nil {
		return nil, err
	}
	for _, w := range m.Warnings() {
		fmt.Fprintf(s.err, "sonde: warning: %s\n", w)
	}
	return m, nil
}

// samplingFlags say how tokens are chosen.
type samplingFlags struct {
	Temp *float64 `help:"Temperature; 0 always takes the most probable token (default: the model's own, else 0.8)." placeholder:"T"`
	TopK int      `help:"Choose among the K most probable tokens; 0 is off." default:"0" placeholder:"K"`
	TopP *float64 `help:"Choose among the fewest most probable tokens that together reach this probability; 1 is off (default: the model's own, else 0.95)." placeholder:"P"`
	MinP float64  `help:"Drop tokens less probable than this share of the most probable one; 0 is off." default:"0" placeholder:"P"`
	Seed *uint64  `help:"Seed of the choices: the same seed gives the same text. Random by default." placeholder:"N"`
	Stop []string `help:"End before this text; may be repeated." sep:"none" placeholder:"TEXT"`
}

// params are the engine's for a model that says nothing of them; at most maxTokens, 0 for
// as many as the context holds.
func (f samplingFlags) params(maxTokens int) engine.Params {
	p := engine.Params{Temperature: 0.8, TopK: f.TopK, TopP: 0.95, MinP: f.MinP, Stop: f.Stop, MaxTokens: maxTokens, Seed: rand.Uint64()}
	if f.Temp != nil {
		p.Temperature = *f.Temp
	}
	if f.TopP != nil {
		if p.TopP = *f.TopP; p.TopP == 0 {
			p.TopP = 1e-12 // the most probable token alone; the engine's 0 is "off"
		}
	}
	if f.Seed != nil {
		p.Seed = *f.Seed
	}
	return p
}

// adopt gives p what m's files say of sampling, where no flag does.
func (f samplingFlags) adopt(p *engine.Params, m *sonde.Model) {
	temperature, topP, known := m.Sampling()
	if known && f.Temp == nil {
		p.Temperature = temperature
	}
	if known && f.TopP == nil {
		p.TopP = topP
	}
}
