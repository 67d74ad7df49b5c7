package train

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonde/compute/cpu"
)

// childRun is what the test asks of a child process.
type childRun struct {
	Out     string
	Options Options
	Resume  bool
	Threads int
}

// child trains in this process and prints the most memory Go's heap ever took.
func child(raw string) int {
	var r childRun
	if err := json.Unmarshal([]byte(raw), &r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	be, err := cpu.New(cpu.Options{Threads: r.Threads})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	r.Options.Out = r.Out
	if _, err := Run(context.Background(), Config{Options: r.Options, Resume: r.Resume, Backend: be}, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println(m.HeapSys)
	return 0
}

func childCommand(t *testing.T, r childRun) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd, stdout, stderr = exec.Command(exe), new(bytes.Buffer), new(bytes.Buffer)
	cmd.Env = append(os.Environ(), "SONDE_TRAIN_CHILD="+string(raw))
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

// kills is how often TestKilledRunsGoOn kills; SONDE_KILLS asks for more.
func kills(t *testing.T) int {
	v := os.Getenv("SONDE_KILLS")
	if v == "" {
		return 5
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("SONDE_KILLS=%q is not a number", v)
	}
	return n
}

// A run that is killed at random moments, saves included (every second step saves),
// and resumed with another number of threads each time, has the losses of a run that
// was left alone, to the last bit.
func TestKilledRunsGoOn(t *testing.T) {
	const steps = 60
	want := tinyConfig(t, filepath.Join(t.TempDir(), "whole"), steps)
	want.SaveEvery = 2
	begun := time.Now()
	mustRun(t, want)
	whole := time.Since(begun)

	c := tinyConfig(t, filepath.Join(t.TempDir(), "killed"), steps)
	c.SaveEvery = 2
	seed := uint64(time.Now().UnixNano())
	t.Logf("kills at moments drawn with seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	resume := false
	for i := range kills(t) {
		cmd, _, stderr := childCommand(t, childRun{c.Out, c.Options, resume, 1 + i%3})
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rng.Float64() * float64(whole) * 0.5))
		cmd.Process.Kill()
		if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() > 0 {
			t.Fatalf("kill %d: the run failed: %v\n%s", i, err, stderr)
		}
		resume = exists(runPath(c.Out))
	}
	cmd, _, stderr := childCommand(t, childRun{c.Out, c.Options, resume, 2})
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	if diff := cmp.Diff(logOf(t, want.Out), logOf(t, c.Out), timeless); diff != "" {
		t.Error(diff)
	}
}

// The heap is measured in a process of its own, which does nothing else.
func TestHeapStaysSmall(t *testing.T) {
	c := tinyConfig(t, filepath.Join(t.TempDir(), "run"), 20)
	c.Data = []string{writeDocs(t, 2000)}
	cmd, stdout, stderr := childCommand(t, childRun{c.Out, c.Options, false, 2})
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	heap, err := strconv.Atoi(string(bytes.TrimSpace(stdout.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Go's heap took %.1f MiB", float64(heap)/(1<<20))
	if heap > 64<<20 {
		t.Errorf("Go's heap took %d MiB, more than 64", heap>>20)
	}
}
