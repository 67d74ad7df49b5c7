package nn

import "sonde/compute"

// MLP is the gated feed-forward: down(silu(gate(x)) * up(x)). Biases are optional.
type MLP struct {
	Gate     compute.Tensor `weight:"gate_proj.weight"` // [F, D]
	GateBias compute.Tensor `weight:"gate_proj.bias,norm"`
	Up       compute.Tensor `weight:"up_proj.weight"` // [F, D]
	UpBias   compute.Tensor `weight:"up_proj.bias,norm"`
	Down     compute.Tensor `weight:"down_proj.weight"` // [D, F]
	DownBias compute.Tensor `weight:"down_proj.bias,norm"`
}

// MLPRecord is what MLP's backward needs and leaves for its weight part.
type MLPRecord struct {
	X, Gate, Up, Hidden compute.Tensor // [T, D], [T, F] three times
	DY, DGate, DUp      compute.Tensor
}

// Forward is y += mlp(x); x, y [T, D].
func (m *MLP) Forward(be compute.Backend, ar *compute.Arena, y, x compute.Tensor, rec *MLPRecord) {
	t, f := x.NumRows(), m.Gate.NumRows()
	rec.X, rec.Gate, rec.Up, rec.Hidden = x, ar.F32(t, f), ar.F32(t, f), ar.F32(t, f)
	be.MatMuls([]compute.MatMulArgs{linear(rec.Gate, x, m.Gate), linear(rec.Up, x, m.Up)})
	AddBias(be, rec.Gate, m.GateBias)
	AddBias(be, rec.Up, m.UpBias)
	be.SwiGLU(rec.Hidden, rec.Gate, rec.Up, compute.Tensor{})
	LinearBias(be, y, rec.Hidden, m.Down, m.DownBias, true)
}

// BackwardInput is dx (+)= gradient of Forward to x.
func (m *MLP) BackwardInput(be compute.Backend, ar *compute.Arena, dx, dy compute.Tensor, rec *MLPRecord, accumulate bool) {
	t, f := dy.NumRows(), m.Gate.NumRows()
	dh := ar.F32(t, f)
	LinearBackwardInput(be, dh, dy, m.Down, false)
	rec.DY, rec.DGate, rec.DUp = dy, ar.F32(t, f), ar.F32(t, f)
	none := compute.Tensor{}
	be.SwiGLUBackward(rec.DGate, rec.DUp, none, dh, rec.Gate, rec.Up, none)
	LinearBackwardInput(be, dx, rec.DGate, m.Gate, accumulate)
	LinearBackwardInput(be, dx, rec.DUp, m.Up, true)
}

// BackwardWeight adds the gradients of the weights to g; absent ones are passed over.
func (m *MLP) BackwardWeight(be compute.Backend, g *MLP, rec *MLPRecord) {
	LinearBackwardWeight(be, g.Down, rec.DY, rec.Hidden, m.Down)
	LinearBackwardWeight(be, g.Gate, rec.DGate, rec.X, m.Gate)
	LinearBackwardWeight(be, g.Up, rec.DUp, rec.X, m.Up)
	BiasBackward(be, g.DownBias, rec.DY)
	BiasBackward(be, g.GateBias, rec.DGate)
	BiasBackward(be, g.UpBias, rec.DUp)
}
