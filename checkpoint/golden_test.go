package checkpoint

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"sonde/compute"
	"sonde/internal/golden"
	"sonde/model"
	"sonde/model/deepseek"
)

// TestGoldenFolders opens every folder of the goldens, loads those whose architecture
// is built, FP8 among them, and compares the logits with transformers'; then saves
// the model in shards and wants the same logits, bit for bit.
func TestGoldenFolders(t *testing.T) {
	for _, c := range golden.Cases(t, "model") {
		t.Run(c.Name, func(t *testing.T) { goldenFolder(t, c) })
	}
}

func goldenFolder(t *testing.T, c golden.Case) {
	f, err := Open(c.Dir)
	must(t, err)
	defer f.Close()
	var kind struct {
		Architectures []string `json:"architectures"`
	}
	must(t, json.Unmarshal(f.Config, &kind))
	if len(kind.Architectures) != 1 || kind.Architectures[0] != "DeepseekV3ForCausalLM" {
		t.Skipf("%d tensors read; the architecture %v is not built", len(f.Tensors()), kind.Architectures)
	}
	m := loadModel(t, f)
	want := golden.Read(t, c.Path("golden.safetensors"))
	ids, logits := golden.Get(t, want, "input_ids"), golden.Get(t, want, "logits").F32()
	got := allLogits(t, m, ids)
	worst := distance(got, logits)
	t.Logf("%-20s logits %.1e", c.Name, worst)
	if worst > 1e-4 {
		t.Errorf("the logits differ by %g", worst)
	}
	dir := t.TempDir()
	must(t, SaveHF(dir, HF{ConfigJSON: f.Config}, m.Params(), m.Backend(), 200_000))
	if _, err := os.Stat(dir + "/" + indexName); err != nil {
		t.Errorf("not in shards: %v", err)
	}
	again, err := Open(dir)
	must(t, err)
	defer again.Close()
	for i, v := range allLogits(t, loadModel(t, again), ids) {
		if math.Float32bits(v) != math.Float32bits(got[i]) {
			t.Fatalf("saved and loaded, logit %d is %v instead of %v", i, v, got[i])
		}
	}
}

func loadModel(t *testing.T, f *Source) *deepseek.Model {
	cfg, _, err := deepseek.ParseConfig(f.Config)
	must(t, err)
	be := compute.NewReference()
	ar := be.NewArena("weights")
	t.Cleanup(ar.Free)
	m := deepseek.New(cfg, be, ar)
	must(t, f.Load(m.Params(), be))
	return m
}

func allLogits(t *testing.T, m *deepseek.Model, ids golden.Tensor) (all []float32) {
	n := ids.Shape[1]
	for b := range ids.Shape[0] {
		logits, err := model.Logits(m, ids.I32()[b*n:(b+1)*n])
		must(t, err)
		all = append(all, logits...)
	}
	return all
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
