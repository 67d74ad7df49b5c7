package llama

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/internal/golden"
	"sonde/model"
	"sonde/nn"
)

// testBackends are the processors that the goldens are run on: the reference and the
// fastest kernels of this machine.
func testBackends(t testing.TB) map[string]compute.Backend {
	fast, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fast.Close)
	return map[string]compute.Backend{"reference": compute.NewReference(), fast.Name(): fast}
}

// TestGoldenModels compares with transformers over every case of the folder.
func TestGoldenModels(t *testing.T) { runGoldens(t, golden.Cases(t, "model")) }

// TestTinyGolden is the project's own small cases, there in every clone: biases and
// linear scaling, YaRN rounded and not, Mistral.
func TestTinyGolden(t *testing.T) {
	entries, err := os.ReadDir("testdata/golden")
	if err != nil {
		t.Fatal(err)
	}
	var cases []golden.Case
	for _, e := range entries {
		cases = append(cases, golden.Case{Name: e.Name(), Dir: "testdata/golden/" + e.Name()})
	}
	if len(cases) == 0 {
		t.Fatal("testdata/golden holds no case")
	}
	runGoldens(t, cases)
}

func runGoldens(t *testing.T, cases []golden.Case) {
	for _, c := range cases {
		raw, err := os.ReadFile(c.Path("config.json"))
		if err != nil {
			t.Fatal(err)
		}
		var kind struct {
			Architectures []string `json:"architectures"`
		}
		if err := json.Unmarshal(raw, &kind); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if len(kind.Architectures) == 0 || !slices.Contains(Architectures(), kind.Architectures[0]) {
			t.Logf("%-20s skipped: the architecture %v is not built here", c.Name, kind.Architectures)
			continue
		}
		for name, be := range testBackends(t) {
			t.Run(c.Name+"/"+name, func(t *testing.T) { newGoldenCase(t, c, raw, be).run() })
		}
	}
}

type goldenCase struct {
	model.NoTap
	t     *testing.T
	name  string
	m     *Model
	ar    *compute.Arena
	want  map[string]golden.Tensor
	b     model.Batch
	worst map[string]float64
}

func newGoldenCase(t *testing.T, c golden.Case, config []byte, be compute.Backend) *goldenCase {
	cfg, warnings, err := ParseConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Errorf("%s: %s", c.Name, w)
	}
	ar := be.NewArena("golden")
	t.Cleanup(ar.Free)
	g := &goldenCase{t: t, name: c.Name, m: New(cfg, be, ar), ar: ar, want: golden.Read(t, c.Path("golden.safetensors")), worst: map[string]float64{}}
	t.Cleanup(g.m.Close)
	loadGolden(t, g.m, golden.Read(t, c.Path("model.safetensors")))
	ids := golden.Get(t, g.want, "input_ids")
	g.b = shiftedBatch(ids.I32(), ids.Shape[0], ids.Shape[1])
	return g
}

// shiftedBatch makes the batch whose targets are the tokens of the same rows.
func shiftedBatch(ids []int32, seqs, n int) model.Batch {
	target := make([]int32, len(ids))
	for i := range ids {
		target[i] = -1
		if i%n+1 < n {
			target[i] = ids[i+1]
		}
	}
	return model.Batch{Seqs: seqs, SeqLen: n, Tokens: ids, Targets: [][]int32{target}}
}

func loadGolden(t *testing.T, m *Model, file map[string]golden.Tensor) {
	params := m.Params()
	for _, p := range params {
		w := golden.Get(t, file, p.Name)
		if !slices.Equal(w.Shape, p.Shape) {
			t.Fatalf("%s: shape %v in the file, %v in the model", p.Name, w.Shape, p.Shape)
		}
		m.be.UploadF32(p.T, w.F32())
	}
	for name := range file {
		if !slices.ContainsFunc(params, func(p nn.Param) bool { return p.Name == name }) {
			t.Errorf("%s is in the file and not in the model", name)
		}
	}
}

// Hidden and Logits make goldenCase a Tap.
func (g *goldenCase) Hidden(i int, x compute.Tensor) {
	g.compare(fmt.Sprintf("hidden.%d", i), "hidden", g.download(x), 1e-4)
}

func (g *goldenCase) Logits(_ int, h, head compute.Tensor) {
	out := g.ar.F32(h.NumRows(), head.NumRows())
	nn.Linear(g.m.be, out, h, head, false)
	g.compare("logits", "logits", g.download(out), 1e-4)
}

func (g *goldenCase) download(t compute.Tensor) []float32 {
	v := make([]float32, t.Len())
	g.m.be.DownloadF32(v, t)
	return v
}

// relError is |a-b| / |b| over all elements; where b is zero, |a|.
func relError(a, b []float32) float64 {
	var d, n float64
	for i := range b {
		e := float64(a[i]) - float64(b[i])
		d, n = d+e*e, n+float64(b[i])*float64(b[i])
	}
	if n == 0 {
		return math.Sqrt(d)
	}
	return math.Sqrt(d / n)
}

func (g *goldenCase) compare(name, class string, got []float32, tol float64) {
	w, ok := g.want[name]
	if !ok {
		return
	}
	want := w.F32()
	if len(got) != len(want) {
		g.t.Errorf("%s: %d elements, expected %d", name, len(got), len(want))
		return
	}
	e := relError(got, want)
	if _, seen := g.worst[class]; !seen || !(e <= g.worst[class]) {
		g.worst[class] = e
	}
	if !(e <= tol) {
		g.t.Errorf("%s: relative error %.3g above %g", name, e, tol)
	}
}

func (g *goldenCase) run() {
	g.forwardAndGradients()
	g.generation()
	g.greedy()
	g.bfloat16()
	classes := make([]string, 0, len(g.worst))
	for c, e := range g.worst {
		classes = append(classes, fmt.Sprintf("%s %.1e", c, e))
	}
	sort.Strings(classes)
	g.t.Logf("%-18s worst relative error: %v", g.name, classes)
}

func (g *goldenCase) forwardAndGradients() {
	grads := g.m.Twin(g.ar)
	g.m.SetTap(g)
	res := g.m.LossAndGrad(g.ar, g.b, grads, model.StepOptions{Scale: 1})
	g.m.SetTap(nil)
	g.compare("loss", "loss", []float32{float32(res.Loss)}, 1e-5)
	compared := 0
	for _, q := range grads.Params() {
		if _, ok := g.want["grad."+q.Name]; ok {
			compared++
		}
		g.compare("grad."+q.Name, "gradients", g.download(q.T), 1e-3)
	}
	for name := range g.want {
		if strings.HasPrefix(name, "grad.") {
			compared--
		}
	}
	if compared != 0 {
		g.t.Errorf("%d gradients of the golden were not compared", -compared)
	}
	if plain := g.m.Loss(g.ar, g.b, model.StepOptions{}); plain.Loss != res.Loss {
		g.t.Errorf("the loss without gradients %v differs from %v", plain.Loss, res.Loss)
	}
}

// generation feeds the sequences through Forward: all of them side by side, each alone,
// whole, in pieces and token by token. The logits are bitwise the same, and within
// tolerance of the original's.
func (g *goldenCase) generation() {
	side := g.extend(g.b.Seqs, 0, g.b.SeqLen)
	g.compare("logits", "generation's logits", side, 1e-4)
	for _, piece := range []int{1, 7, 33} {
		if !slices.Equal(side, g.extend(g.b.Seqs, 0, piece)) {
			g.t.Errorf("logits differ when %d sequences are fed %d tokens at a time", g.b.Seqs, piece)
		}
	}
	n := g.b.SeqLen * g.m.cfg.VocabSize
	for s := range g.b.Seqs {
		if !slices.Equal(side[s*n:(s+1)*n], g.extend(1, s, g.b.SeqLen)) {
			g.t.Errorf("the logits of sequence %d differ when it is alone", s)
		}
	}
}

// extend feeds n sequences from first on, piece tokens of each at a time.
func (g *goldenCase) extend(n, first, piece int) []float32 {
	size := g.b.SeqLen * g.m.cfg.VocabSize
	out := make([]float32, n*size)
	parts := make([]model.Part, n)
	for i := range parts {
		parts[i] = model.Part{Sequence: g.m.NewSequence(g.b.SeqLen), Want: model.WantAll}
		defer parts[i].Sequence.Close()
	}
	for at := 0; at < g.b.SeqLen; at += piece {
		to := min(at+piece, g.b.SeqLen)
		for i := range parts {
			from := (first + i) * g.b.SeqLen
			parts[i].IDs = g.b.Tokens[from+at : from+to]
		}
		if err := g.m.Forward(parts); err != nil {
			g.t.Fatal(err)
		}
		for i, p := range parts {
			copy(out[i*size+at*g.m.cfg.VocabSize:], p.Logits)
		}
	}
	return out
}

func (g *goldenCase) greedy() {
	want, ok := g.want["greedy"]
	if !ok {
		return
	}
	ids := want.I32()
	n := int(golden.Get(g.t, g.want, "greedy.prompt_len").I32()[0])
	s := g.m.NewSequence(len(ids))
	defer s.Close()
	next := ids[:n]
	for i := n; i < len(ids); i++ {
		part := []model.Part{{Sequence: s, IDs: next, Want: model.WantLast}}
		if err := g.m.Forward(part); err != nil {
			g.t.Fatal(err)
		}
		l := part[0].Logits
		best := int32(slices.Index(l, slices.Max(l)))
		if best != ids[i] {
			g.t.Errorf("greedy token %d is %d, expected %d", i-n, best, ids[i])
			return
		}
		next = []int32{best}
	}
}

// bfloat16 runs the model with BF16 weights and compares the median over positions with
// the original's.
func (g *goldenCase) bfloat16() {
	theirs, ok := g.want["bf16.logits"]
	if !ok {
		return
	}
	exact, v := golden.Get(g.t, g.want, "logits").F32(), g.m.cfg.VocabSize
	m := NewWith(g.m.cfg, g.m.be, g.ar, compute.BF16)
	defer m.Close()
	for i, p := range m.Params() {
		g.m.be.Copy(p.T, g.m.Params()[i].T)
	}
	half := goldenCase{t: g.t, m: m, ar: g.ar, b: g.b}
	ours := medianError(half.extend(g.b.Seqs, 0, g.b.SeqLen), exact, v)
	limit := 1.5 * medianError(theirs.F32(), exact, v)
	g.worst["bf16 median"] = ours
	if !(ours <= limit) {
		g.t.Errorf("bf16: median error of a position's logits is %.3g, above %.3g", ours, limit)
	}
}

func medianError(got, want []float32, v int) float64 {
	var errs []float64
	for i := 0; i < len(want); i += v {
		errs = append(errs, relError(got[i:i+v], want[i:i+v]))
	}
	sort.Float64s(errs)
	return errs[len(errs)/2]
}
