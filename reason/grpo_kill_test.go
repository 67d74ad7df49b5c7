package reason

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonde/compute/cpu"
	"sonde/train"
)

// grpoChild is what a test asks of a child process.
type grpoChild struct {
	Options GRPOOptions
	Out     string
	Resume  bool
	Threads int
}

// childVariable asks the test's program to be such a child.
const childVariable = "SONDE_GRPO_CHILD"

// runChild is the child's life.
func runChild(raw string) int {
	var c grpoChild
	err := json.Unmarshal([]byte(raw), &c)
	if err == nil {
		be, err := cpu.New(cpu.Options{Threads: c.Threads})
		if err == nil {
			c.Options.Out = c.Out
			_, err = GRPO(context.Background(), GRPOConfig{GRPOOptions: c.Options, Resume: c.Resume, Backend: be, Mix: sevensMix()}, os.Stderr)
		}
		if err == nil {
			return 0
		}
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stderr, err)
	return 2
}

// lives runs the test's program as the child that the variable asks for, and kills it after
// so long; 0: lets it end.
func lives(t *testing.T, variable string, child any, after time.Duration) {
	t.Helper()
	raw, err := json.Marshal(child)
	exe, xerr := os.Executable()
	if err := errors.Join(err, xerr); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(exe)
	cmd.Env, cmd.Stderr = append(os.Environ(), variable+"="+string(raw)), &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if after > 0 {
		time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	}
	if err := cmd.Wait(); err != nil && (after == 0 || cmd.ProcessState.ExitCode() > 0) {
		t.Fatalf("the run failed: %v\n%s", err, &stderr)
	}
}

// stepsOf are a run's steps without what the clock decides.
func stepsOf(t *testing.T, out string) []string {
	t.Helper()
	recs, err := train.ReadJournal(out)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range recs {
		r.Time = 0
		kept := r.Numbers[:0]
		for _, n := range r.Numbers {
			switch n.Name {
			case "seconds", "gen_share", "gen_tokens_per_s", "tokens_per_s":
			default:
				kept = append(kept, n)
			}
		}
		r.Numbers = kept
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(raw))
	}
	return lines
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Errorf("%s and %s differ", a, b)
	}
}

// TestKilledRunGoesOn: a run that is killed at random moments, most of them in the middle
// of rollouts, and goes on with another number of threads each time, takes the very steps
// of a run that was left alone, to the last bit: with a reference that is refreshed, several
// updates a step and dynamic sampling.
func TestKilledRunGoesOn(t *testing.T) {
	c := short(t, "deepseek", filepath.Join(t.TempDir(), "whole"))
	c.Steps, c.SaveEvery, c.KL, c.RefEvery, c.Updates, c.Dynamic = 30, 4, 0.01, 5, 2, true
	asked := c.GRPOOptions
	begun := time.Now()
	if _, err := GRPO(context.Background(), c, io.Discard); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(begun)

	killed := filepath.Join(t.TempDir(), "killed")
	seed := uint64(time.Now().UnixNano())
	t.Logf("kills at moments drawn with seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	run := func(after time.Duration, threads int) {
		_, err := os.Stat(filepath.Join(killed, "run.json"))
		lives(t, childVariable, grpoChild{asked, killed, err == nil, threads}, after)
	}
	for i := range 4 {
		run(time.Duration((0.1+0.4*rng.Float64())*float64(whole)), 1+i%3)
	}
	run(0, 2)
	if diff := cmp.Diff(stepsOf(t, c.Out), stepsOf(t, killed)); diff != "" {
		t.Error(diff)
	}
	sameFile(t, filepath.Join(c.Out, "model.safetensors"), filepath.Join(killed, "model.safetensors"))
	for _, step := range []int{1, 17, 30} {
		sameFile(t, train.RolloutsPath(c.Out, step), train.RolloutsPath(killed, step))
	}
}

// TestInterrupted: a run that is told to stop saves, says how to go on, and goes on.
func TestInterrupted(t *testing.T) {
	c := short(t, "llama", filepath.Join(t.TempDir(), "run"))
	c.Steps, c.EvalProblems = 10, -1
	whole := c
	whole.Out = filepath.Join(t.TempDir(), "whole")
	if _, err := GRPO(context.Background(), whole, io.Discard); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err := GRPO(ctx, c, writerFunc(func(b []byte) {
		if strings.Contains(string(b), "step 1/") {
			cancel()
		}
	}))
	if !errors.Is(err, train.ErrInterrupted) || !strings.Contains(err.Error(), "--resume") {
		t.Fatalf("an interrupted run: %v", err)
	}
	if _, err := GRPO(context.Background(), c, io.Discard); !errors.Is(err, train.ErrExists) {
		t.Errorf("begun again: %v", err)
	}
	other := c
	other.Resume, other.LR = true, 0.5
	if _, err := GRPO(context.Background(), other, io.Discard); err == nil || !strings.Contains(err.Error(), "--lr") {
		t.Errorf("gone on with another rate: %v", err)
	}
	c.Resume = true
	if _, err := GRPO(context.Background(), c, io.Discard); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(stepsOf(t, whole.Out), stepsOf(t, c.Out)); diff != "" {
		t.Error(diff)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }
