package reason

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sonde/compute/cpu"
)

// sftChild is a run in a process of its own, which can be killed.
type sftChild struct {
	Out, Model string
	Options    SFTOptions
	Resume     bool
	Threads    int
}

const sftChildVariable = "SONDE_SFT_CHILD"

// The test's program is such a child where it is asked to be.
func init() {
	raw := os.Getenv(sftChildVariable)
	if raw == "" {
		return
	}
	var c sftChild
	err := json.Unmarshal([]byte(raw), &c)
	if err == nil {
		c.Options.Out, c.Options.Model = c.Out, c.Model
		var be *cpu.Backend
		if be, err = cpu.New(cpu.Options{Threads: c.Threads}); err == nil {
			_, err = SFT(context.Background(), SFTConfig{SFTOptions: c.Options, Resume: c.Resume, Backend: be}, os.Stderr)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A run that is killed at random moments, saves included, and goes on with other numbers
// of threads, has the numbers and the weights of one that was left alone.
func TestKilledSFTGoesOn(t *testing.T) {
	c := tinySFT(t, filepath.Join(t.TempDir(), "base"), 1)
	mustSFT(t, c)
	base := c.Out
	o := SFTOptions{Out: filepath.Join(t.TempDir(), "whole"), Model: base, Tasks: "chain-sum@1", Steps: 24, SaveEvery: 2, EvalEvery: 6, SampleEvery: -1,
		Batch: 512, Micro: 256, LR: 1e-3, MaxLen: 200}
	begun := time.Now()
	if _, err := SFT(t.Context(), SFTConfig{SFTOptions: o, Backend: c.Backend}, io.Discard); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(begun)
	killed := filepath.Join(t.TempDir(), "killed")
	seed := uint64(time.Now().UnixNano())
	t.Logf("kills at moments drawn with seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	run := func(after time.Duration, threads int) {
		_, err := os.Stat(filepath.Join(killed, "run.json"))
		child := sftChild{Out: killed, Options: o, Resume: err == nil, Threads: threads}
		if err != nil {
			child.Model = base
		}
		lives(t, sftChildVariable, child, after)
	}
	for i := range 5 {
		run(time.Duration((0.1+0.4*rng.Float64())*float64(whole)), 1+i%3)
	}
	run(0, 2)
	if want, got := losses(t, o.Out), losses(t, killed); !slices.Equal(want, got) {
		t.Errorf("killed\n%s\nleft alone\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	sameFile(t, filepath.Join(o.Out, "model.safetensors"), filepath.Join(killed, "model.safetensors"))
}
