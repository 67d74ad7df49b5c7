package train

import (
	"context"
	"io"
	"os"
	"path/filepath"
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
	if err := os.Remove(summaryPath(c.Out)); err != nil {
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
