package cpu

import (
	"fmt"
	"sort"
	"sync/atomic"

	"sonde/compute"
)

// cachedPlan cuts the attentions of several sequences, which have as many groups of
// heads each, into pieces of work: a block of rows with all its keys, or with a chunk
// of them where that occupies more workers or a sequence has but one block. Groups take
// turns, because their keys are neighbours in memory. The last piece of a block to be
// finished joins all.
type cachedPlan struct {
	seqs, groups int
	get          func(seq, group int) cached
	split        bool

	first    []int32 // first piece of each sequence
	joins    []int32 // first counter of each sequence
	left     []int32 // chunks of each block of each group that are not finished
	partials *float32
	rows, dv int // of a partial
}

// runCached runs the attentions that get gives, which may be called on any worker.
func (b *Backend) runCached(seqs, groups int, get func(seq, group int) cached) {
	b.shared.begin()
	defer b.shared.end()
	p := cachedPlan{seqs: seqs, groups: groups, get: get, first: b.shared.ints(seqs + 1), joins: b.shared.ints(seqs + 1)}
	p.cut(4 * b.pool.threads)
	pieces := int(p.first[seqs])
	if !p.split {
		b.pool.run(pieces, func(w *worker, c int) {
			p.whole(w, b.k, pieces-1-c) // the last blocks see most keys: they go first
		})
		return
	}
	p.left = b.shared.ints(int(p.joins[seqs]))
	p.partials = b.shared.floats(pieces * partialSize(p.rows, p.dv))
	p.count()
	b.pool.run(pieces, func(w *worker, c int) { p.chunk(w, b.k, c) })
}

// ints is n int32 of the shared memory, undefined.
func (s *opShared) ints(n int) []int32 { return s.arena.I32(1, n).RowI32(0) }

// cut counts the pieces: whole blocks when there are enough of them, unless a sequence
// has but one block and many keys.
func (p *cachedPlan) cut(enough int) {
	blocks, most := 0, 0
	for i := range p.seqs {
		a := p.get(i, 0)
		blocks += a.blocks() * p.groups
		if a.blocks() == 1 {
			most = max(most, a.chunks())
		}
		p.rows, p.dv = max(p.rows, min(cachedRows, 16*panels(a.rows()))), a.dv
	}
	p.split = blocks < enough || most > 1
	p.first[0], p.joins[0] = 0, 0
	for i := range p.seqs {
		a := p.get(i, 0)
		n := a.blocks() * p.groups
		p.joins[i+1] = p.joins[i] + int32(n)
		if p.split {
			n *= a.chunks()
		}
		p.first[i+1] = p.first[i] + int32(n)
	}
}

// count sets the chunks that are to be finished.
func (p *cachedPlan) count() {
	for i := range p.seqs {
		a := p.get(i, 0)
		for j := p.joins[i]; j < p.joins[i+1]; j++ {
			p.left[j] = int32(a.chunks())
		}
	}
}

// find is the sequence of piece c and the piece's number in it.
func (p *cachedPlan) find(c int) (seq, piece int) {
	seq = sort.Search(p.seqs, func(i int) bool { return int(p.first[i+1]) > c })
	return seq, c - int(p.first[seq])
}

// whole does a block with all its keys.
func (p *cachedPlan) whole(w *worker, k *kernels, c int) {
	seq, j := p.find(c)
	a := p.get(seq, j%p.groups)
	r := a.block(w, k, j/p.groups)
	r.whole()
}

// chunk does a block with a chunk of its keys.
func (p *cachedPlan) chunk(w *worker, k *kernels, c int) {
	seq, j := p.find(c)
	group, j := j%p.groups, j/p.groups
	a := p.get(seq, group)
	chunks := a.chunks()
	block, chunk := j/chunks, j%chunks
	r := a.block(w, k, block)
	if chunk*cachedChunk < r.last {
		r.packQueries()
		r.chunk(chunk, p.partial(c))
	}
	if atomic.AddInt32(&p.left[int(p.joins[seq])+block*p.groups+group], -1) > 0 {
		return
	}
	first := c - chunk*p.groups
	total := p.partial(first)
	for j := 1; j*cachedChunk < r.last; j++ {
		r.join(total, p.partial(first+j*p.groups))
	}
	r.write(total)
}

// partial is the room of piece c.
func (p *cachedPlan) partial(c int) partial {
	return newPartial(at(p.partials, c*partialSize(p.rows, p.dv)), p.rows, p.dv)
}

// LatentAttention is causal attention in the absorbed form; see compute.LatentArgs.
func (b *Backend) LatentAttention(a compute.LatentArgs) {
	a.Check()
	m := a.Q.NumRows()
	if !b.k.vector {
		b.rowChunks(m, a.Heads*(a.Start+m)*a.Latent/16, func(from, to int) { b.Reference.LatentAttention(latentRows(a, from, to)) })
		return
	}
	// Tokens whose picks are all they see need no gathering.
	dense := 0
	for dense < m && (a.Picks.IsZero() || len(picked("LatentAttention", a.Picks.RowI32(dense), a.Start+dense+1)) == a.Start+dense+1) {
		dense++
	}
	part := func(from, to int) cached {
		p := latentRows(a, from, to)
		return cached{heads: a.Heads, d: a.Latent + a.Rope, dv: a.Latent, start: p.Start, scale: a.Scale, q: p.Q, o: p.O, keys: p.Cache, values: p.Cache, picks: p.Picks}
	}
	if dense > 0 {
		d := part(0, dense)
		d.picks = compute.Tensor{}
		b.runCached(1, 1, func(_, _ int) cached { return d })
	}
	if dense < m {
		d := part(dense, m)
		b.runCached(1, 1, func(_, _ int) cached { return d })
	}
}

// latentRows is a for tokens [from, to).
func latentRows(a compute.LatentArgs, from, to int) compute.LatentArgs {
	a.Start, a.Q, a.O = a.Start+from, a.Q.Rows(from, to), a.O.Rows(from, to)
	if !a.Picks.IsZero() {
		a.Picks = a.Picks.Rows(from, to)
	}
	return a
}

// picked is the places in a row of picks, which must be ascending and below n.
func picked(op string, row []int32, n int) []int32 {
	last := int32(-1)
	for j, p := range row {
		if p < 0 {
			return row[:j]
		}
		if int(p) >= n || p <= last {
			panic(fmt.Sprintf("cpu: %s: pick %d is key %d after %d, where %d keys are seen and picks ascend", op, j, p, last, n))
		}
		last = p
	}
	return row
}

// Attention is causal grouped-query attention; see compute.AttentionArgs.
func (b *Backend) Attention(a compute.AttentionArgs) {
	a.Check()
	if !b.k.vector {
		b.attentionRows(a)
		return
	}
	b.runCached(len(a.Seqs), a.KVHeads, func(seq, g int) cached {
		s, heads := a.Seqs[seq], a.Heads/a.KVHeads
		rows := func(t compute.Tensor, d int) compute.Tensor {
			return t.Rows(s.Row, s.Row+s.Rows).Cols(g*heads*d, (g+1)*heads*d)
		}
		c := cached{heads: heads, d: a.Dim, dv: a.Dim, start: s.Start, scale: a.Scale, q: rows(a.Q, a.Dim), o: rows(a.O, a.Dim),
			keys: s.K.Cols(g*a.Dim, (g+1)*a.Dim), values: s.V.Cols(g*a.Dim, (g+1)*a.Dim)}
		if !a.LSE.IsZero() {
			c.lse = rows(a.LSE, 1)
		}
		return c
	})
}

// attentionRows is Attention without kernels: each worker takes rows.
func (b *Backend) attentionRows(a compute.AttentionArgs) {
	b.pool.run(a.Q.NumRows(), func(_ *worker, row int) {
		for _, s := range a.Seqs {
			if row < s.Row || row >= s.Row+s.Rows {
				continue
			}
			p := a
			s.Start, s.Row, s.Rows = s.Start+row-s.Row, row, 1
			p.Seqs = []compute.AttentionSeq{s}
			b.Reference.Attention(p)
		}
	})
}
