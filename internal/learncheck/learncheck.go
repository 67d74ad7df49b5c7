// Package learncheck holds what every model.Learner must pass, for the tests of the
// architectures and of what is built on them.
package learncheck

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"sonde/compute"
	"sonde/model"
)

// Texts are n random texts of different lengths, the shortest of two tokens, none longer
// than most; each third begins like the one before it.
func Texts(seed uint64, n, most, vocab int) [][]int32 {
	rng := rand.New(rand.NewPCG(seed, 9))
	out := make([][]int32, n)
	for i := range out {
		out[i] = make([]int32, 2+rng.IntN(most-1))
		for j := range out[i] {
			out[i][j] = int32(rng.IntN(vocab))
		}
		if i%3 == 2 {
			copy(out[i], out[i-1][:min(len(out[i]), len(out[i-1]))/2])
		}
	}
	return out
}

// Pack lays texts side by side, every token but a text's first a target.
func Pack(texts ...[]int32) model.Packed {
	var p model.Packed
	for _, t := range texts {
		p.Lens = append(p.Lens, len(t))
		p.Tokens = append(p.Tokens, t...)
		p.Targets = append(append(p.Targets, t[1:]...), -1)
	}
	return p
}

// Write has m write texts as rollouts: their first half at once and in the company of
// others, the second half token by token, some sequences pausing, one in three forked
// from the one before it. Given sequences are used again. It returns what Forward gives
// for the log-probability of each token, as Pack's targets lie, and the routes.
func Write(t *testing.T, m model.Learner, seed uint64, texts [][]int32, seqs []model.Sequence) (logp [][]float32, routes [][][]int32) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 11))
	logp, routes = make([][]float32, len(texts)), make([][][]int32, len(texts))
	forward := func(which []int, piece func(i, left int) int) {
		var parts []model.Part
		for _, i := range which {
			at := seqs[i].Len()
			n := piece(i, len(texts[i])-at)
			parts = append(parts, model.Part{Sequence: seqs[i], IDs: texts[i][at : at+n], Want: model.WantLogProbs,
				Targets: append(slices.Clone(texts[i][at+1:min(at+n+1, len(texts[i]))]), -1)[:n], WantRoutes: true})
		}
		if err := m.Forward(parts); err != nil {
			t.Fatal(err)
		}
		for k, i := range which {
			logp[i] = append(logp[i], parts[k].LogP...)
			if routes[i] == nil {
				routes[i] = make([][]int32, len(parts[k].Routes))
			}
			for l, r := range parts[k].Routes {
				routes[i][l] = append(routes[i][l], r...)
			}
		}
	}
	var first []int
	for i := range texts {
		seqs[i].Truncate(0)
		if i%3 != 2 {
			first = append(first, i)
		}
	}
	forward(first, func(_, left int) int { return (left + 1) / 2 })
	fork(texts, seqs, logp, routes)
	for {
		var which []int
		for i := range texts {
			if seqs[i].Len() < len(texts[i]) && rng.IntN(4) > 0 {
				which = append(which, i)
			}
		}
		rng.Shuffle(len(which), func(a, b int) { which[a], which[b] = which[b], which[a] })
		if len(which) > 0 {
			forward(which, func(_, left int) int { return min(left, 1+rng.IntN(2)) })
		}
		if whole(texts, seqs) {
			return logp, routes
		}
	}
}

// whole says whether all texts are written.
func whole(texts [][]int32, seqs []model.Sequence) bool {
	for i := range texts {
		if seqs[i].Len() < len(texts[i]) {
			return false
		}
	}
	return true
}

// fork begins each third sequence with what it has in common with the one before it.
func fork(texts [][]int32, seqs []model.Sequence, logp [][]float32, routes [][][]int32) {
	for i := 2; i < len(texts); i += 3 {
		n := 0
		for n < min(len(texts[i]), seqs[i-1].Len()) && texts[i][n] == texts[i-1][n] {
			n++
		}
		n = max(n-1, 0) // the last one's target may be another
		seqs[i].(model.Forker).Fork(seqs[i-1], n)
		logp[i] = slices.Clone(logp[i-1][:n])
		for _, r := range routes[i-1] {
			routes[i] = append(routes[i], slices.Clone(r[:n*(len(r)/seqs[i-1].Len())]))
		}
	}
}

// RatioOne fails unless the log-probabilities of texts that m writes with Forward are,
// to the last bit, those of Learn, whatever lies beside them in either; and so are the
// routes. It returns the bits for comparison with other numbers of threads.
func RatioOne(t *testing.T, m model.Learner) []float32 {
	t.Helper()
	texts := Texts(1, 11, 40, m.Describe().Vocab())
	var seqs []model.Sequence
	for range texts {
		s := m.NewRollout(41)
		defer s.Close()
		seqs = append(seqs, s)
	}
	wrote, routes := Write(t, m, 1, texts, seqs)
	again, _ := Write(t, m, 2, texts, seqs)
	ar := m.Backend().NewArena("learncheck")
	defer ar.Free()
	orders := [][]int{{0}, {1}, {5, 2}, {10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}, {3, 1, 4, 0, 10, 2, 6, 5}}
	for _, order := range orders {
		var some [][]int32
		var want []float32
		replay := make([][]int32, len(routes[0]))
		for _, i := range order {
			some, want = append(some, texts[i]), append(want, wrote[i]...)
			for l := range replay {
				replay[l] = append(replay[l], routes[i][l]...)
			}
			if !slices.Equal(wrote[i], again[i]) {
				t.Fatalf("text %d written in other company has other bits", i)
			}
		}
		p := Pack(some...)
		for _, given := range []bool{false, true} {
			if given && len(replay) > 0 {
				p.Routes = replay
			}
			mark := ar.Mark()
			got, _ := m.Learn(ar, p, model.StepOptions{Scale: 1}).LogProbs()
			ar.Release(mark)
			for i := range got {
				if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
					t.Fatalf("order %v (routes given: %v): row %d has %v in Learn and %v in Forward", order, given, i, got[i], want[i])
				}
			}
		}
	}
	drawn(t, m, texts[3], seqs[3])
	return slices.Concat(wrote...)
}

// drawn fails unless the log-probability and entropy that logits of Forward give for a
// token, drawn at a temperature from some of the ids, are Learn's to the last bit.
func drawn(t *testing.T, m model.Learner, text []int32, seq model.Sequence) {
	t.Helper()
	be, v, n := m.Backend(), m.Describe().Vocab(), len(text)
	ar := be.NewArena("learncheck")
	defer ar.Free()
	seq.Truncate(0)
	parts := []model.Part{{Sequence: seq, IDs: text[:n/2], Want: model.WantAll}}
	var logits []float32
	for at := 0; at < n; at += len(parts[0].IDs) {
		parts[0].IDs = text[at:min(n, at+1+at/3)]
		if err := m.Forward(parts); err != nil {
			t.Fatal(err)
		}
		logits = append(logits, parts[0].Logits...)
	}
	p := Pack(text)
	p.Temperature = 0.7
	for i, id := range p.Targets {
		var some []int32
		if i%2 == 0 && id >= 0 {
			some = slices.Compact([]int32{id / 2, id, (id + int32(v)) / 2})
		}
		p.Allowed = append(p.Allowed, some)
	}
	a := compute.LogProbArgs{Logits: ar.F32(n, v), Targets: ar.I32(1, n), LogP: ar.F32(1, n), Entropy: ar.F32(1, n), InvTemp: 1 / p.Temperature, Allowed: model.IDSets(be, ar, p.Allowed)}
	be.UploadF32(a.Logits, logits)
	be.UploadI32(a.Targets, p.Targets)
	be.LogProb(a)
	got := [2][]float32{make([]float32, n), make([]float32, n)}
	be.DownloadF32(got[0], a.LogP)
	be.DownloadF32(got[1], a.Entropy)
	var want [2][]float32
	want[0], want[1] = m.Learn(ar, p, model.StepOptions{Scale: 1}).LogProbs()
	for i, name := range []string{"log-probability", "entropy"} {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("%s of tokens drawn is %v from logits, %v in Learn", name, got[i], want[i])
		}
	}
}

// Gradients fails unless the gradients of texts side by side are the sum of those of each
// alone, the balance loss and coefficients of either sign included, and unless LogProbs
// before and after Backward has the same bits.
func Gradients(t *testing.T, m model.Learner) {
	t.Helper()
	ar := m.Backend().NewArena("learncheck")
	defer ar.Free()
	texts := Texts(2, 5, 30, m.Describe().Vocab())
	rng := rand.New(rand.NewPCG(4, 4))
	coefs := make([][]float32, len(texts))
	for i := range coefs {
		for range texts[i] {
			coefs[i] = append(coefs[i], float32(rng.NormFloat64()))
		}
	}
	alone, together, twice := m.NewTwin(ar), m.NewTwin(ar), m.NewTwin(ar)
	o := model.StepOptions{AuxAlpha: 0.02, Scale: 1 / float32(len(texts))}
	for i := range texts {
		mark := ar.Mark()
		m.Learn(ar, Pack(texts[i]), o).Backward(coefs[i], alone)
		ar.Release(mark)
	}
	o.Scale = 1
	pass := m.Learn(ar, Pack(texts...), o)
	before, entropy := pass.LogProbs()
	pass.Backward(slices.Concat(coefs...), together)
	o.Recompute = true
	pass = m.Learn(ar, Pack(texts...), o)
	pass.Backward(slices.Concat(coefs...), twice)
	after, entropyAfter := pass.LogProbs()
	if !slices.Equal(before, after) || !slices.Equal(entropy, entropyAfter) {
		t.Error("LogProbs after Backward differs from LogProbs before it")
	}
	a, b, c := Flatten(m.Backend(), alone), Flatten(m.Backend(), together), Flatten(m.Backend(), twice)
	if !slices.Equal(b, c) {
		t.Error("gradients under recomputation have other bits")
	}
	if d := distance(b, a); !(d < 2e-6) {
		t.Errorf("gradients side by side differ from those alone by %.2g of their length", d)
	}
}

// Flatten is all numbers of w.
func Flatten(be compute.Backend, w model.Weights) []float32 {
	var out []float32
	for _, b := range w.Blocks() {
		v := make([]float32, b.T.Len())
		be.DownloadF32(v, b.T)
		out = append(out, v...)
	}
	return out
}

// Prefix fails unless texts that share their beginning learn from it as if each had it to
// itself: log-probabilities to the last bit, gradients to a few.
func Prefix(t *testing.T, m model.Learner) {
	t.Helper()
	ar := m.Backend().NewArena("learncheck")
	defer ar.Free()
	rng := rand.New(rand.NewPCG(6, 6))
	texts := Texts(7, 4, 30, m.Describe().Vocab())
	prompt := texts[0]
	shared := model.Packed{Lens: []int{len(prompt)}, Prefix: []int{-1}, Tokens: prompt, Targets: slices.Repeat([]int32{-1}, len(prompt))}
	var alone model.Packed
	var coef, sharedCoef, aloneCoef []float32
	sharedCoef = make([]float32, len(prompt))
	add := func(p *model.Packed, text []int32, targets []int32) {
		p.Lens, p.Tokens, p.Targets = append(p.Lens, len(text)), append(p.Tokens, text...), append(p.Targets, targets...)
	}
	for i, text := range texts[1:] {
		coef = coef[:0]
		for range text {
			coef = append(coef, float32(rng.NormFloat64()))
		}
		targets := append(slices.Clone(text[1:]), -1)
		add(&shared, text, targets)
		sharedCoef = append(sharedCoef, coef...)
		if i == 1 { // one has nothing to do with the others
			shared.Prefix = append(shared.Prefix, -1)
			add(&alone, text, targets)
			aloneCoef = append(aloneCoef, coef...)
			continue
		}
		shared.Prefix = append(shared.Prefix, 0)
		add(&alone, slices.Concat(prompt, text), append(slices.Repeat([]int32{-1}, len(prompt)), targets...))
		aloneCoef = append(append(aloneCoef, make([]float32, len(prompt))...), coef...)
	}
	run := func(p model.Packed, coef []float32, recompute bool) (logp, grads []float32) {
		mark := ar.Mark()
		defer ar.Release(mark)
		g := m.NewTwin(ar)
		pass := m.Learn(ar, p, model.StepOptions{Scale: 1, Recompute: recompute})
		all, _ := pass.LogProbs()
		for i, target := range p.Targets {
			if target >= 0 {
				logp = append(logp, all[i])
			}
		}
		pass.Backward(coef, g)
		return logp, Flatten(m.Backend(), g)
	}
	want, wantGrads := run(alone, aloneCoef, false)
	for _, recompute := range []bool{false, true} {
		got, grads := run(shared, sharedCoef, recompute)
		if !slices.Equal(got, want) {
			t.Errorf("log-probabilities after a shared beginning are %v, after one's own %v", got, want)
		}
		if d := distance(grads, wantGrads); !(d < 2e-6) {
			t.Errorf("gradients of texts with a shared beginning differ by %.2g of their length", d)
		}
	}
}

// distance is the length of a-b over that of b.
func distance(a, b []float32) float64 {
	norm, diff := 0.0, 0.0
	for i := range b {
		norm += float64(b[i]) * float64(b[i])
		diff += float64(a[i]-b[i]) * float64(a[i]-b[i])
	}
	return math.Sqrt(diff / norm)
}
