package cpu

import (
	"fmt"
	"sort"

	"sonde/compute"
)

// MLAForward is causal attention in the expanded form; see compute.MLAArgs.
func (b *Backend) MLAForward(a compute.MLAArgs) {
	a.Check()
	rows := func(i int) (row, n, start int) { s := a.Seqs[i]; return s.Row, s.Rows, s.Start }
	if !b.k.vector {
		b.eachRow(len(a.Seqs), rows, func(i, j int) {
			p, s := a, a.Seqs[i]
			s.Row, s.Start, s.Rows = s.Row+j, s.Start+j, 1
			p.Seqs = []compute.MLASeq{s}
			b.Reference.MLAForward(p)
		})
		return
	}
	ps := portions{n: len(a.Seqs), rows: rows, picks: a.Picks}
	ps.cut("MLA")
	dq, dkv := a.Nope+a.Rope, a.Nope+a.V
	b.runCached(ps.len(), a.Heads, func(i, h int) cached {
		p := ps.at(i)
		s := a.Seqs[p.seq]
		c := cached{heads: 1, d: dq, dv: a.V, start: p.start, scale: a.Scale, picks: p.picks,
			q: p.of(a.Q, h*dq, dq), o: p.of(a.O, h*a.V, a.V),
			keys: s.KV.Cols(h*dkv, h*dkv+a.Nope), shared: s.KR, values: s.KV.Cols(h*dkv+a.Nope, (h+1)*dkv)}
		if !a.LSE.IsZero() {
			c.lse = p.of(a.LSE, h, 1)
		}
		return c
	})
}

// LatentAttention is causal attention in the absorbed form; see compute.LatentArgs.
func (b *Backend) LatentAttention(a compute.LatentArgs) {
	a.Check()
	rows := func(i int) (row, n, start int) { s := a.Seqs[i]; return s.Row, s.Rows, s.Start }
	if !b.k.vector {
		b.eachRow(len(a.Seqs), rows, func(i, j int) {
			p, s := a, a.Seqs[i]
			s.Row, s.Start, s.Rows = s.Row+j, s.Start+j, 1
			p.Seqs = []compute.LatentSeq{s}
			b.Reference.LatentAttention(p)
		})
		return
	}
	ps := portions{n: len(a.Seqs), rows: rows, picks: a.Picks}
	ps.cut("LatentAttention")
	b.runCached(ps.len(), 1, func(i, _ int) cached {
		p := ps.at(i)
		cache := a.Seqs[p.seq].Cache
		return cached{heads: a.Heads, d: a.Latent + a.Rope, dv: a.Latent, start: p.start, scale: a.Scale, picks: p.picks,
			q: p.of(a.Q, 0, a.Q.NumCols()), o: p.of(a.O, 0, a.O.NumCols()), keys: cache, values: cache}
	})
}

// Attention is causal grouped-query attention; see compute.AttentionArgs.
func (b *Backend) Attention(a compute.AttentionArgs) {
	a.Check()
	rows := func(i int) (row, n, start int) { s := a.Seqs[i]; return s.Row, s.Rows, s.Start }
	if !b.k.vector {
		b.eachRow(len(a.Seqs), rows, func(i, j int) {
			p, s := a, a.Seqs[i]
			s.Row, s.Start, s.Rows = s.Row+j, s.Start+j, 1
			p.Seqs = []compute.AttentionSeq{s}
			b.Reference.Attention(p)
		})
		return
	}
	ps, heads, d := portions{n: len(a.Seqs), rows: rows}, a.Heads/a.KVHeads, a.Dim
	b.runCached(ps.len(), a.KVHeads, func(i, g int) cached {
		p := ps.at(i)
		s := a.Seqs[p.seq]
		c := cached{heads: heads, d: d, dv: d, start: p.start, scale: a.Scale, q: p.of(a.Q, g*heads*d, heads*d), o: p.of(a.O, g*heads*d, heads*d),
			keys: s.K.Cols(g*d, (g+1)*d), values: s.V.Cols(g*d, (g+1)*d)}
		if !a.LSE.IsZero() {
			c.lse = p.of(a.LSE, g*heads, heads)
		}
		return c
	})
}

// eachRow runs f for every row of n sequences, on all workers; rows is portions'.
func (b *Backend) eachRow(n int, rows func(seq int) (row, n, start int), f func(seq, row int)) {
	first := make([]int32, n+1)
	for i := range n {
		_, r, _ := rows(i)
		first[i+1] = first[i] + int32(r)
	}
	b.pool.run(int(first[n]), func(_ *worker, c int) {
		seq := sort.Search(n, func(i int) bool { return int(first[i+1]) > c })
		f(seq, c-int(first[seq]))
	})
}

// portion is some rows of a sequence in an operation over several.
type portion struct {
	seq      int
	from, to int            // rows of the operands
	start    int            // position of the first
	picks    compute.Tensor // their picks, or none where they read all they see
}

// of is d columns of t, from c on, in the portion's rows.
func (p portion) of(t compute.Tensor, c, d int) compute.Tensor {
	return t.Rows(p.from, p.to).Cols(c, c+d)
}

// portions are the rows of n sequences, those apart that read their picks.
type portions struct {
	n     int
	rows  func(seq int) (row, n, start int)
	picks compute.Tensor
	list  []portion // where there are picks
}

// cut lists the portions where there are picks. Rows whose picks are all they see need
// no gathering.
func (ps *portions) cut(op string) {
	if ps.picks.IsZero() {
		return
	}
	for seq := range ps.n {
		row, n, start := ps.rows(seq)
		dense := 0
		for dense < n && len(picked(op, ps.picks.RowI32(row+dense), start+dense+1)) == start+dense+1 {
			dense++
		}
		if dense > 0 {
			ps.list = append(ps.list, portion{seq: seq, from: row, to: row + dense, start: start})
		}
		if dense < n {
			ps.list = append(ps.list, portion{seq: seq, from: row + dense, to: row + n, start: start + dense, picks: ps.picks.Rows(row+dense, row+n)})
		}
	}
}

func (ps *portions) len() int {
	if ps.picks.IsZero() {
		return ps.n
	}
	return len(ps.list)
}

func (ps *portions) at(i int) portion {
	if !ps.picks.IsZero() {
		return ps.list[i]
	}
	row, n, start := ps.rows(i)
	return portion{seq: i, from: row, to: row + n, start: start}
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
