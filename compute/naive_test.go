package compute_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"sonde/compute"
)

// The operations once more, in float64 and as the formulas stand, and their gradients
// by central differences: what the reference is tested against.

type vec = []float64

func randoms(rng *rand.Rand, n int, deviation float64) vec {
	v := make(vec, n)
	for i := range v {
		v[i] = float64(float32(rng.NormFloat64() * deviation))
	}
	return v
}

func f32(v vec) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}

// close sees that got is within tol of want, relative, in the norm.
func close(t *testing.T, what string, got []float32, want vec, tol float64) {
	t.Helper()
	var diff, norm float64
	for i := range want {
		diff += (float64(got[i]) - want[i]) * (float64(got[i]) - want[i])
		norm += want[i] * want[i]
	}
	if !(math.Sqrt(diff) <= tol*math.Sqrt(norm)+1e-12) {
		t.Errorf("%s is off by %.3g of its norm %.3g, at most %.3g allowed", what, math.Sqrt(diff/norm), math.Sqrt(norm), tol)
	}
}

// slope is the gradient of f to x by central differences.
func slope(x vec, f func() float64) vec {
	const h = 1e-5
	g := make(vec, len(x))
	for i, x0 := range x {
		x[i] = x0 + h
		up := f()
		x[i] = x0 - h
		g[i] = (up - f()) / (2 * h)
		x[i] = x0
	}
	return g
}

func inner(x, y vec) (s float64) {
	for i := range x {
		s += x[i] * y[i]
	}
	return s
}

// naiveNorm is RMSNorm of rows of length d.
func naiveNorm(x, w vec, d int, eps float64) vec {
	y := make(vec, len(x))
	for i := 0; i < len(x); i += d {
		s := 1 / math.Sqrt(inner(x[i:i+d], x[i:i+d])/float64(d)+eps)
		for c := range d {
			y[i+c] = x[i+c] * s * w[c]
		}
	}
	return y
}

func TestRMSNormAgainstFloat64(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(1, 1))
	for _, s := range [][2]int{{1, 7}, {3, 20}, {5, 33}} {
		rows, d := s[0], s[1]
		x, w, dy, old := randoms(rng, rows*d, 2), randoms(rng, d, 1), randoms(rng, rows*d, 1), randoms(rng, rows*d, 1)
		wrap := func(v vec, r int) compute.Tensor { return compute.Wrap(f32(v), r, d) }
		y, dx, dw := make([]float32, rows*d), f32(old), make([]float32, d)
		rstd := compute.Wrap(make([]float32, rows), 1, rows)
		be.RMSNorm(compute.Wrap(y, rows, d), rstd, wrap(x, rows), wrap(w, 1), 0.1)
		close(t, "y", y, naiveNorm(x, w, d, 0.1), 1e-6)
		be.RMSNormBackwardInput(compute.Wrap(dx, rows, d), wrap(dy, rows), wrap(x, rows), wrap(w, 1), rstd, true)
		be.RMSNormBackwardWeight(compute.Wrap(dw, 1, d), wrap(dy, rows), wrap(x, rows), rstd)
		loss := func() float64 { return inner(dy, naiveNorm(x, w, d, 0.1)) }
		want := slope(x, loss)
		for i := range want {
			want[i] += old[i]
		}
		close(t, "dx", dx, want, 1e-6)
		close(t, "dw", dw, slope(w, loss), 1e-6)
	}
}

func naiveSilu(g float64) float64 { return g / (1 + math.Exp(-g)) }

func TestSwiGLUAgainstFloat64(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(2, 1))
	const rows, d = 3, 20
	gate, up, scale, dy := randoms(rng, rows*d, 3), randoms(rng, rows*d, 1), randoms(rng, rows, 1), randoms(rng, rows*d, 1)
	forward := func() vec {
		y := make(vec, rows*d)
		for i := range y {
			y[i] = naiveSilu(gate[i]) * up[i] * scale[i/d]
		}
		return y
	}
	y, dg, du, ds := make([]float32, rows*d), make([]float32, rows*d), make([]float32, rows*d), make([]float32, rows)
	w := func(v []float32) compute.Tensor { return compute.Wrap(v, len(v)/d, d) }
	rowScale := compute.Wrap(f32(scale), 1, rows)
	be.SwiGLU(w(y), w(f32(gate)), w(f32(up)), rowScale)
	close(t, "y", y, forward(), 1e-6)
	be.SwiGLUBackward(w(dg), w(du), compute.Wrap(ds, 1, rows), w(f32(dy)), w(f32(gate)), w(f32(up)), rowScale)
	loss := func() float64 { return inner(dy, forward()) }
	close(t, "dgate", dg, slope(gate, loss), 1e-6)
	close(t, "dup", du, slope(up, loss), 1e-6)
	close(t, "drowScale", ds, slope(scale, loss), 1e-6)
}

func TestRopeAgainstComplexNumbers(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(3, 1))
	const rows, heads, stride, offset, dim = 5, 3, 14, 6, 8
	x := randoms(rng, rows*heads*stride, 1)
	table := make([]float32, 20*dim)
	for p := range 20 {
		for i := range dim / 2 {
			angle := float64(p) / math.Pow(100, float64(i)/4)
			table[p*dim+i], table[p*dim+dim/2+i] = float32(math.Cos(angle)), float32(math.Sin(angle))
		}
	}
	pos := []int32{0, 1, 7, 7, 19}
	want := append(vec(nil), x...)
	for r := range rows {
		for h := range heads {
			for i := range dim / 2 {
				at := r*heads*stride + h*stride + offset + 2*i
				angle := float64(pos[r]) / math.Pow(100, float64(i)/4)
				z := complex(x[at], x[at+1]) * complex(math.Cos(angle), math.Sin(angle))
				want[at], want[at+1] = real(z), imag(z)
			}
		}
	}
	got := f32(x)
	a := compute.RopeArgs{X: compute.Wrap(got, rows, heads*stride), Pos: compute.WrapI32(pos, 1, rows), Table: compute.Wrap(table, 20, dim),
		Heads: heads, HeadStride: stride, Offset: offset, Dim: dim}
	be.Rope(a)
	close(t, "rotated", got, want, 1e-6)
	a.Inverse = true
	be.Rope(a)
	close(t, "rotated back", got, x, 1e-6)
}

func TestMatMulAgainstFloat64(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(4, 1))
	const m, n, k = 5, 7, 24
	a, b, c := randoms(rng, m*k, 1), randoms(rng, k*n, 1), randoms(rng, m*n, 1)
	want := append(vec(nil), c...)
	at, bt := make(vec, m*k), make(vec, k*n)
	for i := range m {
		for j := range n {
			for l := range k {
				want[i*n+j] += a[i*k+l] * b[l*n+j]
				at[l*m+i], bt[j*k+l] = a[i*k+l], b[l*n+j]
			}
		}
	}
	for _, form := range []compute.Form{compute.NN, compute.NT, compute.TN} {
		A, B := compute.Wrap(f32(a), m, k), compute.Wrap(f32(b), k, n)
		if form == compute.TN {
			A = compute.Wrap(f32(at), k, m)
		}
		if form == compute.NT {
			B = compute.Wrap(f32(bt), n, k)
		}
		got := f32(c)
		be.MatMul(compute.MatMulArgs{Form: form, C: compute.Wrap(got, m, n), A: A, B: B, Accumulate: true})
		close(t, form.String(), got, want, 1e-6)
		be.MatMul(compute.MatMulArgs{Form: form, C: compute.Wrap(got, m, n), A: A, B: B, Accumulate: true, BF16: true})
		for i := range want {
			got[i] -= float32(want[i])
		}
		exactly := make(vec, m*n) // the second product alone
		for i := range exactly {
			exactly[i] = want[i] - c[i]
		}
		close(t, form.String()+" rounded", got, exactly, 0.01)
	}
}

func TestEmbedAgainstLoops(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(5, 1))
	const v, d = 4, 3
	ids := []int32{2, 0, 2, 3, 2}
	table, dout := randoms(rng, v*d, 1), randoms(rng, len(ids)*d, 1)
	out, dtable := make([]float32, len(ids)*d), make([]float32, v*d)
	be.Embed(compute.Wrap(out, len(ids), d), compute.Wrap(f32(table), v, d), compute.WrapI32(ids, 1, len(ids)))
	be.EmbedBackward(compute.Wrap(dtable, v, d), compute.Wrap(f32(dout), len(ids), d), compute.WrapI32(ids, 1, len(ids)))
	want, wantd := make(vec, len(ids)*d), make(vec, v*d)
	for t, id := range ids {
		for c := range d {
			want[t*d+c] = table[int(id)*d+c]
			wantd[int(id)*d+c] += dout[t*d+c]
		}
	}
	close(t, "out", out, want, 0)
	close(t, "dtable", dtable, wantd, 1e-6)
}

func TestAdamWAgainstFloat64(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(6, 1))
	const n = 37
	p, m, v := randoms(rng, n, 1), make(vec, n), make(vec, n)
	P, M, V := f32(p), make([]float32, n), make([]float32, n)
	w := func(x []float32) compute.Tensor { return compute.Wrap(x, 1, n) }
	for step := 1; step <= 3; step++ {
		g := randoms(rng, n, 1)
		c1, c2 := 1-math.Pow(0.9, float64(step)), 1-math.Pow(0.95, float64(step))
		be.AdamW(compute.AdamWArgs{P: w(P), G: w(f32(g)), M: w(M), V: w(V), LR: 0.1, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8,
			WeightDecay: 0.1, Correct1: float32(c1), Correct2: float32(c2), GradScale: 0.25})
		for i := range p {
			m[i] = 0.9*m[i] + 0.1*g[i]/4
			v[i] = 0.95*v[i] + 0.05*g[i]*g[i]/16
			p[i] -= 0.1 * (m[i]/c1/(math.Sqrt(v[i]/c2)+1e-8) + 0.1*p[i])
		}
		close(t, "parameters", P, p, 1e-6)
	}
}
