package train

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/model"
	"sonde/model/auto"
	"sonde/model/llama"
	"sonde/text"
)

// timeless compares log lines but for what the clock decides.
var timeless = cmpopts.IgnoreFields(Line{}, "TokensPerS", "MFU")

func logOf(t testing.TB, run string) []Line {
	t.Helper()
	lines, err := ReadLog(run)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestRunLearnsAndLeavesAModel(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	s, printed := mustRun(t, tinyConfig(t, out, 60))
	lines := logOf(t, out)
	if len(lines) != 60 || lines[59].HeldoutBPB == nil || *lines[59].HeldoutBPB != s.HeldoutBPB {
		t.Fatalf("%d lines, the last %+v", len(lines), lines[len(lines)-1])
	}
	if first, last := lines[0].Loss, lines[59].Loss; !(last < first-1) || math.Abs(first-math.Log(300)) > 0.5 {
		t.Errorf("the loss went from %.3f to %.3f; it should begin near ln 300 and fall", first, last)
	}
	for _, want := range []string{"held out", "What to type next", "sonde run", "sample at step 60", "gzip -9", "bits per byte"} {
		if !strings.Contains(printed, want) {
			t.Errorf("the output does not say %q:\n%s", want, printed)
		}
	}
	var keys map[string]any
	raw, err := os.ReadFile(filepath.Join(out, "summary.json"))
	if err != nil || json.Unmarshal(raw, &keys) != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"steps", "tokens", "seconds", "heldout_bpb", "gzip_bpb", "load_max_mean"} {
		if v, ok := keys[k].(float64); !ok || v <= 0 {
			t.Errorf("summary.json: %s is %v", k, keys[k])
		}
	}
	loadsBack(t, out, s, compute.F32)
}

// TestRunOfADenseModel: a Llama's config trains like a DeepSeek's, goes on bit for bit and
// leaves a model that runs.
func TestRunOfADenseModel(t *testing.T) {
	cfg, err := llama.Preset("r1-dense")
	if err != nil {
		t.Fatal(err)
	}
	cfg.HiddenSize, cfg.IntermediateSize, cfg.NumHiddenLayers, cfg.NumAttentionHeads, cfg.NumKeyValueHeads, cfg.HeadDim = 16, 32, 2, 2, 1, 8
	cfg.VocabSize, cfg.MaxPositionEmbedding = 300, 64
	raw, err := cfg.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "config.json")
	put(t, name, string(raw))
	whole := tinyConfig(t, filepath.Join(t.TempDir(), "whole"), 30)
	whole.ModelFile, whole.Compute = name, "bf16"
	s, _ := mustRun(t, whole)
	lines := logOf(t, whole.Out)
	if first, last := lines[0].Loss, lines[29].Loss; !(last < first-0.5) {
		t.Errorf("the loss went from %.3f to %.3f", first, last)
	}
	loadsBack(t, whole.Out, s, compute.BF16)

	pieces := tinyConfig(t, filepath.Join(t.TempDir(), "pieces"), 30)
	pieces.ModelFile, pieces.Compute, pieces.EvalEvery = name, "bf16", 3
	pieces.Data = whole.Data
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := Run(ctx, pieces, &stopAt{"step 6/", cancel}); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	pieces.Resume = true
	mustRun(t, pieces)
	got := logOf(t, pieces.Out)
	for i := range lines {
		if got[i].Loss != lines[i].Loss || got[i].GradNorm != lines[i].GradNorm {
			t.Fatalf("step %d: loss %v after a resume, %v without", i+1, got[i].Loss, lines[i].Loss)
		}
	}
}

// loadsBack opens the folder as a user's program does and measures the held-out text
// anew, token by token, with the mean of windows that run computed in passes.
func loadsBack(t *testing.T, out string, s *Summary, dt compute.DType) {
	t.Helper()
	f, err := checkpoint.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cfg, warnings, err := auto.ParseConfig(f.Config)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	be := compute.NewReference()
	ar := be.NewArena("test")
	defer ar.Free()
	m := auto.New(cfg, be, ar, dt)
	if err := f.Load(m.Params(), be); err != nil {
		t.Fatal(err)
	}
	tok, err := text.LoadTokenizer(f.Tokenizer)
	if err != nil || tok.VocabSize() != cfg.Vocab() || f.TokenizerConfig == nil || f.GenerationConfig == nil {
		t.Fatalf("the folder is not whole: %v", err)
	}
	d, err := readDataset(out)
	if err != nil {
		t.Fatal(err)
	}
	held, err := openTokens(filepath.Join(dataDir(out), heldoutTokensFile), d, d.HeldoutTokens)
	if err != nil {
		t.Fatal(err)
	}
	defer held.close()
	ids := make([]int32, d.HeldoutTokens)
	if err := held.read(ids, 0); err != nil {
		t.Fatal(err)
	}
	nats, from, scored := 0.0, 0, 1
	for scored < len(ids) {
		to := min(from+16, len(ids)-1)
		lp, _ := m.Learn(ar, model.Packed{Lens: []int{to - from}, Tokens: ids[from:to], Targets: ids[from+1 : to+1]}, model.StepOptions{Scale: 1}).LogProbs()
		for i := scored - from - 1; i < to-from; i++ {
			nats -= float64(lp[i])
		}
		scored, from = to+1, from+12
	}
	if got := nats / math.Ln2 / float64(d.Counts.HeldoutBytes); math.Abs(got-s.HeldoutBPB) > 1e-5 {
		t.Errorf("the saved model needs %.6f bits per byte, the summary says %.6f", got, s.HeldoutBPB)
	}
}

func TestInterruptedRunGoesOnBitForBit(t *testing.T) {
	c := tinyConfig(t, filepath.Join(t.TempDir(), "whole"), 12)
	c.EvalEvery = 1 // so that every step is printed
	mustRun(t, c)
	want := logOf(t, c.Out)

	c = tinyConfig(t, filepath.Join(t.TempDir(), "pieces"), 12)
	c.EvalEvery = 1
	for threads, stop := range []string{"step 3/", "step 7/"} {
		ctx, cancel := context.WithCancel(context.Background())
		_, err := Run(ctx, c, &stopAt{stop, cancel})
		cancel()
		if !errors.Is(err, ErrInterrupted) {
			t.Fatalf("stopped at %s: %v", stop, err)
		}
		wantError(t, err, "--resume", c.Out)
		c.Resume = false
		_, err = Run(t.Context(), c, t.Output())
		if !errors.Is(err, ErrExists) {
			t.Fatalf("the same command again: %v", err)
		}
		wantError(t, err, "--resume")
		c = Config{Options: Options{Out: c.Out}, Resume: true, Backend: testBackend(t, 2+threads)}
	}
	mustRun(t, c)
	if diff := cmp.Diff(want, logOf(t, c.Out), timeless); diff != "" {
		t.Error(diff)
	}
	if _, printed := mustRun(t, c); !strings.Contains(printed, "is finished") {
		t.Errorf("a finished run goes on: %s", printed)
	}
	c.Seed = ptr[uint64](99)
	_, err := Run(t.Context(), c, t.Output())
	wantError(t, err, "--seed is 99")
}

// stopAt cancels a run once its output says something.
type stopAt struct {
	what   string
	cancel func()
}

func (s *stopAt) Write(b []byte) (int, error) {
	if strings.Contains(string(b), s.what) {
		s.cancel()
	}
	return len(b), nil
}

func TestThreadsDoNotChangeTheLosses(t *testing.T) {
	var want []Line
	for threads := 1; threads <= 3; threads++ {
		c := tinyConfig(t, filepath.Join(t.TempDir(), "run"), 6)
		c.Backend = testBackend(t, threads)
		mustRun(t, c)
		if threads == 1 {
			want = logOf(t, c.Out)
		} else if diff := cmp.Diff(want, logOf(t, c.Out), timeless); diff != "" {
			t.Errorf("%d threads: %s", threads, diff)
		}
	}
}

func TestReferenceBackend(t *testing.T) {
	c := tinyConfig(t, filepath.Join(t.TempDir(), "run"), 3)
	mustRun(t, c)
	fast := logOf(t, c.Out)
	c = tinyConfig(t, filepath.Join(t.TempDir(), "slow"), 3)
	c.Backend = compute.NewReference()
	mustRun(t, c)
	near := cmpopts.EquateApprox(1e-4, 0)
	if diff := cmp.Diff(fast, logOf(t, c.Out), timeless, near, cmpopts.IgnoreFields(Line{}, "LoadMaxMean", "Loads")); diff != "" {
		t.Error(diff)
	}
}

func TestBF16KeepsFloat32Masters(t *testing.T) {
	c := tinyConfig(t, filepath.Join(t.TempDir(), "f32"), 40)
	full, _ := mustRun(t, c)
	c = tinyConfig(t, filepath.Join(t.TempDir(), "bf16"), 40)
	c.Compute = "bf16"
	half, _ := mustRun(t, c)
	if math.Abs(half.HeldoutBPB-full.HeldoutBPB) > 0.02*full.HeldoutBPB {
		t.Errorf("bf16 reaches %.4f bits per byte, f32 %.4f", half.HeldoutBPB, full.HeldoutBPB)
	}
	loadsBack(t, c.Out, half, compute.BF16)
}
