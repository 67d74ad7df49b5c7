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
		a = a.Store()
		b.eachRow(len(a.Seqs), rows, func(i, j int) {
			p, s := a, a.Seqs[i]
			s.Row, s.Start, s.Rows = s.Row+j, s.Start+j, 1
			p.Seqs = []compute.MLASeq{s}
			b.Reference.MLAForward(p)
		})
		return
	}
	if !a.KV.IsZero() {
		b.store(len(a.Seqs), rows, a.KV, func(i int) compute.Tensor { return a.Seqs[i].KV })
		b.store(len(a.Seqs), rows, a.KR, func(i int) compute.Tensor { return a.Seqs[i].KR })
	}
	ps := portions{n: len(a.Seqs), rows: rows, picks: a.Picks}
	ps.cut("MLA")
	together := a.Picks.IsZero() && a.Nope%8 == 0 && a.Rope%8 == 0 && a.V%16 == 0
	if !together {
		b.runCached(ps.len(), a.Heads, func(i, h int) cached { return mlaHeads(&a, ps.at(i), h, h+1) })
		return
	}
	single, others := ps.singles()
	b.runCached(single.n, (a.Heads+fewAtOnce-1)/fewAtOnce, func(i, g int) cached {
		return mlaHeads(&a, single.at(i), g*fewAtOnce, min(a.Heads, (g+1)*fewAtOnce))
	})
	b.runCached(others.n, a.Heads, func(i, h int) cached { return mlaHeads(&a, others.at(i), h, h+1) })
}

// mlaHeads is heads [from, to) of a portion of a, several where the portion is one row.
func mlaHeads(a *compute.MLAArgs, p portion, from, to int) cached {
	s, dq, dkv := &a.Seqs[p.seq], a.Nope+a.Rope, a.Nope+a.V
	c := cached{heads: to - from, d: dq, dv: a.V, start: p.start, n: p.to - p.from, scale: a.Scale, picks: p.picks,
		q: columns(a.Q, p.from, from*dq, 0).matrix, o: columns(a.O, p.from, from*a.V, 0).matrix,
		keys:   keyParts{columns(s.KV, 0, from*dkv, a.Nope), columns(s.KR, 0, 0, a.Rope)},
		values: columns(s.KV, 0, from*dkv+a.Nope, a.V), room: min(s.KV.NumRows(), s.KR.NumRows())}
	if to-from > 1 {
		c.apart = dkv
	}
	if !a.LSE.IsZero() {
		c.lse = columns(a.LSE, p.from, from, 0).matrix
	}
	return c
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
		cache := columns(a.Seqs[p.seq].Cache, 0, 0, a.Latent+a.Rope)
		return cached{heads: a.Heads, d: a.Latent + a.Rope, dv: a.Latent, start: p.start, n: p.to - p.from, scale: a.Scale, picks: p.picks,
			q: columns(a.Q, p.from, 0, 0).matrix, o: columns(a.O, p.from, 0, 0).matrix,
			keys: keyParts{cache}, values: columnsOf{cache.matrix, a.Latent, 0}, room: a.Seqs[p.seq].Cache.NumRows()}
	})
}

// Attention is causal grouped-query attention; see compute.AttentionArgs.
func (b *Backend) Attention(a compute.AttentionArgs) {
	a.Check()
	rows := func(i int) (row, n, start int) { s := a.Seqs[i]; return s.Row, s.Rows, s.Start }
	if !b.k.vector {
		a = a.Store()
		b.eachRow(len(a.Seqs), rows, func(i, j int) {
			p, s := a, a.Seqs[i]
			s.Row, s.Start, s.Rows = s.Row+j, s.Start+j, 1
			p.Seqs = []compute.AttentionSeq{s}
			b.Reference.Attention(p)
		})
		return
	}
	if !a.K.IsZero() {
		b.store(len(a.Seqs), rows, a.K, func(i int) compute.Tensor { return a.Seqs[i].K })
		b.store(len(a.Seqs), rows, a.V, func(i int) compute.Tensor { return a.Seqs[i].V })
	}
	ps, heads, d := portions{n: len(a.Seqs), rows: rows}, a.Heads/a.KVHeads, a.Dim
	b.runCached(ps.len(), a.KVHeads, func(i, g int) cached {
		p := ps.at(i)
		s := &a.Seqs[p.seq]
		c := cached{heads: heads, d: d, dv: d, start: p.start, n: p.to - p.from, scale: a.Scale,
			q: columns(a.Q, p.from, g*heads*d, 0).matrix, o: columns(a.O, p.from, g*heads*d, 0).matrix,
			keys: keyParts{columns(s.K, 0, g*d, d)}, values: columns(s.V, 0, g*d, d), room: min(s.K.NumRows(), s.V.NumRows())}
		if !a.LSE.IsZero() {
			c.lse = columns(a.LSE, p.from, g*heads, 0).matrix
		}
		return c
	})
}

// storedTogether is how many sequences a worker stores at a time.
const storedTogether = 32

// store writes the sequences' rows of src to their places in dst; rows is portions'.
func (b *Backend) store(n int, rows func(seq int) (row, n, start int), src compute.Tensor, dst func(seq int) compute.Tensor) {
	b.pool.run((n+storedTogether-1)/storedTogether, func(_ *worker, c int) {
		for i := c * storedTogether; i < min(n, (c+1)*storedTogether); i++ {
			row, count, start := rows(i)
			d := dst(i)
			for j := 0; j < count; j += copyPiece {
				if d.DType() == compute.F16 {
					b.k.toHalf(rowPtr16(d, start+j), 2*d.Stride(), rowPtr(src, row+j), bytes(src), min(copyPiece, count-j), src.NumCols()/8)
					continue
				}
				b.k.copyRows(rowPtr(d, start+j), bytes(d), rowPtr(src, row+j), bytes(src), min(copyPiece, count-j), src.NumCols())
			}
		}
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

// portions are the rows of n sequences, those apart that read their picks.
type portions struct {
	n     int
	rows  func(seq int) (row, n, start int)
	picks compute.Tensor
	list  []portion // where there are picks
	only  []int32   // the sequences, where they are not all
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
	if ps.only != nil {
		i = int(ps.only[i])
	}
	row, n, start := ps.rows(i)
	return portion{seq: i, from: row, to: row + n, start: start}
}

// singles parts the sequences that have one row from the others; there are no picks.
func (ps *portions) singles() (single, others portions) {
	single, others = *ps, *ps
	count := 0
	for i := range ps.n {
		if _, n, _ := ps.rows(i); n == 1 {
			count++
		}
	}
	if single.n, others.n = count, ps.n-count; count == 0 || count == ps.n {
		return single, others
	}
	for i := range ps.n {
		if _, n, _ := ps.rows(i); n == 1 {
			single.only = append(single.only, int32(i))
		} else {
			others.only = append(others.only, int32(i))
		}
	}
	return single, others
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
