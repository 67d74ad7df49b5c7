package deepseek

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

// TestTinyGolden is the project's own small case, there in every clone.
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
		if len(kind.Architectures) == 0 || modelTypes[kind.Architectures[0]] == "" {
			t.Logf("%-20s passed over: %v is another room's", c.Name, kind.Architectures)
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
	picks *picker // of the pass under way
	ties  int     // rows that followed the original's choice among equals
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
	loadGolden(t, g.m, golden.Read(t, c.Path("model.safetensors")))
	ids := golden.Get(t, g.want, "input_ids")
	g.b = shiftedBatch(ids.I32(), ids.Shape[0], ids.Shape[1], len(g.m.MTP))
	return g
}

// shiftedBatch makes the batch whose targets are the tokens of the same rows.
func shiftedBatch(ids []int32, seqs, n, depth int) model.Batch {
	b := model.Batch{Seqs: seqs, SeqLen: n, Tokens: ids}
	for d := 1; d <= depth+1; d++ {
		target := make([]int32, len(ids))
		for i := range ids {
			target[i] = -1
			if i%n+d < n {
				target[i] = ids[i+d]
			}
		}
		b.Targets = append(b.Targets, target)
	}
	return b
}

// loadGolden uploads every weight, FP8 blocks dequantised.
func loadGolden(t *testing.T, m *Model, file map[string]golden.Tensor) {
	for _, p := range m.Params() {
		w := golden.Get(t, file, p.Name)
		if !slices.Equal(w.Shape, p.Shape) {
			t.Fatalf("%s: shape %v in the file, %v in the model", p.Name, w.Shape, p.Shape)
		}
		if w.DType == "F8_E4M3" {
			m.be.UploadF32(p.T, dequantise(w, golden.Get(t, file, p.Name+"_scale_inv"), m.cfg.FP8Block))
			continue
		}
		m.be.UploadF32(p.T, w.F32())
	}
}

func dequantise(w, scale golden.Tensor, block [2]int) []float32 {
	rows, cols := w.Shape[0], w.Shape[1]
	out, s := make([]float32, rows*cols), scale.F32()
	for i := range out {
		r, c := i/cols/block[0], i%cols/block[1]
		out[i] = e4m3(w.Raw[i]) * s[r*scale.Shape[1]+c]
	}
	return out
}

// e4m3 decodes one code by its definition: bias 7, no infinities, 0x7f is NaN.
func e4m3(b byte) float32 {
	sign := 1 - 2*float64(b>>7)
	e, m := int(b>>3&15), float64(b&7)
	switch {
	case b&0x7f == 0x7f:
		return float32(math.NaN())
	case e == 0:
		return float32(sign * m / 8 * math.Exp2(-6))
	}
	return float32(sign * (1 + m/8) * math.Exp2(float64(e-7)))
}

// Hidden, Route, Index and Logits make goldenCase a Tap.
func (g *goldenCase) Hidden(i int, x compute.Tensor) {
	g.compare(fmt.Sprintf("hidden.%d", i), "hidden", g.download(x), 1e-4)
}

func (g *goldenCase) Route(name string, r compute.RouteArgs) {
	want, ok := g.want["route."+name+".experts"]
	if !ok {
		return
	}
	got := make([]int32, r.Experts.Len())
	g.m.be.DownloadI32(got, r.Experts)
	if !slices.Equal(got, want.I32()) {
		g.t.Errorf("%s: other experts chosen", name)
	}
	g.compare("route."+name+".weights", "route weights", g.download(r.Weights), 1e-4)
}

// Linear notes what an indexer meets.
func (g *goldenCase) Linear(name string, x compute.Tensor) {
	if g.picks != nil && strings.Contains(name, ".indexer.") {
		g.picks.linear(name, g.download(x))
	}
}

// Index compares the keys that each position reads, and has it read the original's
// where keys score the same.
func (g *goldenCase) Index(name string, picks compute.Tensor) {
	k := picks.NumCols()
	ours := make([]int32, picks.Len())
	g.m.be.DownloadI32(ours, picks)
	var layer int
	if _, err := fmt.Sscanf(name, "model.layers.%d.", &layer); err != nil {
		g.t.Fatal(err)
	}
	first := len(g.picks.rows[name])
	want, known := g.want["index."+name]
	known = known && g.picks.known
	var given func(row int) []int32
	if known {
		given = func(row int) []int32 { return g.visible(want.I32(), row, k) }
	}
	follow, ok := g.picks.follow(name, g.m.indexWeights(layer), ours, k, given)
	if !ok {
		g.t.Errorf("%s: the picks are not the best by score", name)
	}
	if known {
		g.compareIndex(name, first, follow, want.I32(), k)
	}
	g.m.be.UploadI32(picks, follow)
}

// visible is row r of an indexer's picks [T, k] without the places beyond the row's own,
// which stand where fewer than k keys are visible.
func (g *goldenCase) visible(want []int32, r, k int) []int32 {
	return slices.DeleteFunc(slices.Clone(want[r*k:(r+1)*k]), func(p int32) bool { return int(p) > r%g.b.SeqLen })
}

// compareIndex compares rows from first on with the original's.
func (g *goldenCase) compareIndex(name string, first int, got, want []int32, k int) {
	for r := range len(got) / k {
		at := first + r
		theirs := g.visible(want, at, k)
		if ours := picked(got[r*k : (r+1)*k]); !slices.Equal(ours, theirs) {
			g.t.Errorf("%s: row %d reads %v, expected %v", name, at, ours, theirs)
			return
		}
	}
}

func (g *goldenCase) Logits(i int, h, head compute.Tensor) {
	out := g.ar.F32(h.NumRows(), head.NumRows())
	nn.Linear(g.m.be, out, h, head, false)
	v := g.download(out)
	if i == 0 {
		g.compare("logits", "logits", v, 1e-4)
		return
	}
	// The original runs the MTP module without the last position.
	var kept []float32
	for r := range h.NumRows() {
		if r%g.b.SeqLen < g.b.SeqLen-1 {
			kept = append(kept, v[r*head.NumRows():(r+1)*head.NumRows()]...)
		}
	}
	g.compare("mtp.logits", "mtp logits", kept, 1e-4)
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
	if slices.Max(want) == 0 && slices.Min(want) == 0 {
		tol = 0 // an expert that no token chose
	}
	g.worst[class] = max(g.worst[class], e)
	if !(e <= tol) {
		g.t.Errorf("%s: relative error %.3g above %g", name, e, tol)
	}
}

func (g *goldenCase) run() {
	g.forwardAndGradients()
	g.absorbed()
	g.greedy()
	g.bfloat16()
	classes := make([]string, 0, len(g.worst))
	for c, e := range g.worst {
		classes = append(classes, fmt.Sprintf("%s %.1e", c, e))
	}
	sort.Strings(classes)
	if g.ties > 0 {
		classes = append(classes, fmt.Sprintf("%d rows of indexers with equal scores at the bound", g.ties))
	}
	g.t.Logf("%-18s worst relative error: %v", g.name, classes)
}

func (g *goldenCase) forwardAndGradients() {
	grads := g.m.Twin(g.ar)
	p := g.m.newPass(g.ar, g.b.Lens(), nil, g.b.Tokens, g.b.Targets, model.StepOptions{MTPLambda: 0.3, Scale: 1})
	g.watch(g.b.SeqLen)
	res := p.lossAndGrad(g.b, grads)
	g.unwatch()
	g.compare("loss", "loss", []float32{float32(res.Loss)}, 1e-5)
	g.compare("mtp.loss", "loss", []float32{float32(res.MTPLoss)}, 1e-5)
	for _, q := range grads.Params() {
		if !q.Shared && !q.Buffer {
			g.compare("grad."+q.Name, "gradients", g.download(q.T), 1e-3)
		}
	}
	g.watch(g.b.SeqLen)
	plain := g.m.Loss(g.ar, g.b, model.StepOptions{MTPLambda: 0.3})
	g.unwatch()
	if plain.Loss != res.Loss || plain.MTPLoss != res.MTPLoss {
		g.t.Errorf("losses without gradients %v, %v differ from %v, %v", plain.Loss, plain.MTPLoss, res.Loss, res.MTPLoss)
	}
}

// absorbed feeds each sequence through the generation form, whole, in pieces and
// token by token: all bitwise the same, and equal to the original within tolerance.
func (g *goldenCase) absorbed() {
	var texts [][]int32
	var whole [][]float32
	for s := range g.b.Seqs {
		ids := g.b.Tokens[s*g.b.SeqLen : (s+1)*g.b.SeqLen]
		texts, whole = append(texts, ids), append(whole, feed(g.t, g.m, len(ids), ids)[0])
	}
	for _, piece := range []int{1, 7, 33} {
		if !slices.EqualFunc(whole, feed(g.t, g.m, piece, texts...), slices.Equal) {
			g.t.Errorf("logits differ when the texts are fed together, %d tokens at a time", piece)
		}
	}
	if g.m.cfg.IndexTopK > 0 { // once more, following the original's choice among equals
		g.watchIndex(g.b.SeqLen)
		g.picks.known = true
		whole = feed(g.t, g.m, g.b.SeqLen, texts...)
		g.unwatch()
	}
	g.compare("logits", "absorbed logits", slices.Concat(whole...), 1e-4)
}

// watch compares what crosses the model from now on, in sequences of span rows.
func (g *goldenCase) watch(span int) {
	g.picks = newPicker(g.m, span)
	g.picks.known = true
	g.m.SetTap(g)
}

// watchIndex looks at the indexers alone.
func (g *goldenCase) watchIndex(span int) {
	g.picks = newPicker(g.m, span)
	g.m.SetTap(indexOnly{g: g})
}

// indexOnly is a goldenCase that sees only indexers.
type indexOnly struct {
	model.NoTap
	g *goldenCase
}

func (o indexOnly) Linear(name string, x compute.Tensor)    { o.g.Linear(name, x) }
func (o indexOnly) Index(name string, picks compute.Tensor) { o.g.Index(name, picks) }

func (g *goldenCase) unwatch() {
	g.m.SetTap(nil)
	if g.picks != nil {
		g.ties += g.picks.ties
	}
	g.picks = nil
}

// greedy compares the tokens that the model writes. The original read the whole text
// anew for each; with an indexer that matters where keys score the same, and is done
// here too.
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
		if g.m.cfg.IndexTopK > 0 {
			s.Truncate(0)
			next = ids[:i]
			g.watchIndex(i)
		}
		p := []model.Part{{Sequence: s, IDs: next, Want: model.WantLast}}
		if err := g.m.Forward(p); err != nil {
			g.t.Fatal(err)
		}
		g.unwatch()
		l := p[0].Logits
		best := int32(slices.Index(l, slices.Max(l)))
		if best != ids[i] {
			g.t.Errorf("greedy token %d is %d, expected %d", i-n, best, ids[i])
			return
		}
		next = []int32{best}
	}
}

// bfloat16 runs the model with BF16 weights. Where routing is near a tie a position
// may differ much, so the median over positions is compared with the original's.
func (g *goldenCase) bfloat16() {
	theirs, ok := g.want["bf16.logits"]
	if !ok {
		return
	}
	exact, v := golden.Get(g.t, g.want, "logits").F32(), g.m.cfg.VocabSize
	m := NewWith(g.m.cfg, g.m.be, g.ar, compute.BF16)
	for i, p := range m.Params() {
		g.m.be.Copy(p.T, g.m.Params()[i].T)
	}
	m.SetTap(givenIndex{g: g, m: m})
	p := m.newPass(g.ar, g.b.Lens(), nil, g.b.Tokens, g.b.Targets, model.StepOptions{})
	p.forward(true)
	m.SetTap(nil)
	out := g.ar.F32(p.t, v)
	nn.Linear(m.be, out, p.hn, m.Head, false)
	ours := medianError(g.download(out), exact, v)
	limit := 1.5 * medianError(theirs.F32(), exact, v)
	g.worst["bf16 median"] = ours
	if !(ours <= limit) {
		g.t.Errorf("bf16: median error of a position's logits is %.3g, above %.3g", ours, limit)
	}
}

// givenIndex has a pass read the keys that the float32 model reads: in bfloat16 other keys
// win by a hair here and there, in the original too, and differently on each machine,
// which would drown the arithmetic's error.
type givenIndex struct {
	model.NoTap
	g *goldenCase
	m *Model
}

func (o givenIndex) Index(name string, picks compute.Tensor) {
	k, want := picks.NumCols(), golden.Get(o.g.t, o.g.want, "index."+name).I32()
	var given []int32
	for r := range picks.NumRows() {
		row := o.g.visible(want, r, k)
		for len(row) < k {
			row = append(row, -1)
		}
		given = append(given, row...)
	}
	o.m.be.UploadI32(picks, given)
}

func medianError(got, want []float32, v int) float64 {
	var errs []float64
	for i := 0; i < len(want); i += v {
		errs = append(errs, relError(got[i:i+v], want[i:i+v]))
	}
	sort.Float64s(errs)
	return errs[len(errs)/2]
}
