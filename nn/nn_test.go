package nn

import (
	"math"
	"math/rand/v2"
	"testing"

	"sonde/compute"
)

// The layers' gradients are checked against central differences of an independent
// float64 forward. Each test writes that forward once more, in the plainest loops.

// mat is a float64 matrix, row-major.
type mat struct {
	r, c int
	v    []float64
}

func newMat(r, c int) mat           { return mat{r, c, make([]float64, r*c)} }
func (m mat) row(i int) []float64   { return m.v[i*m.c : (i+1)*m.c] }
func (m mat) at(i, j int) float64   { return m.v[i*m.c+j] }
func (m mat) rows(from, to int) mat { return mat{to - from, m.c, m.v[from*m.c : to*m.c]} }
func (m mat) mulT(w mat) mat        { return product(m, w) }
func zip(a, b mat, f func(x, y float64) float64) mat {
	out := newMat(a.r, a.c)
	for i := range out.v {
		out.v[i] = f(a.v[i], b.v[i])
	}
	return out
}

// product is a b^T.
func product(a, b mat) mat {
	out := newMat(a.r, b.r)
	for i := range a.r {
		for j := range b.r {
			for k := range a.c {
				out.v[i*b.r+j] += a.at(i, k) * b.at(j, k)
			}
		}
	}
	return out
}

func rmsNorm(x, w mat, eps float64) mat {
	out := newMat(x.r, x.c)
	for i := range x.r {
		ss := 0.0
		for _, v := range x.row(i) {
			ss += v * v
		}
		s := 1 / math.Sqrt(ss/float64(x.c)+eps)
		for j, v := range x.row(i) {
			out.row(i)[j] = v * s * w.v[j]
		}
	}
	return out
}

func silu(x float64) float64 { return x / (1 + math.Exp(-x)) }

func mlp64(x, gate, up, down mat) mat {
	h := zip(x.mulT(gate), x.mulT(up), func(g, u float64) float64 { return silu(g) * u })
	return h.mulT(down)
}

// bench holds a layer under test: its float32 tensors by name and their float64 twins.
type bench struct {
	t   *testing.T
	be  compute.Backend
	ar  *compute.Arena
	rng *rand.Rand
}

func newBench(t *testing.T) *bench {
	be := compute.NewReference()
	ar := be.NewArena("test")
	t.Cleanup(ar.Free)
	return &bench{t, be, ar, rand.New(rand.NewPCG(7, 11))}
}

// random makes a float32 tensor and the same numbers in float64.
func (b *bench) random(r, c int, scale float64) (compute.Tensor, mat) {
	t, m, v := b.ar.F32(r, c), newMat(r, c), make([]float32, r*c)
	for i := range v {
		v[i] = float32(b.rng.NormFloat64() * scale)
		m.v[i] = float64(v[i])
	}
	b.be.UploadF32(t, v)
	return t, m
}

func (b *bench) zero(r, c int) compute.Tensor {
	t := b.ar.F32(r, c)
	b.be.Zero(t)
	return t
}

func (b *bench) get(t compute.Tensor) []float32 {
	v := make([]float32, t.Len())
	b.be.DownloadF32(v, t)
	return v
}

// checkForward compares y with want.
func (b *bench) checkForward(name string, y compute.Tensor, want mat) {
	b.t.Helper()
	if e := relative(b.get(y), want.v); e > 1e-5 {
		b.t.Errorf("%s: forward differs from float64 by %.2g", name, e)
	}
}

func relative(got []float32, want []float64) float64 {
	var d, n float64
	for i := range want {
		e := float64(got[i]) - want[i]
		d, n = d+e*e, n+want[i]*want[i]
	}
	return math.Sqrt(d / max(n, 1e-30))
}

// checkGrad compares grad with central differences of loss with respect to x, which
// loss reads.
func (b *bench) checkGrad(name string, grad compute.Tensor, x mat, loss func() float64) {
	b.t.Helper()
	const eps = 1e-5
	want := make([]float64, len(x.v))
	for i, old := range x.v {
		x.v[i] = old + eps
		up := loss()
		x.v[i] = old - eps
		want[i] = (up - loss()) / (2 * eps)
		x.v[i] = old
	}
	if e := relative(b.get(grad), want); !(e < 1e-4) {
		b.t.Errorf("%s: gradient differs from finite differences by %.2g", name, e)
	}
}

// dot is the loss whose gradient to y is c.
func dot(y, c mat) float64 {
	s := 0.0
	for i := range y.v {
		s += y.v[i] * c.v[i]
	}
	return s
}

func TestNormGradient(t *testing.T) {
	b := newBench(t)
	x, xm := b.random(5, 12, 1)
	w, wm := b.random(1, 12, 1)
	dy, c := b.random(5, 12, 1)
	y := b.zero(5, 12)
	var rec NormRecord
	Norm(b.be, b.ar, y, x, w, 1e-6, &rec)
	f := func() mat { return rmsNorm(xm, wm, 1e-6) }
	b.checkForward("norm", y, f())
	dx, dw := b.zero(5, 12), b.zero(1, 12)
	NormBackwardInput(b.be, dx, dy, w, &rec, false)
	NormBackwardWeight(b.be, dw, dy, &rec)
	loss := func() float64 { return dot(f(), c) }
	b.checkGrad("norm input", dx, xm, loss)
	b.checkGrad("norm weight", dw, wm, loss)
}

func TestLinearGradient(t *testing.T) {
	b := newBench(t)
	x, xm := b.random(5, 7, 1)
	w, wm := b.random(3, 7, 1)
	dy, c := b.random(5, 3, 1)
	y, dx, dw := b.zero(5, 3), b.zero(5, 7), b.zero(3, 7)
	Linear(b.be, y, x, w, false)
	LinearBackwardInput(b.be, dx, dy, w, false)
	LinearBackwardWeight(b.be, dw, dy, x, w)
	b.checkForward("linear", y, xm.mulT(wm))
	loss := func() float64 { return dot(xm.mulT(wm), c) }
	b.checkGrad("linear input", dx, xm, loss)
	b.checkGrad("linear weight", dw, wm, loss)
}

func TestMLPGradient(t *testing.T) {
	b := newBench(t)
	x, xm := b.random(4, 6, 1)
	dy, c := b.random(4, 6, 1)
	m, mm := b.mlp(6, 10)
	y, dx := b.zero(4, 6), b.zero(4, 6)
	var rec MLPRecord
	m.Forward(b.be, b.ar, y, x, &rec)
	f := func() mat { return mlp64(xm, mm[0], mm[1], mm[2]) }
	b.checkForward("mlp", y, f())
	g := MLP{Gate: b.zero(10, 6), Up: b.zero(10, 6), Down: b.zero(6, 10)}
	m.BackwardInput(b.be, b.ar, dx, dy, &rec, false)
	m.BackwardWeight(b.be, &g, &rec)
	loss := func() float64 { return dot(f(), c) }
	b.checkGrad("mlp input", dx, xm, loss)
	b.checkGrad("mlp gate", g.Gate, mm[0], loss)
	b.checkGrad("mlp up", g.Up, mm[1], loss)
	b.checkGrad("mlp down", g.Down, mm[2], loss)
}

func (b *bench) mlp(d, f int) (*MLP, [3]mat) {
	gate, g := b.random(f, d, 0.5)
	up, u := b.random(f, d, 0.5)
	down, w := b.random(d, f, 0.5)
	return &MLP{Gate: gate, Up: up, Down: down}, [3]mat{g, u, w}
}
