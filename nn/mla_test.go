package nn

import (
	"math"
	"slices"
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

func (w mla64) forward(d MLADims, lens []int, x mat) mat {
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
	place := places(lens)
	for i, p := range place {
		rotate(kva.row(i)[d.KVLora:], int(p))
		for h := range d.Heads {
			rotate(q.row(i)[h*d.QK()+d.Nope:(h+1)*d.QK()], int(p))
		}
	}
	out := newMat(x.r, d.Heads*d.V)
	for i := range x.r {
		for h := range d.Heads {
			w.attend(d, out.row(i)[h*d.V:(h+1)*d.V], q.row(i)[h*d.QK():], kv, kva, i-int(place[i]), i, h)
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

// places are the positions of the rows of sequences side by side.
func places(lens []int) (p []int32) {
	for _, n := range lens {
		for i := range n {
			p = append(p, int32(i))
		}
	}
	return p
}

func (b *bench) positions(lens []int, dim int) (pos, table compute.Tensor) {
	p, n := places(lens), slices.Max(lens)
	v := make([]float32, n*dim)
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
		const rows, dim = 10, 8
		lens := []int{3, 1, 6}
		x, xm := b.random(rows, dim, 1)
		dy, c := b.random(rows, dim, 1)
		m, w := b.mla(d, dim)
		pos, table := b.positions(lens, d.Rope)
		y, dx := b.zero(rows, dim), b.zero(rows, dim)
		var rec MLARecord
		m.Forward(b.be, b.ar, d, Packing{Lens: lens}, y, x, pos, table, &rec)
		b.checkForward("mla", y, w.forward(d, lens, xm))

		g := b.twinMLA(m)
		m.BackwardInput(b.be, b.ar, d, dx, dy, pos, table, &rec)
		m.BackwardWeight(b.be, d, g, &rec)
		loss := func() float64 { return dot(w.forward(d, lens, xm), c) }
		b.checkGrad("mla input", dx, xm, loss)
		for name, t := range map[string]compute.Tensor{"q": g.Q, "qa": g.QA, "qn": g.QANorm, "qb": g.QB, "kva": g.KVA, "kvn": g.KVNorm, "kvb": g.KVB, "o": g.O} {
			if _, ok := w[name]; ok {
				b.checkGrad("mla "+name, t, w[name], loss)
			}
		}
	}
}

// latentRun feeds several sequences of n rows of x, one after the other, through the
// absorbed form, piece rows of each at a time, all sequences side by side.
func (b *bench) latentRun(m *MLA, d MLADims, x, table compute.Tensor, n, piece int) compute.Tensor {
	seqs, dim := x.NumRows()/n, x.NumCols()
	y := b.zero(x.NumRows(), dim)
	caches, keys := make([]compute.Tensor, seqs), make([]compute.Tensor, seqs)
	for i := range seqs {
		caches[i], keys[i] = b.zero(n, d.Latent()), b.zero(n, max(d.Index.Dim, 1))
	}
	for at := 0; at < n; at += piece {
		rows := min(piece, n-at)
		xs, ys := b.zero(seqs*rows, dim), b.zero(seqs*rows, dim)
		pos := make([]int32, seqs*rows)
		var parts []LatentSeq
		for i := range seqs {
			b.be.Copy(xs.Rows(i*rows, (i+1)*rows), x.Rows(i*n+at, i*n+at+rows))
			for j := range rows {
				pos[i*rows+j] = int32(at + j)
			}
			parts = append(parts, LatentSeq{Row: i * rows, Rows: rows, Start: at, Cache: caches[i], Keys: keys[i]})
		}
		m.Extend(b.be, b.ar, d, ys, xs, compute.WrapI32(pos, 1, len(pos)), table, parts, &MLARecord{})
		for i := range seqs {
			b.be.Copy(y.Rows(i*n+at, i*n+at+rows), ys.Rows(i*rows, (i+1)*rows))
		}
	}
	return y
}

// sameBits compares the absorbed form fed in pieces, and each sequence alone, with all
// rows at once.
func (b *bench) sameBits(m *MLA, d MLADims, x, table compute.Tensor, n int, whole compute.Tensor) {
	b.t.Helper()
	for _, piece := range []int{1, 2, 4, 7} {
		if !slices.Equal(b.get(b.latentRun(m, d, x, table, n, piece)), b.get(whole)) {
			b.t.Errorf("fed %d rows at a time, the bits differ", piece)
		}
	}
	for at := 0; at < x.NumRows(); at += n {
		if !slices.Equal(b.get(b.latentRun(m, d, x.Rows(at, at+n), table, n, 3)), b.get(whole.Rows(at, at+n))) {
			b.t.Errorf("the sequence at row %d has other bits alone", at)
		}
	}
}

// TestMLAAbsorbedEqualsExpanded: the two forms are the same function, and the
// absorbed one gives the same bits however the rows are fed and whatever is beside them.
func TestMLAAbsorbedEqualsExpanded(t *testing.T) {
	b := newBench(t)
	d := MLADims{Heads: 2, Nope: 5, Rope: 4, V: 3, QLora: 7, KVLora: 6, Eps: testEps, Scale: 0.3}
	const seqs, n, dim = 3, 9, 8
	x, xm := b.random(seqs*n, dim, 1)
	m, w := b.mla(d, dim)
	_, table := b.positions([]int{n}, d.Rope)
	whole := b.latentRun(m, d, x, table, n, n)
	b.checkForward("absorbed", whole, w.forward(d, []int{n, n, n}, xm))
	b.sameBits(m, d, x, table, n, whole)
}

// expandedRun feeds sequences of lens rows of x through ExtendExpanded, up to piece rows
// of each at a time, those side by side that have any left, the last one first.
func (b *bench) expandedRun(m *MLA, d MLADims, x, table compute.Tensor, lens []int, piece int) compute.Tensor {
	dim := x.NumCols()
	y, caches := b.zero(x.NumRows(), dim), make([]compute.MLASeq, len(lens))
	index := make([]compute.Tensor, len(lens))
	for i, n := range lens {
		caches[i].KV, caches[i].KR, index[i] = b.zero(n, d.Heads*(d.Nope+d.V)), b.zero(n, d.Rope), b.zero(n, max(d.Index.Dim, 1))
	}
	for at := 0; at < slices.Max(lens); at += piece {
		var parts []compute.MLASeq
		var keys []compute.Tensor
		var pos, from []int32 // of each row in its sequence, in x
		end := int32(x.NumRows())
		for i, n := range slices.Backward(lens) {
			end -= int32(n)
			s := caches[i]
			s.Row, s.Rows, s.Start = len(pos), max(0, min(piece, n-at)), at
			for j := range s.Rows {
				pos, from = append(pos, int32(at+j)), append(from, end+int32(at+j))
			}
			if s.Rows > 0 {
				parts, keys = append(parts, s), append(keys, index[i])
			}
		}
		xs, ys := b.zero(len(pos), dim), b.zero(len(pos), dim)
		for i, r := range from {
			b.be.Copy(xs.Rows(i, i+1), x.Rows(int(r), int(r)+1))
		}
		m.ExtendExpanded(b.be, b.ar, d, ys, xs, compute.WrapI32(pos, 1, len(pos)), table, parts, keys, &MLARecord{})
		for i, r := range from {
			b.be.Copy(y.Rows(int(r), int(r)+1), ys.Rows(i, i+1))
		}
	}
	return y
}

// TestRolloutsEqualTraining: rows fed a few at a time through caches have the bits that
// they have in a packed pass over whole sequences, an indexer's picks included.
func TestRolloutsEqualTraining(t *testing.T) {
	for _, top := range []int{0, 5, 40} {
		b := newBench(t)
		d := MLADims{Heads: 3, Nope: 6, Rope: 4, V: 5, QLora: 7, KVLora: 6, Eps: testEps, Scale: 0.3}
		lens, dim := []int{13, 1, 70, 8}, 8
		x, _ := b.random(92, dim, 1)
		m, _ := b.mla(d, dim)
		if top > 0 {
			d.Index = IndexerDims{Heads: 3, Dim: 6, Rope: 4, TopK: top}
			m.Index = b.indexer(d, dim)
		}
		pos, table := b.positions(lens, d.Rope)
		y := b.zero(92, dim)
		m.Forward(b.be, b.ar, d, Packing{Lens: lens}, y, x, pos, table, &MLARecord{})
		for _, piece := range []int{1, 2, 7, 64, 100} {
			if got := b.expandedRun(m, d, x, table, lens, piece); !slices.Equal(b.get(got), b.get(y)) {
				t.Errorf("top %d: fed %d rows at a time, the bits differ from the packed pass", top, piece)
			}
		}
	}
}

// TestIndexer: with as many picks as there are keys an indexer changes nothing; with
// fewer, expanded and absorbed form read the same keys, and the bits stay.
func TestIndexer(t *testing.T) {
	b := newBench(t)
	d := MLADims{Heads: 2, Nope: 5, Rope: 4, V: 3, QLora: 7, KVLora: 6, Eps: testEps, Scale: 0.3,
		Index: IndexerDims{Heads: 3, Dim: 6, Rope: 4}}
	const seqs, n, dim = 2, 13, 8
	lens := []int{n, n}
	x, xm := b.random(seqs*n, dim, 1)
	m, w := b.mla(d, dim)
	m.Index = b.indexer(d, dim)
	pos, table := b.positions(lens, d.Rope)
	expanded := func() compute.Tensor {
		y := b.zero(seqs*n, dim)
		m.Forward(b.be, b.ar, d, Packing{Lens: lens}, y, x, pos, table, &MLARecord{})
		return y
	}
	d.Index.TopK = n
	all := w.forward(d, lens, xm)
	b.checkForward("expanded, every key picked", expanded(), all)
	b.checkForward("absorbed, every key picked", b.latentRun(m, d, x, table, n, n), all)
	d.Index.TopK = 5
	sparse := b.matOf(expanded())
	if diff(sparse, all) < 1e-3 {
		t.Error("picking 5 of 13 keys changed nothing")
	}
	whole := b.latentRun(m, d, x, table, n, n)
	b.checkForward("absorbed, 5 keys picked", whole, sparse)
	b.sameBits(m, d, x, table, n, whole)
}

func (b *bench) indexer(d MLADims, dim int) *Indexer {
	var m Indexer
	m.QB, _ = b.random(d.Index.Heads*d.Index.Dim, d.QLora, 0.5)
	m.K, _ = b.random(d.Index.Dim, dim, 0.5)
	m.KNorm, _ = b.random(1, d.Index.Dim, 1)
	m.KBias, _ = b.random(1, d.Index.Dim, 0.3)
	m.Heads, _ = b.random(d.Index.Heads, dim, 1)
	return &m
}

func (b *bench) matOf(t compute.Tensor) mat {
	m := newMat(t.NumRows(), t.NumCols())
	for i, v := range b.get(t) {
		m.v[i] = float64(v)
	}
	return m
}

// diff is the greatest difference of two matrices.
func diff(a, b mat) float64 {
	worst := 0.0
	for i := range a.v {
		worst = max(worst, math.Abs(a.v[i]-b.v[i]))
	}
	return worst
}
