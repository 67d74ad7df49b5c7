package cpu

import (
	"math"

	"sonde/compute"
)

// latentChunk is how many keys, counted from the start of the sequence, make one
// partial softmax; partial results are joined in their order. Cutting there lets
// many workers share one row without changing its bits.
const latentChunk = 4 * keyBlock

// latentRows is how many rows of the product (a row is one head of one token) work
// together: each cached row that is read meets all of them.
const latentRows = 64

// latent is one call of LatentAttention.
type latent struct {
	k      *kernels
	a      compute.LatentArgs
	d      int // Latent + Rope
	rows   int // heads of all tokens
	chunks int
}

// LatentAttention is causal attention in the absorbed form; see compute.LatentArgs.
func (b *Backend) LatentAttention(a compute.LatentArgs) {
	a.Check()
	m := a.Q.NumRows()
	if m == 0 {
		return
	}
	if !b.k.vector || !a.Picks.IsZero() {
		b.rowChunks(m, a.Heads*(a.Start+m)*a.Latent/16, func(from, to int) {
			p := a
			p.Start, p.Q, p.O = a.Start+from, a.Q.Rows(from, to), a.O.Rows(from, to)
			if !a.Picks.IsZero() {
				p.Picks = a.Picks.Rows(from, to)
			}
			b.Reference.LatentAttention(p)
		})
		return
	}
	l := latent{k: b.k, a: a, d: a.Latent + a.Rope, rows: m * a.Heads, chunks: (a.Start + m + latentChunk - 1) / latentChunk}
	blocks := (l.rows + latentRows - 1) / latentRows
	if blocks >= 2*b.pool.threads || l.chunks == 1 {
		b.pool.run(blocks, func(w *worker, c int) { l.whole(w, c) })
		return
	}
	b.latentShared(l, blocks)
}

// latentShared gives every chunk of keys of every block of rows to whoever is free,
// then joins them.
func (b *Backend) latentShared(l latent, blocks int) {
	b.shared.begin()
	defer b.shared.end()
	parts := make([]partial, blocks*l.chunks)
	ld := oddLines(l.a.Latent)
	for i := range parts {
		parts[i] = partial{out: matrix{b.shared.floats(min(latentRows, l.rows) * ld), ld},
			m: b.shared.floats(latentRows), l: b.shared.floats(latentRows)}
	}
	b.pool.run(len(parts), func(w *worker, c int) {
		r := l.block(w, c/l.chunks)
		r.packQueries()
		r.chunk(c%l.chunks, parts[c])
	})
	b.pool.run(blocks, func(w *worker, c int) {
		r := l.block(w, c)
		total := r.newPartial()
		total.clear(r.n)
		for j, p := range parts[c*l.chunks : (c+1)*l.chunks] {
			r.join(total, p, j)
		}
		r.write(total)
	})
}

// whole does all chunks of block c of rows.
func (l latent) whole(w *worker, c int) {
	r := l.block(w, c)
	r.packQueries()
	total, part := r.newPartial(), r.newPartial()
	total.clear(r.n)
	for j := 0; j*latentChunk < r.last; j++ {
		r.chunk(j, part)
		r.join(total, part, j)
	}
	r.write(total)
}

// latentBlock is a block of rows at work.
type latentBlock struct {
	latent
	w        *worker
	first, n int     // rows
	last     int     // keys that its last row sees
	limit    []int32 // keys that each row sees
	queries  *float32
	scores   matrix
	fade     *float32
	f, g     *float32
}

func (l latent) block(w *worker, c int) latentBlock {
	r := latentBlock{latent: l, w: w, first: c * latentRows}
	r.n = min(latentRows, l.rows-r.first)
	r.scores = newMatrix(w, keyBlock, latentRows)
	r.fade, r.f, r.g = scratch(w, latentRows), scratch(w, latentRows), scratch(w, latentRows)
	r.limit = w.scratch.I32(1, latentRows).RowI32(0)
	for i := range r.limit {
		r.limit[i] = int32(r.sees(min(i, r.n-1)))
	}
	r.last = r.sees(r.n - 1)
	return r
}

// sees is how many keys row i of the block sees.
func (r *latentBlock) sees(i int) int { return r.a.Start + (r.first+i)/r.a.Heads + 1 }

// partial is a softmax over some keys: the largest score, the sum, and the values.
type partial struct {
	out  matrix
	m, l *float32
}

func (r *latentBlock) newPartial() partial {
	return partial{newMatrix(r.w, latentRows, r.a.Latent), scratch(r.w, latentRows), scratch(r.w, latentRows)}
}

func (p partial) clear(n int) {
	clear(slice(p.out.p, n*p.out.ld))
	clear(slice(p.l, latentRows))
	for i := range latentRows {
		*at(p.m, i) = -math.MaxFloat32
	}
}

// packQueries brings the block's queries into panels of 16.
func (r *latentBlock) packQueries() {
	rows := newMatrix(r.w, r.n, r.d)
	for i := 0; i < r.n; {
		t, h := (r.first+i)/r.a.Heads, (r.first+i)%r.a.Heads
		n := min(r.n-i, r.a.Heads-h)
		r.k.copyRows(rows.row(i), 4*rows.ld, at(rowPtr(r.a.Q, t), h*r.d), 4*r.d, n, r.d)
		i += n
	}
	r.queries = scratch(r.w, panels(r.n)*packed(r.d))
	packRows(r.w, r.k, r.queries, rows.p, 4*rows.ld, r.n, r.d)
}

// chunk makes the partial softmax over chunk c of the keys.
func (r *latentBlock) chunk(c int, p partial) {
	p.clear(r.n)
	end := min(r.last, (c+1)*latentChunk)
	for first := c * latentChunk; first < end; first += keyBlock {
		keys := min(keyBlock, end-first)
		r.score(first, keys)
		if int(r.limit[0]) < first+keys {
			r.k.maskCols(r.scores.p, 4*r.scores.ld, keys, 16*panels(r.n), &r.limit[0], first)
		}
		r.k.softmaxCols(r.scores.p, 4*r.scores.ld, keys, 16*panels(r.n), r.a.Scale, p.m, p.l, r.fade)
		if first > c*latentChunk {
			r.k.scaleRows(p.out.p, 4*p.out.ld, p.out.p, 4*p.out.ld, r.fade, r.n, 16*panels(r.a.Latent))
		}
		r.values(p, first, keys, first > c*latentChunk)
	}
}

// latentK is how many steps of the scores' product run at a time, so that a panel of
// queries and a few cached rows stay in the first cache.
const latentK = 288

// score fills scores[key][row] for keys from first on.
func (r *latentBlock) score(first, keys int) {
	for p := range panels(r.n) {
		for k := 0; k < r.d; k += latentK {
			r.k.panel(keys, min(latentK, r.d-k), at(rowPtr(r.a.Cache, first), k), bytes(r.a.Cache), 4,
				at(r.queries, p*packed(r.d)+16*k), 64, at(r.scores.p, 16*p), 4*r.scores.ld, flag(k > 0))
		}
	}
}

// values adds the latents of keys from first on, weighted. A last panel narrower
// than 16 columns is copied first: reading on would leave the cache.
func (r *latentBlock) values(p partial, first, keys int, acc bool) {
	ld := bytes(r.a.Cache)
	for c := 0; c < r.a.Latent; c += 16 {
		v, ldv := at(rowPtr(r.a.Cache, first), c), ld
		if r.a.Latent-c < 16 {
			mark := r.w.scratch.Mark()
			defer r.w.scratch.Release(mark)
			tail := scratch(r.w, 16*keys)
			r.k.copyRows(tail, 64, v, ld, keys, r.a.Latent-c)
			v, ldv = tail, 64
		}
		r.k.panel(r.n, keys, r.scores.p, 4, 4*r.scores.ld, v, ldv, at(p.out.p, c), 4*p.out.ld, flag(acc))
	}
}

// join takes chunk c's partial softmax into total. A row that sees nothing of the
// chunk keeps its bits: its factors are 1 and 0.
func (r *latentBlock) join(total, p partial, c int) {
	if c*latentChunk >= r.last {
		return
	}
	m, pm, f, g := slice(total.m, latentRows), slice(p.m, latentRows), slice(r.f, latentRows), slice(r.g, latentRows)
	for i := range r.n {
		top := max(m[i], pm[i])
		f[i], g[i], m[i] = m[i]-top, pm[i]-top, top
	}
	r.k.expMinus(r.f, r.n, 0)
	r.k.expMinus(r.g, r.n, 0)
	l, pl := slice(total.l, latentRows), slice(p.l, latentRows)
	for i := range r.n {
		l[i] = l[i]*f[i] + pl[i]*g[i]
	}
	r.k.mergeRows(total.out.p, 4*total.out.ld, p.out.p, 4*p.out.ld, r.f, r.g, r.n, r.a.Latent)
}

// write divides by the sums and writes the output.
func (r *latentBlock) write(p partial) {
	l := slice(p.l, r.n)
	for i := range l {
		l[i] = 1 / l[i]
	}
	for i := 0; i < r.n; {
		t, h := (r.first+i)/r.a.Heads, (r.first+i)%r.a.Heads
		n := min(r.n-i, r.a.Heads-h)
		r.k.scaleRows(at(rowPtr(r.a.O, t), h*r.a.Latent), 4*r.a.Latent, p.out.row(i), 4*p.out.ld, at(p.l, i), n, r.a.Latent)
		i += n
	}
}
