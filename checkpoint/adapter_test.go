package checkpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/internal/golden"
	"sonde/model"
	"sonde/model/auto"
	"sonde/model/lora"
)

// adapterCase is a golden of scripts/make_adapter_golden.py.
type adapterCase struct {
	dir    string
	want   map[string]golden.Tensor
	tokens []int32
	lens   []int
}

func adapterCases(t *testing.T) map[string]adapterCase {
	t.Helper()
	out := map[string]adapterCase{}
	for _, name := range []string{"llama_all", "qwen2_some", "deepseek"} {
		c := adapterCase{dir: filepath.Join("testdata/adapter", name)}
		c.want = golden.Read(t, filepath.Join(c.dir, "golden.safetensors"))
		ids := golden.Get(t, c.want, "input_ids")
		c.tokens = ids.I32()
		for range ids.Shape[0] {
			c.lens = append(c.lens, ids.Shape[1])
		}
		out[name] = c
	}
	return out
}

// bound is the model at path with its weights over the file's memory, on a backend for
// adapters.
func bound(t *testing.T, path string) (model.Learner, *compute.Arena) {
	t.Helper()
	src, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, _, err := auto.ParseConfig(src.Config)
	if err != nil {
		t.Fatal(err)
	}
	fast, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	be := lora.New(fast)
	ar, places := be.NewArena("test"), compute.NewArena("places", compute.AddressSpace{})
	net := auto.New(cfg, be, places, compute.F32)
	t.Cleanup(func() { net.Close(); ar.Free(); places.Free(); be.Close(); src.Close() })
	if err := src.Bind(net.Slots(), be, ar, BindOptions{}); err != nil {
		t.Fatal(err)
	}
	return net.(model.Learner), ar
}

// attached is the adapter in dir on its model.
func attached(t *testing.T, base, dir string) *lora.Model {
	t.Helper()
	net, ar := bound(t, base)
	a, err := OpenAdapter(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	m, err := a.Attach(net, ar)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (c adapterCase) base(t *testing.T) string {
	t.Helper()
	a, err := OpenAdapter(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	return filepath.Join(c.dir, a.Base)
}

// logits are those after every token, by Forward.
func (c adapterCase) logits(t *testing.T, m model.Learner, rollout bool) []float32 {
	t.Helper()
	var out []float32
	at := 0
	for _, n := range c.lens {
		seq := m.NewSequence(n)
		if rollout {
			seq.Close()
			seq = m.NewRollout(n)
		}
		parts := []model.Part{{Sequence: seq, IDs: c.tokens[at : at+n], Want: model.WantAll}}
		if err := m.Forward(parts); err != nil {
			t.Fatal(err)
		}
		out = append(out, parts[0].Logits...)
		at += n
		seq.Close()
	}
	return out
}

// apart is the greatest difference of two lists.
func apart(t *testing.T, a, b []float32) float64 {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%d numbers beside %d", len(a), len(b))
	}
	worst := 0.0
	for i := range a {
		worst = max(worst, math.Abs(float64(a[i])-float64(b[i])))
	}
	return worst
}

// TestAdapterGolden: logits and gradients of adapters are PEFT's.
func TestAdapterGolden(t *testing.T) {
	for name, c := range adapterCases(t) {
		t.Run(name, func(t *testing.T) {
			m := attached(t, c.base(t), c.dir)
			want := golden.Get(t, c.want, "logits").F32()
			for _, rollout := range []bool{false, true} {
				if d := apart(t, c.logits(t, m, rollout), want); d > 1e-5 {
					t.Errorf("logits (rollout: %v) differ from PEFT's by %.2g", rollout, d)
				}
			}
			c.checkGradients(t, m)
		})
	}
}

func (c adapterCase) checkGradients(t *testing.T, m *lora.Model) {
	t.Helper()
	p := model.Packed{Lens: c.lens, Tokens: c.tokens}
	var coef []float32
	given, per := golden.Get(t, c.want, "coef").F32(), c.lens[0]-1
	for i, n := range c.lens {
		at := i * n
		p.Targets = append(append(p.Targets, c.tokens[at+1:at+n]...), -1)
		coef = append(append(coef, given[i*per:(i+1)*per]...), 0)
	}
	ar := m.Backend().NewArena("gradients")
	defer ar.Free()
	grads := m.NewTwin(ar)
	m.Learn(ar, p, model.StepOptions{Scale: 1}).Backward(coef, grads)
	for _, g := range grads.Blocks() {
		got := make([]float32, g.T.Len())
		m.Backend().DownloadF32(got, g.T)
		want := golden.Get(t, c.want, "grad."+g.Name).F32()
		var diff, norm float64
		for i := range want {
			diff += math.Pow(float64(got[i]-want[i]), 2)
			norm += math.Pow(float64(want[i]), 2)
		}
		if r := math.Sqrt(diff / norm); !(r < 2e-5) {
			t.Errorf("gradient of %s differs from PyTorch's by %.2g of its length", g.Name, r)
		}
	}
}

// TestAdapterSaved: what is saved is what was read, whatever order the base's rows are in.
func TestAdapterSaved(t *testing.T) {
	for name, c := range adapterCases(t) {
		base := c.base(t)
		gguf := filepath.Join(t.TempDir(), "model.gguf")
		src, err := Open(base)
		if err != nil {
			t.Fatal(err)
		}
		if name != "deepseek" { // GGUF has no name for its modules of multi-token prediction
			err = src.Convert(context.Background(), gguf, ConvertOptions{})
		}
		src.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, base := range []string{base, gguf} {
			if _, err := os.Stat(base); err != nil {
				continue
			}
			m := attached(t, base, c.dir)
			if d := apart(t, c.logits(t, m, false), golden.Get(t, c.want, "logits").F32()); d > 1e-5 {
				t.Errorf("%s over %s: logits differ by %.2g", name, filepath.Base(base), d)
			}
			dir := t.TempDir()
			if err := SaveAdapter(dir, m, "there"); err != nil {
				t.Fatal(err)
			}
			was, is := golden.Read(t, filepath.Join(c.dir, adapterWeights)), golden.Read(t, filepath.Join(dir, adapterWeights))
			for name, x := range was {
				if y := is[name]; !slices.Equal(x.Shape, y.Shape) || !bytes.Equal(x.Raw, y.Raw) {
					t.Errorf("%s over %s: %s was changed by saving", c.dir, filepath.Base(base), name)
				}
			}
			again, err := OpenAdapter(dir)
			if err != nil {
				t.Fatal(err)
			}
			again.Close()
			if len(is) != len(was) || again.Base != "there" || fmt.Sprint(again.Options) != fmt.Sprint(m.Options()) {
				t.Errorf("%s: %d tensors of %q, %v, expected %d and %v", name, len(is), again.Base, again.Options, len(was), m.Options())
			}
		}
	}
}

// TestAdapterMerged: a merged model gives what the adapter beside it gives.
func TestAdapterMerged(t *testing.T) {
	for name, c := range adapterCases(t) {
		src, err := Open(c.base(t))
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		a, err := OpenAdapter(c.dir)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if err := src.Adapt(a); err != nil {
			t.Fatal(err)
		}
		want := golden.Get(t, c.want, "logits").F32()
		for dt, tolerance := range map[DType]float64{"": 1e-5, BF16: 0.1} {
			if name == "deepseek" && dt == BF16 {
				continue // rounded, routers choose other experts
			}
			dir := filepath.Join(t.TempDir(), "merged")
			if err := src.Convert(context.Background(), dir, ConvertOptions{DType: dt}); err != nil {
				t.Fatal(err)
			}
			m, _ := bound(t, dir)
			d := apart(t, c.logits(t, m, false), want)
			if d > tolerance || dt == BF16 && d == 0 {
				t.Errorf("%s merged to %q: logits differ by %.2g", name, dt, d)
			}
		}
	}
}

// TestAdapterMergedFP8: a matrix that is FP8 already is not copied when it was merged.
func TestAdapterMergedFP8(t *testing.T) {
	c := adapterCases(t)["deepseek"]
	first, second := filepath.Join(t.TempDir(), "fp8"), filepath.Join(t.TempDir(), "merged")
	convert := func(from, to string, adapter bool) {
		src, err := Open(from)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		if adapter {
			a, err := OpenAdapter(c.dir)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			if err := src.Adapt(a); err != nil {
				t.Fatal(err)
			}
		}
		if err := src.Convert(context.Background(), to, ConvertOptions{DType: F8E4M3}); err != nil {
			t.Fatal(err)
		}
	}
	convert(c.base(t), first, false)
	convert(first, second, true)
	was, is := golden.Read(t, filepath.Join(first, singleName)), golden.Read(t, filepath.Join(second, singleName))
	adapted, other := "model.layers.0.self_attn.o_proj.weight", "model.layers.0.mlp.up_proj.weight"
	if bytes.Equal(was[adapted].Raw, is[adapted].Raw) {
		t.Error("an adapted FP8 matrix was copied unchanged")
	}
	if !bytes.Equal(was[other].Raw, is[other].Raw) {
		t.Error("an FP8 matrix without adapter was changed")
	}
}

// TestAdapterRefused: files that say what is not read, or do not fit, are refused by name.
func TestAdapterRefused(t *testing.T) {
	from := adapterCases(t)["qwen2_some"]
	raw, err := os.ReadFile(filepath.Join(from.dir, adapterConfig))
	if err != nil {
		t.Fatal(err)
	}
	weights, err := os.ReadFile(filepath.Join(from.dir, adapterWeights))
	if err != nil {
		t.Fatal(err)
	}
	with := func(set map[string]any) func(dir string) error {
		return func(dir string) error {
			c := map[string]any{}
			if err := json.Unmarshal(raw, &c); err != nil {
				return err
			}
			maps.Copy(c, set)
			out, err := json.Marshal(c)
			return errors.Join(err, os.WriteFile(filepath.Join(dir, adapterConfig), out, 0o644))
		}
	}
	renamed := func(from, to string) func(dir string) error {
		return func(dir string) error {
			return os.WriteFile(filepath.Join(dir, adapterWeights), bytes.ReplaceAll(weights, []byte(from), []byte(to)), 0o644)
		}
	}
	for _, c := range []struct {
		change func(dir string) error
		want   string
	}{
		{with(map[string]any{"use_dora": true}), `"use_dora" is "true"`},
		{with(map[string]any{"peft_type": "IA3"}), `peft_type is "IA3"`},
		{with(map[string]any{"bias": "all"}), "trained biases"},
		{with(map[string]any{"init_lora_weights": "pissa"}), `init_lora_weights is "pissa"`},
		{with(map[string]any{"modules_to_save": []string{"lm_head"}}), `"modules_to_save"`},
		{with(map[string]any{"lora_alpha": -1}), "lora_alpha is -1"},
		{with(map[string]any{"r": 1 << 30}), "rank 1073741824"},
		{with(map[string]any{"rank_pattern": map[string]int{"(": 3}}), "regular expression"},
		{with(map[string]any{"r": 5}), "expected [5 32]"},
		{renamed("lora_B", "lora_X"), "only LoRA over linear layers"},
		{renamed("layers.0", "layers.7"), "layers.7"},
		{renamed("down_proj", "best_proj"), "best_proj"},
		{func(dir string) error { return os.Remove(filepath.Join(dir, adapterWeights)) }, "does not exist"},
		{func(dir string) error { return os.Truncate(filepath.Join(dir, adapterWeights), 700) }, "header"},
		{func(dir string) error {
			bad := slices.Clone(weights)
			copy(bad[len(bad)-4:], []byte{0, 0, 0xc0, 0x7f})
			return os.WriteFile(filepath.Join(dir, adapterWeights), bad, 0o644)
		}, "not finite"},
	} {
		dir := t.TempDir()
		err := errors.Join(os.WriteFile(filepath.Join(dir, adapterConfig), raw, 0o644), os.WriteFile(filepath.Join(dir, adapterWeights), weights, 0o644), c.change(dir))
		if err != nil {
			t.Fatal(err)
		}
		a, err := OpenAdapter(dir)
		if err == nil {
			net, ar := bound(t, from.base(t))
			_, err = a.Attach(net, ar)
			a.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("the error is %v, expected one of %s that says %q", err, dir, c.want)
		}
	}
}
