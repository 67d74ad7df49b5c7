package main

import (
	"fmt"
	"math/rand/v2"

	"sonde"
	"sonde/engine"
)

// threadFlag is the number of workers.
type threadFlag struct {
	Threads int `help:"Threads to compute with; 0 takes every core." default:"0" placeholder:"N"`
}

// templateFlag overrides the model's chat template.
type templateFlag struct {
	ChatTemplate string `help:"Chat template to use instead of the model's own: plain or deepseek-v3." placeholder:"NAME"`
}

// open loads the model at path and passes on its warnings.
func open(s streams, path string, o sonde.Options) (*sonde.Model, error) {
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
	Temp float64  `help:"Temperature; 0 always takes the most probable token (default: ${default})." default:"0.8" placeholder:"T"`
	TopK int      `help:"Choose among the K most probable tokens; 0 is off." default:"0" placeholder:"K"`
	TopP float64  `help:"Choose among the fewest most probable tokens that together reach this probability; 1 is off (default: ${default})." default:"0.95" placeholder:"P"`
	MinP float64  `help:"Drop tokens less probable than this share of the most probable one; 0 is off." default:"0" placeholder:"P"`
	Seed *uint64  `help:"Seed of the choices: the same seed gives the same text. Random by default." placeholder:"N"`
	Stop []string `help:"End before this text; may be repeated." sep:"none" placeholder:"TEXT"`
}

// params are the engine's; at most maxTokens, 0 for as many as the context holds.
func (f samplingFlags) params(maxTokens int) engine.Params {
	p := engine.Params{Temperature: f.Temp, TopK: f.TopK, TopP: f.TopP, MinP: f.MinP, Stop: f.Stop, MaxTokens: maxTokens, Seed: rand.Uint64()}
	if f.TopP == 0 {
		p.TopP = 1e-12 // the most probable token alone; the engine's 0 is "off"
	}
	if f.Seed != nil {
		p.Seed = *f.Seed
	}
	return p
}
