package nn

import "sonde/compute"

// NormRecord is what RMSNorm's backward needs.
type NormRecord struct {
	X    compute.Tensor // input [T, D], not copied
	RStd compute.Tensor // [1, T]
}

// Norm is RMSNorm: y = x / sqrt(mean(x^2) + eps) * w; x, y [T, D], w [1, D]. rec may
// be nil where no backward follows.
func Norm(be compute.Backend, ar *compute.Arena, y, x, w compute.Tensor, eps float32, rec *NormRecord) {
	if rec == nil {
		be.RMSNorm(y, compute.Tensor{}, x, w, eps)
		return
	}
	rec.X, rec.RStd = x, ar.F32(1, x.NumRows())
	be.RMSNorm(y, rec.RStd, x, w, eps)
}

// NormBackwardInput gives dx from dy, written or accumulated.
func NormBackwardInput(be compute.Backend, dx, dy, w compute.Tensor, rec *NormRecord, accumulate bool) {
	be.RMSNormBackwardInput(dx, dy, rec.X, w, rec.RStd, accumulate)
}

// NormBackwardWeight is dw += sum over rows of dy * x * rstd, where dw is present.
func NormBackwardWeight(be compute.Backend, dw, dy compute.Tensor, rec *NormRecord) {
	if dw.IsZero() {
		return
	}
	be.RMSNormBackwardWeight(dw, dy, rec.X, rec.RStd)
}
