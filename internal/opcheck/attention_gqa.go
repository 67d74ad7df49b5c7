package opcheck

import (
	"fmt"
	"math"

	"sonde/compute"
)

// groupsOf are sizes of grouped-query attention: heads, key heads, width.
var groupsOf = [][3]int{{1, 1, 5}, {3, 1, 64}, {4, 2, 20}, {9, 3, 24}, {16, 2, 16}}

// pieces are sequences side by side: rows and the position of the first.
var pieces = [][][2]int{{{1, 0}}, {{1, 63}, {1, 130}, {1, 300}}, {{3, 64}, {1, 0}, {70, 5}}, {{7, 600}, {0, 4}, {2, 254}}}

func attentions() (ps []*problem) {
	for _, strided := range layouts {
		for _, g := range groupsOf {
			for _, seqs := range pieces {
				ps = append(ps, attention(strided, g, seqs))
			}
			for _, lengths := range [][]int{{1}, {65, 3}, {200}} {
				ps = append(ps, attentionTraining(strided, g, lengths))
			}
			for _, cuts := range [][]int{{70}, {66, 1, 3}, {254, 1, 1, 1, 20}, {600, 1}} {
				if g[2]%8 == 0 {
					ps = append(ps, attentionHalf(strided, g, cuts))
				}
			}
		}
	}
	return ps
}

// attention has keys after the last visible one: whoever reads them shows it. The rows
// of the sequences lie in reversed order, with one that belongs to none between them.
func attention(strided bool, g [3]int, seqs [][2]int) *problem {
	p := newProblem(strided, "%v rows, starts %v", g, seqs).oneIn(4)
	rows := 0
	for i, s := range seqs {
		rows += s[0] + 1
		for _, name := range []string{"k", "v"} {
			p.unseen(p.in(fmt.Sprint(name, i), s[0]+s[1]+2, g[1]*g[2], 1).result(exact), s[0]+s[1])
		}
	}
	p.in("q", rows, g[0]*g[2], 1.5)
	p.in("o", rows, g[0]*g[2], 1).result(5e-6)
	p.in("lse", rows, g[0], 1).result(2e-6)
	p.in("o2", rows, g[0]*g[2], 1).result(5e-6)
	p.in("newk", rows, g[1]*g[2], 1)
	p.in("newv", rows, g[1]*g[2], 1)
	p.call = func(be compute.Backend, t tensors) {
		a := attentionArgs(g, t)
		row := rows
		for i, s := range seqs {
			row -= s[0] + 1
			a.Seqs = append(a.Seqs, compute.AttentionSeq{Row: row, Rows: s[0], Start: s[1], K: t[fmt.Sprint("k", i)], V: t[fmt.Sprint("v", i)]})
		}
		be.Attention(a)
		a.O, a.LSE, a.K, a.V = t["o2"], compute.Tensor{}, t["newk"], t["newv"]
		be.Attention(a)
	}
	return p
}

func attentionArgs(g [3]int, t tensors) compute.AttentionArgs {
	return compute.AttentionArgs{Heads: g[0], KVHeads: g[1], Dim: g[2], Scale: float32(1 / math.Sqrt(float64(g[2]))), Q: t["q"], O: t["o"], LSE: t["lse"]}
}

// attentionTraining is whole sequences, forward and backward.
func attentionTraining(strided bool, g [3]int, lengths []int) *problem {
	p := newProblem(strided, "%v forward and backward of %v", g, lengths).oneIn(4)
	rows := 0
	for _, n := range lengths {
		rows += n
	}
	for _, name := range []string{"k", "v"} {
		p.in(name, rows, g[1]*g[2], 1.5)
		o := p.in("d"+name, rows, g[1]*g[2], 1).result(1e-5)
		if rows == 1 && name == "k" {
			o.tol = math.Inf(1) // the only key's probability is 1: this gradient is rounding errors
		}
	}
	p.in("q", rows, g[0]*g[2], 1.5)
	p.in("do", rows, g[0]*g[2], 1)
	p.in("o", rows, g[0]*g[2], 1).result(5e-6)
	p.in("lse", rows, g[0], 1).result(2e-6)
	if dq := p.in("dq", rows, g[0]*g[2], 1).result(1e-5); rows == 1 {
		dq.tol = math.Inf(1)
	}
	p.call = func(be compute.Backend, t tensors) {
		a, grads := attentionArgs(g, t), compute.AttentionGrads{DO: t["do"], DQ: t["dq"]}
		from := 0
		for _, n := range lengths {
			cut := func(name string) compute.Tensor { return t[name].Rows(from, from+n) }
			a.Seqs = append(a.Seqs, compute.AttentionSeq{Row: from, Rows: n, K: cut("k"), V: cut("v")})
			grads.DK, grads.DV = append(grads.DK, cut("dk")), append(grads.DV, cut("dv"))
			from += n
		}
		be.Attention(a)
		be.AttentionBackward(a, grads)
	}
	return p
}

// splitAttention takes one sequence in portions, and beside others.
func splitAttention(strided bool, start int) split {
	g := groupsOf[3]
	p := newProblem(strided, "rows of Attention from %d on", start).oneIn(2)
	p.in("k", start+64, g[1]*g[2], 1)
	p.in("v", start+64, g[1]*g[2], 1)
	p.in("q", 64, g[0]*g[2], 1.5)
	p.in("o", 64, g[0]*g[2], 1).result(exact)
	p.in("lse", 64, g[0], 1).result(exact)
	return split{p, 64, func(be compute.Backend, t tensors, from, to int) {
		a := attentionArgs(g, t)
		seq := func(from, to int) compute.AttentionSeq {
			return compute.AttentionSeq{Row: from, Rows: to - from, Start: start + from, K: t["k"], V: t["v"]}
		}
		middle := from + (to-from)/3 // the later rows stand for a sequence of their own
		a.Seqs = []compute.AttentionSeq{seq(middle, to), seq(from, middle)}
		be.Attention(a)
	}}
}

// attentionHalf is a sequence whose keys and values are kept as float16 and whose rows
// come in calls of cuts rows.
func attentionHalf(strided bool, g [3]int, cuts []int) *problem {
	p := newProblem(strided, "%v, float16 keys, rows of %v", g, cuts).oneIn(4)
	rows := 0
	for _, n := range cuts {
		rows += n
	}
	p.halfOperands(g, rows, 5e-6)
	p.call = func(be compute.Backend, t tensors) {
		c := newHalfCache(be, g, rows)
		defer c.Free()
		from := 0
		for _, n := range cuts {
			c.extend(be, g, t, from, from+n)
			from += n
		}
	}
	return p
}

func (p *problem) halfOperands(g [3]int, rows int, tol float64) {
	p.in("q", rows, g[0]*g[2], 1.5)
	p.in("k", rows, g[1]*g[2], 1)
	p.in("v", rows, g[1]*g[2], 1)
	p.in("o", rows, g[0]*g[2], 1).result(tol)
	p.in("lse", rows, g[0], 1).result(tol)
}

// halfCache is a sequence's keys and values as float16, with room for no row more.
type halfCache struct {
	*compute.Arena
	k, v compute.Tensor
}

func newHalfCache(be compute.Backend, g [3]int, rows int) halfCache {
	ar := be.NewArena("float16 keys")
	return halfCache{ar, ar.Alloc(compute.F16, rows, g[1]*g[2]), ar.Alloc(compute.F16, rows, g[1]*g[2])}
}

// extend appends rows [from, to) and attends.
func (c halfCache) extend(be compute.Backend, g [3]int, t tensors, from, to int) {
	a := attentionArgs(g, t)
	a.K, a.V = t["k"], t["v"]
	a.Seqs = []compute.AttentionSeq{{Row: from, Rows: to - from, Start: from, K: c.k, V: c.v}}
	be.Attention(a)
}

// splitHalf takes rows into a cache of float16 in portions, after many.
func splitHalf(strided bool, g [3]int) split {
	const before = 230
	p := newProblem(strided, "rows of Attention over float16 %v", g).oneIn(2)
	p.halfOperands(g, before+64, exact)
	var c halfCache
	return split{p, 64, func(be compute.Backend, t tensors, from, to int) {
		if from == 0 {
			c = newHalfCache(be, g, before+64)
			c.extend(be, g, t, 0, before)
		}
		c.extend(be, g, t, before+from, before+to)
		if to == 64 {
			c.Free()
		}
	}}
}
