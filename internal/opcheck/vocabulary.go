package opcheck

import (
	"math"

	"sonde/compute"
)

func logprobs() (ps []*problem) {
	for _, q := range precisions {
		for _, strided := range layouts {
			for _, s := range [][3]int{{1, 20, 1}, {1, 33, 40}, {3, 20, 513}, {7, 64, 1100}, {66, 40, 700}} { // rows, width, vocabulary
				ps = append(ps, logprob(q, strided, s[0], s[1], s[2], 0, false), logprob(q, strided, s[0], s[1], s[2], 1.4, true))
			}
		}
	}
	return ps
}

func logprob(q precision, strided bool, rows, d, v int, invTemp float32, some bool) *problem {
	p := newProblem(strided, "%s T%d D%d V%d at %v some=%v", q.name, rows, d, v, invTemp, some).oneIn(4)
	grad := 1e-5
	if q.weights || q.round { // gradients to logits near half way round either way
		grad = 1e-3
	}
	p.in("h", rows, d, 1)
	p.weight(q, "w", v, d, 3/math.Sqrt(float64(d)))
	p.ids("targets", 1, rows, 0, v)
	p.operands[2].ints[rows/2] = -1
	p.operands[2].ints[0] = int32(v - 1)
	if some {
		p.allowed(rows, v)
	}
	p.in("coef", 1, rows, 1)
	p.in("logp", 1, rows, 1).result(2e-6)
	p.in("entropy", 1, rows, 1).result(5e-6)
	p.in("logp2", 1, rows, 1).result(2e-6)
	p.in("entropy2", 1, rows, 1).result(5e-6)
	p.in("dh", rows, d, 1).result(grad)
	p.in("dw", v, d, 1).result(grad)
	p.in("dh2", rows, d, 1).result(grad)
	p.in("logp3", 1, rows, 1).result(2e-6)
	if v == 1 { // the only entry has probability 1: all but dw is 0, give or take rounding
		for _, o := range p.operands {
			if o.out && o.name != "dw" {
				o.tol = math.Inf(1)
			}
		}
	}
	p.call = func(be compute.Backend, t tensors) {
		a := compute.LogProbArgs{H: t["h"], W: t["w"], Targets: t["targets"], LogP: t["logp"], Entropy: t["entropy"], BF16: q.round,
			InvTemp: invTemp, Allowed: compute.IDSets{Offsets: t["offsets"], IDs: t["allowed"]}}
		be.LogProb(a)
		a.LogP, a.Entropy = t["logp2"], t["entropy2"]
		be.LogProbBackward(compute.LogProbBackwardArgs{LogProbArgs: a, Coef: t["coef"], DH: t["dh"], DW: t["dw"]})
		a.LogP, a.Entropy = t["logp3"], compute.Tensor{} // frozen weights
		be.LogProbBackward(compute.LogProbBackwardArgs{LogProbArgs: a, Coef: t["coef"], DH: t["dh2"]})
	}
	return p
}

// allowed adds a set of ids for each row, its target among them: every fourth row's is
// empty, every fourth's its target alone, the others' about a third of the vocabulary.
func (p *problem) allowed(rows, v int) {
	offsets, ids := make([]int32, rows+1), []int32{}
	for t, target := range p.operands[2].ints {
		for id := range int32(v) {
			if t%4 != 0 && id == target || t%4 > 1 && p.rng.IntN(3) == 0 {
				ids = append(ids, id)
			}
		}
		offsets[t+1] = int32(len(ids))
	}
	p.given("offsets", 1, rows+1, offsets)
	p.given("allowed", 1, len(ids)+1, append(ids, 0))
}
