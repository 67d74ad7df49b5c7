package opcheck

import (
	"fmt"
	"math"
	"slices"

	"sonde/compute"
)

// mlaSizes are heads' and one whose last heads are fewer than are taken together.
var mlaSizes = append(slices.Clone(heads), [5]int{6, 24, 16, 32, 48})

func mlas() (ps []*problem) {
	for _, strided := range layouts {
		for i, h := range mlaSizes {
			for _, lens := range [][]int{{1}, {7, 1, 7}, {64}, {65, 3, 65}, {200}} {
				if i == 3 && lens[0] > 100 {
					continue // long enough already
				}
				ps = append(ps, mla(strided, h, lens, 0))
				if n := lens[0]; n == 65 || n == 200 {
					ps = append(ps, mla(strided, h, lens, n/3))
				}
			}
			for _, seqs := range pieces {
				ps = append(ps, mlaCached(strided, h, seqs, 0), mlaCached(strided, h, seqs, 50))
			}
		}
	}
	return ps
}

// mla is whole sequences of lens rows, forward and backward. It sees all keys where top
// is 0, else the picked ones.
func mla(strided bool, h [5]int, lens []int, top int) *problem {
	p := newProblem(strided, "%v forward and backward of %v top%d", h[:4], lens, top).oneIn(4)
	n, nope, rope, v := h[0], h[1], h[2], h[3]
	rows, place := 0, []int{}
	for _, n := range lens {
		rows += n
		for i := range n {
			place = append(place, i)
		}
	}
	p.in("q", rows, n*(nope+rope), 1.5)
	p.in("kv", rows, n*(nope+v), 1.5)
	p.in("kr", rows, rope, 1.5)
	p.in("do", rows, n*v, 1)
	p.in("o", rows, n*v, 1).result(3e-6)
	p.in("lse", rows, n, 1).result(2e-6)
	p.in("dq", rows, n*(nope+rope), 1).result(1e-5)
	p.in("dkv", rows, n*(nope+v), 1).result(1e-5)
	p.in("dkr", rows, rope, 1).result(1e-5)
	if rows == 1 { // one key: its probability is 1 and these gradients are rounding errors
		p.operands[6].tol, p.operands[8].tol = math.Inf(1), math.Inf(1)
	}
	if top > 0 {
		p.picks(rows, top, func(row int) int { return place[row] + 1 })
	}
	p.call = func(be compute.Backend, t tensors) {
		a := mlaArgs(h, t)
		row := 0
		for _, n := range lens {
			a.Seqs = append(a.Seqs, compute.MLASeq{Row: row, Rows: n, KV: t["kv"].Rows(row, row+n), KR: t["kr"].Rows(row, row+n)})
			row += n
		}
		be.MLAForward(a)
		be.MLABackward(a, compute.MLAGrads{DO: t["do"], DQ: t["dq"], DKV: t["dkv"], DKR: t["dkr"]})
	}
	return p
}

// mlaCached has keys after the last visible one: whoever reads them shows it. The rows
// of the sequences lie in reversed order, with one that belongs to none between them.
func mlaCached(strided bool, h [5]int, seqs [][2]int, top int) *problem {
	p := newProblem(strided, "%v rows, starts %v top%d", h[:4], seqs, top).oneIn(4)
	rows := 0
	for i, s := range seqs {
		rows += s[0] + 1
		p.unseen(p.in(fmt.Sprint("kv", i), s[0]+s[1]+2, h[0]*(h[1]+h[3]), 1).result(exact), s[0]+s[1])
		p.unseen(p.in(fmt.Sprint("kr", i), s[0]+s[1]+2, h[2], 1).result(exact), s[0]+s[1])
	}
	p.in("q", rows, h[0]*(h[1]+h[2]), 1.5)
	p.in("o", rows, h[0]*h[3], 1).result(5e-6)
	p.in("lse", rows, h[0], 1).result(2e-6)
	p.in("o2", rows, h[0]*h[3], 1).result(5e-6)
	p.in("newkv", rows, h[0]*(h[1]+h[3]), 1)
	p.in("newkr", rows, h[2], 1)
	args, sees, row := []compute.MLASeq{}, make([]int, rows), rows
	for _, s := range seqs {
		row -= s[0] + 1
		args = append(args, compute.MLASeq{Row: row, Rows: s[0], Start: s[1]})
		for i := range s[0] {
			sees[row+i] = s[1] + i + 1
		}
	}
	if top > 0 {
		p.picks(rows, top, func(row int) int { return sees[row] })
	}
	p.call = func(be compute.Backend, t tensors) {
		a := mlaArgs(h, t)
		for i, s := range args {
			s.KV, s.KR = t[fmt.Sprint("kv", i)], t[fmt.Sprint("kr", i)]
			a.Seqs = append(a.Seqs, s)
		}
		be.MLAForward(a)
		a.O, a.LSE, a.KV, a.KR = t["o2"], compute.Tensor{}, t["newkv"], t["newkr"]
		be.MLAForward(a)
	}
	return p
}

// unseen makes the rows of o from n on NaN.
func (*problem) unseen(o *operand, n int) {
	for i := n * o.cols; i < len(o.data); i++ {
		o.data[i] = float32(math.NaN())
	}
}

func mlaArgs(h [5]int, t tensors) compute.MLAArgs {
	return compute.MLAArgs{Heads: h[0], Nope: h[1], Rope: h[2], V: h[3],
		Scale: float32(1 / math.Sqrt(float64(h[1]+h[2]))), Q: t["q"], O: t["o"], LSE: t["lse"], Picks: t["picks"]}
}

// splitMLA takes one sequence in portions, and beside others.
func splitMLA(strided bool, h [5]int, start, top int) split {
	p := newProblem(strided, "rows of MLA %v from %d on top%d", h[:4], start, top).oneIn(2)
	p.in("kv", start+64, h[0]*(h[1]+h[3]), 1)
	p.in("kr", start+64, h[2], 1)
	p.in("q", 64, h[0]*(h[1]+h[2]), 1.5)
	p.in("o", 64, h[0]*h[3], 1).result(exact)
	p.in("lse", 64, h[0], 1).result(exact)
	if top > 0 {
		p.picks(64, top, func(row int) int { return start + row + 1 })
	}
	return split{p, 64, func(be compute.Backend, t tensors, from, to int) {
		a := mlaArgs(h, t)
		seq := func(from, to int) compute.MLASeq {
			return compute.MLASeq{Row: from, Rows: to - from, Start: start + from, KV: t["kv"], KR: t["kr"]}
		}
		middle := from + (to-from)/3 // the later rows stand for a sequence of their own
		a.Seqs = []compute.MLASeq{seq(middle, to), seq(from, middle)}
		be.MLAForward(a)
	}}
}

// picks adds an operand with top places a row below what the row sees: all of them where
// they are no more than top, else some at random, in every fifth row fewer.
func (p *problem) picks(rows, top int, sees func(row int) int) {
	o := p.ids("picks", rows, top, -1, 0)
	for row := range rows {
		n, want := sees(row), top
		if row%5 == 4 {
			want = (top + 1) / 2
		}
		places := p.rng.Perm(n)[:min(want, n)]
		slices.Sort(places)
		for j, place := range places {
			o.ints[row*top+j] = int32(place)
		}
	}
}

func latents() (ps []*problem) {
	for _, strided := range layouts {
		for _, h := range heads {
			for _, s := range [][2]int{{1, 0}, {1, 63}, {3, 64}, {7, 100}, {66, 5}, {1, 300}} { // rows, start
				ps = append(ps, latent(strided, h, s[0], s[1], 0))
				if s[1] >= 64 {
					ps = append(ps, latent(strided, h, s[0], s[1], 61), latent(strided, h, s[0], s[1], 101))
				}
			}
		}
	}
	return ps
}

// latent has rows after the last visible one: whoever reads them shows it.
func latent(strided bool, h [5]int, m, start, top int) *problem {
	p := newProblem(strided, "%v M%d at %d top%d", h, m, start, top).oneIn(4)
	n, d := h[0], h[4]+h[2]
	p.in("q", m, n*d, 1)
	p.unseen(p.in("cache", start+m+3, d, 1), start+m)
	p.in("o", m, n*h[4], 1).result(5e-6)
	if top > 0 {
		p.picks(m, top, func(row int) int { return start + row + 1 })
	}
	p.call = func(be compute.Backend, t tensors) { be.LatentAttention(latentArgs(h, t, latentSeq(t, start, 0, m))) }
	return p
}

// latentSeq is rows [from, to) of a sequence whose first row is at start.
func latentSeq(t tensors, start, from, to int) compute.LatentSeq {
	return compute.LatentSeq{Row: from, Rows: to - from, Start: start + from, Cache: t["cache"]}
}

func latentArgs(h [5]int, t tensors, seqs ...compute.LatentSeq) compute.LatentArgs {
	return compute.LatentArgs{Heads: h[0], Latent: h[4], Rope: h[2], Scale: float32(1.5 / math.Sqrt(float64(h[4]+h[2]))),
		Q: t["q"], O: t["o"], Picks: t["picks"], Seqs: seqs}
}
