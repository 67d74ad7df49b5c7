package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sonde/compute"
	"sonde/internal/golden"
	"sonde/num"
)

// numbers reads every matrix of a model, in Hugging Face's form.
func numbers(t *testing.T, s *Source) map[string][]float32 {
	t.Helper()
	list, err := s.matrices()
	must(t, err)
	all := map[string][]float32{}
	for _, m := range list {
		v := make([]float32, m.rows*m.cols)
		must(t, m.read(v, 0, m.rows))
		all[m.name] = v
	}
	return all
}

// worst is the largest distance of any matrix, in which both must agree by name.
func worst(t *testing.T, a, b map[string][]float32) (name string, d float64) {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%d and %d matrices", len(a), len(b))
	}
	for n, v := range a {
		if len(v) != len(b[n]) {
			t.Fatalf("%s has %d and %d numbers", n, len(v), len(b[n]))
		}
		if x := distance(b[n], v); x > d || math.IsNaN(x) && !equalBits(v, b[n]) {
			name, d = n, x
		}
	}
	return name, d
}

// TestGoldenConvert converts every golden model to safetensors and to GGUF of each
// format, and the GGUF file back, and compares the numbers with the original's.
func TestGoldenConvert(t *testing.T) {
	for _, c := range golden.Cases(t, "model") {
		t.Run(c.Name, func(t *testing.T) {
			s, err := Open(c.Dir)
			must(t, err)
			defer s.Close()
			want := numbers(t, s)
			for _, o := range []struct {
				dtype DType
				most  float64
			}{{"", 0x1p-8}, {F32, 0}, {F16, 0x1p-11}, {BF16, 0x1p-8}, {F8E4M3, 0.05}} {
				dst := filepath.Join(t.TempDir(), "out")
				must(t, s.Convert(context.Background(), dst, ConvertOptions{DType: o.dtype, ShardBytes: 300_000}))
				back, err := Open(dst)
				must(t, err)
				name, d := worst(t, want, numbers(t, back))
				t.Logf("%-18s to %-8s worst %.1e %s", c.Name, o.dtype, d, name)
				if d > o.most {
					t.Errorf("%s differs by %g", name, d)
				}
				back.Close()
				if o.dtype.IsFP8() {
					continue
				}
				file := filepath.Join(t.TempDir(), "out.gguf")
				must(t, s.Convert(context.Background(), file, ConvertOptions{DType: o.dtype}))
				back = open(t, file)
				name, d = worst(t, want, numbers(t, back))
				must(t, back.Convert(context.Background(), dst, ConvertOptions{DType: F32, Overwrite: true}))
				again, e := worst(t, numbers(t, back), numbers(t, open(t, dst)))
				if d > o.most || e != 0 {
					t.Errorf("in GGUF %s: %s differs by %g, and back again %s by %g", o.dtype, name, d, again, e)
				}
			}
		})
	}
}

// TestGoldenFP8StaysAsItIs copies FP8 weights to FP8 without a change of a bit, and says
// so in the config.
func TestGoldenFP8StaysAsItIs(t *testing.T) {
	for _, c := range golden.Cases(t, "model") {
		s, err := Open(c.Dir)
		must(t, err)
		defer s.Close()
		if !slices.ContainsFunc(s.Tensors(), func(x Info) bool { return x.DType.IsFP8() }) {
			continue
		}
		dst := filepath.Join(t.TempDir(), "out")
		must(t, s.Convert(context.Background(), dst, ConvertOptions{DType: F8E4M3}))
		back, err := Open(dst)
		must(t, err)
		defer back.Close()
		name, d := worst(t, numbers(t, s), numbers(t, back))
		t.Logf("%s: worst %g %s", c.Name, d, name)
		if d != 0 || back.weights.block != s.weights.block {
			t.Errorf("%s: %s differs by %g, blocks %v and %v", c.Name, name, d, s.weights.block, back.weights.block)
		}
	}
}

// TestFP8Factors: a block of zeros, one of tiny numbers, the largest code in each block.
func TestFP8Factors(t *testing.T) {
	v := make([]float32, 200*300)
	for i := range v {
		r, c := i/300, i%300
		switch {
		case r < 128 && c < 128: // zeros
		case r < 128 && c < 256:
			v[i] = float32(i%7) * 0x1p-140
		default:
			v[i] = float32(math.Sin(float64(i)))
		}
	}
	q := &fp8Matrix{rows: memoryRows("w", v, 200, 300), block: fp8Block}
	j := &job{ctx: context.Background()}
	var codes strings.Builder
	must(t, q.codes(&codes, j))
	for i := range v {
		got := num.E4M3ToF32(codes.String()[i]) * q.scale[i/300/128*3+i%300/128]
		if d := math.Abs(float64(got - v[i])); d > math.Abs(float64(v[i]))/16+1e-37 && d > float64(q.scale[i/300/128*3+i%300/128])*0x1p-10 {
			t.Fatalf("number %d: %v became %v", i, v[i], got)
		}
	}
	v[77] = float32(math.Inf(1))
	q = &fp8Matrix{rows: memoryRows("w", v, 200, 300), block: fp8Block}
	if err := q.codes(&codes, j); !isFormatError(err) || !strings.Contains(err.Error(), `"w"`) {
		t.Errorf("an infinity: %v", err)
	}
}

// memoryRows is a matrix of a test.
func memoryRows(name string, v []float32, r, c int) rows {
	return rows{name: name, file: "memory", shape: []int{r, c}, rows: r, cols: c, dtype: F32,
		read: func(dst []float32, from, n int) error { copy(dst[:n*c], v[from*c:]); return nil }}
}

// TestRowsForms undoes every change of form.
func TestRowsForms(t *testing.T) {
	v := make([]float32, 24*6)
	for i := range v {
		v[i] = float32(i)
	}
	m := memoryRows("w", v, 24, 6)
	all := func(m rows, step int) []float32 {
		out := make([]float32, m.rows*m.cols)
		for at := 0; at < m.rows; at += step {
			n := min(step, m.rows-at)
			must(t, m.read(out[at*m.cols:(at+n)*m.cols], at, n))
		}
		return out
	}
	d := kvHeads{heads: 2, nope: 5, v: 7, lora: 6}
	for _, step := range []int{1, 4, 5, 24} {
		for name, form := range map[string]rows{
			"heads":   m.adjacent(3).halves(3),
			"experts": stack("w", []rows{m.part("a", 0, 8), m.part("b", 8, 8), m.part("c", 16, 8)}),
			"kv_b":    joinHalves("w", m.keyHalf("k", d), m.valueHalf("v", d), d),
		} {
			if got := all(form, step); !slices.Equal(got, v) || form.rows != 24 || form.cols != 6 {
				t.Errorf("%s, %d rows at a time: %v", name, step, got)
			}
		}
	}
	// Row 1 of a head of 8 is the first row's partner, which stood half a head away.
	if got := all(m.adjacent(3), 24); got[6] != v[4*6] {
		t.Errorf("row 1 is row %v of before", got[6]/6)
	}
	// k_b is transposed: row 0 of head 1 holds column 0 of the head's five keys.
	if got := all(m.keyHalf("k", d), 24); !slices.Equal(got[6*5:6*5+5], []float32{12 * 6, 13 * 6, 14 * 6, 15 * 6, 16 * 6}) {
		t.Errorf("k_b's head 1 begins with %v", got[6*5:6*5+5])
	}
}

func TestConvertRefusals(t *testing.T) {
	m := newMaker(t)
	dir := t.TempDir()
	params := list(m.param("model.norm.weight", compute.F32, 8), m.param("model.embed_tokens.weight", compute.F32, 4, 8))
	for _, p := range params {
		m.be.Zero(p.T)
	}
	m.be.UploadF32(params[1].T.Rows(0, 1), []float32{1e30, 0, 0, 0, 0, 0, 0, 0})
	must(t, SaveHF(dir, smallHF, params, m.be, 0))
	s, err := Open(dir)
	must(t, err)
	defer s.Close()
	ctx, out := context.Background(), filepath.Join(t.TempDir(), "out")
	for _, c := range []struct {
		err  error
		want string
	}{
		{s.Convert(ctx, filepath.Join(out, "x.safetensors"), ConvertOptions{}), "name the folder"},
		{s.Convert(ctx, dir, ConvertOptions{}), "is there already"},
		{s.Convert(ctx, out+".gguf", ConvertOptions{DType: F8E4M3}), "cannot hold F8_E4M3"},
		{s.Convert(ctx, out, ConvertOptions{DType: F16}), "1e+30, which F16 cannot"},
		{s.Convert(ctx, out, ConvertOptions{DType: I8}), "I8 is not written"},
		{s.Quantize(ctx, out, QuantizeOptions{Type: "Q4_K_M"}), "ends in .gguf"},
		{s.Quantize(ctx, out+".gguf", QuantizeOptions{Type: "Q9"}), `no type "Q9": choose one of IQ4_NL`},
		{s.Quantize(ctx, out+".gguf", QuantizeOptions{Type: "iq2_xs"}), "IQ2_XS is read, not written"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("got %v, expected %q", c.err, c.want)
		}
	}
	if entries, err := os.ReadDir(out); err == nil && len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Convert(ctx, out, ConvertOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if entries, err := os.ReadDir(out); err == nil && len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
	must(t, s.Convert(context.Background(), dir, ConvertOptions{Overwrite: true}))
}

// TestConvertProgress counts every byte once.
func TestConvertProgress(t *testing.T) {
	m := newMaker(t)
	dir := t.TempDir()
	params := list(m.param("model.layers.0.mlp.up_proj.weight", compute.BF16, 300, 500), m.param("model.norm.weight", compute.F32, 8))
	for _, p := range params {
		m.be.Zero(p.T)
	}
	must(t, SaveHF(dir, smallHF, params, m.be, 0))
	s, err := Open(dir)
	must(t, err)
	defer s.Close()
	for _, dt := range []DType{"", F32, F8E4M3} {
		var last, total int64
		o := ConvertOptions{DType: dt, Progress: func(d, all int64) { last, total = d, all }}
		must(t, s.Convert(context.Background(), filepath.Join(t.TempDir(), "x"), o))
		if last != total || total == 0 {
			t.Errorf("%q: %d of %d bytes", dt, last, total)
		}
	}
}

// TestRecipes lists the types that recipes choose in a model of 16 layers.
func TestRecipes(t *testing.T) {
	var list []rows
	add := func(name string, cols int) { list = append(list, memoryRows(name, nil, 256, cols)) }
	add("model.embed_tokens.weight", 512)
	for i := range 16 {
		for _, n := range []string{"self_attn.v_proj", "self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"} {
			add(fmt.Sprintf("model.layers.%d.%s.weight", i, n), 512)
		}
	}
	add("lm_head.weight", 512)
	c := quantShapes{Type: "llama", Layers: 16, Heads: 8, KVHeads: 2}
	show := func(recipe, kind string, weighted bool) string {
		r, err := findRecipe(recipe)
		must(t, err)
		var out []string
		for i, dt := range r.types(list, c, weighted) {
			if strings.Contains(list[i].name, kind) {
				out = append(out, string(dt))
			}
		}
		return strings.Join(slices.Compact(out), " ")
	}
	for _, x := range []struct{ recipe, kind, want string }{
		{"Q4_K_M", "embed", "Q4_K"}, {"Q4_K_M", "lm_head", "Q6_K"}, {"q4_k", "q_proj", "Q4_K"},
		{"Q4_K_M", "v_proj", "Q6_K Q4_K Q6_K Q4_K Q6_K Q4_K Q6_K Q4_K Q6_K"}, {"Q4_K_M", "down", "Q6_K Q4_K Q6_K Q4_K Q6_K Q4_K Q6_K Q4_K Q6_K"},
		{"Q4_K_S", "v_proj", "Q5_K Q4_K"}, {"Q4_K_S", "down", "Q5_K Q4_K"}, {"Q5_K_M", "v_proj", "Q6_K Q5_K Q6_K Q5_K Q6_K Q5_K Q6_K Q5_K Q6_K"},
		{"Q3_K_M", "v_proj", "Q5_K Q4_K"}, {"Q3_K_M", "down", "Q5_K Q4_K"}, {"Q3_K_M", "o_proj", "Q4_K"}, {"Q3_K_L", "o_proj", "Q5_K"},
		{"Q2_K", "v_proj", "Q4_K"}, {"Q2_K", "down", "Q3_K"}, {"Q2_K", "o_proj", "Q3_K"}, {"Q8_0", "", "Q8_0"}, {"Q6_K", "", "Q6_K"},
		{"Q4_0", "down", "Q4_0"}, {"Q4_0", "lm_head", "Q6_K"}, {"IQ4_XS", "v_proj", "Q5_K"}, {"IQ4_XS", "down", "Q5_K IQ4_XS"},
	} {
		if got := show(x.recipe, x.kind, false); got != x.want {
			t.Errorf("%s %s: %s, expected %s", x.recipe, x.kind, got, x.want)
		}
	}
	if got := show("Q4_0", "down", true); got != "Q4_1 Q4_0" {
		t.Errorf("Q4_0 down with an importance matrix: %s", got)
	}
	list = list[:len(list)-1]
	if got := show("Q4_K_M", "embed", false); got != "Q6_K" {
		t.Errorf("a tied embedding: %s", got)
	}
	for i := range list {
		list[i].cols = 576
	}
	if got := show("Q4_K_M", "", false); strings.ReplaceAll(strings.ReplaceAll(got, "Q5_0", ""), "Q8_0", "") != strings.Repeat(" ", strings.Count(got, " ")) {
		t.Errorf("rows of 576: %s", got)
	}
	list[0].cols = 100
	if got := r0(t, list, c); got != F16 {
		t.Errorf("rows of 100: %s", got)
	}
}

func r0(t *testing.T, list []rows, c quantShapes) DType {
	r, err := findRecipe("Q4_K_S")
	must(t, err)
	return r.types(list, c, false)[0]
}

func TestImportanceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "imatrix")
	m := &Importance{Columns: map[string][]float32{"a.weight": {1, 0, 3}, "l.experts.1.up.weight": {2, 2}}, Tokens: 77}
	must(t, m.Save(path))
	got, err := LoadImportance(path)
	must(t, err)
	a, _ := json.Marshal(m)
	b, _ := json.Marshal(got)
	if string(a) != string(b) {
		t.Errorf("%s became %s", a, b)
	}
	raw, err := os.ReadFile(path)
	must(t, err)
	if !IsImportance(raw) || IsImportance([]byte("a text of some length")) {
		t.Error("files of importance and texts are not told apart")
	}
	for old, want := range map[string]string{`"format":"1"`: "format \"2\", this program reads format 1", `"kind":"importance"`: "is not an importance matrix"} {
		bad := strings.Replace(string(raw), old, strings.NewReplacer("1", "2", "importance", "impostance").Replace(old), 1)
		if _, err := LoadImportance(put(t, t.TempDir(), "x", []byte(bad))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, expected %q", err, want)
		}
	}
	m.Columns["a.weight"][1] = -1
	must(t, m.Save(path))
	if _, err := LoadImportance(path); !isFormatError(err) {
		t.Errorf("a negative weight: %v", err)
	}
}

func TestImportanceOf(t *testing.T) {
	m := &Importance{Columns: map[string][]float32{"w": {1, 0, 3}, "x.experts.2.up": {5, 5, 5}}}
	if v := m.of(memoryRows("w", nil, 4, 3))(3); v[0] != 1 || v[1] <= 0 || v[1] > 1e-3 || v[2] != 3 {
		t.Errorf("weights %v", v)
	}
	if m.of(memoryRows("y", nil, 4, 3)) != nil || (*Importance)(nil).of(memoryRows("w", nil, 4, 3)) != nil {
		t.Error("weights from nothing")
	}
	f := m.of(memoryRows("x.experts.*.up", nil, 6, 3))
	if f(1)[0] != 1 || f(4)[0] != 5 || f(5)[2] != 5 {
		t.Errorf("experts' weights %v %v %v", f(1), f(4), f(5))
	}
	if err := m.check([]rows{memoryRows("w", nil, 4, 5)}); err == nil || !strings.Contains(err.Error(), "another model") {
		t.Errorf("another width: %v", err)
	}
	if err := m.check([]rows{memoryRows("z", nil, 4, 5)}); err == nil || !strings.Contains(err.Error(), "another model") {
		t.Errorf("other names: %v", err)
	}
}
