package nn

import "sonde/compute"

// Linear is y = x W^T for W [out, in]; x [T, in], y [T, out]. With accumulate the
// product is added to y. A BF16 weight means that x is rounded to bfloat16 too.
func Linear(be compute.Backend, y, x, w compute.Tensor, accumulate bool) {
	be.MatMul(compute.MatMulArgs{Form: compute.NT, C: y, A: x, B: w, Accumulate: accumulate})
}

// linear is Linear as one of several products.
func linear(y, x, w compute.Tensor) compute.MatMulArgs {
	return compute.MatMulArgs{Form: compute.NT, C: y, A: x, B: w}
}

// AddBias adds bias [1, out], which may be absent, to every row of y.
func AddBias(be compute.Backend, y, bias compute.Tensor) {
	if !bias.IsZero() {
		be.AddRow(y, bias)
	}
}

// LinearBias is Linear plus bias [1, out], which may be absent.
func LinearBias(be compute.Backend, y, x, w, bias compute.Tensor, accumulate bool) {
	Linear(be, y, x, w, accumulate)
	AddBias(be, y, bias)
}

// LinearBackwardInput is dx = dy W; dy [T, out], dx [T, in].
func LinearBackwardInput(be compute.Backend, dx, dy, w compute.Tensor, accumulate bool) {
	be.MatMul(compute.MatMulArgs{Form: compute.NN, C: dx, A: dy, B: w, Accumulate: accumulate})
}

// WeightObserver is a Backend that is shown, where a linear layer goes backward to its
// weight, what the gradient is made of: dy [T, out] and x [T, in] of weight w [out, in],
// whether w is trained or not. Adapters beside frozen weights learn from it.
type WeightObserver interface {
	ObserveWeight(dy, x, w compute.Tensor)
}

// LinearBackwardWeight is dw += dy^T x. w is the weight itself, whose format says
// whether the operands are rounded to bfloat16. An absent dw means that w is not
// trained.
func LinearBackwardWeight(be compute.Backend, dw, dy, x, w compute.Tensor) {
	if o, ok := be.(WeightObserver); ok {
		o.ObserveWeight(dy, x, w)
	}
	if dw.IsZero() {
		return
	}
	be.MatMul(compute.MatMulArgs{Form: compute.TN, C: dw, A: dy, B: x, Accumulate: true,
		BF16: w.DType() == compute.BF16})
}

// BiasBackward is dbias += sum over rows of dy, where dbias is present.
func BiasBackward(be compute.Backend, dbias, dy compute.Tensor) {
	if !dbias.IsZero() {
		be.SumRows(dbias, dy)
	}
}
