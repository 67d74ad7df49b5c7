package opcheck

import (
	"math"
	"slices"

	"sonde/compute"
)

func norms() (ps []*problem) {
	for _, strided := range layouts {
		for _, d := range []int{1, 7, 16, 20, 24, 40, 64, 100, 515} {
			for _, rows := range []int{1, 3, 70} {
				ps = append(ps, norm(strided, rows, d))
			}
		}
	}
	return ps
}

func norm(strided bool, rows, d int) *problem {
	p := newProblem(strided, "T%d D%d", rows, d).oneIn(3)
	p.in("x", rows, d, 2)
	p.in("w", 1, d, 1)
	p.in("dy", rows, d, 1)
	p.in("y", rows, d, 1).result(3e-7)
	p.in("y2", rows, d, 1).result(3e-7)
	p.in("rstd", 1, rows, 1).result(3e-7)
	p.in("dx", rows, d, 1).result(2e-6)
	p.in("dx+", rows, d, 1).result(1e-6)
	p.in("dw", 1, d, 1).result(1e-6)
	p.call = func(be compute.Backend, t tensors) {
		be.RMSNorm(t["y"], t["rstd"], t["x"], t["w"], 1e-6)
		be.RMSNorm(t["y2"], compute.Tensor{}, t["x"], t["w"], 0.5)
		be.RMSNormBackwardInput(t["dx"], t["dy"], t["x"], t["w"], t["rstd"], false)
		be.RMSNormBackwardInput(t["dx+"], t["dy"], t["x"], t["w"], t["rstd"], true)
		be.RMSNormBackwardWeight(t["dw"], t["dy"], t["x"], t["rstd"])
	}
	if d == 1 { // the gradient cancels to rounding errors: its terms set the scale
		p.operands[6].tol = math.Inf(1)
	}
	return p
}

func ropes() (ps []*problem) {
	for _, strided := range layouts {
		for _, s := range [][4]int{{1, 1, 0, 2}, {3, 2, 20, 8}, {7, 3, 5, 24}, {70, 4, 64, 64}, {2, 5, 0, 80}} { // rows, heads, nope, rope
			p := newProblem(strided, "%v", s)
			rows, n, nope, dim := s[0], s[1], s[2], s[3]
			p.ids("pos", 1, rows, 0, 90)
			table := p.in("table", 90, dim, 1)
			for i := range table.data {
				table.data[i] = float32(math.Max(-1, math.Min(1, float64(table.data[i]))))
			}
			p.in("x", rows, n*(nope+dim), 1).result(3e-7)
			p.in("y", rows, n*(nope+dim), 1).result(3e-7)
			p.in("x2", rows, n*(nope+dim), 1).result(3e-7)
			p.in("y2", rows, n*(nope+dim), 1).result(3e-7)
			p.call = func(be compute.Backend, t tensors) {
				a := compute.RopeArgs{X: t["x"], Pos: t["pos"], Table: t["table"], Heads: n, HeadStride: nope + dim, Offset: nope, Dim: dim}
				be.Rope(a)
				a.X, a.Inverse = t["y"], true
				be.Rope(a)
				a.X, a.Halves = t["y2"], true
				be.Rope(a)
				a.X, a.Inverse = t["x2"], false
				be.Rope(a)
			}
			ps = append(ps, p)
		}
	}
	return ps
}

func swiglus() (ps []*problem) {
	for _, strided := range layouts {
		for _, s := range [][2]int{{1, 1}, {3, 20}, {7, 33}, {64, 24}, {70, 515}} {
			p := newProblem(strided, "T%d D%d", s[0], s[1])
			p.in("gate", s[0], s[1], 4)
			p.in("up", s[0], s[1], 1)
			p.in("scale", 1, s[0], 1)
			p.in("dy", s[0], s[1], 1)
			p.in("y", s[0], s[1], 1).result(1e-6)
			p.in("plain", s[0], s[1], 1).result(1e-6)
			p.in("dgate", s[0], s[1], 1).result(2e-6)
			p.in("dup", s[0], s[1], 1).result(1e-6)
			p.in("dscale", 1, s[0], 1).result(4e-6)
			p.in("g", s[0], s[1], 4).result(2e-6) // in place
			p.in("u", s[0], s[1], 1).result(1e-6)
			p.call = func(be compute.Backend, t tensors) {
				none := compute.Tensor{}
				be.SwiGLU(t["y"], t["gate"], t["up"], t["scale"])
				be.SwiGLU(t["plain"], t["gate"], t["up"], none)
				be.SwiGLUBackward(t["dgate"], t["dup"], t["dscale"], t["dy"], t["gate"], t["up"], t["scale"])
				be.SwiGLUBackward(t["g"], t["u"], none, t["dy"], t["g"], t["u"], none)
			}
			ps = append(ps, p)
		}
	}
	return ps
}

func combines() (ps []*problem) {
	for _, strided := range layouts {
		for _, s := range [][3]int{{1, 1, 1}, {7, 3, 20}, {64, 8, 33}, {130, 2, 256}} { // tokens, k, width
			p := newProblem(strided, "%v", s)
			rows := s[0] * s[1]
			p.in("rows", rows, s[2], 1)
			slot := p.ids("slot", s[0], s[1], 0, rows)
			for i, r := range p.rng.Perm(rows) {
				slot.ints[i] = int32(r)
			}
			p.in("y", s[0], s[2], 1).result(exact)
			p.in("y+", s[0], s[2], 1).result(exact)
			p.call = func(be compute.Backend, t tensors) {
				be.CombineRows(t["y"], t["rows"], t["slot"], false)
				be.CombineRows(t["y+"], t["rows"], t["slot"], true)
			}
			ps = append(ps, p)
		}
	}
	return ps
}

// router is a set of RouteArgs without tensors, and what it is tried on.
type router struct {
	tokens, experts int
	lens            []int
	compute.RouteArgs
}

func routers() (rs []router) {
	for _, r := range []router{
		{tokens: 1, experts: 4, lens: []int{1}, RouteArgs: compute.RouteArgs{TopK: 1, Groups: 1, TopGroups: 1}},
		{tokens: 14, experts: 8, lens: []int{7, 7}, RouteArgs: compute.RouteArgs{TopK: 3, Groups: 4, TopGroups: 2}},
		{tokens: 64, experts: 24, lens: []int{1, 40, 23}, RouteArgs: compute.RouteArgs{TopK: 4, Groups: 3, TopGroups: 1}},
		{tokens: 130, experts: 20, lens: []int{65, 65}, RouteArgs: compute.RouteArgs{TopK: 6, Groups: 1, TopGroups: 1}},
		{tokens: 9, experts: 256, lens: []int{4, 5}, RouteArgs: compute.RouteArgs{TopK: 8, Groups: 8, TopGroups: 4}},
	} {
		r.Scale = 2.5
		rs = append(rs, r)
		r.Normalize = true
		rs = append(rs, r)
		r.Softmax, r.GroupMax = true, true
		rs = append(rs, r)
		r.Normalize = false
		rs = append(rs, r)
	}
	return rs
}

func routes() (ps []*problem) {
	for _, strided := range layouts {
		for _, r := range routers() {
			for _, alpha := range []float32{0, 0.1} {
				ps = append(ps, route(strided, r, alpha, false), route(strided, r, alpha, true))
			}
		}
	}
	return ps
}

// route chooses experts, or follows given ones.
func route(strided bool, r router, alpha float32, given bool) *problem {
	p := newProblem(strided, "T%d E%d K%d of %d/%d groups norm=%v softmax=%v alpha=%v given=%v", r.tokens, r.experts, r.TopK, r.TopGroups, r.Groups, r.Normalize, r.Softmax, alpha, given).oneIn(2)
	r.Given = given
	n, e, k := r.tokens, r.experts, r.TopK
	p.in("logits", n, e, 1)
	if !r.Softmax || r.Normalize {
		p.in("bias", 1, e, 0.3)
	}
	p.in("scores", n, e, 1).result(1e-6)
	experts := p.ids("experts", n, k, 0, 9).result(exact)
	for i := 0; given && i < n; i++ {
		for j, x := range p.rng.Perm(e)[:k] {
			experts.ints[i*k+j] = int32(x)
		}
		slices.Sort(experts.ints[i*k : (i+1)*k])
	}
	p.in("weights", n, k, 1).result(1e-6)
	p.ids("offsets", 1, e+1, 0, 9).result(exact)
	p.ids("token", 1, n*k, 0, 9).result(exact)
	p.ids("slot", n, k, 0, 9).result(exact)
	p.in("roww", 1, n*k, 1).result(1e-6)
	p.in("droww", 1, n*k, 1)
	dlogits := p.in("dlogits", n, e, 1).result(5e-6)
	if k == 1 && r.Normalize && alpha == 0 { // the weight is a constant: its gradient is rounding errors
		dlogits.tol = math.Inf(1)
	}
	p.call = func(be compute.Backend, t tensors) {
		a := r.with(t)
		be.Route(a)
		be.RouteBackward(compute.RouteBackwardArgs{RouteArgs: a, DRowW: t["droww"], DLogits: t["dlogits"], Lens: r.lens, AuxAlpha: alpha, AuxScale: 0.25})
	}
	return p
}

func (r router) with(t tensors) compute.RouteArgs {
	a := r.RouteArgs
	a.Logits, a.Bias, a.Scores, a.Experts, a.Weights = t["logits"], t["bias"], t["scores"], t["experts"], t["weights"]
	a.Offsets, a.Token, a.Slot, a.RowW = t["offsets"], t["token"], t["slot"], t["roww"]
	return a
}
