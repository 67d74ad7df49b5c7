package nn

import (
	"math"
	"testing"

	"sonde/compute"
)

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// moe64 is the layer in float64 with the experts of each token given: the choice
// itself has no gradient.
type moe64 struct {
	router, gate, up, down mat
	shared                 [3]mat
	experts                [][]int32
	d                      MoEDims
	f                      int
	seqLen                 int
	alpha                  float64
}

func (m *moe64) forward(x mat) mat {
	y := mlp64(x, m.shared[0], m.shared[1], m.shared[2])
	s := x.mulT(m.router)
	dim := x.c
	for t := range x.r {
		sum := 1.0
		if m.d.Normalize {
			sum = 1e-20
			for _, e := range m.experts[t] {
				sum += sigmoid(s.at(t, int(e)))
			}
		}
		for _, e32 := range m.experts[t] {
			e := int(e32)
			w := float64(m.d.Scale) * sigmoid(s.at(t, e)) / sum
			out := mlp64(x.rows(t, t+1), m.gate.rows(e*m.f, (e+1)*m.f), m.up.rows(e*m.f, (e+1)*m.f), m.down.rows(e*dim, (e+1)*dim))
			for j := range dim {
				y.row(t)[j] += w * out.v[j]
			}
		}
	}
	return y
}

// balance is the sequence-wise auxiliary loss (V3 report, eq. 17-20), averaged over
// sequences.
func (m *moe64) balance(x mat) float64 {
	s := x.mulT(m.router)
	total, seqs, e := 0.0, x.r/m.seqLen, m.d.Experts
	for q := range seqs {
		count, p := make([]float64, e), make([]float64, e)
		for t := q * m.seqLen; t < (q+1)*m.seqLen; t++ {
			for _, i := range m.experts[t] {
				count[i]++
			}
			sum := 0.0
			for i := range e {
				sum += sigmoid(s.at(t, i))
			}
			for i := range e {
				p[i] += sigmoid(s.at(t, i)) / sum / float64(m.seqLen)
			}
		}
		for i := range e {
			total += float64(e) / float64(m.d.TopK*m.seqLen) * count[i] * p[i]
		}
	}
	return m.alpha * total / float64(seqs)
}

func TestMoEGradient(t *testing.T) {
	for _, d := range []MoEDims{
		{Experts: 8, TopK: 3, Groups: 4, TopGroups: 2, Normalize: true, Scale: 2.5},
		{Experts: 6, TopK: 2, Groups: 1, TopGroups: 1, Scale: 1},
	} {
		b := newBench(t)
		const seqs, n, dim, f = 2, 6, 7, 5
		x, xm := b.random(seqs*n, dim, 1)
		dy, c := b.random(seqs*n, dim, 1)
		layer, ref := b.moe(d, dim, f)
		ref.seqLen, ref.alpha = n, 0.5
		y, dx := b.zero(seqs*n, dim), b.zero(seqs*n, dim)
		var rec MoERecord
		layer.Forward(b.be, b.ar, d, y, x, &rec)
		for r := range seqs * n {
			e := make([]int32, d.TopK)
			b.be.DownloadI32(e, rec.Route.Experts.Rows(r, r+1))
			ref.experts = append(ref.experts, e)
		}
		b.checkForward("moe", y, ref.forward(xm))

		g := b.twinMoE(layer)
		layer.BackwardInput(b.be, b.ar, d, dx, dy, &rec, Balance{Alpha: 0.5, Scale: 1, SeqLen: n})
		layer.BackwardWeight(b.be, g, &rec)
		loss := func() float64 { return dot(ref.forward(xm), c) + ref.balance(xm) }
		b.checkGrad("moe input", dx, xm, loss)
		b.checkGrad("moe router", g.Router.W, ref.router, loss)
		b.checkGrad("moe gate", g.Gate, ref.gate, loss)
		b.checkGrad("moe up", g.Up, ref.up, loss)
		b.checkGrad("moe down", g.Down, ref.down, loss)
		b.checkGrad("moe shared", g.Shared.Down, ref.shared[2], loss)
	}
}

func (b *bench) moe(d MoEDims, dim, f int) (*MoE, *moe64) {
	m, r := &MoE{Experts: d.Experts}, &moe64{d: d, f: f}
	m.Router.W, r.router = b.random(d.Experts, dim, 1)
	m.Router.Bias, _ = b.random(1, d.Experts, 0.1)
	m.Gate, r.gate = b.random(d.Experts*f, dim, 0.5)
	m.Up, r.up = b.random(d.Experts*f, dim, 0.5)
	m.Down, r.down = b.random(d.Experts*dim, f, 0.5)
	m.Shared, r.shared = b.mlp(dim, f)
	return m, r
}

func (b *bench) twinMoE(m *MoE) *MoE {
	g, shared := *m, *m.Shared
	g.Shared = &shared
	Walk(&g, "", true, func(p Param, t *compute.Tensor, _ bool) { *t = b.zero(t.NumRows(), t.NumCols()) })
	return &g
}
