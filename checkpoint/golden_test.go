package checkpoint

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sonde/compute"
	"sonde/internal/golden"
	"sonde/model"
	"sonde/model/auto"
	"sonde/nn"
)

// TestGoldenFolders runs every model of the goldens as its files are, FP8 weights as
// FP8, and compares the logits with transformers'; so it does with the model as a GGUF
// file, and with the model loaded as for training, saved in shards and loaded again.
func TestGoldenFolders(t *testing.T) {
	for _, c := range golden.Cases(t, "model") {
		t.Run(c.Name, func(t *testing.T) { goldenFolder(t, c) })
	}
}

func goldenFolder(t *testing.T, c golden.Case) {
	want := golden.Read(t, c.Path("golden.safetensors"))
	ids, logits := golden.Get(t, want, "input_ids"), golden.Get(t, want, "logits").F32()
	s := open(t, c.Dir)
	apart := distanceFor(s.Config, len(logits)/ids.Len())
	bound := allLogits(t, boundModel(t, s), ids)
	worst := apart(bound, logits)

	file := filepath.Join(t.TempDir(), "x.gguf")
	must(t, s.Convert(context.Background(), file, ConvertOptions{DType: F32}))
	inGGUF := apart(allLogits(t, boundModel(t, open(t, file)), ids), logits)

	loaded := loadModel(t, s)
	got := allLogits(t, loaded, ids)
	byLoad := apart(got, logits)
	t.Logf("%-20s logits %.1e as the file is, %.1e in GGUF, %.1e loaded", c.Name, worst, inGGUF, byLoad)
	if worst > 1e-4 || inGGUF > 1e-4 || byLoad > 1e-4 {
		t.Errorf("the logits differ by %g, %g, %g", worst, inGGUF, byLoad)
	}
	dir := t.TempDir()
	must(t, SaveHF(dir, HF{ConfigJSON: s.Config}, loaded.Params(), loaded.Backend(), 50_000))
	if _, err := os.Stat(filepath.Join(dir, indexName)); err != nil {
		t.Errorf("not in shards: %v", err)
	}
	for i, v := range allLogits(t, loadModel(t, open(t, dir)), ids) {
		if math.Float32bits(v) != math.Float32bits(got[i]) {
			t.Fatalf("saved and loaded, logit %d is %v instead of %v", i, v, got[i])
		}
	}
}

func open(t *testing.T, path string) *Source {
	t.Helper()
	s, err := Open(path)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// boundModel is the model over its file's memory, block formats with exact activations.
// It fails where a matrix of FP8 was turned into something else.
func boundModel(t *testing.T, s *Source) model.Net {
	t.Helper()
	cfg, _, err := auto.ParseConfig(s.Config)
	must(t, err)
	be := compute.NewReference()
	places, ar := compute.NewArena("places", compute.AddressSpace{}), be.NewArena("copies")
	t.Cleanup(func() { places.Free(); ar.Free() })
	net := auto.New(cfg, be, places, compute.F32)
	t.Cleanup(net.Close)
	slots := net.Slots()
	must(t, s.Bind(slots, be, ar, BindOptions{}))
	for _, p := range net.Params() {
		if x, ok := s.weights.where[p.Name]; ok && x.info.DType == F8E4M3 && !plainSlot(slots, p.Name) && p.T.DType() != compute.E4M3 {
			t.Errorf("%s is F8_E4M3 in the file and runs as %v", p.Name, p.T)
		}
	}
	return Guarded(net)
}

func plainSlot(slots []nn.Slot, name string) bool {
	return slices.ContainsFunc(slots, func(s nn.Slot) bool { return s.Name == name && (s.Plain || s.FP32) })
}

func loadModel(t *testing.T, s *Source) model.Net {
	t.Helper()
	cfg, _, err := auto.ParseConfig(s.Config)
	must(t, err)
	be := compute.NewReference()
	ar := be.NewArena("weights")
	t.Cleanup(ar.Free)
	net := auto.New(cfg, be, ar, compute.F32)
	t.Cleanup(net.Close)
	must(t, s.Load(net.Params(), be))
	return net
}

func allLogits(t *testing.T, net model.Net, ids golden.Tensor) (all []float32) {
	t.Helper()
	n := ids.Shape[1]
	for b := range ids.Shape[0] {
		logits, err := model.Logits(net, ids.I32()[b*n:(b+1)*n])
		must(t, err)
		all = append(all, logits...)
	}
	return all
}

// distanceFor is how logits of rows of n are compared: all together, or, where a model
// picks keys, by the position in the middle. At a few positions keys tie at the bound,
// all with the score zero, and which of them transformers keeps follows no rule;
// package model/deepseek follows its choice there and compares every position.
func distanceFor(config []byte, n int) func(a, b []float32) float64 {
	if !bytes.Contains(config, []byte(`"index_topk"`)) {
		return distance
	}
	return func(a, b []float32) float64 {
		var each []float64
		for i := 0; i < len(b); i += n {
			each = append(each, distance(a[i:i+n], b[i:i+n]))
		}
		slices.Sort(each)
		return each[len(each)/2]
	}
}

// distance is the norm of a-b over the norm of b.
func distance(a, b []float32) float64 {
	var diff, norm float64
	for i := range b {
		d := float64(a[i]) - float64(b[i])
		diff += d * d
		norm += float64(b[i]) * float64(b[i])
	}
	return math.Sqrt(diff / norm)
}
