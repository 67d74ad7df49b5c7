package nn

import "sonde/compute"

// GQADims are the shapes of grouped-query attention (arXiv 2305.13245): Heads query
// heads, KVHeads key and value heads, Dim columns each.
type GQADims struct {
	Heads, KVHeads, Dim int
	Eps                 float32 // of the norms of queries and keys
	Scale               float32 // of the scores
	// Interleaved rotates adjacent pairs of columns; otherwise column i is paired with
	// i + Dim/2.
	Interleaved bool
}

// GQA holds the weights of grouped-query attention. Biases and the norms of each head's
// queries and keys (Qwen3) are optional.
type GQA struct {
	Q     compute.Tensor `weight:"q_proj.weight"` // [H*Dim, D]
	QBias compute.Tensor `weight:"q_proj.bias,norm"`
	K     compute.Tensor `weight:"k_proj.weight"` // [KVHeads*Dim, D]
	KBias compute.Tensor `weight:"k_proj.bias,norm"`
	V     compute.Tensor `weight:"v_proj.weight"` // [KVHeads*Dim, D]
	VBias compute.Tensor `weight:"v_proj.bias,norm"`
	O     compute.Tensor `weight:"o_proj.weight"` // [D, H*Dim]
	OBias compute.Tensor `weight:"o_proj.bias,norm"`
	QNorm compute.Tensor `weight:"q_norm.weight,norm"` // [1, Dim]
	KNorm compute.Tensor `weight:"k_norm.weight,norm"` // [1, Dim]
}

// GQARecord is what GQA's backward needs and leaves for its weight part.
type GQARecord struct {
	X            compute.Tensor // [T, D]
	K, V         compute.Tensor // [T, KVHeads*Dim]: normed and roped keys, values
	QNorm, KNorm NormRecord     // over [T*Heads, Dim] and [T*KVHeads, Dim]
	Attn         compute.AttentionArgs
	Out          compute.Tensor // [T, Heads*Dim]: the heads' outputs
	pack         Packing

	// DQ, DK and DV are the gradients at the projections, DQN and DKN those after the
	// norms.
	DY, DQ, DK, DV, DQN, DKN compute.Tensor
}

func (d GQADims) rope(x, pos, table compute.Tensor, heads int, inverse bool) compute.RopeArgs {
	return compute.RopeArgs{X: x, Pos: pos, Table: table, Heads: heads, HeadStride: d.Dim, Dim: d.Dim,
		Halves: !d.Interleaved, Inverse: inverse}
}

// project computes queries, keys and values from x: projection, norm, rope.
func (m *GQA) project(be compute.Backend, ar *compute.Arena, d GQADims, x, pos, table compute.Tensor, rec *GQARecord) compute.Tensor {
	t := x.NumRows()
	q, k := ar.F32(t, d.Heads*d.Dim), ar.F32(t, d.KVHeads*d.Dim)
	rec.X, rec.V = x, ar.F32(t, d.KVHeads*d.Dim)
	be.MatMuls([]compute.MatMulArgs{linear(q, x, m.Q), linear(k, x, m.K), linear(rec.V, x, m.V)})
	AddBias(be, rec.V, m.VBias)
	q = heads(be, ar, d, q, m.QBias, m.QNorm, &rec.QNorm)
	rec.K = heads(be, ar, d, k, m.KBias, m.KNorm, &rec.KNorm)
	be.Rope(d.rope(q, pos, table, d.Heads, false))
	be.Rope(d.rope(rec.K, pos, table, d.KVHeads, false))
	return q
}

// heads is y + bias [T, n*Dim], each head normed where norm is present.
func heads(be compute.Backend, ar *compute.Arena, d GQADims, y, bias, norm compute.Tensor, rec *NormRecord) compute.Tensor {
	AddBias(be, y, bias)
	if norm.IsZero() {
		return y
	}
	normed := ar.F32(y.NumRows(), y.NumCols())
	each := y.Len() / d.Dim
	Norm(be, ar, normed.Reshape(each, d.Dim), y.Reshape(each, d.Dim), norm, d.Eps, rec)
	return normed
}

// attend runs attention over seqs and is y += its output projected.
func (m *GQA) attend(be compute.Backend, ar *compute.Arena, y compute.Tensor, rec *GQARecord) {
	be.Attention(rec.Attn)
	rec.Out = rec.pack.gather(be, ar, rec.Attn.O)
	LinearBias(be, y, rec.Out, m.O, m.OBias, true)
}

// Forward is y += attention(x), causal within each of the sequences of pack; x, y [T, D],
// pos [1, T] positions, table as compute.RopeArgs has it.
func (m *GQA) Forward(be compute.Backend, ar *compute.Arena, d GQADims, pack Packing, y, x, pos, table compute.Tensor, rec *GQARecord) {
	q := m.project(be, ar, d, x, pos, table, rec)
	rec.pack = pack
	q, k, v := pack.spread(be, ar, q), pack.spread(be, ar, rec.K), pack.spread(be, ar, rec.V)
	t := q.NumRows()
	rec.Attn = compute.AttentionArgs{Heads: d.Heads, KVHeads: d.KVHeads, Dim: d.Dim, Scale: d.Scale,
		Q: q, O: ar.F32(t, d.Heads*d.Dim), LSE: ar.F32(t, d.Heads)}
	rec.Attn.Seqs = make([]compute.AttentionSeq, len(pack.Lens))
	row := 0
	for i, n := range pack.Lens {
		rec.Attn.Seqs[i] = compute.AttentionSeq{Row: row, Rows: n, K: k.Rows(row, row+n), V: v.Rows(row, row+n)}
		row += n
	}
	m.attend(be, ar, y, rec)
}

// Extend is y += attention(x) for new rows of sequences with caches: each one's keys
// and values are written to K and V [at least Start+Rows, KVHeads*Dim] from row Start
// on, and its rows see all that is there. A row's result is Forward's, bit for bit. No
// backward follows; rec holds what a tap may look at (X, Out).
func (m *GQA) Extend(be compute.Backend, ar *compute.Arena, d GQADims, y, x, pos, table compute.Tensor, seqs []compute.AttentionSeq, rec *GQARecord) {
	q := m.project(be, ar, d, x, pos, table, rec)
	rec.Attn = compute.AttentionArgs{Heads: d.Heads, KVHeads: d.KVHeads, Dim: d.Dim, Scale: d.Scale,
		Q: q, O: ar.F32(x.NumRows(), d.Heads*d.Dim), K: rec.K, V: rec.V, Seqs: seqs}
	m.attend(be, ar, y, rec)
}

// BackwardInput writes dx, the gradient of Forward to x.
func (m *GQA) BackwardInput(be compute.Backend, ar *compute.Arena, d GQADims, dx, dy, pos, table compute.Tensor, rec *GQARecord) {
	t := dy.NumRows()
	do := ar.F32(t, d.Heads*d.Dim)
	LinearBackwardInput(be, do, dy, m.O, false)
	rec.DY, rec.DQN, rec.DKN, rec.DV = dy, ar.F32(t, d.Heads*d.Dim), ar.F32(t, d.KVHeads*d.Dim), ar.F32(t, d.KVHeads*d.Dim)
	rec.attendBackward(be, ar, do)
	be.Rope(d.rope(rec.DQN, pos, table, d.Heads, true))
	be.Rope(d.rope(rec.DKN, pos, table, d.KVHeads, true))
	rec.DQ = headsBackward(be, ar, d, rec.DQN, m.QNorm, &rec.QNorm)
	rec.DK = headsBackward(be, ar, d, rec.DKN, m.KNorm, &rec.KNorm)
	LinearBackwardInput(be, dx, rec.DQ, m.Q, false)
	LinearBackwardInput(be, dx, rec.DK, m.K, true)
	LinearBackwardInput(be, dx, rec.DV, m.V, true)
}

// attendBackward writes DQN, DKN and DV, given the gradient to the heads' outputs.
func (rec *GQARecord) attendBackward(be compute.Backend, ar *compute.Arena, do compute.Tensor) {
	p, dq, dk, dv := rec.pack, rec.DQN, rec.DKN, rec.DV
	if p.shared() {
		n := p.Rows.NumCols()
		dq, dk, dv = ar.F32(n, dq.NumCols()), ar.F32(n, dk.NumCols()), ar.F32(n, dv.NumCols())
	}
	g := compute.AttentionGrads{DO: p.gatherBackward(be, ar, do), DQ: dq}
	for _, s := range rec.Attn.Seqs {
		g.DK, g.DV = append(g.DK, dk.Rows(s.Row, s.Row+s.Rows)), append(g.DV, dv.Rows(s.Row, s.Row+s.Rows))
	}
	be.AttentionBackward(rec.Attn, g)
	if p.shared() {
		p.spreadBackward(be, rec.DQN, dq)
		p.spreadBackward(be, rec.DKN, dk)
		p.spreadBackward(be, rec.DV, dv)
	}
}

// headsBackward goes back through the norm of each head, where there is one.
func headsBackward(be compute.Backend, ar *compute.Arena, d GQADims, dn, norm compute.Tensor, rec *NormRecord) compute.Tensor {
	if norm.IsZero() {
		return dn
	}
	dy := ar.F32(dn.NumRows(), dn.NumCols())
	each := dn.Len() / d.Dim
	NormBackwardInput(be, dy.Reshape(each, d.Dim), dn.Reshape(each, d.Dim), norm, rec, false)
	return dy
}

// BackwardWeight adds the gradients of the weights to g; absent ones are passed over.
func (m *GQA) BackwardWeight(be compute.Backend, d GQADims, g *GQA, rec *GQARecord) {
	LinearBackwardWeight(be, g.O, rec.DY, rec.Out, m.O)
	BiasBackward(be, g.OBias, rec.DY)
	LinearBackwardWeight(be, g.V, rec.DV, rec.X, m.V)
	BiasBackward(be, g.VBias, rec.DV)
	LinearBackwardWeight(be, g.K, rec.DK, rec.X, m.K)
	BiasBackward(be, g.KBias, rec.DK)
	LinearBackwardWeight(be, g.Q, rec.DQ, rec.X, m.Q)
	BiasBackward(be, g.QBias, rec.DQ)
	NormBackwardWeight(be, g.QNorm, rec.DQN.Reshape(rec.DQN.Len()/d.Dim, d.Dim), &rec.QNorm)
	NormBackwardWeight(be, g.KNorm, rec.DKN.Reshape(rec.DKN.Len()/d.Dim, d.Dim), &rec.KNorm)
}
