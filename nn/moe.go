package nn

import "sonde/compute"

// MoEDims are the shapes and choices of a mixture-of-experts layer (V3 report,
// section 2.1.2).
type MoEDims struct {
	Experts, TopK, Groups, TopGroups int
	Normalize                        bool
	Softmax, GroupMax                bool // V2's scores, see compute.RouteArgs
	Scale                            float32
}

// Router scores the experts.
type Router struct {
	W    compute.Tensor `weight:"weight,fp32"`                              // [E, D]
	Bias compute.Tensor `weight:"e_score_correction_bias,norm,fp32,buffer"` // [1, E], for selection only; absent in V2
}

// MoE holds the router, the routed experts (one tensor a matrix, experts one after
// the other, or one tensor an expert in Parts) and the shared experts (one MLP).
type MoE struct {
	Experts int
	Router  Router         `weight:"gate"`
	Gate    compute.Tensor `weight:"experts.%d.gate_proj.weight,experts=Experts"` // [E*F, D]
	Up      compute.Tensor `weight:"experts.%d.up_proj.weight,experts=Experts"`   // [E*F, D]
	Down    compute.Tensor `weight:"experts.%d.down_proj.weight,experts=Experts"` // [E*D, F]
	Shared  *MLP           `weight:"shared_experts"`

	GateParts, UpParts, DownParts []compute.Tensor // [F, D], [F, D], [D, F] each
}

// width is F, the width of one expert.
func (m *MoE) width() int {
	if m.GateParts != nil {
		return m.GateParts[0].NumRows()
	}
	return m.Gate.NumRows() / m.Experts
}

// MoERecord is what MoE's backward needs and leaves for its weight part.
type MoERecord struct {
	X                compute.Tensor
	Given            compute.Tensor // I32 [T, K], optional: the experts, ascending, instead of the router's choice
	Route            compute.RouteArgs
	Gate, Up, Hidden compute.Tensor // [T*K, F], rows in expert order
	Shared           MLPRecord

	DY, DGate, DUp, DLogits compute.Tensor
}

// Balance says how the sequence-wise auxiliary loss enters the backward.
type Balance struct {
	Alpha, Scale float32
	Lens         []int // of the sequences side by side
}

// grouped is a product with the experts' matrices, which are b or bs.
func (m *MoE) grouped(rec *MoERecord, form compute.Form, c, a, b compute.Tensor, bs []compute.Tensor) compute.GroupedMatMulArgs {
	return compute.GroupedMatMulArgs{Form: form, C: c, A: a, B: b, Bs: bs, Experts: m.Experts, Offsets: rec.Route.Offsets}
}

// gradient is the product of gradient c, of a matrix whose format is the layer's.
func (m *MoE) gradient(be compute.Backend, rec *MoERecord, c, a, b, aIndex, bIndex compute.Tensor) {
	if c.IsZero() {
		return // not trained
	}
	be.GroupedMatMul(compute.GroupedMatMulArgs{Form: compute.TN, C: c, A: a, B: b, Experts: m.Experts, Offsets: rec.Route.Offsets,
		AIndex: aIndex, BIndex: bIndex, BF16: m.Gate.DType() == compute.BF16})
}

// Forward is y += moe(x); x, y [T, D]. Tokens are not dropped.
func (m *MoE) Forward(be compute.Backend, ar *compute.Arena, d MoEDims, y, x compute.Tensor, rec *MoERecord) {
	t, f := x.NumRows(), m.width()
	rows := t * d.TopK
	logits := ar.F32(t, d.Experts)
	Linear(be, logits, x, m.Router.W, false)
	rec.X = x
	rec.Route = compute.RouteArgs{TopK: d.TopK, Groups: d.Groups, TopGroups: d.TopGroups, Normalize: d.Normalize, Scale: d.Scale,
		Softmax: d.Softmax, GroupMax: d.GroupMax,
		Logits: logits, Bias: m.Router.Bias, Scores: ar.F32(t, d.Experts),
		Experts: ar.I32(t, d.TopK), Weights: ar.F32(t, d.TopK),
		Offsets: ar.I32(1, d.Experts+1), Token: ar.I32(1, rows), Slot: ar.I32(t, d.TopK), RowW: ar.F32(1, rows)}
	if !rec.Given.IsZero() {
		rec.Route.Given, rec.Route.Experts = true, rec.Given
	}
	be.Route(rec.Route)

	rec.Gate, rec.Up, rec.Hidden = ar.F32(rows, f), ar.F32(rows, f), ar.F32(rows, f)
	a := m.grouped(rec, compute.NT, rec.Gate, x, m.Gate, m.GateParts)
	a.AIndex = rec.Route.Token
	be.GroupedMatMul(a)
	a.C, a.B, a.Bs = rec.Up, m.Up, m.UpParts
	be.GroupedMatMul(a)
	be.SwiGLU(rec.Hidden, rec.Gate, rec.Up, rec.Route.RowW)
	m.shared(be, ar, y, x, rec)

	mark := ar.Mark()
	out := ar.F32(rows, x.NumCols())
	be.GroupedMatMul(m.grouped(rec, compute.NT, out, rec.Hidden, m.Down, m.DownParts))
	be.CombineRows(y, out, rec.Route.Slot, true)
	ar.Release(mark)
}

func (m *MoE) shared(be compute.Backend, ar *compute.Arena, y, x compute.Tensor, rec *MoERecord) {
	if m.Shared != nil {
		m.Shared.Forward(be, ar, y, x, &rec.Shared)
	}
}

// BackwardInput writes dx, the gradient of Forward (and of the balance loss) to x.
func (m *MoE) BackwardInput(be compute.Backend, ar *compute.Arena, d MoEDims, dx, dy compute.Tensor, rec *MoERecord, bal Balance) {
	rows, f := rec.Gate.NumRows(), rec.Gate.NumCols()
	rec.DY, rec.DGate, rec.DUp, rec.DLogits = dy, ar.F32(rows, f), ar.F32(rows, f), ar.F32(dy.NumRows(), d.Experts)
	dh, drow, dxr := ar.F32(rows, f), ar.F32(1, rows), ar.F32(rows, dx.NumCols())
	a := m.grouped(rec, compute.NN, dh, dy, m.Down, m.DownParts)
	a.AIndex = rec.Route.Token
	be.GroupedMatMul(a)
	be.SwiGLUBackward(rec.DGate, rec.DUp, drow, dh, rec.Gate, rec.Up, rec.Route.RowW)
	be.GroupedMatMul(m.grouped(rec, compute.NN, dxr, rec.DGate, m.Gate, m.GateParts))
	a = m.grouped(rec, compute.NN, dxr, rec.DUp, m.Up, m.UpParts)
	a.Accumulate = true
	be.GroupedMatMul(a)
	be.RouteBackward(compute.RouteBackwardArgs{RouteArgs: rec.Route, DRowW: drow, DLogits: rec.DLogits,
		Lens: bal.Lens, AuxAlpha: bal.Alpha, AuxScale: bal.Scale})
	LinearBackwardInput(be, dx, rec.DLogits, m.Router.W, false)
	be.CombineRows(dx, dxr, rec.Route.Slot, true)
	if m.Shared != nil {
		m.Shared.BackwardInput(be, ar, dx, dy, &rec.Shared, true)
	}
}

// BackwardWeight adds the gradients of the weights to g; absent ones are passed over.
func (m *MoE) BackwardWeight(be compute.Backend, g *MoE, rec *MoERecord) {
	none, token := compute.Tensor{}, rec.Route.Token
	m.gradient(be, rec, g.Down, rec.DY, rec.Hidden, token, none)
	m.gradient(be, rec, g.Gate, rec.DGate, rec.X, none, token)
	m.gradient(be, rec, g.Up, rec.DUp, rec.X, none, token)
	LinearBackwardWeight(be, g.Router.W, rec.DLogits, rec.X, m.Router.W)
	if m.Shared != nil {
		m.Shared.BackwardWeight(be, g.Shared, &rec.Shared)
	}
}
