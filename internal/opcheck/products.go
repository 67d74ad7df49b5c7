package opcheck

import "sonde/compute"

// bf16Product is how far a product of bfloat16 operands may be from the chain of
// fused multiply-adds: the processors' own instruction sums in pairs.
const bf16Product = 3e-6

// precision is how the operands of a product are given.
type precision struct {
	name    string
	weights bool // B is BF16
	round   bool // MatMulArgs.BF16
}

var precisions = []precision{{name: "f32"}, {name: "rounded", round: true}, {name: "bf16", weights: true}}

func (q precision) tol() float64 {
	if q.weights || q.round {
		return bf16Product
	}
	return exact
}

// weight adds operand B.
func (p *problem) weight(q precision, name string, rows, cols int, deviation float64) {
	if q.weights {
		p.inBF16(name, rows, cols, deviation)
	} else {
		p.in(name, rows, cols, deviation)
	}
}

var sizes = [][3]int{ // m, n, k
	{1, 1, 1}, {1, 40, 20}, {2, 16, 64}, {3, 24, 7}, {7, 33, 129}, {20, 17, 24}, {5, 130, 300}, {64, 70, 48}, {1, 515, 260}, {130, 96, 257},
}

func matmuls() (ps []*problem) {
	for _, form := range []compute.Form{compute.NN, compute.NT, compute.TN} {
		for _, q := range precisions {
			if form == compute.TN && q.weights {
				continue
			}
			for _, strided := range layouts {
				for _, accumulate := range []bool{false, true} {
					for _, s := range sizes {
						ps = append(ps, matmul(form, q, strided, accumulate, s[0], s[1], s[2]))
					}
				}
			}
		}
	}
	return ps
}

func matmul(form compute.Form, q precision, strided, accumulate bool, m, n, k int) *problem {
	p := newProblem(strided, "%v %s %dx%dx%d add=%v", form, q.name, m, n, k, accumulate).oneIn(12)
	a, b := [2]int{m, k}, [2]int{k, n}
	if form == compute.TN {
		a = [2]int{k, m}
	}
	if form == compute.NT {
		b = [2]int{n, k}
	}
	p.in("A", a[0], a[1], 1)
	p.weight(q, "B", b[0], b[1], 1)
	p.in("C", m, n, 1).result(q.tol()).isProduct()
	p.call = func(be compute.Backend, t tensors) {
		be.MatMul(compute.MatMulArgs{Form: form, C: t["C"], A: t["A"], B: t["B"], Accumulate: accumulate, BF16: q.round})
	}
	return p
}

// groups are numbers of rows per expert.
var groups = [][]int{{5}, {0, 3, 0, 1}, {17, 1, 0, 40, 7, 64, 2, 9}, {0, 0, 130}}

func offsets(counts []int) (off []int32, rows int) {
	off = []int32{0}
	for _, c := range counts {
		rows += c
		off = append(off, int32(rows))
	}
	return off, rows
}

func groupedMatmuls() (ps []*problem) {
	for _, form := range []compute.Form{compute.NN, compute.NT, compute.TN} {
		for _, q := range precisions {
			if form == compute.TN && q.weights {
				continue
			}
			for i, counts := range groups {
				for _, strided := range layouts {
					for _, index := range []bool{false, true} {
						n, k := []int{1, 24, 40, 33}[i], []int{7, 20, 72, 64}[i]
						ps = append(ps, grouped(form, q, strided, index, counts, n, k))
					}
				}
			}
		}
	}
	return ps
}

// grouped has every index pick from 6 rows more than there are, some of them twice.
func grouped(form compute.Form, q precision, strided, index bool, counts []int, n, k int) *problem {
	p := newProblem(strided, "%v %s %v n%d k%d index=%v", form, q.name, counts, n, k, index).oneIn(8)
	off, rows := offsets(counts)
	e := len(counts)
	p.given("off", 1, e+1, off)
	have := rows
	if index {
		have = rows + 6
		p.ids("AIndex", 1, rows, 0, have)
		p.ids("BIndex", 1, rows, 0, have)
	}
	p.in("A", have, k, 1)
	switch form {
	case compute.NN:
		p.weight(q, "B", e*k, n, 1)
	case compute.NT:
		p.weight(q, "B", e*n, k, 1)
	case compute.TN:
		p.in("B", have, n, 1)
	}
	if form == compute.TN {
		p.in("C", e*k, n, 1).result(q.tol()).isProduct()
	} else {
		p.in("C", rows, n, 1).result(q.tol()).isProduct()
	}
	p.call = func(be compute.Backend, t tensors) {
		a := compute.GroupedMatMulArgs{Form: form, C: t["C"], A: t["A"], B: t["B"], Experts: e, Offsets: t["off"],
			AIndex: t["AIndex"], BF16: q.round, Accumulate: form != compute.TN && index}
		if form == compute.TN {
			a.BIndex = t["BIndex"]
		}
		be.GroupedMatMul(a)
	}
	return p
}

// heads are MLA's sizes: heads, nope, rope, v, latent.
var heads = [][5]int{{1, 7, 2, 5, 9}, {2, 16, 8, 16, 32}, {3, 20, 4, 24, 40}, {4, 64, 32, 64, 128}}

func headMatmuls() (ps []*problem) {
	for _, q := range precisions {
		for _, h := range heads {
			for _, strided := range layouts {
				for _, m := range []int{1, 3, 70} {
					ps = append(ps, headMatmul(q, h, strided, m))
				}
			}
		}
	}
	return ps
}

// headMatmul is both products of the absorbed form.
func headMatmul(q precision, h [5]int, strided bool, m int) *problem {
	n, nope, rope, v, latent := h[0], h[1], h[2], h[3], h[4]
	p := newProblem(strided, "%s %v m%d", q.name, h, m).oneIn(5)
	p.in("Q", m, n*(nope+rope), 1)
	p.in("O", m, n*latent, 1)
	p.weight(q, "B", n*(nope+v), latent, 1)
	p.in("QL", m, n*(latent+rope), 1).result(q.tol()).isProduct()
	p.in("OV", m, n*v, 1).result(q.tol()).isProduct()
	p.call = func(be compute.Backend, t tensors) {
		be.HeadMatMul(compute.HeadMatMulArgs{Form: compute.NN, C: t["QL"], A: t["Q"], B: t["B"], Heads: n, CCols: latent + rope,
			CWidth: latent, ACols: nope + rope, AWidth: nope, BRows: nope + v, BCount: nope, BF16: q.round})
		be.HeadMatMul(compute.HeadMatMulArgs{Form: compute.NT, C: t["OV"], A: t["O"], B: t["B"], Heads: n, CCols: v,
			CWidth: v, ACols: latent, AWidth: latent, BRows: nope + v, BOff: nope, BCount: v, BF16: q.round})
	}
	return p
}
