package nn

import "sonde/compute"

// MLADims are the shapes of multi-head latent attention (V2 report, section 2.1).
type MLADims struct {
	Heads, Nope, Rope, V int
	QLora                int // 0: a plain query projection
	KVLora               int
	Eps                  float32
	Scale                float32 // softmax scale, YaRN's correction included
	Index                IndexerDims
}

// QK is the width of a query or key.
func (d MLADims) QK() int { return d.Nope + d.Rope }

// Latent is the width of a cached row: the latent and the shared roped key.
func (d MLADims) Latent() int { return d.KVLora + d.Rope }

// MLA holds the weights of multi-head latent attention.
type MLA struct {
	Q      compute.Tensor `weight:"q_proj.weight"`              // [H*(Nope+Rope), D], where QLora is 0
	QA     compute.Tensor `weight:"q_a_proj.weight"`            // [QLora, D]
	QANorm compute.Tensor `weight:"q_a_layernorm.weight,norm"`  // [1, QLora]
	QB     compute.Tensor `weight:"q_b_proj.weight"`            // [H*(Nope+Rope), QLora]
	KVA    compute.Tensor `weight:"kv_a_proj_with_mqa.weight"`  // [KVLora+Rope, D]
	KVNorm compute.Tensor `weight:"kv_a_layernorm.weight,norm"` // [1, KVLora]
	KVB    compute.Tensor `weight:"kv_b_proj.weight,plain"`     // [H*(Nope+V), KVLora]
	O      compute.Tensor `weight:"o_proj.weight"`              // [D, H*V]
	Index  *Indexer       `weight:"indexer"`                    // V3.2's, nil elsewhere
}

// MLARecord is what MLA's backward needs and leaves for its weight part. Extend fills
// what taps are shown: X, QAN, CKV, Picks and Out.
type MLARecord struct {
	X             compute.Tensor // [T, D]
	QA, QAN       compute.Tensor // [T, QLora] before and after the norm
	KVA           compute.Tensor // [T, KVLora+Rope]: latent before the norm | roped key
	CKV           compute.Tensor // [T, KVLora] after the norm
	QNorm, KVNorm NormRecord
	Attn          compute.MLAArgs
	Picks         compute.Tensor // [T, TopK], the indexer's
	Chosen        func()         // where set, called when Picks are there, before they are used
	Out           compute.Tensor // [T, H*V]: the heads' outputs
	pack          Packing

	DY, DQ, DQA, DQAN, DKV, DCKV, DKVA compute.Tensor
}

// query computes roped queries q [T, H*(Nope+Rope)] from x, and the latent and the key
// before norm and rope into rec.
func (m *MLA) query(be compute.Backend, ar *compute.Arena, d MLADims, x, pos, table compute.Tensor, rec *MLARecord) compute.Tensor {
	rec.X = x
	q := ar.F32(x.NumRows(), d.Heads*d.QK())
	rec.KVA = ar.F32(x.NumRows(), d.Latent())
	if d.QLora == 0 {
		be.MatMuls([]compute.MatMulArgs{linear(q, x, m.Q), linear(rec.KVA, x, m.KVA)})
	} else {
		rec.QA, rec.QAN = ar.F32(x.NumRows(), d.QLora), ar.F32(x.NumRows(), d.QLora)
		be.MatMuls([]compute.MatMulArgs{linear(rec.QA, x, m.QA), linear(rec.KVA, x, m.KVA)})
		Norm(be, ar, rec.QAN, rec.QA, m.QANorm, d.Eps, &rec.QNorm)
		Linear(be, q, rec.QAN, m.QB, false)
	}
	be.Rope(d.ropeQ(q, pos, table, false))
	return q
}

func (d MLADims) ropeQ(q, pos, table compute.Tensor, inverse bool) compute.RopeArgs {
	return compute.RopeArgs{X: q, Pos: pos, Table: table, Heads: d.Heads, HeadStride: d.QK(),
		Offset: d.Nope, Dim: d.Rope, Inverse: inverse}
}

func (d MLADims) ropeK(kv, pos, table compute.Tensor, inverse bool) compute.RopeArgs {
	return compute.RopeArgs{X: kv, Pos: pos, Table: table, Heads: 1, HeadStride: d.Latent(),
		Offset: d.KVLora, Dim: d.Rope, Inverse: inverse}
}

// Forward is y += attention(x) in the expanded form, causal within each of the sequences
// of pack; x, y [T, D], pos [1, T] positions, table as compute.RopeArgs has it.
func (m *MLA) Forward(be compute.Backend, ar *compute.Arena, d MLADims, pack Packing, y, x, pos, table compute.Tensor, rec *MLARecord) {
	q := m.query(be, ar, d, x, pos, table, rec)
	kv, kr := m.expand(be, ar, d, pos, table, rec)
	rec.pack = pack
	q, kv, kr = pack.spread(be, ar, q), pack.spread(be, ar, kv), pack.spread(be, ar, kr)
	seqs, row := make([]compute.MLASeq, len(pack.Lens)), 0
	var keys []compute.Tensor
	for i, n := range pack.Lens {
		seqs[i] = compute.MLASeq{Row: row, Rows: n, KV: kv.Rows(row, row+n), KR: kr.Rows(row, row+n)}
		if m.Index != nil {
			keys = append(keys, ar.F32(n, d.Index.Dim))
		}
		row += n
	}
	m.attend(be, ar, d, y, q, pos, table, compute.MLAArgs{Seqs: seqs, LSE: ar.F32(q.NumRows(), d.Heads)}, keys, rec)
}

// expand computes what the expanded form remembers of each row: kv [T, H*(Nope+V)], and
// its roped key.
func (m *MLA) expand(be compute.Backend, ar *compute.Arena, d MLADims, pos, table compute.Tensor, rec *MLARecord) (kv, kr compute.Tensor) {
	t := rec.KVA.NumRows()
	rec.CKV = ar.F32(t, d.KVLora)
	be.Rope(d.ropeK(rec.KVA, pos, table, false))
	Norm(be, ar, rec.CKV, rec.KVA.Cols(0, d.KVLora), m.KVNorm, d.Eps, &rec.KVNorm)
	kv = ar.F32(t, d.Heads*(d.Nope+d.V))
	Linear(be, kv, rec.CKV, m.KVB, false)
	return kv, rec.KVA.Cols(d.KVLora, d.Latent())
}

// attend is y += the expanded form's attention over a's sequences; keys are the indexer's,
// one tensor for each.
func (m *MLA) attend(be compute.Backend, ar *compute.Arena, d MLADims, y, q, pos, table compute.Tensor, a compute.MLAArgs, keys []compute.Tensor, rec *MLARecord) {
	a.Heads, a.Nope, a.Rope, a.V, a.Scale, a.Q, a.O = d.Heads, d.Nope, d.Rope, d.V, d.Scale, q, ar.F32(q.NumRows(), d.Heads*d.V)
	rec.Attn = a
	if m.Index != nil {
		index, longest := make([]IndexSeq, len(a.Seqs)), 0
		for i, s := range a.Seqs {
			index[i], longest = IndexSeq{s.Row, s.Rows, s.Start, keys[i]}, max(longest, s.Start+s.Rows)
		}
		if rec.pack.shared() {
			pos = rec.pack.Pos
		}
		m.choose(be, ar, d, rec.pack.spread(be, ar, rec.X), rec.pack.spread(be, ar, rec.QAN), pos, table, index, rec)
		if longest > d.Index.TopK {
			rec.Attn.Picks = rec.Picks
		}
	}
	be.MLAForward(rec.Attn)
	rec.Out = rec.pack.gather(be, ar, rec.Attn.O)
	Linear(be, y, rec.Out, m.O, true)
}

// ExtendExpanded is y += attention(x) in the expanded form for new rows of several
// sequences side by side: each one's keys and values are written to its cache from row
// Start on, and its rows see all that is there. A row's result is Forward's, bit for bit,
// at more memory a row than Extend's. KV and KR of seqs are the caches, keys [at least
// Start+Rows, Index.Dim] the indexer's, one for each where there is one. x, y [T, D],
// pos [1, T]. No backward follows; rec, which keeps seqs, holds what taps are shown.
func (m *MLA) ExtendExpanded(be compute.Backend, ar *compute.Arena, d MLADims, y, x, pos, table compute.Tensor, seqs []compute.MLASeq, keys []compute.Tensor, rec *MLARecord) {
	q := m.query(be, ar, d, x, pos, table, rec)
	kv, kr := m.expand(be, ar, d, pos, table, rec)
	m.attend(be, ar, d, y, q, pos, table, compute.MLAArgs{Seqs: seqs, KV: kv, KR: kr}, keys, rec)
}

// choose runs the indexer.
func (m *MLA) choose(be compute.Backend, ar *compute.Arena, d MLADims, x, latent, pos, table compute.Tensor, seqs []IndexSeq, rec *MLARecord) {
	rec.Picks = m.Index.Pick(be, ar, d.Index, x, latent, pos, table, seqs)
	if rec.Chosen != nil {
		rec.Chosen()
	}
}

// BackwardInput writes dx, the gradient of Forward to x.
func (m *MLA) BackwardInput(be compute.Backend, ar *compute.Arena, d MLADims, dx, dy, pos, table compute.Tensor, rec *MLARecord) {
	t := dy.NumRows()
	do := ar.F32(t, d.Heads*d.V)
	LinearBackwardInput(be, do, dy, m.O, false)
	rec.DY, rec.DQ, rec.DKV = dy, ar.F32(t, d.Heads*d.QK()), ar.F32(t, d.Heads*(d.Nope+d.V))
	rec.DKVA, rec.DCKV = ar.F32(t, d.Latent()), ar.F32(t, d.KVLora)
	rec.attendBackward(be, ar, do, rec.DKVA.Cols(d.KVLora, d.Latent()))
	be.Rope(d.ropeQ(rec.DQ, pos, table, true))
	be.Rope(d.ropeK(rec.DKVA, pos, table, true))

	LinearBackwardInput(be, rec.DCKV, rec.DKV, m.KVB, false)
	NormBackwardInput(be, rec.DKVA.Cols(0, d.KVLora), rec.DCKV, m.KVNorm, &rec.KVNorm, false)
	LinearBackwardInput(be, dx, rec.DKVA, m.KVA, false)
	if d.QLora == 0 {
		LinearBackwardInput(be, dx, rec.DQ, m.Q, true)
		return
	}
	rec.DQAN, rec.DQA = ar.F32(t, d.QLora), ar.F32(t, d.QLora)
	LinearBackwardInput(be, rec.DQAN, rec.DQ, m.QB, false)
	NormBackwardInput(be, rec.DQA, rec.DQAN, m.QANorm, &rec.QNorm, false)
	LinearBackwardInput(be, dx, rec.DQA, m.QA, true)
}

// attendBackward writes DQ, DKV and dkr, given the gradient to the heads' outputs.
func (rec *MLARecord) attendBackward(be compute.Backend, ar *compute.Arena, do, dkr compute.Tensor) {
	p := rec.pack
	if !p.shared() {
		be.MLABackward(rec.Attn, compute.MLAGrads{DO: do, DQ: rec.DQ, DKV: rec.DKV, DKR: dkr})
		return
	}
	n := p.Rows.NumCols()
	g := compute.MLAGrads{DO: p.gatherBackward(be, ar, do), DQ: ar.F32(n, rec.DQ.NumCols()), DKV: ar.F32(n, rec.DKV.NumCols()), DKR: ar.F32(n, dkr.NumCols())}
	be.MLABackward(rec.Attn, g)
	p.spreadBackward(be, rec.DQ, g.DQ)
	p.spreadBackward(be, rec.DKV, g.DKV)
	p.spreadBackward(be, dkr, g.DKR)
}

// BackwardWeight adds the gradients of the weights to g.
func (m *MLA) BackwardWeight(be compute.Backend, d MLADims, g *MLA, rec *MLARecord) {
	LinearBackwardWeight(be, g.O, rec.DY, rec.Out, m.O)
	LinearBackwardWeight(be, g.KVB, rec.DKV, rec.CKV, m.KVB)
	NormBackwardWeight(be, g.KVNorm, rec.DCKV, &rec.KVNorm)
	LinearBackwardWeight(be, g.KVA, rec.DKVA, rec.X, m.KVA)
	if d.QLora == 0 {
		LinearBackwardWeight(be, g.Q, rec.DQ, rec.X, m.Q)
		return
	}
	LinearBackwardWeight(be, g.QB, rec.DQ, rec.QAN, m.QB)
	NormBackwardWeight(be, g.QANorm, rec.DQAN, &rec.QNorm)
	LinearBackwardWeight(be, g.QA, rec.DQA, rec.X, m.QA)
}

// LatentSeq is one sequence's share of Extend's rows: rows [Row, Row+Rows) stand at
// positions from Start on.
type LatentSeq struct {
	Row, Rows, Start int
	Cache            compute.Tensor // [at least Start+Rows, KVLora+Rope]
	Keys             compute.Tensor // [at least Start+Rows, Index.Dim], the indexer's
}

// Extend is y += attention(x) in the absorbed form for new rows of several sequences
// side by side: the rows' latents are written to their sequences' caches, and the
// queries meet the cached latents directly (q through W_UK, output through W_UV).
// x, y [T, D], pos [1, T]. No backward follows.
func (m *MLA) Extend(be compute.Backend, ar *compute.Arena, d MLADims, y, x, pos, table compute.Tensor, seqs []LatentSeq, rec *MLARecord) {
	t, row := x.NumRows(), d.Latent()
	q := m.query(be, ar, d, x, pos, table, rec)
	m.remember(be, ar, d, x, pos, table, seqs, rec)

	ql := ar.F32(t, d.Heads*row)
	be.HeadMatMul(compute.HeadMatMulArgs{Form: compute.NN, C: ql, A: q, B: m.KVB, Heads: d.Heads,
		CCols: row, CWidth: d.KVLora, ACols: d.QK(), AWidth: d.Nope, BRows: d.Nope + d.V, BCount: d.Nope})
	be.Copy(ql.Reshape(t*d.Heads, row).Cols(d.KVLora, row), q.Reshape(t*d.Heads, d.QK()).Cols(d.Nope, d.QK()))
	ol := ar.F32(t, d.Heads*d.KVLora)
	latent := compute.LatentArgs{Heads: d.Heads, Latent: d.KVLora, Rope: d.Rope, Scale: d.Scale, Q: ql, O: ol, Picks: rec.Picks}
	for _, s := range seqs {
		latent.Seqs = append(latent.Seqs, compute.LatentSeq{Row: s.Row, Rows: s.Rows, Start: s.Start, Cache: s.Cache})
	}
	be.LatentAttention(latent)
	rec.Out = ar.F32(t, d.Heads*d.V)
	be.HeadMatMul(compute.HeadMatMulArgs{Form: compute.NT, C: rec.Out, A: ol, B: m.KVB, Heads: d.Heads,
		CCols: d.V, CWidth: d.V, ACols: d.KVLora, AWidth: d.KVLora, BRows: d.Nope + d.V, BOff: d.Nope, BCount: d.V})
	Linear(be, y, rec.Out, m.O, true)
}

// remember writes what later rows need of x to the sequences' caches and, where there
// is an indexer, chooses the keys.
func (m *MLA) remember(be compute.Backend, ar *compute.Arena, d MLADims, x, pos, table compute.Tensor, seqs []LatentSeq, rec *MLARecord) {
	t, row := x.NumRows(), d.Latent()
	rec.CKV = ar.F32(t, d.KVLora)
	be.Rope(d.ropeK(rec.KVA, pos, table, false))
	Norm(be, ar, rec.CKV, rec.KVA.Cols(0, d.KVLora), m.KVNorm, d.Eps, nil)
	var index []IndexSeq
	for _, s := range seqs {
		fresh := s.Cache.Rows(s.Start, s.Start+s.Rows)
		be.Copy(fresh.Cols(0, d.KVLora), rec.CKV.Rows(s.Row, s.Row+s.Rows))
		be.Copy(fresh.Cols(d.KVLora, row), rec.KVA.Rows(s.Row, s.Row+s.Rows).Cols(d.KVLora, row))
		index = append(index, IndexSeq{s.Row, s.Rows, s.Start, s.Keys})
	}
	if m.Index != nil {
		m.choose(be, ar, d, x, rec.QAN, pos, table, index, rec)
	}
}
