package train

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A run killed after its last state was saved, and before the model was, leaves an old
// model beside it; going on puts that right though no step is left to do.
func TestResumeRenewsAnOldModel(t *testing.T) {
	c := tinyConfig(t, filepath.Join(t.TempDir(), "run"), 6)
	mustRun(t, c)
	model := filepath.Join(c.Out, "model.safetensors")
	want, err := os.ReadFile(model)
	if err != nil {
		t.Fatal(err)
	}
	old := append([]byte(nil), want...)
	old[len(old)-1] ^= 1
	put(t, model, string(old))
	if err := os.Remove(SummaryPath(c.Out)); err != nil {
		t.Fatal(err)
	}
	c.Resume = true
	mustRun(t, c)
	got, err := os.ReadFile(model)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("the model is not the newest state's")
	}
}

func TestOutMustBeAFolder(t *testing.T) {
	out := filepath.Join(t.TempDir(), "file")
	put(t, out, "text")
	_, err := Run(context.Background(), tinyConfig(t, out, 2), io.Discard)
	wantError(t, err, out, "is a file", "--out")
	_, err = Run(context.Background(), tinyConfig(t, filepath.Join(out, "run"), 2), io.Discard)
	wantError(t, err, "--out")
}

// A run.json that somebody has edited is an error, never a crash.
func TestDamagedRunFile(t *testing.T) {
	c := tinyConfig(t, filepath.Join(t.TempDir(), "run"), 2)
	mustRun(t, c)
	if err := os.Remove(SummaryPath(c.Out)); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(runPath(c.Out))
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"micro": 32`, `"micro": -32`}, {`"seq_len": 16`, `"seq_len": 1`}, {`"batch": 64`, `"batch": 65`}, {`"steps": 2`, `"steps": -2`},
		{`"total_steps": 2`, `"total_steps": -2`}, {`"warmup": 2`, `"warmup": -2`}, {`"preset": "nano"`, `"preset": "v3"`},
		{`"vocab_size": 300`, `"vocab_size": 0`}, {`"compute": "f32"`, `"compute": "f8"`}, {`"clip": 1`, `"clip": -1`},
	} {
		put(t, runPath(c.Out), strings.Replace(string(raw), change[0], change[1], 1))
		resumed := Config{Options: Options{Out: c.Out}, Resume: true, Backend: c.Backend}
		if _, err := Run(context.Background(), resumed, io.Discard); err == nil {
			t.Errorf("%s was taken", change[1])
		} else {
			wantError(t, err, "run.json", "damaged", "--out")
		}
	}
	// What an older version did not write takes its default.
	put(t, runPath(c.Out), strings.Replace(string(raw), `    "clip": 1,`+"\n", "", 1))
	mustRun(t, Config{Options: Options{Out: c.Out}, Resume: true, Backend: c.Backend})
	if err := os.Remove(SummaryPath(c.Out)); err != nil {
		t.Fatal(err)
	}
	_, err = Run(context.Background(), Config{Options: Options{Out: c.Out, Keep: -1}, Resume: true, Backend: c.Backend}, io.Discard)
	wantError(t, err, "--keep is -1")
}
