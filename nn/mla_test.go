package nn

import (
	"math"
	"testing"

	"sonde/compute"
)

// mla64 holds an MLA's weights in float64 by the tensors' names.
type mla64 map[string]mat

const testEps = 1e-6

// rotate turns adjacent pairs of v by the angles of position p.
func rotate(v []float64, p int) {
	for i := 0; i < len(v); i += 2 {
		s, c := math.Sincos(testAngle(p, i/2, len(v)))
		v[i], v[i+1] = v[i]*c-v[i+1]*s, v[i]*s+v[i+1]*c
	}
}

func testAngle(p, pair, dim int) float64 {
	return float64(p) * math.Pow(100, -2*float64(pair)/float64(dim))
}

func (w mla64) forward(d MLADims, seqs int, x mat) mat {
	q := x
	if d.QLora == 0 {
		q = x.mulT(w["q"])
	} else {
		q = rmsNorm(x.mulT(w["qa"]), w["qn"], testEps).mulT(w["qb"])
	}
	kva := x.mulT(w["kva"])
	latent := newMat(x.r, d.KVLora)
	for i := range x.r {
		copy(latent.row(i), kva.row(i))
	}
	kv := rmsNorm(latent, w["kvn"], testEps).mulT(w["kvb"])
	n := x.r / seqs
	for i := range x.r {
		rotate(kva.row(i)[d.KVLora:], i%n)
		for h := range d.Heads {
			rotate(q.row(i)[h*d.QK()+d.Nope:(h+1)*d.QK()], i%n)
		}
	}
	out := newMat(x.r, d.Heads*d.V)
	for i := range x.r {
		for h := range d.Heads {
			w.attend(d, out.row(i)[h*d.V:(h+1)*d.V], q.row(i)[h*d.QK():], kv, kva, i-i%n, i, h)
		}
	}
	return out.mulT(w["o"])
}

// attend is one head of one row over rows first..last.
func (mla64) attend(d MLADims, out, q []float64, kv, kva mat, first, last, h int) {
	p := make([]float64, last-first+1)
	sum := 0.0
	for j := range p {
		s := 0.0
		for k := range d.Nope {
			s += q[k] * kv.row(first + j)[h*(d.Nope+d.V)+k]
		}
		for k := range d.Rope {
			s += q[d.Nope+k] * kva.row(first + j)[d.KVLora+k]
		}
		p[j] = math.Exp(s * float64(d.Scale))
		sum += p[j]
	}
	for j := range p {
		for k := range d.V {
			out[k] += p[j] / sum * kv.row(first + j)[h*(d.Nope+d.V)+d.Nope+k]
		}
	}
}

func (b *bench) mla(d MLADims, dim int) (*MLA, mla64) {
	var m MLA
	w := mla64{}
	put := func(name string, t *compute.Tensor, r, c int) { *t, w[name] = b.random(r, c, 0.4) }
	put("kva", &m.KVA, d.Latent(), dim)
	put("kvn", &m.KVNorm, 1, d.KVLora)
	put("kvb", &m.KVB, d.Heads*(d.Nope+d.V), d.KVLora)
	put("o", &m.O, dim, d.Heads*d.V)
	if d.QLora == 0 {
		put("q", &m.Q, d.Heads*d.QK(), dim)
		return &m, w
	}
	put("qa", &m.QA, d.QLora, dim)
	put("qn", &m.QANorm, 1, d.QLora)
	put("qb", &m.QB, d.Heads*d.QK(), d.QLora)
	return &m, w
}

// twinMLA is a zeroed layer of the same shapes.
func (b *bench) twinMLA(m *MLA) *MLA {
	g := *m
	Walk(&g, "", false, func(p Param, t *compute.Tensor, _ bool) { *t = b.zero(t.NumRows(), t.NumCols()) })
	return &g
}

func (b *bench) positions(seqs, n, dim int) (pos, table compute.Tensor) {
	p, v := make([]int32, seqs*n), make([]float32, n*dim)
	for i := range p {
		p[i] = int32(i % n)
	}
	for i := range n {
		for k := range dim / 2 {
			s, c := math.Sincos(testAngle(i, k, dim))
			v[i*dim+k], v[i*dim+dim/2+k] = float32(c), float32(s)
		}
	}
	return compute.WrapI32(p, 1, len(p)), compute.Wrap(v, n, dim)
}

func TestMLAGradient(t *testing.T) {
	for _, d := range []MLADims{
		{Heads: 2, Nope: 5, Rope: 4, V: 3, QLora: 7, KVLora: 6, Eps: testEps, Scale: 0.3},
		{Heads: 3, Nope: 4, Rope: 2, V: 5, KVLora: 4, Eps: testEps, Scale: 0.5},
	} {
		b := newBench(t)
		const seqs, n, dim = 2, 5, 8
		x, xm := b.random(seqs*n, dim, 1)
		dy, c := b.random(seqs*n, dim, 1)
		m, w := b.mla(d, dim)
		pos, table := b.positions(seqs, n, d.Rope)
		y, dx := b.zero(seqs*n, dim), b.zero(seqs*n, dim)
		var rec MLARecord
		m.Forward(b.be, b.ar, d, seqs, y, x, pos, table, &rec)
		b.checkForward("mla", y, w.forward(d, seqs, xm))

		g := b.twinMLA(m)
		m.BackwardInput(b.be, b.ar, d, dx, dy, pos, table, &rec)
		m.BackwardWeight(b.be, d, g, &rec)
		loss := func() float64 { return dot(w.forward(d, seqs, xm), c) }
		b.checkGrad("mla input", dx, xm, loss)
		for name, t := range map[string]compute.Tensor{"q": g.Q, "qa": g.QA, "qn": g.QANorm, "qb": g.QB, "kva": g.KVA, "kvn": g.KVNorm, "kvb": g.KVB, "o": g.O} {
			if _, ok := w[name]; ok {
				b.checkGrad("mla "+name, t, w[name], loss)
			}
		}
	}
}

// TestMLAAbsorbedEqualsExpanded: the two forms are the same function, and the
// absorbed one gives the same bits however the rows are fed.
func TestMLAAbsorbedEqualsExpanded(t *testing.T) {
	b := newBench(t)
	d := MLADims{Heads: 2, Nope: 5, Rope: 4, V: 3, QLora: 7, KVLora: 6, Eps: testEps, Scale: 0.3}
	const n, dim = 9, 8
	x, xm := b.random(n, dim, 1)
	m, w := b.mla(d, dim)
	pos, table := b.positions(1, n, d.Rope)
	feed := func(piece int) compute.Tensor {
		y, cache := b.zero(n, dim), b.zero(n, d.Latent())
		for at := 0; at < n; at += piece {
			to := min(at+piece, n)
			m.Extend(b.be, b.ar, d, y.Rows(at, to), x.Rows(at, to), pos.Cols(at, to), table, cache, at)
		}
		return y
	}
	whole := feed(n)
	b.checkForward("absorbed", whole, w.forward(d, 1, xm))
	for _, piece := range []int{1, 2, 4} {
		got, want := b.get(feed(piece)), b.get(whole)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("fed %d rows at a time, element %d is %v, not %v", piece, i, got[i], want[i])
			}
		}
	}
}
