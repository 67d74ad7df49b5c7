package opcheck

import (
	"slices"
	"testing"

	"sonde/compute"
)

// split is a problem whose rows can be computed in pieces.
type split struct {
	*problem
	rows   int
	pieces func(be compute.Backend, t tensors, from, to int)
}

// RowsAlone sees that a row's result does not depend on what is computed with it: 64
// rows at once give the same bits as 1, 2, 3 and 7 at a time.
func RowsAlone(t *testing.T, be compute.Backend) {
	for _, s := range splits() {
		if s.skipped {
			continue
		}
		s.call = func(be compute.Backend, t tensors) { s.pieces(be, t, 0, s.rows) }
		whole := s.must(t, be)
		for _, step := range []int{1, 2, 3, 7} {
			s.call = func(be compute.Backend, t tensors) {
				for from := 0; from < s.rows; from += step {
					s.pieces(be, t, from, min(from+step, s.rows))
				}
			}
			part := s.must(t, be)
			for _, o := range s.operands {
				if err := o.equal(part[o.name], whole[o.name]); o.out && err != nil {
					t.Errorf("%s: %s of %s, %d rows at a time against %d at once: %v", s.name, o.name, be.Name(), step, s.rows, err)
				}
			}
		}
	}
}

func splits() (ss []split) {
	for _, strided := range layouts {
		for _, q := range precisions {
			for _, form := range []compute.Form{compute.NN, compute.NT} {
				ss = append(ss, splitMatmul(form, q, strided, 70, 200), splitMatmul(form, q, strided, 515, 96), splitGrouped(form, q, strided))
			}
			ss = append(ss, splitHeads(q, strided), splitLogProb(q, strided))
		}
		for _, b := range blockFormats() {
			ss = append(ss, splitInt8(b, strided))
		}
		ss = append(ss, splitLatent(strided, 0, 0), splitLatent(strided, 90, 0), splitLatent(strided, 90, 130), splitAttention(strided, 0), splitAttention(strided, 230), splitHalf(strided, groupsOf[3]), splitHalf(strided, groupsOf[4]))
		for _, h := range mlaSizes {
			ss = append(ss, splitMLA(strided, h, 0, 0), splitMLA(strided, h, 230, 0), splitMLA(strided, h, 0, 30), splitMLA(strided, h, 300, 270))
		}
		ss = append(ss, splitIndex(strided), splitSequences(strided), splitNorm(strided), splitRoute(strided, 9), splitRoute(strided, 11))
	}
	return ss
}

func splitMatmul(form compute.Form, q precision, strided bool, n, k int) split {
	p := matmul(form, q, strided, true, 64, n, k)
	return split{p, 64, func(be compute.Backend, t tensors, from, to int) {
		be.MatMul(compute.MatMulArgs{Form: form, C: t["C"].Rows(from, to), A: t["A"].Rows(from, to), B: t["B"], Accumulate: true, BF16: q.round})
	}}
}

func splitGrouped(form compute.Form, q precision, strided bool) split {
	counts := []int{9, 0, 1, 40, 14}
	off, rows := offsets(counts)
	p := grouped(form, q, strided, false, counts, 40, 72)
	for _, o := range p.operands {
		if o.name == "off" {
			o.out = true // rewritten for every piece
		}
	}
	return split{p, rows, func(be compute.Backend, t tensors, from, to int) {
		part := make([]int32, len(off))
		for i, v := range off {
			part[i] = min(max(v, int32(from)), int32(to)) - int32(from)
		}
		be.UploadI32(t["off"], part)
		be.GroupedMatMul(compute.GroupedMatMulArgs{Form: form, C: t["C"].Rows(from, to), A: t["A"].Rows(from, to), B: t["B"],
			Experts: len(counts), Offsets: t["off"], BF16: q.round})
		be.UploadI32(t["off"], off)
	}}
}

func splitHeads(q precision, strided bool) split {
	h := heads[3]
	p := headMatmul(q, h, strided, 64)
	whole := p.call
	return split{p, 64, func(be compute.Backend, t tensors, from, to int) {
		whole(be, sliceRows(t, from, to, "Q", "O", "QL", "OV"))
	}}
}

// sliceRows is t with the named tensors cut to rows [from, to).
func sliceRows(t tensors, from, to int, names ...string) tensors {
	out := tensors{}
	for name, v := range t {
		out[name] = v
	}
	for _, name := range names {
		out[name] = t[name].Rows(from, to)
	}
	return out
}

// sliceCols is sliceRows for the tensors that have a column per row.
func sliceCols(t tensors, from, to int, names ...string) tensors {
	for _, name := range names {
		t[name] = t[name].Cols(from, to)
	}
	return t
}

func splitLogProb(q precision, strided bool) split {
	p := newProblem(strided, "%s rows of LogProb", q.name).oneIn(2)
	p.in("h", 64, 40, 1)
	p.weight(q, "w", 600, 40, 0.4)
	p.ids("targets", 1, 64, 0, 600)
	p.allowed(64, 600)
	p.in("coef", 1, 64, 1)
	p.in("logp", 1, 64, 1).result(exact)
	p.in("entropy", 1, 64, 1).result(exact)
	p.in("logp2", 1, 64, 1).result(exact)
	p.in("dh", 64, 40, 1).result(exact)
	return split{p, 64, func(be compute.Backend, t tensors, from, to int) {
		t = sliceCols(sliceRows(t, from, to, "h", "dh"), from, to, "targets", "coef", "logp", "entropy", "logp2")
		a := compute.LogProbArgs{H: t["h"], W: t["w"], Targets: t["targets"], LogP: t["logp"], Entropy: t["entropy"], BF16: q.round,
			InvTemp: 0.6, Allowed: compute.IDSets{Offsets: t["offsets"].Cols(from, to+1), IDs: t["allowed"]}}
		be.LogProb(a)
		a.LogP = t["logp2"]
		be.LogProbBackward(compute.LogProbBackwardArgs{LogProbArgs: a, Coef: t["coef"], DH: t["dh"]})
	}}
}

// splitLatent takes one sequence in portions, and beside others.
func splitLatent(strided bool, start, top int) split {
	h := heads[3]
	p := latent(strided, h, 64, start, top)
	return split{p, 64, func(be compute.Backend, t tensors, from, to int) {
		middle := from + (to-from)/3
		be.LatentAttention(latentArgs(h, t, latentSeq(t, start, middle, to), latentSeq(t, start, from, middle)))
	}}
}

// splitSequences takes whole sequences apart: a "row" is a sequence of 70 tokens.
func splitSequences(strided bool) split {
	const seq = 70
	h := heads[2]
	p := mla(strided, h, slices.Repeat([]int{seq}, 8), 0)
	return split{p, 8, func(be compute.Backend, t tensors, from, to int) {
		a := mlaArgs(h, t)
		for i := from; i < to; i++ {
			row := i * seq
			a.Seqs = append(a.Seqs, compute.MLASeq{Row: row, Rows: seq, KV: t["kv"].Rows(row, row+seq), KR: t["kr"].Rows(row, row+seq)})
		}
		be.MLAForward(a)
		be.MLABackward(a, compute.MLAGrads{DO: t["do"], DQ: t["dq"], DKV: t["dkv"], DKR: t["dkr"]})
	}}
}

func splitNorm(strided bool) split {
	p := newProblem(strided, "rows of RMSNorm and SwiGLU").oneIn(2)
	p.in("x", 64, 100, 2)
	p.in("w", 1, 100, 1)
	p.in("y", 64, 100, 1).result(exact)
	p.in("rstd", 1, 64, 1).result(exact)
	p.in("dx", 64, 100, 1).result(exact)
	p.in("act", 64, 100, 1).result(exact)
	return split{p, 64, func(be compute.Backend, t tensors, from, to int) {
		t = sliceCols(sliceRows(t, from, to, "x", "y", "dx", "act"), from, to, "rstd")
		be.RMSNorm(t["y"], t["rstd"], t["x"], t["w"], 1e-6)
		be.RMSNormBackwardInput(t["dx"], t["y"], t["x"], t["w"], t["rstd"], false)
		be.SwiGLU(t["act"], t["x"], t["y"], t["rstd"])
	}}
}

// splitRoute looks at what belongs to a token; the plan of dispatch depends on all.
func splitRoute(strided bool, which int) split {
	r := routers()[which]
	p := route(strided, r, 0, false)
	for _, o := range p.operands {
		if o.name != "scores" && o.name != "experts" && o.name != "weights" {
			o.out = false
		}
	}
	return split{p, r.tokens, func(be compute.Backend, t tensors, from, to int) {
		ar := be.NewArena("plan")
		defer ar.Free()
		n, k := to-from, r.TopK
		t = sliceRows(t, from, to, "logits", "scores", "experts", "weights")
		t["offsets"], t["token"], t["slot"], t["roww"] = ar.I32(1, r.experts+1), ar.I32(1, n*k), ar.I32(n, k), ar.F32(1, n*k)
		be.Route(r.with(t))
	}}
}
