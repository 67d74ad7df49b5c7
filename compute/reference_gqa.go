package compute

import (
	"fmt"
	"unsafe"

	"sonde/num"
)

// Check panics when the tensors do not have the shapes the type's comment gives.
func (a AttentionArgs) Check() {
	h, g, d := a.Heads, a.KVHeads, a.Dim
	if !(g > 0 && h > 0 && h%g == 0 && d > 0 && is(a.Q, F32, a.O.rows, h*d) && is(a.O, F32, a.Q.rows, h*d) &&
		(a.LSE.IsZero() || is(a.LSE, F32, a.Q.rows, h)) &&
		(a.K.IsZero() && a.V.IsZero() || is(a.K, F32, a.Q.rows, g*d) && is(a.V, F32, a.Q.rows, g*d))) {
		mismatch("Attention", fmt.Sprintf("%d heads over %d key heads of %d do not fit", h, g, d), a.Q, a.O, a.LSE, a.K, a.V)
	}
	for i, s := range a.Seqs {
		n, kept := s.Start+s.Rows, s.K.dtype
		if !(within(s.Row, s.Rows, s.Start, a.Q.rows) && (kept == F32 || kept == F16 && d%8 == 0) &&
			is(s.K, kept, s.K.rows, g*d) && is(s.V, kept, s.V.rows, g*d) && s.K.rows >= n && s.V.rows >= n) {
			mismatch("Attention", fmt.Sprintf("sequence %d with rows %d to %d from position %d on, %d key heads of %d, does not fit",
				i, s.Row, s.Row+s.Rows, s.Start, g, d), a.Q, s.K, s.V)
		}
	}
}

// Check panics when a gradient does not have its tensor's shape, or a sequence does not
// begin at its start.
func (g AttentionGrads) Check(a AttentionArgs) {
	if !(is(g.DO, F32, a.O.rows, a.O.cols) && is(g.DQ, F32, a.Q.rows, a.Q.cols) && is(a.LSE, F32, a.Q.rows, a.Heads) &&
		len(g.DK) == len(a.Seqs) && len(g.DV) == len(a.Seqs)) {
		mismatch("AttentionBackward", fmt.Sprintf("LSE must be there and gradients have their tensors' shapes, DK and DV for each of %d sequences",
			len(a.Seqs)), g.DO, a.O, g.DQ, a.Q, a.LSE)
	}
	for i, s := range a.Seqs {
		if !(s.Start == 0 && s.K.dtype == F32 && is(g.DK[i], F32, s.Rows, a.KVHeads*a.Dim) && is(g.DV[i], F32, s.Rows, a.KVHeads*a.Dim)) {
			mismatch("AttentionBackward", fmt.Sprintf("sequence %d has %d rows from position %d on, whose keys must be F32", i, s.Rows, s.Start), s.K, g.DK[i], g.DV[i])
		}
	}
}

// head is columns of head h in a row of heads Dim wide.
func (a AttentionArgs) head(t Tensor, row, h int) []float32 {
	return t.RowF32(row)[h*a.Dim : (h+1)*a.Dim]
}

// Store writes K and V to their places, where they are present, and gives a without
// them. It is for backends whose memory is the host's.
func (a AttentionArgs) Store() AttentionArgs {
	for _, s := range a.Seqs {
		storeRows(s.K, a.K, s.Row, s.Rows, s.Start)
		storeRows(s.V, a.V, s.Row, s.Rows, s.Start)
	}
	a.K, a.V = Tensor{}, Tensor{}
	return a
}

// storeRows copies n rows of src from row on to dst from start on; without src it does
// nothing.
func storeRows(dst, src Tensor, row, n, start int) {
	for i := 0; i < n && !src.IsZero(); i++ {
		if dst.dtype == F16 {
			num.F16SliceFromF32(dst.halves(start+i), src.RowF32(row+i))
			continue
		}
		copy(dst.RowF32(start+i), src.RowF32(row+i))
	}
}

// halves is row i of an F16 view.
func (t Tensor) halves(i int) []uint16 {
	t.check(F16)
	return unsafe.Slice((*uint16)(unsafe.Add(t.ptr, i*t.stride*2)), t.cols)
}

// kept is head for keys and values, which may be F16; those are widened into buf.
func (a AttentionArgs) kept(buf []float32, t Tensor, row, h int) []float32 {
	if t.dtype != F16 {
		return a.head(t, row, h)
	}
	num.F16SliceToF32(buf, t.halves(row)[h*a.Dim:(h+1)*a.Dim])
	return buf
}

// Attention is causal grouped-query attention; see AttentionArgs.
func (*Reference) Attention(a AttentionArgs) {
	a.Check()
	a = a.Store()
	var buf [KeyBlock]float32
	wide := make([]float32, a.Dim)
	for _, s := range a.Seqs {
		for i := range s.Rows {
			for h := range a.Heads {
				q, kv := a.head(a.Q, s.Row+i, h), h/(a.Heads/a.KVHeads)
				r := newRunning(a.head(a.O, s.Row+i, h))
				for from := 0; from <= s.Start+i; from += KeyBlock {
					scores := buf[:min(KeyBlock, s.Start+i+1-from)]
					for j := range scores {
						scores[j] = dot(0, q, a.kept(wide, s.K, from+j, kv)) * a.Scale
					}
					r.block(scores, func(j int) []float32 { return a.kept(wide, s.V, from+j, kv) })
				}
				if lse := r.finish(); !a.LSE.IsZero() {
					a.LSE.RowF32(s.Row + i)[h] = lse
				}
			}
		}
	}
}

// AttentionBackward recomputes the probabilities from the log-sum-exp. Gradients to
// queries are summed over keys, to keys and values over the heads that share them and
// within a head over queries, all in ascending order.
func (*Reference) AttentionBackward(a AttentionArgs, g AttentionGrads) {
	a.Check()
	g.Check(a)
	for i, s := range a.Seqs {
		clearRows(g.DQ.Rows(s.Row, s.Row+s.Rows))
		clearRows(g.DK[i])
		clearRows(g.DV[i])
		for h := range a.Heads {
			kv := h / (a.Heads / a.KVHeads)
			for t := range s.Rows {
				row := s.Row + t
				q, do, dq := a.head(a.Q, row, h), a.head(g.DO, row, h), a.head(g.DQ, row, h)
				delta, lse := dotLanes(a.head(a.O, row, h), do), a.LSE.RowF32(row)[h]
				for key := 0; key <= t; key++ {
					k := a.head(s.K, key, kv)
					p := exp(dot(0, q, k)*a.Scale - lse)
					axpy(a.head(g.DV[i], key, kv), p, do)
					ds := p * (dot(0, do, a.head(s.V, key, kv)) - delta) * a.Scale
					axpy(dq, ds, k)
					axpy(a.head(g.DK[i], key, kv), ds, q)
				}
			}
		}
	}
}
