package train

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/model/auto"
	"sonde/nn"
)

// poisoned is a processor whose optimiser goes wrong once.
type poisoned struct {
	*cpu.Backend
	left int // optimiser calls until then
	with float32
}

func (p *poisoned) AdamW(a compute.AdamWArgs) {
	p.Backend.AdamW(a)
	if p.left--; p.left == 0 {
		row := make([]float32, a.P.NumCols())
		for i := range row {
			row[i] = p.with
		}
		p.UploadF32(a.P.Rows(0, 1), row)
	}
}

func TestNaNNamesStepTensorAndCheckpoint(t *testing.T) {
	c := tinyConfig(t, filepath.Join(t.TempDir(), "run"), 20)
	c.SaveEvery = 3
	blocks := len(blocksOf(t, c))
	c.Backend = &poisoned{testBackend(t, 1), 6*blocks + 1, float32(math.NaN())}
	_, err := Run(t.Context(), c, t.Output())
	var trouble *Trouble
	if !errors.As(err, &trouble) {
		t.Fatalf("a NaN ended with %v", err)
	}
	wantError(t, err, "step 8", "NaN", "model.embed_tokens.weight", "step 6", c.Out, "--lr")
	if lines := logOf(t, c.Out); len(lines) != 7 {
		t.Errorf("%d steps are logged, expected the 7 good ones", len(lines))
	}
	if s, err := checkpoint.LoadLatest(c.Out); err != nil || s.Step != 6 {
		t.Errorf("the newest checkpoint is %+v, %v; expected step 6", s, err)
	} else {
		s.Close()
	}
}

// blocksOf are the weights that a run trains, in the order of the optimiser.
func blocksOf(t *testing.T, c Config) []nn.Param {
	t.Helper()
	cfg, err := c.checked(nil)
	if err != nil {
		t.Fatal(err)
	}
	ar := c.Backend.NewArena("weights")
	t.Cleanup(ar.Free)
	return auto.New(cfg, c.Backend, ar, compute.F32).Blocks()
}

func TestSpikeEndsTheRun(t *testing.T) {
	c := tinyConfig(t, filepath.Join(t.TempDir(), "run"), 100)
	blocks := blocksOf(t, c)
	last := 80 * len(blocks) // of step 80: the head, or a norm before it
	for i, b := range blocks {
		if b.Name == "model.norm.weight" {
			last += i + 1
		}
	}
	c.Backend = &poisoned{testBackend(t, 1), last, 300}
	_, err := Run(t.Context(), c, t.Output())
	wantError(t, err, "spiked", "3 steps in a row above", "gradient of", "last good checkpoint", "--seed")
}

func TestTwoRunsOnOneFolder(t *testing.T) {
	c := tinyConfig(t, filepath.Join(t.TempDir(), "run"), 5)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, c, t.Output()); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	lock, err := checkpoint.LockRun(c.Out)
	if err != nil {
		t.Fatal(err)
	}
	c.Resume = true
	_, err = Run(t.Context(), c, t.Output())
	if !errors.Is(err, checkpoint.ErrLocked) {
		t.Errorf("a second run on a folder in use: %v", err)
	}
	lock.Unlock()
	mustRun(t, c)
}

func TestFolderWithSomebodysFiles(t *testing.T) {
	c := tinyConfig(t, t.TempDir(), 5)
	put(t, filepath.Join(c.Out, "letter.txt"), "dear")
	_, err := Run(t.Context(), c, t.Output())
	wantError(t, err, "letter.txt", "--out")
	c.Resume = true
	_, err = Run(t.Context(), c, t.Output())
	wantError(t, err, "no run to go on with")
}

func TestDataMistakesLetTheSameCommandRunAgain(t *testing.T) {
	c := tinyConfig(t, filepath.Join(t.TempDir(), "run"), 5)
	good := c.Data
	c.Data = []string{t.TempDir()}
	put(t, filepath.Join(c.Data[0], "x.bin"), "\x00")
	_, err := Run(t.Context(), c, t.Output())
	wantError(t, err, "not UTF-8 text")
	c.Data = good
	c.SeqLen, c.Micro, c.Batch, c.BatchStart = 64, 64, 64, 64
	c.Data = []string{filepath.Join(t.TempDir(), "few")}
	put(t, filepath.Join(c.Data[0], "a.txt"), strings.Repeat("a", 30))
	put(t, filepath.Join(c.Data[0], "b.txt"), "some words")
	c.Heldout = ptr(0.9)
	_, err = Run(t.Context(), c, t.Output())
	wantError(t, err, "--")
	c.Data, c.Heldout = good, ptr(0.1)
	mustRun(t, c)
}

func TestDamagedRunFiles(t *testing.T) {
	c := tinyConfig(t, filepath.Join(t.TempDir(), "run"), 5)
	mustRun(t, c)
	c.Resume = true
	for content, want := range map[string]string{
		`{"format":1,`:            "damaged",
		`{"format":7}`:            "format 7",
		`{"format":1,"colour":3}`: "colour",
	} {
		put(t, runPath(c.Out), content)
		_, err := Run(t.Context(), c, t.Output())
		wantError(t, err, "run.json", want)
	}
}
