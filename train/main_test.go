package train

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sonde/compute/cpu"
	"sonde/model/deepseek"
)

// writeDocs fills a folder with n short documents of a tiny language.
func writeDocs(t testing.TB, n int) string {
	t.Helper()
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("func return if else range var package import string error nil := == { } ( ) x y z")
	for i := range n {
		var b strings.Builder
		for range 60 + rng.IntN(60) {
			b.WriteString(words[rng.IntN(len(words))])
			b.WriteByte(" \n"[rng.IntN(2)])
		}
		put(t, filepath.Join(dir, fmt.Sprintf("d%d/f%d.go", i%7, i)), b.String())
	}
	return dir
}

func put(t testing.TB, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}

// tinyModel writes the config of a model that trains in moments.
func tinyModel(t testing.TB) string {
	t.Helper()
	cfg, err := deepseek.Preset("nano")
	if err != nil {
		t.Fatal(err)
	}
	cfg.HiddenSize, cfg.IntermediateSize, cfg.MoEIntermediateSize = 16, 32, 8
	cfg.NumHiddenLayers, cfg.FirstKDenseReplace, cfg.NumNextnPredict = 2, 1, 1
	cfg.NumAttentionHeads, cfg.NumKeyValueHeads = 2, 2
	cfg.NRoutedExperts, cfg.NumExpertsPerTok, cfg.NGroup, cfg.TopKGroup = 4, 2, 2, 1
	cfg.QLoraRank, cfg.KVLoraRank, cfg.QKNopeHeadDim, cfg.QKRopeHeadDim, cfg.VHeadDim = 8, 8, 8, 4, 8
	cfg.VocabSize, cfg.MaxPositionEmbedding = 300, 64
	raw, err := cfg.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "config.json")
	put(t, name, string(raw))
	return name
}

func testBackend(t testing.TB, threads int) *cpu.Backend {
	t.Helper()
	be, err := cpu.New(cpu.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(be.Close)
	return be
}

// tinyConfig is a run of a few seconds.
func tinyConfig(t testing.TB, out string, steps int) Config {
	return Config{Backend: testBackend(t, 1), Options: Options{Out: out, ModelFile: tinyModel(t), Data: []string{writeDocs(t, 80)},
		Heldout: ptr(0.1), Steps: steps, SeqLen: 16, Micro: 32, Batch: 64, BatchStart: 32, Ramp: ptr(0.5), Warmup: ptr(2), LR: 0.01}}
}

// TestMain makes the test binary a program that trains, for tests that kill it.
func TestMain(m *testing.M) {
	if raw := os.Getenv("SONDE_TRAIN_CHILD"); raw != "" {
		os.Exit(child(raw))
	}
	os.Exit(m.Run())
}

// mustRun trains to the end and returns the summary with what was printed.
func mustRun(t testing.TB, c Config) (*Summary, string) {
	t.Helper()
	var out bytes.Buffer
	s, err := Run(context.Background(), c, &out)
	if err != nil {
		t.Fatalf("Run: %v\n%s", err, out.String())
	}
	return s, out.String()
}

// compareLogs fails unless two runs have the same steps to the last bit.
func compareLogs(t testing.TB, want, got string) {
	t.Helper()
	if diff := cmp.Diff(logOf(t, want), logOf(t, got), timeless); diff != "" {
		t.Error(diff)
	}
}

// wantError fails unless err says every part.
func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, expected one that says %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}
