package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"sonde"
	"sonde/compute/cpu"
)

// benchCmd measures the machine, a model, a training step.
type benchCmd struct {
	Model        string `arg:"" optional:"" help:"Folder of a model to read and write with."`
	Preset       string `help:"Time training steps of a preset: nano, mini or small." placeholder:"NAME"`
	PromptTokens int    `help:"Length of the prompt that the model reads (default: ${default})." default:"256" placeholder:"N"`
	Tokens       int    `help:"Tokens that the model writes (default: ${default})." default:"64" placeholder:"N"`
	SeqLen       int    `help:"Tokens of a training sequence (default: ${default})." default:"256" placeholder:"N"`
	Seqs         int    `help:"Sequences of a training step (default: ${default})." default:"8" placeholder:"N"`
	JSON         bool   `name:"json" help:"Print one JSON object."`
	threadFlag
	activationsFlag
}

// Help is shown with the flags.
func (benchCmd) Help() string {
	return `The machine comes first: processor, vector extensions, the chosen kernels, the peak of a register-only loop and the bandwidth of a reading one. Figures mean something only beside these, and on a machine that does nothing else.

Examples:
  sonde bench
  sonde bench runs/go --tokens 128
  sonde bench --preset mini --json`
}

// benchReport is what --json prints.
type benchReport struct {
	Machine    sonde.Machine          `json:"machine"`
	Generation *sonde.GenerationSpeed `json:"generation,omitempty"`
	Training   *sonde.TrainingSpeed   `json:"training,omitempty"`
}

// Run measures and prints.
func (c benchCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	be, err := cpu.New(cpu.Options{Threads: c.Threads})
	if err != nil {
		return err
	}
	defer be.Close()
	var r benchReport
	if r.Machine, err = sonde.MeasureMachine(be); err != nil {
		return err
	}
	if c.Model != "" {
		if r.Generation, err = c.generation(ctx, s); err != nil {
			return err
		}
	}
	if c.Preset != "" {
		t, err := sonde.MeasureTraining(ctx, be, c.Preset, c.Seqs, c.SeqLen, r.Machine.Peak)
		if err != nil {
			return err
		}
		r.Training = &t
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(r)
	}
	return r.print(s)
}

func (c benchCmd) generation(ctx context.Context, s streams) (*sonde.GenerationSpeed, error) {
	m, err := open(ctx, s, c.Model, sonde.Options{Threads: c.Threads, Activations: c.Activations})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	g, err := m.MeasureGeneration(ctx, c.PromptTokens, c.Tokens)
	return &g, err
}

func (r benchReport) print(s streams) error {
	m := r.Machine
	fmt.Fprintf(s.out, "machine     %s, %s; kernels %s, %d threads\n", m.Model, strings.Join(m.Features, " "), m.Kernels, m.Threads)
	fmt.Fprintf(s.out, "peak        %.1f GFLOP/s float32; memory is read at %.1f GB/s\n", m.Peak, m.Bandwidth)
	if g := r.Generation; g != nil {
		fmt.Fprintf(s.out, "model       %s, %.2fM parameters, %.2fM active\n", g.Name, float64(g.Params)/1e6, float64(g.Active)/1e6)
		fmt.Fprintf(s.out, "prefill     %.1f tokens/s over %d tokens\n", g.PrefillPerSec, g.PromptTokens)
		fmt.Fprintf(s.out, "decode      %.1f tokens/s over %d tokens\n", g.DecodePerSec, g.Tokens)
	}
	if t := r.Training; t != nil {
		fmt.Fprintf(s.out, "training    %s, %.2fM parameters, %.2fM active: %.0f tokens/s, %.3f s for a step of %d tokens in sequences of %d, %.1f %% of the peak\n",
			t.Name, float64(t.Params)/1e6, float64(t.Active)/1e6, t.TokensPerSec, t.StepSeconds, t.BatchTokens, t.SeqLen, 100*t.Utilisation)
	}
	return nil
}
