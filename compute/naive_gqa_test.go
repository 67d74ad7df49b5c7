package compute_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"sonde/compute"
)

// naiveGQA is one sequence's causal grouped-query attention with the whole row of scores
// at once, for the rows that stand from position start on.
func naiveGQA(a compute.AttentionArgs, start int, q, k, v vec) (o, lse vec) {
	n, d := len(q)/(a.Heads*a.Dim), a.Dim
	o, lse = make(vec, len(q)), make(vec, n*a.Heads)
	for row := range n {
		for h := range a.Heads {
			kv := h * a.KVHeads / a.Heads
			out, qr := o[(row*a.Heads+h)*d:][:d], q[(row*a.Heads+h)*d:][:d]
			var sum float64
			for key := range start + row + 1 {
				at := (key*a.KVHeads + kv) * d
				p := math.Exp(inner(qr, k[at:at+d]) * float64(a.Scale))
				sum += p
				for c := range out {
					out[c] += p * v[at+c]
				}
			}
			for c := range out {
				out[c] /= sum
			}
			lse[row*a.Heads+h] = math.Log(sum)
		}
	}
	return o, lse
}

func TestAttentionAgainstFloat64(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(20, 1))
	a := compute.AttentionArgs{Heads: 6, KVHeads: 2, Dim: 5, Scale: 0.5}
	starts, rows := []int{0, 70, 3}, []int{5, 2, 1}
	width := a.Heads * a.Dim
	var wantO, wantLSE, queries vec
	for i, start := range starts {
		n := start + rows[i]
		k, v, q := randoms(rng, n*2*a.Dim, 1), randoms(rng, n*2*a.Dim, 1), randoms(rng, rows[i]*width, 1)
		a.Seqs = append(a.Seqs, compute.AttentionSeq{Row: len(queries) / width, Rows: rows[i], Start: start,
			K: compute.Wrap(f32(k), n, 2*a.Dim), V: compute.Wrap(f32(v), n, 2*a.Dim)})
		o, lse := naiveGQA(a, start, q, k, v)
		queries, wantO, wantLSE = append(queries, q...), append(wantO, o...), append(wantLSE, lse...)
	}
	o, lse := make([]float32, len(wantO)), make([]float32, len(wantLSE))
	a.Q, a.O, a.LSE = compute.Wrap(f32(queries), 8, width), compute.Wrap(o, 8, width), compute.Wrap(lse, 8, a.Heads)
	be.Attention(a)
	close(t, "o", o, wantO, 1e-6)
	close(t, "lse", lse, wantLSE, 1e-6)
}

func TestAttentionBackwardAgainstDifferences(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(21, 1))
	for _, n := range []int{4, 67} {
		a := compute.AttentionArgs{Heads: 4, KVHeads: 2, Dim: 3, Scale: 0.6}
		if n > compute.KeyBlock {
			a.Heads, a.KVHeads, a.Dim = 2, 1, 2
		}
		q, k, v, do := randoms(rng, n*a.Heads*a.Dim, 1), randoms(rng, n*a.KVHeads*a.Dim, 1), randoms(rng, n*a.KVHeads*a.Dim, 1), randoms(rng, n*a.Heads*a.Dim, 1)
		w := func(x []float32) compute.Tensor { return compute.Wrap(x, n, len(x)/n) }
		a.Q, a.O, a.LSE = w(f32(q)), w(make([]float32, len(q))), w(make([]float32, n*a.Heads))
		a.Seqs = []compute.AttentionSeq{{Rows: n, K: w(f32(k)), V: w(f32(v))}}
		be.Attention(a)
		dq, dk, dv := make([]float32, len(q)), make([]float32, len(k)), make([]float32, len(v))
		be.AttentionBackward(a, compute.AttentionGrads{DO: w(f32(do)), DQ: w(dq), DK: []compute.Tensor{w(dk)}, DV: []compute.Tensor{w(dv)}})
		loss := func() float64 { o, _ := naiveGQA(a, 0, q, k, v); return inner(do, o) }
		close(t, "dq", dq, slope(q, loss), 3e-6)
		close(t, "dk", dk, slope(k, loss), 3e-6)
		close(t, "dv", dv, slope(v, loss), 3e-6)
	}
}

func TestIndexAgainstSorting(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(22, 1))
	const heads, dim, start, m, top = 3, 4, 6, 5, 8
	q, w, k := randoms(rng, m*heads*dim, 1), randoms(rng, m*heads, 1), randoms(rng, (start+m)*dim, 1)
	copy(k[dim:2*dim], k[4*dim:5*dim]) // two keys alike: the earlier one goes first
	picks := make([]int32, m*top)
	be.Index(compute.IndexArgs{Heads: heads, Dim: dim, TopK: top, Start: start, Q: compute.Wrap(f32(q), m, heads*dim), W: compute.Wrap(f32(w), m, heads),
		K: compute.Wrap(f32(k), start+m, dim), Picks: compute.WrapI32(picks, m, top)})
	for i := range m {
		n := start + i + 1
		score, order := make(vec, n), make([]int32, n)
		for key := range score {
			order[key] = int32(key)
			for h := range heads {
				score[key] += w[i*heads+h] * max(0, inner(q[(i*heads+h)*dim:][:dim], k[key*dim:][:dim]))
			}
		}
		sort.SliceStable(order, func(x, y int) bool { return score[order[x]] > score[order[y]] })
		want := order[:min(top, n)]
		slices.Sort(want)
		for len(want) < top {
			want = append(want, -1)
		}
		if got := picks[i*top : (i+1)*top]; !slices.Equal(got, want) {
			t.Errorf("row %d picks %v, expected %v", i, got, want)
		}
	}
}

func TestLayerNormAgainstFloat64(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(23, 1))
	const rows, d = 3, 21
	x, w, b := randoms(rng, rows*d, 2), randoms(rng, d, 1), randoms(rng, d, 1)
	want := make(vec, rows*d)
	for i := range x {
		row := x[i-i%d : i-i%d+d]
		var mean, variance float64
		for _, v := range row {
			mean += v / d
		}
		for _, v := range row {
			variance += (v - mean) * (v - mean) / d
		}
		want[i] = (x[i]-mean)/math.Sqrt(variance+0.1)*w[i%d] + b[i%d]
	}
	y := make([]float32, rows*d)
	be.LayerNorm(compute.Wrap(y, rows, d), compute.Wrap(f32(x), rows, d), compute.Wrap(f32(w), 1, d), compute.Wrap(f32(b), 1, d), 0.1)
	close(t, "y", y, want, 1e-6)
}

func TestBiasAgainstLoops(t *testing.T) {
	be := compute.NewReference()
	x := compute.Wrap([]float32{1, 2, 3, 4}, 2, 2)
	be.AddRow(x, compute.Wrap([]float32{10, 20}, 1, 2))
	close(t, "with the bias", x.Float32s(), vec{11, 22, 13, 24}, 0)
	sum := compute.Wrap([]float32{100, 200}, 1, 2)
	be.SumRows(sum, x)
	close(t, "gradient", sum.Float32s(), vec{124, 246}, 0)
}

func TestRopeByHalvesAgainstComplexNumbers(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(24, 1))
	const heads, stride, offset, dim = 2, 11, 2, 6
	x := randoms(rng, heads*stride, 1)
	table := make([]float32, 3*dim)
	for i := range dim / 2 {
		table[2*dim+i], table[2*dim+dim/2+i] = float32(math.Cos(float64(i+1))), float32(math.Sin(float64(i+1)))
	}
	want := append(vec(nil), x...)
	for h := range heads {
		for i := range dim / 2 {
			u := h*stride + offset + i
			z := complex(x[u], x[u+dim/2]) * complex(math.Cos(float64(i+1)), math.Sin(float64(i+1)))
			want[u], want[u+dim/2] = real(z), imag(z)
		}
	}
	got := f32(x)
	a := compute.RopeArgs{X: compute.Wrap(got, 1, heads*stride), Pos: compute.WrapI32([]int32{2}, 1, 1), Table: compute.Wrap(table, 3, dim),
		Heads: heads, HeadStride: stride, Offset: offset, Dim: dim, Halves: true}
	be.Rope(a)
	close(t, "rotated", got, want, 1e-6)
	a.Inverse = true
	be.Rope(a)
	close(t, "rotated back", got, x, 1e-6)
}
