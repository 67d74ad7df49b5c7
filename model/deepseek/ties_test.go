package deepseek

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"sonde/compute"
)

// With a few heads many keys score exactly 0 (no head's product is above it), and the
// bounds of the top k often lie among equals. This program takes the earlier ones; the
// original takes what its sort leaves there, which depends on how many keys the call
// had. picker finds out what that was, so that the rest can be compared.
type picker struct {
	m         *Model
	span      int  // rows of each sequence, which come in one call
	known     bool // the original's picks are
	latent, x []float32
	rows      map[string][]indexRow // by layer: all rows so far
	ties      int                   // rows where equals made the picks differ
}

// indexRow is one row's part in the indexer.
type indexRow struct{ q, k, w []float64 }

func newPicker(m *Model, span int) *picker {
	return &picker{m: m, span: span, rows: map[string][]indexRow{}}
}

// linear notes the inputs of an indexer.
func (p *picker) linear(name string, v []float32) {
	if strings.HasSuffix(name, ".indexer.wq_b.weight") {
		p.latent = v
	} else {
		p.x = v
	}
}

// follow returns, for the new rows of a layer, the original's picks, given ours; ours
// stay where they are no top k, which ok reports.
//
// given, where the original's picks are known, are those of a row: they count where they
// score the same as what the sort is expected to leave, which a hair's difference in
// float32 may change too.
func (p *picker) follow(name string, ix indexWeights, ours []int32, k int, given func(row int) []int32) (theirs []int32, ok bool) {
	n := len(ours) / k
	first := len(p.rows[name])
	for i := range n {
		p.rows[name] = append(p.rows[name], ix.row(p.latent, p.x, i, (first+i)%p.span))
	}
	all := p.rows[name]
	ok = true
	for i := range n {
		at := first + i
		begin := at - at%p.span
		seen := all[begin : at+1]
		scores := make([]float64, p.span)
		for t := range scores {
			scores[t] = math.Inf(-1)
			if t < len(seen) {
				scores[t] = all[at].score(seen[t])
			}
		}
		mine := picked(ours[i*k : (i+1)*k])
		want := nthElement(scores, min(k, p.span))
		want = slices.DeleteFunc(want, func(t int32) bool { return int(t) >= len(seen) })
		if given != nil && equalScores(scores, given(at), want) {
			want = given(at)
		}
		switch {
		case !equalScores(scores, mine, want):
			ok, want = false, slices.Clone(mine)
		case !slices.Equal(mine, want):
			p.ties++
		}
		for len(want) < k {
			want = append(want, -1)
		}
		theirs = append(theirs, want...)
	}
	return theirs, ok
}

// picked are a row's picks without the places left empty.
func picked(row []int32) []int32 {
	if n := slices.Index(row, -1); n >= 0 {
		return row[:n]
	}
	return row
}

// equalScores reports whether two choices score the same, place by place.
func equalScores(scores []float64, a, b []int32) bool {
	if len(a) != len(b) {
		return false
	}
	of := func(ids []int32) []float64 {
		var out []float64
		for _, t := range ids {
			out = append(out, scores[t])
		}
		slices.Sort(out)
		return out
	}
	x, y := of(a), of(b)
	for i := range x {
		if math.Abs(x[i]-y[i]) > 1e-5*max(1, math.Abs(x[i])) {
			return false
		}
	}
	return true
}

// indexWeights are an indexer's weights in float64.
type indexWeights struct {
	q, k, norm, bias, heads, freq []float64
	dim, rope                     int
}

func (m *Model) indexWeights(layer int) indexWeights {
	x := m.Layers[layer].Attn.Index
	get := func(t compute.Tensor) []float64 {
		v, out := make([]float32, t.Len()), make([]float64, t.Len())
		m.be.DownloadF32(v, t)
		for i := range v {
			out[i] = float64(v[i])
		}
		return out
	}
	freq, _ := m.cfg.Rope.Frequencies(m.cfg.QKRopeHeadDim)
	w := indexWeights{q: get(x.QB), k: get(x.K), norm: get(x.KNorm), bias: get(x.KBias), heads: get(x.Heads), dim: m.cfg.IndexHeadDim, rope: m.cfg.QKRopeHeadDim}
	for _, f := range freq {
		w.freq = append(w.freq, float64(f))
	}
	return w
}

// row computes row i of a call, at position pos.
func (w indexWeights) row(latent, x []float32, i, pos int) indexRow {
	dim := len(w.k) / w.dim
	heads := len(w.heads) / dim
	lora := len(w.q) / (heads * w.dim)
	in := x[i*dim : (i+1)*dim]
	r := indexRow{q: times(w.q, latent[i*lora:(i+1)*lora]), k: times(w.k, in), w: times(w.heads, in)}
	mean, variance := 0.0, 0.0
	for _, v := range r.k {
		mean += v / float64(w.dim)
	}
	for _, v := range r.k {
		variance += (v - mean) * (v - mean) / float64(w.dim)
	}
	for j, v := range r.k {
		r.k[j] = (v-mean)/math.Sqrt(variance+1e-6)*w.norm[j] + w.bias[j]
	}
	w.turn(r.k, pos)
	for h := range heads {
		w.turn(r.q[h*w.dim:], pos)
	}
	return r
}

// turn rotates the first columns of a head, paired by halves.
func (w indexWeights) turn(v []float64, pos int) {
	half := w.rope / 2
	for i := range half {
		s, c := math.Sincos(float64(pos) * w.freq[i])
		v[i], v[half+i] = v[i]*c-v[half+i]*s, v[half+i]*c+v[i]*s
	}
}

func times(w []float64, x []float32) []float64 {
	out := make([]float64, len(w)/len(x))
	for i := range out {
		for j, v := range x {
			out[i] += w[i*len(x)+j] * float64(v)
		}
	}
	return out
}

// score is what row r gives the key of row k, up to a factor.
func (r indexRow) score(k indexRow) float64 {
	sum := 0.0
	for h, w := range r.w {
		dot := 0.0
		for i, v := range k.k {
			dot += r.q[h*len(k.k)+i] * v
		}
		sum += w * max(dot, 0)
	}
	return sum
}

// nthElement is the k places of the greatest of v, ascending: of equal ones those that
// the GNU C++ library's std::nth_element moves to the front.
func nthElement(v []float64, k int) []int32 {
	at := make([]int32, len(v))
	for i := range at {
		at[i] = int32(i)
	}
	before := func(i, j int) bool { return v[at[i]] > v[at[j]] }
	first, last := 0, len(v)
	for last-first > 3 {
		m := median(before, first+1, first+(last-first)/2, last-1)
		at[first], at[m] = at[m], at[first]
		i, j := first+1, last
		for {
			for before(i, first) {
				i++
			}
			for j--; before(first, j); j-- {
			}
			if i >= j {
				break
			}
			at[i], at[j] = at[j], at[i]
			i++
		}
		if i <= k-1 {
			first = i
		} else {
			last = i
		}
	}
	slices.SortStableFunc(at[first:last], func(x, y int32) int { return cmp.Compare(v[y], v[x]) })
	return slices.Sorted(slices.Values(at[:k]))
}

// median is the middle one of three, equal ones in the library's order.
func median(before func(i, j int) bool, a, b, c int) int {
	switch {
	case before(a, b):
		if before(b, c) {
			return b
		}
		if before(a, c) {
			return c
		}
		return a
	case before(a, c):
		return a
	case before(b, c):
		return c
	}
	return b
}
