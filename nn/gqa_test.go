package nn

import (
	"math"
	"slices"
	"testing"

	"sonde/compute"
)

// gqa64 holds a GQA's weights in float64 by the tags' names.
type gqa64 map[string]mat

// rotateHalves turns columns i and i + half of v by the angles of position p.
func rotateHalves(v []float64, p int) {
	h := len(v) / 2
	for i := range h {
		s, c := math.Sincos(testAngle(p, i, len(v)))
		v[i], v[i+h] = v[i]*c-v[i+h]*s, v[i]*s+v[i+h]*c
	}
}

// heads is the projection name, its bias added and each head normed, where there are
// such weights.
func (w gqa64) heads(d GQADims, x mat, name string) mat {
	y := x.mulT(w[name+"_proj.weight"])
	if b, ok := w[name+"_proj.bias"]; ok {
		for i := range y.v {
			y.v[i] += b.v[i%y.c]
		}
	}
	if n, ok := w[name+"_norm.weight"]; ok {
		y = mat{y.r, y.c, rmsNorm(mat{y.r * y.c / d.Dim, d.Dim, y.v}, n, testEps).v}
	}
	return y
}

func (w gqa64) forward(d GQADims, seqs int, x mat) mat {
	q, k, v := w.heads(d, x, "q"), w.heads(d, x, "k"), w.heads(d, x, "v")
	n := x.r / seqs
	turn := rotateHalves
	if d.Interleaved {
		turn = rotate
	}
	for i := range x.r {
		for h := range d.Heads {
			turn(q.row(i)[h*d.Dim:(h+1)*d.Dim], i%n)
		}
		for h := range d.KVHeads {
			turn(k.row(i)[h*d.Dim:(h+1)*d.Dim], i%n)
		}
	}
	out := newMat(x.r, d.Heads*d.Dim)
	for i := range x.r {
		for h := range d.Heads {
			at, g := h*d.Dim, h/(d.Heads/d.KVHeads)*d.Dim
			p, sum := make([]float64, n), 0.0
			for j := i - i%n; j <= i; j++ {
				s := 0.0
				for c := range d.Dim {
					s += q.at(i, at+c) * k.at(j, g+c)
				}
				p[j%n] = math.Exp(s * float64(d.Scale))
				sum += p[j%n]
			}
			for j := i - i%n; j <= i; j++ {
				for c := range d.Dim {
					out.row(i)[at+c] += p[j%n] / sum * v.at(j, g+c)
				}
			}
		}
	}
	return w.heads(d, out, "o")
}

// gqa makes a layer: with biases and with norms as asked.
func (b *bench) gqa(d GQADims, dim int, bias, norm bool) (*GQA, gqa64) {
	m, w := &GQA{}, gqa64{}
	put := func(name string, t *compute.Tensor, r, c int) { *t, w[name] = b.random(r, c, 0.4) }
	put("q_proj.weight", &m.Q, d.Heads*d.Dim, dim)
	put("k_proj.weight", &m.K, d.KVHeads*d.Dim, dim)
	put("v_proj.weight", &m.V, d.KVHeads*d.Dim, dim)
	put("o_proj.weight", &m.O, dim, d.Heads*d.Dim)
	if bias {
		put("q_proj.bias", &m.QBias, 1, d.Heads*d.Dim)
		put("k_proj.bias", &m.KBias, 1, d.KVHeads*d.Dim)
		put("v_proj.bias", &m.VBias, 1, d.KVHeads*d.Dim)
		put("o_proj.bias", &m.OBias, 1, dim)
	}
	if norm {
		put("q_norm.weight", &m.QNorm, 1, d.Dim)
		put("k_norm.weight", &m.KNorm, 1, d.Dim)
	}
	return m, w
}

// TestGQAGradient: plain, Qwen2's, Qwen3's and Llama's forms against float64; a head's
// width is not D / Heads.
func TestGQAGradient(t *testing.T) {
	for _, c := range []struct {
		name       string
		d          GQADims
		bias, norm bool
	}{
		{"plain", GQADims{Heads: 4, KVHeads: 2, Dim: 6, Eps: testEps, Scale: 0.4}, false, false},
		{"biases, one key head", GQADims{Heads: 3, KVHeads: 1, Dim: 4, Eps: testEps, Scale: 0.5}, true, false},
		{"norms, adjacent pairs", GQADims{Heads: 2, KVHeads: 2, Dim: 6, Eps: testEps, Scale: 0.4, Interleaved: true}, false, true},
		{"biases and norms", GQADims{Heads: 4, KVHeads: 2, Dim: 4, Eps: testEps, Scale: 0.3}, true, true},
	} {
		b := newBench(t)
		const seqs, n, dim = 2, 5, 8
		x, xm := b.random(seqs*n, dim, 1)
		dy, dym := b.random(seqs*n, dim, 1)
		m, w := b.gqa(c.d, dim, c.bias, c.norm)
		pos, table := b.positions(slices.Repeat([]int{n}, seqs), c.d.Dim)
		y, dx := b.zero(seqs*n, dim), b.zero(seqs*n, dim)
		var rec GQARecord
		m.Forward(b.be, b.ar, c.d, Packing{Lens: slices.Repeat([]int{n}, seqs)}, y, x, pos, table, &rec)
		b.checkForward(c.name, y, w.forward(c.d, seqs, xm))
		g := *m
		Walk(&g, "", false, func(_ Param, t *compute.Tensor, _ bool) { *t = b.zero(t.NumRows(), t.NumCols()) })
		m.BackwardInput(b.be, b.ar, c.d, dx, dy, pos, table, &rec)
		m.BackwardWeight(b.be, c.d, &g, &rec)
		loss := func() float64 { return dot(w.forward(c.d, seqs, xm), dym) }
		b.checkGrad(c.name+" input", dx, xm, loss)
		seen := 0
		Walk(&g, "", false, func(p Param, _ *compute.Tensor, _ bool) {
			seen++
			b.checkGrad(c.name+" "+p.Name, p.T, w[p.Name], loss)
		})
		if seen != len(w) {
			t.Errorf("%s: %d gradients for %d weights", c.name, seen, len(w))
		}
	}
}

// TestGQAFrozen: without gradients to write, the input's gradient is the same and
// nothing else happens.
func TestGQAFrozen(t *testing.T) {
	b := newBench(t)
	d := GQADims{Heads: 2, KVHeads: 1, Dim: 4, Eps: testEps, Scale: 0.5}
	m, _ := b.gqa(d, 8, true, true)
	x, _ := b.random(3, 8, 1)
	pos, table := b.positions([]int{3}, d.Dim)
	var rec GQARecord
	m.Forward(b.be, b.ar, d, Packing{Lens: []int{3}}, b.zero(3, 8), x, pos, table, &rec)
	dx := b.zero(3, 8)
	m.BackwardInput(b.be, b.ar, d, dx, x, pos, table, &rec)
	m.BackwardWeight(b.be, d, &GQA{}, &rec)
	if b.be.SumSquares(dx) == 0 {
		t.Error("no gradient came through")
	}
}

// TestGQAExtendEqualsForward: with a cache, alone or beside another sequence, in any
// pieces, the rows are Forward's to the last bit.
func TestGQAExtendEqualsForward(t *testing.T) {
	b := newBench(t)
	d := GQADims{Heads: 4, KVHeads: 2, Dim: 6, Eps: testEps, Scale: 0.4}
	const n, dim = 9, 8
	m, _ := b.gqa(d, dim, true, true)
	x, _ := b.random(2*n, dim, 1)
	pos, table := b.positions([]int{n, n}, d.Dim)
	want := b.zero(2*n, dim)
	m.Forward(b.be, b.ar, d, Packing{Lens: []int{n, n}}, want, x, pos, table, &GQARecord{})
	feed := func(piece int) compute.Tensor {
		y := b.zero(2*n, dim)
		var k, v [2]compute.Tensor
		for s := range 2 {
			k[s], v[s] = b.zero(n+3, d.KVHeads*d.Dim), b.zero(n+3, d.KVHeads*d.Dim)
		}
		for at := 0; at < n; at += piece {
			rows := min(piece, n-at)
			xs, ys, ps := b.zero(2*rows, dim), b.zero(2*rows, dim), b.ar.I32(1, 2*rows)
			var seqs []compute.AttentionSeq
			for s := range 2 {
				b.be.Copy(xs.Rows(s*rows, (s+1)*rows), x.Rows(s*n+at, s*n+at+rows))
				b.be.UploadI32(ps.Cols(s*rows, (s+1)*rows), pos.Int32s()[at:at+rows])
				seqs = append(seqs, compute.AttentionSeq{Row: s * rows, Rows: rows, Start: at, K: k[s], V: v[s]})
			}
			m.Extend(b.be, b.ar, d, ys, xs, ps, table, seqs, &GQARecord{})
			for s := range 2 {
				b.be.Copy(y.Rows(s*n+at, s*n+at+rows), ys.Rows(s*rows, (s+1)*rows))
			}
		}
		return y
	}
	for _, piece := range []int{n, 1, 2, 4} {
		got, w := b.get(feed(piece)), b.get(want)
		for i := range w {
			if got[i] != w[i] {
				t.Fatalf("fed %d rows at a time, element %d is %v, not %v", piece, i, got[i], w[i])
			}
		}
	}
}

// TestMLPBias: the gated feed-forward with biases against float64.
func TestMLPBias(t *testing.T) {
	b := newBench(t)
	x, xm := b.random(4, 6, 1)
	dy, c := b.random(4, 6, 1)
	m, mm := b.mlp(6, 10)
	var bias [3]mat
	m.GateBias, bias[0] = b.random(1, 10, 0.5)
	m.UpBias, bias[1] = b.random(1, 10, 0.5)
	m.DownBias, bias[2] = b.random(1, 6, 0.5)
	add := func(y, b mat) mat {
		for i := range y.v {
			y.v[i] += b.v[i%y.c]
		}
		return y
	}
	f := func() mat {
		h := zip(add(xm.mulT(mm[0]), bias[0]), add(xm.mulT(mm[1]), bias[1]), func(g, u float64) float64 { return silu(g) * u })
		return add(h.mulT(mm[2]), bias[2])
	}
	y, dx := b.zero(4, 6), b.zero(4, 6)
	var rec MLPRecord
	m.Forward(b.be, b.ar, y, x, &rec)
	b.checkForward("mlp with biases", y, f())
	g := &MLP{GateBias: b.zero(1, 10), UpBias: b.zero(1, 10), DownBias: b.zero(1, 6)}
	m.BackwardInput(b.be, b.ar, dx, dy, &rec, false)
	m.BackwardWeight(b.be, g, &rec)
	loss := func() float64 { return dot(f(), c) }
	b.checkGrad("mlp input", dx, xm, loss)
	for i, t := range []compute.Tensor{g.GateBias, g.UpBias, g.DownBias} {
		b.checkGrad("mlp bias", t, bias[i], loss)
	}
}
