package compute_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"sonde/compute"
)

// naiveMLA is causal attention of whole sequences, whose keys are in their rows, with
// the whole row of scores at once; it gives the output and the log-sum-exp.
func naiveMLA(a compute.MLAArgs, q, kv, kr vec) (o, lse vec) {
	n, dq, dkv := a.Q.NumRows(), a.Nope+a.Rope, a.Nope+a.V
	o, lse = make(vec, n*a.Heads*a.V), make(vec, n*a.Heads)
	first := make([]int, n) // of each row's sequence
	for _, s := range a.Seqs {
		for i := range s.Rows {
			first[s.Row+i] = s.Row
		}
	}
	for row := range n {
		for h := range a.Heads {
			qr := q[(row*a.Heads+h)*dq:][:dq]
			var sum float64
			out := o[(row*a.Heads+h)*a.V:][:a.V]
			for key := first[row]; key <= row; key++ {
				if !sees(a.Picks, row, key-first[row]) {
					continue
				}
				k := kv[(key*a.Heads+h)*dkv:][:dkv]
				s := inner(qr[:a.Nope], k[:a.Nope]) + inner(qr[a.Nope:], kr[key*a.Rope:][:a.Rope])
				p := math.Exp(s * float64(a.Scale))
				sum += p
				for c := range out {
					out[c] += p * k[a.Nope+c]
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

// sees tells whether a row with these picks meets a key.
func sees(picks compute.Tensor, row, key int) bool {
	return picks.IsZero() || slices.Contains(picks.RowI32(row), int32(key))
}

// everyThird picks every third place up to a row's own, the last one first of all.
func everyThird(lens []int) compute.Tensor {
	k, rows := (slices.Max(lens)+2)/3, 0
	var v []int32
	for _, n := range lens {
		rows += n
		for row := range n {
			for j := range k {
				place := row%3 + 3*j
				if place > row {
					place = -1
				}
				v = append(v, int32(place))
			}
		}
	}
	return compute.WrapI32(v, rows, k)
}

// sequences cuts kv and kr into the sequences of lens rows.
func sequences(lens []int, kv, kr compute.Tensor) (seqs []compute.MLASeq) {
	row := 0
	for _, n := range lens {
		seqs = append(seqs, compute.MLASeq{Row: row, Rows: n, KV: kv.Rows(row, row+n), KR: kr.Rows(row, row+n)})
		row += n
	}
	return seqs
}

func TestMLAAgainstFloat64(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(7, 1))
	for _, c := range []struct {
		lens []int
		compute.MLAArgs
	}{
		{[]int{3, 1, 4}, compute.MLAArgs{Heads: 2, Nope: 5, Rope: 2, V: 3, Scale: 0.5}},
		{[]int{70}, compute.MLAArgs{Heads: 1, Nope: 2, Rope: 2, V: 2, Scale: 0.7}}, // more than a block of keys
		{[]int{9, 5}, compute.MLAArgs{Heads: 2, Nope: 5, Rope: 2, V: 3, Scale: 0.5, Picks: everyThird([]int{9, 5})}},
	} {
		a, n := c.MLAArgs, 0
		for _, l := range c.lens {
			n += l
		}
		q, kv, kr := randoms(rng, n*a.Heads*(a.Nope+a.Rope), 1), randoms(rng, n*a.Heads*(a.Nope+a.V), 1), randoms(rng, n*a.Rope, 1)
		for i := range kr { // the second block's keys weigh most: it moves the softmax
			if i/a.Rope >= compute.KeyBlock {
				kr[i] *= 8
			}
		}
		do := randoms(rng, n*a.Heads*a.V, 1)
		w := func(v []float32) compute.Tensor { return compute.Wrap(v, n, len(v)/n) }
		a.Q, a.Seqs = w(f32(q)), sequences(c.lens, w(f32(kv)), w(f32(kr)))
		o, lse := make([]float32, len(do)), make([]float32, n*a.Heads)
		a.O, a.LSE = w(o), w(lse)
		be.MLAForward(a)
		wantO, wantLSE := naiveMLA(a, q, kv, kr)
		close(t, "o", o, wantO, 1e-6)
		close(t, "lse", lse, wantLSE, 1e-6)
		dq, dkv, dkr := make([]float32, len(q)), make([]float32, len(kv)), make([]float32, len(kr))
		be.MLABackward(a, compute.MLAGrads{DO: w(f32(do)), DQ: w(dq), DKV: w(dkv), DKR: w(dkr)})
		loss := func() float64 { o, _ := naiveMLA(a, q, kv, kr); return inner(do, o) }
		close(t, "dq", dq, slope(q, loss), 3e-6)
		close(t, "dkv", dkv, slope(kv, loss), 3e-6)
		close(t, "dkr", dkr, slope(kr, loss), 3e-6)
	}
}

// TestAbsorbedFormEqualsExpanded runs one layer's attention both ways.
func TestAbsorbedFormEqualsExpanded(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(8, 1))
	const n, heads, nope, rope, v, latent = 70, 2, 6, 4, 5, 12
	scale := float32(0.3)
	w := func(x []float32, rows int) compute.Tensor { return compute.Wrap(x, rows, len(x)/rows) }
	q := w(f32(randoms(rng, n*heads*(nope+rope), 1)), n)
	cache := w(f32(randoms(rng, n*(latent+rope), 1)), n)
	up := w(f32(randoms(rng, heads*(nope+v)*latent, 0.5)), heads*(nope+v))
	zeros := func(rows, cols int) compute.Tensor { return compute.Wrap(make([]float32, rows*cols), rows, cols) }

	kv, expanded := zeros(n, heads*(nope+v)), zeros(n, heads*v)
	be.MatMul(compute.MatMulArgs{Form: compute.NT, C: kv, A: cache.Cols(0, latent), B: up})
	be.MLAForward(compute.MLAArgs{Heads: heads, Nope: nope, Rope: rope, V: v, Scale: scale, Q: q, O: expanded,
		Seqs: sequences([]int{n}, kv, cache.Cols(latent, latent+rope))})

	ql, ol, absorbed := zeros(n, heads*(latent+rope)), zeros(n, heads*latent), zeros(n, heads*v)
	be.HeadMatMul(compute.HeadMatMulArgs{Form: compute.NN, C: ql, A: q, B: up, Heads: heads, CCols: latent + rope, CWidth: latent,
		ACols: nope + rope, AWidth: nope, BRows: nope + v, BCount: nope})
	for h := range heads {
		be.Copy(ql.Cols(h*(latent+rope)+latent, (h+1)*(latent+rope)), q.Cols(h*(nope+rope)+nope, (h+1)*(nope+rope)))
	}
	be.LatentAttention(compute.LatentArgs{Heads: heads, Latent: latent, Rope: rope, Scale: scale, Q: ql, O: ol, Seqs: []compute.LatentSeq{{Rows: n, Cache: cache}}})
	be.HeadMatMul(compute.HeadMatMulArgs{Form: compute.NT, C: absorbed, A: ol, B: up, Heads: heads, CCols: v, CWidth: v,
		ACols: latent, AWidth: latent, BRows: nope + v, BOff: nope, BCount: v})

	want := make(vec, n*heads*v)
	for i, x := range expanded.Float32s() {
		want[i] = float64(x)
	}
	close(t, "absorbed form", absorbed.Float32s(), want, 2e-6)
}

// TestPicksOfAllKeysChangeNothing compares picked attention with that over the picked
// keys alone, and with all keys picked.
func TestPicksOfAllKeysChangeNothing(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(11, 1))
	const n, heads, latent, rope = 150, 2, 6, 4
	q, cache := compute.Wrap(f32(randoms(rng, heads*(latent+rope), 1)), 1, heads*(latent+rope)), compute.Wrap(f32(randoms(rng, n*(latent+rope), 1)), n, latent+rope)
	out := func(cache, picks compute.Tensor) []float32 {
		o := make([]float32, heads*latent)
		be.LatentAttention(compute.LatentArgs{Heads: heads, Latent: latent, Rope: rope, Scale: 0.5, Q: q, O: compute.Wrap(o, 1, len(o)), Picks: picks,
			Seqs: []compute.LatentSeq{{Rows: 1, Start: cache.NumRows() - 1, Cache: cache}}})
		return o
	}
	all, some := make([]int32, n+1), []int32{}
	chosen := make([]float32, 0, n*(latent+rope))
	for i := range n {
		all[i] = int32(i)
		if i%2 == 1 {
			some = append(some, int32(i))
			chosen = append(chosen, cache.RowF32(i)...)
		}
	}
	all[n] = -1
	if got, want := out(cache, compute.WrapI32(all, 1, n+1)), out(cache, compute.Tensor{}); !slices.Equal(got, want) {
		t.Errorf("with all keys picked the output is %v, expected %v", got, want)
	}
	if got, want := out(cache, compute.WrapI32(some, 1, len(some))), out(compute.Wrap(chosen, len(some), latent+rope), compute.Tensor{}); !slices.Equal(got, want) {
		t.Errorf("over odd keys the output is %v, expected %v", got, want)
	}
}

func TestCombineUndoesDispatch(t *testing.T) {
	be := compute.NewReference()
	rows := compute.Wrap([]float32{1, 10, 2, 20, 3, 30, 4, 40}, 4, 2)
	y := compute.Wrap([]float32{100, 1000, 100, 1000}, 2, 2)
	slot := compute.WrapI32([]int32{3, 0, 1, 1}, 2, 2)
	be.CombineRows(y, rows, slot, true)
	close(t, "y", y.Float32s(), vec{105, 1050, 104, 1040}, 0)
	be.CombineRows(y, rows, slot, false)
	close(t, "y", y.Float32s(), vec{5, 50, 4, 40}, 0)
}
