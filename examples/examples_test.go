// Package examples holds programs that use Sonde as a library, and this test, which runs
// them one after the other with tiny settings.
package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program runs an example with the text in on its standard input.
func program(t *testing.T, name, in string, args ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), name+".exe")
	if out, err := exec.Command("go", "build", "-o", binary, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(binary, args...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// TestExamples trains a model, reinforces it, and talks to the result.
func TestExamples(t *testing.T) {
	base, better := filepath.Join(t.TempDir(), "base"), filepath.Join(t.TempDir(), "better")
	if out := program(t, "train", "", "-out", base, "-steps", "3"); !strings.Contains(out, "3 steps") {
		t.Errorf("train says\n%s", out)
	}
	if out := program(t, "train", "", "-out", base, "-resume"); !strings.Contains(out, "3 steps") {
		t.Errorf("train -resume says\n%s", out)
	}
	out := program(t, "reinforce", "", "-model", base, "-out", better, "-steps", "2", "-prompts", "2", "-group", "2", "-held", "4")
	if !strings.Contains(out, "right on held-out sums") {
		t.Errorf("reinforce says\n%s", out)
	}
	for _, model := range []string{better, ""} {
		args := []string{"-tokens", "8"}
		if model != "" {
			args = append(args, "-model", model)
		}
		if out := program(t, "chat", "What is 1+2+3+4?\n", args...); strings.Count(out, "> ") < 2 {
			t.Errorf("chat with %q says\n%s", model, out)
		}
	}
}

// TestExamplesAreShort: they are meant to be read.
func TestExamplesAreShort(t *testing.T) {
	files, err := filepath.Glob("*/*.go")
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(raw), "\n"); n >= 100 {
			t.Errorf("%s has %d lines, 100 and more are no example", f, n)
		}
	}
}
