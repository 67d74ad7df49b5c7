package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"sonde"
	"sonde/compute/cpu"
)

// benchCmd measures the machine, a model, a training step.
type benchCmd struct {
	Model  string `arg:"" optional:"" help:"Folder, file or hub name of a model to read and write with."`
	Preset string `help:"Time training steps of a preset: nano, mini or small." placeholder:"NAME"`
	SeqLen int    `help:"Tokens of a training sequence (default: ${default})." default:"256" placeholder:"N"`
	Seqs   int    `help:"Sequences of a training step (default: ${default})." default:"8" placeholder:"N"`
	JSON   bool   `name:"json" help:"Print one JSON object."`
	threadFlag
	activationsFlag
}

// Help is shown with the flags.
func (benchCmd) Help() string {
	return `With a model: how long it takes to open, tokens per second of reading a prompt of 512 (pp512), of writing 64 (tg64), of writing 32 after 1,024 (tg32_d1024), of writing 8 texts of 64 together (tg_b8, the tokens of all), and the memory that is no file's. The best of up to three runs counts.

Without: the processor, its vector extensions, the chosen kernels, the peak of a register-only loop and the bandwidth of a reading one; with --preset the steps of a training beside it. Figures mean something only on a machine that does nothing else.

Examples:
  sonde bench
  sonde bench model.gguf --threads 2 --json
  sonde bench --preset mini --json`
}

// benchReport is what --json prints of the machine.
type benchReport struct {
	Machine  sonde.Machine        `json:"machine"`
	Training *sonde.TrainingSpeed `json:"training,omitempty"`
}

// Run measures and prints.
func (c benchCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	switch {
	case c.Model == "":
		return c.machine(ctx, s)
	case c.Preset != "":
		return errors.New("a model and --preset are measured one at a time: leave out one")
	}
	g, err := c.generation(ctx, s)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(g)
	}
	fmt.Fprintf(s.out, "machine     %s, %d threads\n", g.CPU, g.Threads)
	fmt.Fprintf(s.out, "load        %.2f s; %.0f MB of memory that is no file's\n", g.Load, g.Anonymous)
	for _, r := range []struct {
		name, what string
		rate       float64
	}{{"pp512", "reading 512", g.Prefill}, {"tg64", "writing 64", g.Decode}, {"tg32_d1024", "writing 32 after 1,024", g.Deep}, {"tg_b8", "writing 8 texts of 64", g.Together}} {
		if r.rate == 0 {
			fmt.Fprintf(s.out, "%-11s does not fit the model's context\n", r.name)
			continue
		}
		fmt.Fprintf(s.out, "%-11s %.1f tokens/s %s\n", r.name, r.rate, r.what)
	}
	return nil
}

// generation opens and measures the model.
func (c benchCmd) generation(ctx context.Context, s streams) (g sonde.GenerationSpeed, err error) {
	began := time.Now()
	m, err := open(ctx, s, c.Model, sonde.Options{Threads: c.Threads, Activations: c.Activations})
	if err != nil {
		return g, err
	}
	defer m.Close()
	return m.MeasureGeneration(ctx, time.Since(began))
}

// machine measures the machine and, with --preset, training on it.
func (c benchCmd) machine(ctx context.Context, s streams) error {
	be, err := cpu.New(cpu.Options{Threads: c.Threads})
	if err != nil {
		return err
	}
	defer be.Close()
	var r benchReport
	if r.Machine, err = sonde.MeasureMachine(be); err != nil {
		return err
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

func (r benchReport) print(s streams) error {
	m := r.Machine
	fmt.Fprintf(s.out, "machine     %s, %s; kernels %s, %d threads\n", m.Model, strings.Join(m.Features, " "), m.Kernels, m.Threads)
	fmt.Fprintf(s.out, "peak        %.1f GFLOP/s float32; memory is read at %.1f GB/s\n", m.Peak, m.Bandwidth)
	if t := r.Training; t != nil {
		fmt.Fprintf(s.out, "training    %s, %.2fM parameters, %.2fM active: %.0f tokens/s, %.3f s for a step of %d tokens in sequences of %d, %.1f %% of the peak\n",
			t.Name, float64(t.Params)/1e6, float64(t.Active)/1e6, t.TokensPerSec, t.StepSeconds, t.BatchTokens, t.SeqLen, 100*t.Utilisation)
	}
	return nil
}
