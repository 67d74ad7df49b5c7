package nn

import (
	"math"
	"slices"
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

// scores are one token's, from its logits.
func (m *moe64) scores(logits []float64) []float64 {
	out, sum := make([]float64, len(logits)), 0.0
	for i, l := range logits {
		out[i] = math.Exp(l)
		sum += out[i]
	}
	for i, l := range logits {
		if m.d.Softmax {
			out[i] /= sum
		} else {
			out[i] = sigmoid(l)
		}
	}
	return out
}

func (m *moe64) forward(x mat) mat {
	y := mlp64(x, m.shared[0], m.shared[1], m.shared[2])
	s := x.mulT(m.router)
	dim := x.c
	for t := range x.r {
		score, sum := m.scores(s.row(t)), 1.0
		if m.d.Normalize {
			sum = 1e-20
			for _, e := range m.experts[t] {
				sum += score[e]
			}
		}
		for _, e32 := range m.experts[t] {
			e := int(e32)
			w := float64(m.d.Scale) * score[e] / sum
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
			score, sum := m.scores(s.row(t)), 0.0
			for _, v := range score {
				sum += v
			}
			for i, v := range score {
				p[i] += v / sum / float64(m.seqLen)
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
		{Experts: 8, TopK: 3, Groups: 4, TopGroups: 2, Softmax: true, GroupMax: true, Scale: 16},
	} {
		b := newBench(t)
		const seqs, n, dim, f = 2, 6, 7, 5
		x, xm := b.random(seqs*n, dim, 1)
		dy, c := b.random(seqs*n, dim, 1)
		layer, ref := b.moe(d, dim, f)
		if d.Softmax {
			layer.Router.Bias = compute.Tensor{}
		}
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
		layer.BackwardInput(b.be, b.ar, d, dx, dy, &rec, Balance{Alpha: 0.5, Scale: 1, Lens: []int{n, n}})
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

// TestMoEParts: experts in tensors of their own give the same bits as experts that lie
// one after another, forward and backward to the input.
func TestMoEParts(t *testing.T) {
	b := newBench(t)
	d := MoEDims{Experts: 6, TopK: 2, Groups: 1, TopGroups: 1, Normalize: true, Scale: 1}
	const rows, dim, f = 9, 7, 5
	x, _ := b.random(rows, dim, 1)
	dy, _ := b.random(rows, dim, 1)
	m, _ := b.moe(d, dim, f)
	run := func() [][]float32 {
		y, dx := b.zero(rows, dim), b.zero(rows, dim)
		var rec MoERecord
		m.Forward(b.be, b.ar, d, y, x, &rec)
		m.BackwardInput(b.be, b.ar, d, dx, dy, &rec, Balance{})
		return [][]float32{b.get(y), b.get(dx)}
	}
	want := run()
	split := func(t *compute.Tensor) (parts []compute.Tensor) {
		n := t.NumRows() / d.Experts
		for e := range d.Experts {
			part := b.zero(n, t.NumCols())
			b.be.Copy(part, t.Rows(e*n, (e+1)*n))
			parts = append(parts, part)
		}
		*t = compute.Tensor{}
		return parts
	}
	m.GateParts, m.UpParts, m.DownParts = split(&m.Gate), split(&m.Up), split(&m.Down)
	if got := run(); !slices.EqualFunc(got, want, slices.Equal) {
		t.Error("experts in parts give other bits")
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
