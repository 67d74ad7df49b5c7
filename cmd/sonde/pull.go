package main

import (
	"context"
	"fmt"
	"time"

	"sonde"
	"sonde/checkpoint/hub"
)

// pullCmd fetches models from the hub.
type pullCmd struct {
	Names []string `arg:"" name:"name" help:"Models: ORG/NAME, with @REVISION behind it for a branch, tag or commit, and :FILE or :QUANTISATION for one GGUF of several."`
}

// Help is shown with the flags.
func (pullCmd) Help() string {
	return `Fetches what a model needs to run: its safetensors with the vocabulary and the configuration, or one GGUF file. Pickled weights are never fetched. Files go into the cache that Hugging Face's own tools use, so either finds what the other has fetched. A pull that was cut off goes on where it stopped; a file counts only once its hash was found right.

The environment is that of Hugging Face's tools: HF_HOME (where the cache is), HF_ENDPOINT (a mirror of the hub), HF_TOKEN (for private models), HF_HUB_OFFLINE.

Examples:
  sonde pull deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B
  sonde pull unsloth/DeepSeek-R1-Distill-Qwen-1.5B-GGUF:Q4_K_M
  HF_ENDPOINT=https://hub.example.org sonde pull deepseek-ai/DeepSeek-V2-Lite-Chat`
}

// Run pulls one after the other.
func (c pullCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	for _, name := range c.Names {
		path, err := pull(ctx, s, name)
		if err != nil {
			return err
		}
		fmt.Fprintln(s.out, path)
	}
	return nil
}

// pull fetches a model and shows how far it is.
func pull(ctx context.Context, s streams, name string) (string, error) {
	p := newProgress(s, "fetching "+name)
	defer p.end()
	begun := time.Now()
	return sonde.Pull(ctx, name, func(st hub.State) { p.show(pullLine(name, st, time.Since(begun))) })
}

// pullLine is the state of a pull for people.
func pullLine(name string, st hub.State, took time.Duration) string {
	line := fmt.Sprintf("%s %s: %s of %s", st.Doing, name, hub.Size(st.Done), hub.Size(st.Total))
	rate := float64(st.Fresh) / max(took.Seconds(), 0.1)
	switch {
	case st.Waiting != nil:
		return line + fmt.Sprintf(", trying again after: %v", st.Waiting)
	case st.Doing == "checking":
		return line + ", the hash of " + st.File
	case rate > 0:
		left := time.Duration(float64(st.Total-st.Done) / rate * float64(time.Second)).Round(time.Second)
		return line + fmt.Sprintf(", %s/s, %v left", hub.Size(int64(rate)), left)
	}
	return line
}
