package cpu

import (
	"fmt"
	"math"
	"testing"

	"sonde/compute"
)

// vectorBackend is a Backend with kernels, or the test is skipped.
func vectorBackend(t *testing.T, threads int) *Backend {
	be := newBackend(t, "", threads)
	if !be.k.vector {
		t.Skip("this processor has no vector kernels")
	}
	return be
}

func TestExponential(t *testing.T) {
	be := vectorBackend(t, 1)
	worst, at := 0.0, float32(0)
	buf := make([]float32, 16)
	for x := float32(-87.3); x < 88.2; x += 0.00137 {
		for j := range buf {
			buf[j] = x + float32(j)*0.00008
		}
		in := [16]float32(buf)
		be.k.expMinus(&buf[0], 16, 0)
		for j, y := range buf {
			want := math.Exp(float64(in[j]))
			if e := math.Abs(float64(y)-want) / want; e > worst {
				worst, at = e, in[j]
			}
		}
	}
	if worst > 1.2e-7 {
		t.Errorf("exp is off by %.3g at %v, at most 1.2e-7 allowed", worst, at)
	}
	inf := float32(math.Inf(1))
	special := []float32{-inf, -1e30, -88, 0, float32(math.NaN()), math.Float32frombits(0x7f800001), math.Float32frombits(0xffffffff)}
	be.k.expMinus(&special[0], len(special), 0)
	for i, want := range []float32{0, 0, 0, 1} {
		if special[i] != want {
			t.Errorf("exponential %d is %v, expected %v", i, special[i], want)
		}
	}
	for i, v := range special[4:] {
		if v == v {
			t.Errorf("NaN %d became %v", i, v)
		}
	}
}

func TestSigmoidSaturatesAndPassesNaN(t *testing.T) {
	be := vectorBackend(t, 1)
	x := []float32{-200, float32(math.Inf(-1)), 200, float32(math.Inf(1)), float32(math.NaN())}
	be.k.sigmoid(&x[0], &x[0], len(x))
	if x[0] > 1e-38 || x[1] > 1e-38 || x[2] != 1 || x[3] != 1 || x[4] == x[4] {
		t.Errorf("sigmoid of -200, -inf, 200, inf, NaN is %v", x)
	}
}

// equalBits fails unless two tensors are the same, bit for bit.
func equalBits(t *testing.T, what string, got, want compute.Tensor) {
	t.Helper()
	for r := range want.NumRows() {
		for c, w := range want.RowF32(r) {
			if g := got.RowF32(r)[c]; math.Float32bits(g) != math.Float32bits(w) {
				t.Fatalf("%s: [%d,%d] is %v, expected %v", what, r, c, g, w)
			}
		}
	}
}

// Far into a sequence one row is cut over workers by keys; many rows are not.
func TestLatentAttentionIsTheSameInDecodeAndPrefill(t *testing.T) {
	const start, m = 1100, 70
	for _, s := range [][3]int{{4, 64, 16}, {3, 40, 8}, {16, 128, 32}} { // heads, latent, rope
		be, one := vectorBackend(t, 3), vectorBackend(t, 1)
		ar := be.NewArena("test")
		d := s[1] + s[2]
		cache := random(be, ar.F32(start+m, d), 2)
		a := compute.LatentArgs{Heads: s[0], Latent: s[1], Rope: s[2], Scale: 0.2, Q: random(be, ar.F32(m, s[0]*d), 1), O: ar.F32(m, s[0]*s[1]),
			Seqs: []compute.LatentSeq{{Rows: m, Start: start, Cache: cache}}}
		be.LatentAttention(a)
		for _, b := range []*Backend{be, one} {
			for _, i := range []int{0, 1, 35, 69} {
				row := a
				row.Q, row.O, row.Seqs = a.Q.Rows(i, i+1), ar.F32(1, s[0]*s[1]), []compute.LatentSeq{{Rows: 1, Start: start + i, Cache: cache}}
				b.LatentAttention(row)
				equalBits(t, fmt.Sprintf("%v row %d with %d threads", s, i, b.Threads()), row.O, a.O.Rows(i, i+1))
			}
		}
		ar.Free()
	}
}

// Several blocks of tokens give what the same tokens give in other portions.
func TestLogProbDoesNotDependOnPortions(t *testing.T) {
	const n, d, entries = 600, 40, 300
	be := vectorBackend(t, 2)
	ar := be.NewArena("test")
	defer ar.Free()
	a := compute.LogProbBackwardArgs{LogProbArgs: compute.LogProbArgs{H: random(be, ar.F32(n, d), 1), W: random(be, ar.F32(entries, d), 2),
		Targets: ids(ar, n, entries), LogP: ar.F32(1, n), Entropy: ar.F32(1, n)}, Coef: random(be, ar.F32(1, n), 3), DH: ar.F32(n, d), DW: ar.F32(entries, d)}
	be.Zero(a.DW)
	be.LogProbBackward(a)
	p := a
	p.LogP, p.Entropy, p.DH, p.DW = ar.F32(1, n), ar.F32(1, n), ar.F32(n, d), ar.F32(entries, d)
	be.Zero(p.DW)
	for from, to := 0, 0; from < n; from = to {
		to = min(n, from+from/2+7)
		q := p
		q.H, q.Targets, q.Coef, q.DH = a.H.Rows(from, to), a.Targets.Cols(from, to), a.Coef.Cols(from, to), p.DH.Rows(from, to)
		q.LogP, q.Entropy = p.LogP.Cols(from, to), p.Entropy.Cols(from, to)
		be.LogProbBackward(q)
	}
	equalBits(t, "LogP", p.LogP, a.LogP)
	equalBits(t, "Entropy", p.Entropy, a.Entropy)
	equalBits(t, "DH", p.DH, a.DH)
	equalBits(t, "DW", p.DW, a.DW)
}

// TestLogProbOfLogits: logits made by a product give the bits that the operation gives
// for the product's operands, in every format of weights, at a temperature, over some ids.
func TestLogProbOfLogits(t *testing.T) {
	for _, k := range available() {
		t.Run(k.name, func(t *testing.T) { logProbOfLogits(t, newBackend(t, k.name, 3)) })
	}
}

func logProbOfLogits(t *testing.T, be *Backend) {
	const n, d, entries = 300, 48, 333
	ar := be.NewArena("test")
	defer ar.Free()
	w := random(be, ar.F32(entries, d), 2)
	narrow := ar.Alloc(compute.BF16, entries, d)
	be.Copy(narrow, w)
	targets := ids(ar, n, entries)
	off, some := []int32{0}, []int32{}
	for i, id := range targets.RowI32(0) {
		if i%3 == 0 && id > 1 && id < entries-9 {
			some = append(some, 0, id, id+5, id+8)
		}
		off = append(off, int32(len(some)))
	}
	for _, w := range []compute.Tensor{w, narrow} {
		a := compute.LogProbArgs{H: random(be, ar.F32(n, d), 1), W: w, Targets: targets, LogP: ar.F32(1, n), Entropy: ar.F32(1, n), InvTemp: 0.7,
			BF16: w.DType() == compute.BF16, Allowed: compute.IDSets{Offsets: compute.WrapI32(off, 1, len(off)), IDs: compute.WrapI32(some, 1, len(some))}}
		be.LogProb(a)
		b := a
		b.Logits, b.LogP, b.Entropy = ar.F32(n, entries), ar.F32(1, n), ar.F32(1, n)
		be.MatMul(compute.MatMulArgs{Form: compute.NT, C: b.Logits, A: a.H, B: a.W})
		b.H, b.W = compute.Tensor{}, compute.Tensor{}
		be.LogProb(b)
		equalBits(t, "LogP", b.LogP, a.LogP)
		equalBits(t, "Entropy", b.Entropy, a.Entropy)
		c := compute.LogProbBackwardArgs{LogProbArgs: a, Coef: random(be, ar.F32(1, n), 3), DH: ar.F32(n, d), DW: ar.F32(entries, d)}
		c.LogP, c.Entropy = ar.F32(1, n), ar.F32(1, n)
		be.Zero(c.DW)
		be.LogProbBackward(c)
		equalBits(t, "LogP of the backward", c.LogP, a.LogP)
		equalBits(t, "Entropy of the backward", c.Entropy, a.Entropy)
	}
}

// A NaN anywhere in a row must reach the row's results: training looks for it there.
func TestNaNReachesTheResults(t *testing.T) {
	be := vectorBackend(t, 1)
	ar := be.NewArena("test")
	defer ar.Free()
	const n, d = 40, 33
	x, y, w := random(be, ar.F32(n, d), 1), ar.F32(n, d), random(be, ar.F32(1, d), 2)
	x.RowF32(3)[32] = float32(math.NaN())
	be.RMSNorm(y, compute.Tensor{}, x, w, 1e-6)
	a := compute.LogProbArgs{H: y, W: random(be, ar.F32(200, d), 3), Targets: ids(ar, n, 200), LogP: ar.F32(1, n), Entropy: ar.F32(1, n)}
	be.LogProb(a)
	for i, v := range a.LogP.RowF32(0) {
		if (v != v) != (i == 3) {
			t.Errorf("log-probability of row %d is %v", i, v)
		}
	}
	if s := be.SumSquares(y); s == s {
		t.Errorf("the sum of squares is %v, expected NaN", s)
	}
}
