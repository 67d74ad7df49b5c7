package compute

import (
	"math"
	"slices"
)

// KeyBlock is the number of keys that attention takes at a time, counted from the
// start of the sequence. Softmax is carried from block to block (Dao et al., 2022),
// so a row's result depends on its position alone.
const KeyBlock = 64

// dot continues the chain c over x*y.
func dot(c float32, x, y []float32) float32 {
	for i := range x {
		c = fma(x[i], y[i], c)
	}
	return c
}

// running is a softmax over blocks: the largest score yet, the sum of
// exp(score-largest), and the values weighted alike.
type running struct {
	largest, sum float32
	out          []float32
}

func newRunning(out []float32) running {
	clear(out)
	return running{largest: float32(math.Inf(-1)), out: out}
}

// block takes one block of scores, which it overwrites, and the values of its keys.
func (r *running) block(scores []float32, value func(j int) []float32) {
	largest := r.largest
	for _, s := range scores {
		largest = max(largest, s)
	}
	fade := exp(r.largest - largest)
	for j, s := range scores {
		scores[j] = exp(s - largest)
	}
	r.largest, r.sum = largest, fma(r.sum, fade, sumLanes(scores))
	for c := range r.out {
		r.out[c] *= fade
	}
	for j, p := range scores {
		axpy(r.out, p, value(j))
	}
}

// finish divides by the sum and gives the log-sum-exp.
func (r *running) finish() float32 {
	for c := range r.out {
		r.out[c] /= r.sum
	}
	return r.largest + float32(math.Log(float64(r.sum)))
}

// heads are the slices of one row that belong to head h.
func (a MLAArgs) query(row, h int) []float32 {
	d := a.Nope + a.Rope
	return a.Q.RowF32(row)[h*d : (h+1)*d]
}

func (a MLAArgs) keyValue(row, h int) (k, v []float32) {
	d := a.Nope + a.V
	s := a.KV.RowF32(row)[h*d : (h+1)*d]
	return s[:a.Nope], s[a.Nope:]
}

// score is the scaled product of a query with a key.
func (a MLAArgs) score(q []float32, key, h int) float32 {
	k, _ := a.keyValue(key, h)
	return dot(dot(0, q[:a.Nope], k), q[a.Nope:], a.KR.RowF32(key)) * a.Scale
}

// MLAForward is causal attention in the expanded form (DeepSeek-V2, 2.1).
func (*Reference) MLAForward(a MLAArgs) {
	a.Check()
	var buf [KeyBlock]float32
	for row := range a.Batch * a.SeqLen {
		place := row % a.SeqLen
		first, keys := row-place, seen("MLA", a.Picks, row, place+1)
		for h := range a.Heads {
			q := a.query(row, h)
			r := newRunning(a.O.RowF32(row)[h*a.V : (h+1)*a.V])
			for block := range slices.Chunk(keys, KeyBlock) {
				scores := buf[:len(block)]
				for j, key := range block {
					scores[j] = a.score(q, first+int(key), h)
				}
				r.block(scores, func(j int) []float32 { _, v := a.keyValue(first+int(block[j]), h); return v })
			}
			a.LSE.RowF32(row)[h] = r.finish()
		}
	}
}

// MLABackward recomputes the probabilities from the log-sum-exp. Gradients to
// queries are summed over keys, to keys and values over queries, both in ascending
// order; to the shared rope key head by head, and within a head likewise.
func (*Reference) MLABackward(a MLAArgs, g MLAGrads) {
	a.Check()
	g.Check(a)
	for _, t := range []Tensor{g.DQ, g.DKV, g.DKR} {
		clearRows(t)
	}
	grads := MLAArgs{Nope: a.Nope, Rope: a.Rope, V: a.V, Q: g.DQ, KV: g.DKV}
	for first := 0; first < a.Batch*a.SeqLen; first += a.SeqLen {
		for h := range a.Heads {
			for row := first; row < first+a.SeqLen; row++ {
				o, do := a.O.RowF32(row)[h*a.V:(h+1)*a.V], g.DO.RowF32(row)[h*a.V:(h+1)*a.V]
				delta, lse := dotLanes(o, do), a.LSE.RowF32(row)[h]
				q, dq := a.query(row, h), grads.query(row, h)
				for _, place := range seen("MLA", a.Picks, row, row-first+1) {
					key := first + int(place)
					k, v := a.keyValue(key, h)
					dk, dv := grads.keyValue(key, h)
					p := exp(a.score(q, key, h) - lse)
					axpy(dv, p, do)
					ds := p * (dot(0, do, v) - delta) * a.Scale
					axpy(dq[:a.Nope], ds, k)
					axpy(dq[a.Nope:], ds, a.KR.RowF32(key))
					axpy(dk, ds, q[:a.Nope])
					axpy(g.DKR.RowF32(key), ds, q[a.Nope:])
				}
			}
		}
	}
}

// LatentAttention is causal attention in the absorbed form (DeepSeek-V2, 2.1.2).
func (*Reference) LatentAttention(a LatentArgs) {
	a.Check()
	d := a.Latent + a.Rope
	var buf [KeyBlock]float32
	for i := range a.Q.rows {
		keys := seen("LatentAttention", a.Picks, i, a.Start+i+1)
		for h := range a.Heads {
			q := a.Q.RowF32(i)[h*d : (h+1)*d]
			r := newRunning(a.O.RowF32(i)[h*a.Latent : (h+1)*a.Latent])
			for block := range slices.Chunk(keys, KeyBlock) {
				scores := buf[:len(block)]
				for j, key := range block {
					scores[j] = dot(0, q, a.Cache.RowF32(int(key))) * a.Scale
				}
				r.block(scores, func(j int) []float32 { return a.Cache.RowF32(int(block[j]))[:a.Latent] })
			}
			r.finish()
		}
	}
}
