package opcheck

import (
	"math"

	"sonde/compute"
)

func layerNorms() (ps []*problem) {
	for _, strided := range layouts {
		for _, d := range []int{2, 7, 16, 20, 64, 100, 515} {
			for _, rows := range []int{1, 3, 70} {
				p := newProblem(strided, "T%d D%d", rows, d).oneIn(3)
				p.in("x", rows, d, 2)
				p.in("w", 1, d, 1)
				p.in("b", 1, d, 1)
				p.in("y", rows, d, 1).result(1e-6)
				p.in("x2", rows, d, 2).result(1e-6) // in place
				p.call = func(be compute.Backend, t tensors) {
					be.LayerNorm(t["y"], t["x"], t["w"], t["b"], 1e-6)
					be.LayerNorm(t["x2"], t["x2"], t["w"], t["b"], 0.5)
				}
				ps = append(ps, p)
			}
		}
	}
	return ps
}

func biases() (ps []*problem) {
	for _, strided := range layouts {
		for _, s := range [][2]int{{1, 1}, {3, 20}, {70, 33}, {2100, 40}} {
			p := newProblem(strided, "T%d D%d", s[0], s[1])
			p.in("row", 1, s[1], 1)
			p.in("dy", s[0], s[1], 1)
			p.in("dst", s[0], s[1], 1).result(exact)
			p.in("drow", 1, s[1], 1).result(exact)
			p.call = func(be compute.Backend, t tensors) {
				be.AddRow(t["dst"], t["row"])
				be.SumRows(t["drow"], t["dy"])
			}
			ps = append(ps, p)
		}
	}
	return ps
}

// indexers are heads, width, top, rows, start.
var indexers = [][5]int{{1, 5, 1, 1, 0}, {3, 20, 4, 7, 0}, {2, 16, 9, 3, 40}, {4, 64, 33, 70, 10}, {5, 24, 130, 2, 300}, {2, 8, 40, 5, 3}}

func indexes() (ps []*problem) {
	for _, strided := range layouts {
		for _, x := range indexers {
			for _, equal := range []bool{false, true} {
				ps = append(ps, index(strided, x, equal))
			}
		}
	}
	return ps
}

// index has keys after the last visible one; with equal, many keys are alike.
func index(strided bool, x [5]int, equal bool) *problem {
	heads, dim, top, m, start := x[0], x[1], x[2], x[3], x[4]
	p := newProblem(strided, "%v equal=%v", x, equal).oneIn(2)
	p.in("q", m, heads*dim, 1)
	p.in("w", m, heads, 1)
	k := p.in("k", start+m+3, dim, 1)
	for i := range k.data {
		if i >= (start+m)*dim {
			k.data[i] = float32(math.NaN())
		} else if from := i % (3 * dim); equal {
			k.data[i] = k.data[from]
		}
	}
	p.ids("picks", m, top, 0, 9).result(exact)
	p.call = func(be compute.Backend, t tensors) { be.Index(indexArgs(x, start, t)) }
	return p
}

func indexArgs(x [5]int, start int, t tensors) compute.IndexArgs {
	return compute.IndexArgs{Heads: x[0], Dim: x[1], TopK: x[2], Start: start, Q: t["q"], W: t["w"], K: t["k"], Picks: t["picks"]}
}

// splitIndex takes one sequence's rows in portions.
func splitIndex(strided bool) split {
	x := [5]int{4, 20, 30, 64, 90}
	p := index(strided, x, false)
	return split{p, 64, func(be compute.Backend, t tensors, from, to int) {
		be.Index(indexArgs(x, x[4]+from, sliceRows(t, from, to, "q", "w", "picks")))
	}}
}
