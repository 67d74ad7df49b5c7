package cpu

import (
	"math"
	"slices"
	"unsafe"

	"sonde/compute"
)

// MLABackward is the gradient of MLAForward: probabilities are made again from the
// log-sum-exp, block by block. Gradients to queries are summed over keys, to keys
// and values over queries, to the shared rope key over heads, all in ascending order.
func (b *Backend) MLABackward(a compute.MLAArgs, g compute.MLAGrads) {
	a.Check()
	g.Check(a)
	if !b.k.vector {
		b.pool.run(len(a.Seqs), func(_ *worker, c int) {
			p := a
			p.Seqs = a.Seqs[c : c+1]
			b.Reference.MLABackward(p, g)
		})
		return
	}
	b.shared.begin()
	defer b.shared.end()
	rows := a.Q.NumRows()
	dkr := b.shared.floats(a.Heads * rows * a.Rope) // [head][row]
	b.pool.run(len(a.Seqs)*a.Heads, func(w *worker, c int) {
		s := a.Seqs[c/a.Heads]
		if s.Rows == 0 {
			return
		}
		h := mlaHead(a, c/a.Heads, c%a.Heads)
		e := newGradients(w, b.k, h)
		e.packKeys()
		first, n, dkv := s.Row, c%a.Heads, a.Nope+a.V
		e.addHead(h, columns(g.DO, first, n*a.V, a.V).matrix, columns(g.DQ, first, n*e.d, e.d).matrix, true)
		columns(g.DKV, first, n*dkv, a.Nope).put(b.k, 0, e.dks.p, 4*e.dks.ld, e.n, a.Nope)
		columns(g.DKV, first, n*dkv+a.Nope, a.V).put(b.k, 0, e.dvs.p, 4*e.dvs.ld, e.n, a.V)
		matrix{at(dkr, (n*rows+first)*a.Rope), a.Rope}.put(b.k, 0, at(e.dks.p, a.Nope), 4*e.dks.ld, e.n, a.Rope)
	})
	b.sumHeads(a.Seqs, g.DKR, dkr, a.Heads)
}

// sumHeads is dst[t] = sum over heads of parts[head][t], for the rows of seqs.
func (b *Backend) sumHeads(seqs []compute.MLASeq, dst compute.Tensor, parts *float32, heads int) {
	t, d := dst.NumRows(), dst.NumCols()
	order := b.shared.ints(heads)
	for h := range order {
		order[h] = int32(h)
	}
	b.eachRow(len(seqs), func(seq int) (row, n, start int) { return 0, seqs[seq].Rows, 0 }, func(seq, row int) {
		r := seqs[seq].Row + row
		b.k.sumRows(rowPtr(dst, r), at(parts, r*d), 4*t*d, unsafe.SliceData(order), heads, d, 0)
	})
}

// AttentionBackward is the gradient of Attention over whole sequences, as MLABackward;
// to keys and values it is summed over the heads that share them, then over queries.
func (b *Backend) AttentionBackward(a compute.AttentionArgs, g compute.AttentionGrads) {
	a.Check()
	g.Check(a)
	if !b.k.vector {
		b.pool.run(len(a.Seqs), func(_ *worker, c int) {
			p := a
			p.Seqs = a.Seqs[c : c+1]
			b.Reference.AttentionBackward(p, compute.AttentionGrads{DO: g.DO, DQ: g.DQ, DK: g.DK[c : c+1], DV: g.DV[c : c+1]})
		})
		return
	}
	group := a.Heads / a.KVHeads
	b.pool.run(len(a.Seqs)*a.KVHeads, func(w *worker, c int) {
		s, kv, d := a.Seqs[c/a.KVHeads], c%a.KVHeads, a.Dim
		if s.Rows == 0 {
			return
		}
		h := head{n: s.Rows, d: d, dv: d, scale: a.Scale, keys: [2]columnsOf{columns(s.K, 0, kv*d, d)}, values: columns(s.V, 0, kv*d, d).matrix}
		e := newGradients(w, b.k, h)
		e.packKeys()
		for i := kv * group; i < (kv+1)*group; i++ {
			h.q, h.o = columns(a.Q, s.Row, i*d, d).matrix, columns(a.O, s.Row, i*d, d).matrix
			h.lse = columns(a.LSE, s.Row, i, 1).matrix
			e.addHead(h, columns(g.DO, s.Row, i*d, d).matrix, columns(g.DQ, s.Row, i*d, d).matrix, i == kv*group)
		}
		columns(g.DK[c/a.KVHeads], 0, kv*d, d).put(b.k, 0, e.dks.p, 4*e.dks.ld, e.n, d)
		columns(g.DV[c/a.KVHeads], 0, kv*d, d).put(b.k, 0, e.dvs.p, 4*e.dvs.ld, e.n, d)
	})
}

// gradients is the heads of one sequence that share keys and values going backward, one
// after the other.
type gradients struct {
	head
	w                *worker
	k                *kernels
	first            bool     // the head: nothing is added to
	packedK, packedV matrix   // keys and values
	qs, dos          matrix   // queries and output gradients by rows
	qt, dot          *float32 // the same in panels of 16 rows
	lses, delta      *float32 // [n]
	scores, dprobs   matrix   // of a block of keys with one of queries
	dq, dks, dvs     matrix   // of all tokens
	sizeQ, sizeV     int      // a panel of qt, of dot
}

func newGradients(w *worker, k *kernels, h head) gradients {
	e := gradients{head: h, w: w, k: k, packedK: newMatrix(w, h.n, h.d), packedV: newMatrix(w, h.n, h.dv)}
	e.sizeQ, e.sizeV = packed(e.d), packed(e.dv)
	e.qs, e.dos, e.dq = newMatrix(w, e.n, e.d), newMatrix(w, e.n, e.dv), newMatrix(w, e.n, e.d)
	e.qt, e.dot = scratch(w, panels(e.n)*e.sizeQ), scratch(w, panels(e.n)*e.sizeV)
	e.lses, e.delta = scratch(w, 16*panels(e.n)), scratch(w, 16*panels(e.n))
	e.scores, e.dprobs = newMatrix(w, keyBlock, keyBlock), newMatrix(w, keyBlock, keyBlock)
	e.dks, e.dvs = newMatrix(w, e.n, e.d), newMatrix(w, e.n, e.dv)
	return e
}

// packKeys copies the keys and values.
func (e *gradients) packKeys() {
	col := 0
	for _, part := range e.keys {
		e.packedK.put(e.k, col, part.p, 4*part.ld, e.n, part.n)
		col += part.n
	}
	e.packedV.put(e.k, 0, e.values.p, 4*e.values.ld, e.n, e.dv)
}

// block is the tokens [from, to) of block i.
func (e *gradients) block(i int) (from, to int) {
	return i * keyBlock, min(e.n, (i+1)*keyBlock)
}

// addHead takes a head with the gradient do to its output: its dq is written, its share
// of dk and dv added to those of the heads before. It goes through the blocks of keys,
// for each through the blocks of queries.
func (e *gradients) addHead(h head, do, dq matrix, first bool) {
	e.head, e.first = h, first
	e.pack(do)
	blocks := (e.n + keyBlock - 1) / keyBlock
	for j := range blocks {
		e.diagonal(j)
		for i := j + 1; i < blocks; i++ {
			e.below(i, j)
		}
	}
	dq.put(e.k, 0, e.dq.p, 4*e.dq.ld, e.n, e.d)
}

// pack copies what the head needs, by rows and by panels.
func (e *gradients) pack(do matrix) {
	e.qs.put(e.k, 0, e.q.p, 4*e.q.ld, e.n, e.d)
	e.dos.put(e.k, 0, do.p, 4*do.ld, e.n, e.dv)
	packRows(e.w, e.k, e.qt, e.qs.p, 4*e.qs.ld, e.n, e.d)
	packRows(e.w, e.k, e.dot, e.dos.p, 4*e.dos.ld, e.n, e.dv)
	for r := 0; r < e.n; r += copyPiece {
		e.k.rowDots(at(e.delta, r), 4, e.o.row(r), 4*e.o.ld, e.dos.row(r), 4*e.dos.ld, min(copyPiece, e.n-r), e.dv)
	}
	lse := slice(e.lses, 16*panels(e.n))
	clear(lse)
	for i := range e.n {
		lse[i] = *e.lse.row(i)
	}
	clear(slice(e.delta, len(lse))[e.n:])
}

// products fills columns of scores and dprobs: of panel p of 16 queries (counted
// in the sequence) for keys from first on, beginning at column col.
func (e *gradients) products(p, first, keys, col int) {
	s, d := at(e.scores.p, col), at(e.dprobs.p, col)
	e.k.panel(keys, e.d, e.packedK.row(first), 4*e.packedK.ld, 4, at(e.qt, p*e.sizeQ), 64, s, 4*e.scores.ld, 0)
	e.k.panel(keys, e.dv, e.packedV.row(first), 4*e.packedV.ld, 4, at(e.dot, p*e.sizeV), 64, d, 4*e.dprobs.ld, 0)
	e.maskPicks(s, 16*p, min(16, e.n-16*p), first, keys)
}

// maskPicks sets scores[key][query] at s to -inf where the tokens from on have not
// picked the keys from first on.
func (e *gradients) maskPicks(s *float32, from, tokens, first, keys int) {
	if e.picks.IsZero() {
		return
	}
	for i := range tokens {
		picks := picked("MLA", e.picks.RowI32(from+i), from+i+1)
		at0, _ := slices.BinarySearch(picks, int32(first))
		picks = picks[at0:]
		for j := range keys {
			if len(picks) > 0 && int(picks[0]) == first+j {
				picks = picks[1:]
				continue
			}
			*at(s, j*e.scores.ld+i) = float32(math.Inf(-1))
		}
	}
}

// diagonal takes block j of keys with its own queries, 16 by 16: a query meets the
// keys of its own 16 and before.
func (e *gradients) diagonal(j int) {
	from, to := e.block(j)
	n := to - from
	lds := 4 * e.scores.ld
	for c := 0; c < n; c += 16 {
		rows := min(16, n-c)
		keys := c + rows
		e.products((from+c)/16, from, keys, c)
		e.k.maskCols(at(e.scores.row(c), c), lds, rows, 16, &triangle[0], 0)
		e.k.attentionBackCols(at(e.scores.p, c), at(e.dprobs.p, c), lds, keys, 16, e.scale, at(e.lses, from+c), at(e.delta, from+c))
		e.addQueries(from+c, rows, from, keys, c, j > 0)
	}
	for c := 0; c < n; c += 16 {
		e.addKeys(from, c, min(16, n-c), from+c, n-c, c, !e.first)
	}
}

// below takes block j of keys with block i of queries, i > j.
func (e *gradients) below(i, j int) {
	from, to := e.block(i)
	first, n := j*keyBlock, to-from
	for c := 0; c < n; c += 16 {
		e.products((from+c)/16, first, keyBlock, c)
	}
	e.k.attentionBackCols(e.scores.p, e.dprobs.p, 4*e.scores.ld, keyBlock, 16*panels(n), e.scale, at(e.lses, from), at(e.delta, from))
	e.addQueries(from, n, first, keyBlock, 0, j > 0)
	e.addKeys(first, 0, keyBlock, from, n, 0, true)
}

// addQueries is dq of n queries from on += dscores^T keys, their columns from col on.
func (e *gradients) addQueries(from, n, first, keys, col int, acc bool) {
	ds, ld := at(e.dprobs.p, col), 4*e.dprobs.ld
	for c := 0; c < e.d; c += 16 {
		e.k.panel(n, keys, ds, 4, ld, at(e.packedK.row(first), c), 4*e.packedK.ld, at(e.dq.row(from), c), 4*e.dq.ld, flag(acc))
	}
}

// addKeys is dk += dscores queries and dv += scores do, for keys of the block that
// begins at first, from key on, and n queries from on, their columns from col on.
func (e *gradients) addKeys(first, key, keys, from, n, col int, acc bool) {
	ld := 4 * e.scores.ld
	p, ds := at(e.scores.row(key), col), at(e.dprobs.row(key), col)
	for c := 0; c < e.dv; c += 16 {
		e.k.panel(keys, n, p, ld, 4, at(e.dos.row(from), c), 4*e.dos.ld, at(e.dvs.row(first+key), c), 4*e.dvs.ld, flag(acc))
	}
	for c := 0; c < e.d; c += 16 {
		e.k.panel(keys, n, ds, ld, 4, at(e.qs.row(from), c), 4*e.qs.ld, at(e.dks.row(first+key), c), 4*e.dks.ld, flag(acc))
	}
}
