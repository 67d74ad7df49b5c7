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

// query is head h's share of a row of queries.
func (a MLAArgs) query(t Tensor, row, h int) []float32 {
	d := a.Nope + a.Rope
	return t.RowF32(row)[h*d : (h+1)*d]
}

// keyValue is head h's share of a row of keys and values.
func (a MLAArgs) keyValue(t Tensor, row, h int) (k, v []float32) {
	d := a.Nope + a.V
	s := t.RowF32(row)[h*d : (h+1)*d]
	return s[:a.Nope], s[a.Nope:]
}

// score is the scaled product of a query with a key of s.
func (a MLAArgs) score(s MLASeq, q []float32, key, h int) float32 {
	k, _ := a.keyValue(s.KV, key, h)
	return dot(dot(0, q[:a.Nope], k), q[a.Nope:], s.KR.RowF32(key)) * a.Scale
}

// Store is AttentionArgs.Store, for KV and KR.
func (a MLAArgs) Store() MLAArgs {
	for _, s := range a.Seqs {
		storeRows(s.KV, a.KV, s.Row, s.Rows, s.Start)
		storeRows(s.KR, a.KR, s.Row, s.Rows, s.Start)
	}
	a.KV, a.KR = Tensor{}, Tensor{}
	return a
}

// MLAForward is causal attention in the expanded form (DeepSeek-V2, 2.1).
func (*Reference) MLAForward(a MLAArgs) {
	a.Check()
	a = a.Store()
	var buf [KeyBlock]float32
	for _, s := range a.Seqs {
		for i := range s.Rows {
			row := s.Row + i
			keys := seen("MLA", a.Picks, row, s.Start+i+1)
			for h := range a.Heads {
				q := a.query(a.Q, row, h)
				r := newRunning(a.O.RowF32(row)[h*a.V : (h+1)*a.V])
				for block := range slices.Chunk(keys, KeyBlock) {
					scores := buf[:len(block)]
					for j, key := range block {
						scores[j] = a.score(s, q, int(key), h)
					}
					r.block(scores, func(j int) []float32 { _, v := a.keyValue(s.KV, int(block[j]), h); return v })
				}
				if lse := r.finish(); !a.LSE.IsZero() {
					a.LSE.RowF32(row)[h] = lse
				}
			}
		}
	}
}

// MLABackward recomputes the probabilities from the log-sum-exp. Gradients to
// queries are summed over keys, to keys and values over queries, both in ascending
// order; to the shared rope key head by head, and within a head likewise.
func (*Reference) MLABackward(a MLAArgs, g MLAGrads) {
	a.Check()
	g.Check(a)
	for _, s := range a.Seqs {
		for _, t := range []Tensor{g.DQ, g.DKV, g.DKR} {
			clearRows(t.Rows(s.Row, s.Row+s.Rows))
		}
		for h := range a.Heads {
			for i := range s.Rows {
				a.rowBackward(s, g, i, h)
			}
		}
	}
}

// rowBackward adds what row i of s and head h give to the gradients.
func (a MLAArgs) rowBackward(s MLASeq, g MLAGrads, i, h int) {
	row := s.Row + i
	o, do := a.O.RowF32(row)[h*a.V:(h+1)*a.V], g.DO.RowF32(row)[h*a.V:(h+1)*a.V]
	delta, lse := dotLanes(o, do), a.LSE.RowF32(row)[h]
	q, dq := a.query(a.Q, row, h), a.query(g.DQ, row, h)
	for _, place := range seen("MLA", a.Picks, row, i+1) {
		key := int(place)
		k, v := a.keyValue(s.KV, key, h)
		dk, dv := a.keyValue(g.DKV, s.Row+key, h)
		p := exp(a.score(s, q, key, h) - lse)
		axpy(dv, p, do)
		ds := p * (dot(0, do, v) - delta) * a.Scale
		axpy(dq[:a.Nope], ds, k)
		axpy(dq[a.Nope:], ds, s.KR.RowF32(key))
		axpy(dk, ds, q[:a.Nope])
		axpy(g.DKR.RowF32(s.Row+key), ds, q[a.Nope:])
	}
}

// LatentAttention is causal attention in the absorbed form (DeepSeek-V2, 2.1.2).
func (*Reference) LatentAttention(a LatentArgs) {
	a.Check()
	d := a.Latent + a.Rope
	var buf [KeyBlock]float32
	for _, s := range a.Seqs {
		for i := range s.Rows {
			keys := seen("LatentAttention", a.Picks, s.Row+i, s.Start+i+1)
			for h := range a.Heads {
				q := a.Q.RowF32(s.Row + i)[h*d : (h+1)*d]
				r := newRunning(a.O.RowF32(s.Row + i)[h*a.Latent : (h+1)*a.Latent])
				for block := range slices.Chunk(keys, KeyBlock) {
					scores := buf[:len(block)]
					for j, key := range block {
						scores[j] = dot(0, q, s.Cache.RowF32(int(key))) * a.Scale
					}
					r.block(scores, func(j int) []float32 { return s.Cache.RowF32(int(block[j]))[:a.Latent] })
				}
				r.finish()
			}
		}
	}
}
