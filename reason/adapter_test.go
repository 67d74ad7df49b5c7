package reason

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sonde/checkpoint"
	"sonde/internal/learncheck"
	"sonde/internal/tiny"
	"sonde/model"
	"sonde/model/lora"
)

// logProbs are what m gives a text.
func logProbs(t *testing.T, m *Model) []float32 {
	t.Helper()
	ar := m.Net.Backend().NewArena("test")
	defer ar.Free()
	logp, _ := m.Net.Learn(ar, learncheck.Pack([]int32{3, 14, 15, 92, 6, 5, 35}), model.StepOptions{Scale: 1}).LogProbs()
	return logp
}

// TestAdapterRoundTrip: an adapter that is trained over a quantised file, saved and opened
// again computes the same, and its folder opens by itself.
func TestAdapterRoundTrip(t *testing.T) {
	src, err := checkpoint.Open(tiny.Folder(t))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	base := filepath.Join(t.TempDir(), "model.gguf")
	if err := src.Quantize(context.Background(), base, checkpoint.QuantizeOptions{Type: "Q8_0"}); err != nil {
		t.Fatal(err)
	}
	be := cpuBackend(t, 2)
	m, err := OpenAdapted(base, be, lora.Options{Rank: 3, Seed: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	fresh := logProbs(t, m)
	for _, b := range m.Net.Blocks() {
		v := make([]float32, b.T.Len())
		for i := range v {
			v[i] = float32(i%7)*0.05 - 0.1
		}
		be.UploadF32(b.T, v)
	}
	want, dir := logProbs(t, m), t.TempDir()
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
	if checkpoint.IsAdapter(base) || !checkpoint.IsAdapter(dir) {
		t.Error("the saved folder is no adapter")
	}
	again, err := Open(dir, be, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := logProbs(t, again); !slices.Equal(got, want) || slices.Equal(want, fresh) {
		t.Errorf("saved and opened again the model gives %v, expected %v", got, want)
	}
	if a := again.Adapter(); a == nil || a.Options().Rank != 3 || a.Numbers() != m.Adapter().Numbers() {
		t.Error("the adapter opened is not the one saved")
	}
	if _, err := OpenAdapted(dir, be, lora.Options{Rank: 2}); err == nil || !strings.Contains(err.Error(), "adapter already") {
		t.Errorf("a second adapter over an adapter: %v", err)
	}
	if err := os.Remove(base); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, be, OpenOptions{}); err == nil || !strings.Contains(err.Error(), base) {
		t.Errorf("without its model the adapter's error is %v, expected one that names %s", err, base)
	}
}
