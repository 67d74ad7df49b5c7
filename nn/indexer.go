package nn

import (
	"math"

	"sonde/compute"
)

// IndexerDims are the shapes of the lightning indexer (V3.2 report, section 2.1).
type IndexerDims struct {
	Heads, Dim, TopK int // TopK 0: no indexer
	Rope             int // columns at each head's beginning that carry positions
}

// indexEps is the epsilon of the indexer's LayerNorm.
const indexEps = 1e-6

// Indexer chooses the keys that attention reads. No gradient of the loss passes it: the
// choice is discrete.
type Indexer struct {
	QB    compute.Tensor `weight:"wq_b.weight,buffer"`              // [H*Dim, QLora]
	K     compute.Tensor `weight:"wk.weight,buffer"`                // [Dim, D]
	KNorm compute.Tensor `weight:"k_norm.weight,norm,fp32,buffer"`  // [1, Dim]
	KBias compute.Tensor `weight:"k_norm.bias,norm,fp32,buffer"`    // [1, Dim]
	Heads compute.Tensor `weight:"weights_proj.weight,fp32,buffer"` // [H, D]: each head's weight
}

// IndexSeq is one sequence's share of an Indexer's rows: rows [Row, Row+Rows) stand at
// positions from Start on; Keys [at least Start+Rows, Dim] holds its earlier keys and
// receives the new ones.
type IndexSeq struct {
	Row, Rows, Start int
	Keys             compute.Tensor
}

// Pick gives for each row of x [T, D], with q [T, QLora] the normed latents of its
// queries, the places of the keys to read: picks [T, TopK], as compute.IndexArgs has
// them.
func (m *Indexer) Pick(be compute.Backend, ar *compute.Arena, d IndexerDims, x, q, pos, table compute.Tensor, seqs []IndexSeq) compute.Tensor {
	t := x.NumRows()
	queries, raw, keys, heads := ar.F32(t, d.Heads*d.Dim), ar.F32(t, d.Dim), ar.F32(t, d.Dim), ar.F32(t, d.Heads)
	Linear(be, queries, q, m.QB, false)
	Linear(be, raw, x, m.K, false)
	be.LayerNorm(keys, raw, m.KNorm, m.KBias, indexEps)
	// Halves are paired here, unlike in the attention beside it.
	rope := compute.RopeArgs{X: queries, Pos: pos, Table: table, Heads: d.Heads, HeadStride: d.Dim, Dim: d.Rope, Halves: true}
	be.Rope(rope)
	rope.X, rope.Heads = keys, 1
	be.Rope(rope)
	Linear(be, heads, x, m.Heads, false)
	be.Scale(heads, float32(1/math.Sqrt(float64(d.Heads)*float64(d.Dim))))

	picks := ar.I32(t, d.TopK)
	for _, s := range seqs {
		end := s.Row + s.Rows
		be.Copy(s.Keys.Rows(s.Start, s.Start+s.Rows), keys.Rows(s.Row, end))
		be.Index(compute.IndexArgs{Heads: d.Heads, Dim: d.Dim, TopK: d.TopK, Start: s.Start,
			Q: queries.Rows(s.Row, end), W: heads.Rows(s.Row, end), K: s.Keys, Picks: picks.Rows(s.Row, end)})
	}
	return picks
}
