package checkpoint_test

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/internal/learncheck"
	"sonde/internal/tiny"
	"sonde/model"
	"sonde/model/auto"
	"sonde/model/lora"
)

// bound is the model of a file, its weights as they are there.
func bound(t *testing.T, path string, threads int) (model.Learner, *compute.Arena) {
	t.Helper()
	src, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, _, err := auto.ParseConfig(src.Config)
	if err != nil {
		t.Fatal(err)
	}
	be, ar := learncheck.AdapterBackend(t, threads)
	places := compute.NewArena("places", compute.AddressSpace{})
	net := auto.New(cfg, be, places, compute.F32)
	t.Cleanup(func() { net.Close(); places.Free(); src.Close() })
	if err := src.Bind(net.Slots(), be, ar, checkpoint.BindOptions{}); err != nil {
		t.Fatal(err)
	}
	return net.(model.Learner), ar
}

// quantised is the tiny DeepSeek model in a format: fp8, or a recipe's.
func quantised(t *testing.T, format string) string {
	t.Helper()
	src, err := checkpoint.Open(tiny.Folder(t))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst := filepath.Join(t.TempDir(), "model.gguf")
	switch format {
	case "fp8":
		dst = filepath.Join(t.TempDir(), "model")
		err = src.Convert(context.Background(), dst, checkpoint.ConvertOptions{DType: checkpoint.F8E4M3})
	default:
		err = src.Quantize(context.Background(), dst, checkpoint.QuantizeOptions{Type: format})
	}
	if err != nil {
		t.Fatal(err)
	}
	return dst
}

// TestAdapterLearner: over weights as files have them, what a model writes with adapters has
// the bits of what it learns from, with any number of threads, and gradients add up.
func TestAdapterLearner(t *testing.T) {
	for name, path := range map[string]string{"v3": tiny.Folder(t), "fp8": quantised(t, "fp8"), "q8_0": quantised(t, "Q8_0")} {
		var first []float32
		for _, threads := range []int{1, 3} {
			base, ar := bound(t, path, threads)
			m := learncheck.Adapted(t, base, ar, lora.Options{Rank: 5, Seed: 1})
			bits := learncheck.RatioOne(t, m)
			if first == nil {
				first = bits
			}
			if !slices.Equal(bits, first) {
				t.Fatalf("%s: %d threads give other bits than one", name, threads)
			}
			learncheck.Gradients(t, m)
			learncheck.Prefix(t, m)
		}
	}
}

// TestAdapterAbsorbed: generation, where MLA's keys and values are absorbed, computes with the
// adapter of kv_b_proj too.
func TestAdapterAbsorbed(t *testing.T) {
	base, ar := bound(t, tiny.Folder(t), 2)
	ids := []int32{5, 17, 200, 31, 8, 90, 3}
	logits := func(m model.Learner, s model.Sequence) []float32 {
		defer s.Close()
		parts := []model.Part{{Sequence: s, IDs: ids, Want: model.WantAll}}
		if err := m.Forward(parts); err != nil {
			t.Fatal(err)
		}
		return parts[0].Logits
	}
	before := logits(base, base.NewSequence(16))
	m := learncheck.Adapted(t, base, ar, lora.Options{Rank: 3, Targets: []string{"kv_b_proj"}})
	absorbed, expanded := logits(m, m.NewSequence(16)), logits(m, m.NewRollout(16))
	if d := apart(absorbed, expanded); d > 1e-4 {
		t.Errorf("the absorbed form differs from the expanded one by %.2g", d)
	}
	if d := apart(absorbed, before); d < 1e-2 {
		t.Errorf("the adapter changed logits by %.2g alone", d)
	}
	m.Without(func() {
		if !slices.Equal(logits(m, m.NewSequence(16)), before) {
			t.Error("without its adapter the model is not what it was")
		}
	})
}

func apart(a, b []float32) float64 {
	worst := 0.0
	for i := range a {
		worst = max(worst, math.Abs(float64(a[i]-b[i])))
	}
	return worst
}

// TestAdapterGradient compares gradients over a quantised base with central differences of the
// log-probability.
func TestAdapterGradient(t *testing.T) {
	base, ar := bound(t, quantised(t, "Q8_0"), 2)
	m := learncheck.Adapted(t, base, ar, lora.Options{Rank: 4, Alpha: 6, RSLoRA: true, Seed: 9})
	p := learncheck.Pack(learncheck.Texts(3, 2, 14, m.Describe().Vocab())...)
	coef := make([]float32, len(p.Tokens))
	for i := range coef {
		coef[i] = float32(i%3) - 0.7
	}
	work := m.Backend().NewArena("work")
	defer work.Free()
	value := func() float64 {
		defer work.Release(work.Mark())
		logp, _ := m.Learn(work, p, model.StepOptions{Scale: 1}).LogProbs()
		sum := 0.0
		for i, l := range logp {
			sum += float64(coef[i]) * float64(l)
		}
		return sum
	}
	grads := m.NewTwin(ar)
	m.Learn(work, p, model.StepOptions{Scale: 1}).Backward(coef, grads)
	for i, g := range grads.Blocks() {
		checkDirection(t, m.Backend(), g.Name, m.Blocks()[i].T, g.T, value)
	}
}

// checkDirection moves w along its gradient g, where the change is greatest.
func checkDirection(t *testing.T, be compute.Backend, name string, w, g compute.Tensor, value func() float64) {
	t.Helper()
	at, dir, moved := make([]float32, w.Len()), make([]float32, w.Len()), make([]float32, w.Len())
	be.DownloadF32(at, w)
	be.DownloadF32(dir, g)
	norm := 0.0
	for _, x := range dir {
		norm += float64(x) * float64(x)
	}
	norm = math.Sqrt(norm)
	const step = 4e-3
	side := func(by float64) float64 {
		for i := range moved {
			moved[i] = at[i] + float32(by*float64(dir[i])/norm)
		}
		be.UploadF32(w, moved)
		defer be.UploadF32(w, at)
		return value()
	}
	got := (side(step) - side(-step)) / (2 * step)
	if !(math.Abs(got-norm) < 0.02*norm+2e-3) {
		t.Errorf("%s: the slope along the gradient is %.5g, its length %.5g", name, got, norm)
	}
}

// TestAdapterTargets: names choose layers as PEFT's do, exceptions hold, and the sizes are those.
func TestAdapterTargets(t *testing.T) {
	base, ar := bound(t, tiny.Folder(t), 1)
	for _, c := range []struct {
		o    lora.Options
		want []string // modules, each with its rank and scale
	}{
		{lora.Options{Rank: 2, Targets: []string{"q_a_proj"}}, []string{"model.layers.0.self_attn.q_a_proj", "model.layers.1.self_attn.q_a_proj"}},
		{lora.Options{Rank: 2, Targets: []string{"layers.1.self_attn.o_proj", "shared_experts.up_proj"}},
			[]string{"model.layers.1.self_attn.o_proj", "model.layers.1.mlp.shared_experts.up_proj"}},
	} {
		m, err := lora.Attach(base, ar, c.o)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range m.Adapters() {
			got = append(got, a.Module)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v chose %v, expected %v", c.o.Targets, got, c.want)
		}
	}
	o := lora.Options{Rank: 4, Alpha: 6, RSLoRA: true, Ranks: map[string]int{"o_proj": 9}, Alphas: map[string]float64{"layers.0.*": 3}}
	for module, want := range map[string][2]float64{"model.layers.0.self_attn.o_proj": {9, 1}, "model.layers.1.self_attn.o_proj": {9, 2}, "model.layers.1.mlp.up_proj": {4, 3}} {
		if r, s := o.RankOf(module), o.ScaleOf(module); float64(r) != want[0] || float64(s) != want[1] {
			t.Errorf("%s has rank %d and scale %v, expected %v", module, r, s, want)
		}
	}
	for _, c := range []struct {
		o    lora.Options
		want string
	}{
		{lora.Options{}, "rank 0"},
		{lora.Options{Rank: 2, Alpha: math.NaN()}, "alpha NaN"},
		{lora.Options{Rank: 2, Targets: []string{"lm_head"}}, `ends in "lm_head"; this model has q_a_proj`},
		{lora.Options{Rank: 2, Targets: []string{"o_proj", "gate"}}, `ends in "gate"`},
	} {
		if _, err := lora.Attach(base, ar, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: the error is %v, expected one that says %q", c.o, err, c.want)
		}
	}
}

// TestAdapterNeedsBackend: a model over another backend takes no adapter.
func TestAdapterNeedsBackend(t *testing.T) {
	cfg, err := tiny.Config()
	if err != nil {
		t.Fatal(err)
	}
	be := compute.NewReference()
	ar := be.NewArena("test")
	defer ar.Free()
	net := auto.New(cfg, be, ar, compute.F32).(model.Learner)
	if _, err := lora.Attach(net, ar, lora.Options{Rank: 2}); err == nil || !strings.Contains(err.Error(), "lora.New") {
		t.Errorf("the error is %v", err)
	}
}
