package cpu

import (
	"unsafe"

	"sonde/compute"
)

// MLABackward is the gradient of MLAForward: probabilities are made again from the
// log-sum-exp, block by block. Gradients to queries are summed over keys, to keys
// and values over queries, to the shared rope key over heads, all in ascending order.
func (b *Backend) MLABackward(a compute.MLAArgs, g compute.MLAGrads) {
	a.Check()
	g.Check(a)
	if !b.k.vector || !a.Picks.IsZero() {
		b.sequences(a, func(a compute.MLAArgs, from, to int) {
			b.Reference.MLABackward(a, compute.MLAGrads{DO: g.DO.Rows(from, to), DQ: g.DQ.Rows(from, to),
				DKV: g.DKV.Rows(from, to), DKR: g.DKR.Rows(from, to)})
		})
		return
	}
	b.shared.begin()
	defer b.shared.end()
	rows := a.Batch * a.SeqLen
	dkr := b.shared.floats(a.Heads * rows * a.Rope) // [head][row]
	b.pool.run(a.Batch*a.Heads, func(w *worker, c int) {
		e := newGradients(w, b.k, a, g, c/a.Heads, c%a.Heads)
		e.dkr = at(dkr, (e.head*rows+e.first)*a.Rope)
		e.run()
	})
	b.sumHeads(g.DKR, dkr, a.Heads)
}

// sumHeads is dst[t] = sum over heads of parts[head][t].
func (b *Backend) sumHeads(dst compute.Tensor, parts *float32, heads int) {
	t, d := dst.NumRows(), dst.NumCols()
	order := b.shared.arena.I32(1, heads).RowI32(0)
	for h := range order {
		order[h] = int32(h)
	}
	b.rowChunks(t, d*heads, func(from, to int) {
		for r := from; r < to; r++ {
			b.k.sumRows(rowPtr(dst, r), at(parts, r*d), 4*t*d, unsafe.SliceData(order), heads, d, 0)
		}
	})
}

// gradients is one head of one sequence going backward.
type gradients struct {
	expanded
	g               compute.MLAGrads
	qs, dos         matrix   // queries and output gradients by rows
	qt, dot         *float32 // the same in panels of 16 rows
	lse, delta      *float32 // [SeqLen]
	dprobs          matrix   // beside scores
	dq              matrix   // of all queries
	dk, dv          matrix   // of a block of keys
	dkr             *float32 // of all keys, [SeqLen][Rope]
	sizeQ, sizeV, n int      // a panel of qt, of dot; SeqLen
}

func newGradients(w *worker, k *kernels, a compute.MLAArgs, g compute.MLAGrads, sequence, head int) gradients {
	e := gradients{expanded: newExpanded(w, k, a, sequence, head), g: g, n: a.SeqLen}
	e.sizeQ, e.sizeV = packed(e.d), packed(a.V)
	e.qs, e.dos, e.dq = newMatrix(w, e.n, e.d), newMatrix(w, e.n, a.V), newMatrix(w, e.n, e.d)
	e.qt, e.dot = scratch(w, panels(e.n)*e.sizeQ), scratch(w, panels(e.n)*e.sizeV)
	e.lse, e.delta = scratch(w, 16*panels(e.n)), scratch(w, 16*panels(e.n))
	e.dprobs = newMatrix(w, keyBlock, keyBlock)
	e.dk, e.dv = newMatrix(w, keyBlock, e.d), newMatrix(w, keyBlock, a.V)
	return e
}

// run goes through the blocks of keys, for each through the blocks of queries.
func (e *gradients) run() {
	e.pack()
	blocks := (e.n + keyBlock - 1) / keyBlock
	for j := range blocks {
		e.diagonal(j)
		for i := j + 1; i < blocks; i++ {
			e.below(i, j)
		}
		e.writeKeys(j)
	}
	dq := matrix{at(rowPtr(e.g.DQ, e.first), e.head*e.d), e.g.DQ.Stride()}
	dq.put(e.k, 0, e.dq.p, 4*e.dq.ld, e.n, e.d)
}

// pack copies what the head needs, by rows and by panels.
func (e *gradients) pack() {
	a := e.a
	e.packKeys()
	q, do, o := e.query(0), at(rowPtr(e.g.DO, e.first), e.head*a.V), at(rowPtr(a.O, e.first), e.head*a.V)
	e.qs.put(e.k, 0, q, bytes(a.Q), e.n, e.d)
	e.dos.put(e.k, 0, do, bytes(e.g.DO), e.n, a.V)
	packRows(e.w, e.k, e.qt, e.qs.p, 4*e.qs.ld, e.n, e.d)
	packRows(e.w, e.k, e.dot, e.dos.p, 4*e.dos.ld, e.n, a.V)
	for r := 0; r < e.n; r += copyPiece {
		e.k.rowDots(at(e.delta, r), 4, at(o, r*a.O.Stride()), bytes(a.O), e.dos.row(r), 4*e.dos.ld, min(copyPiece, e.n-r), a.V)
	}
	lse := slice(e.lse, 16*panels(e.n))
	for i := range lse {
		lse[i] = 0
		if i < e.n {
			lse[i] = a.LSE.RowF32(e.first + i)[e.head]
		}
	}
	clear(slice(e.delta, len(lse))[e.n:])
}

// products fills columns of scores and dprobs: of panel p of 16 queries (counted
// in the sequence) for keys from first on, beginning at column col.
func (e *gradients) products(p, first, keys, col int) {
	s, d := at(e.scores.p, col), at(e.dprobs.p, col)
	e.k.panel(keys, e.d, e.keys.row(first), 4*e.keys.ld, 4, at(e.qt, p*e.sizeQ), 64, s, 4*e.scores.ld, 0)
	e.k.panel(keys, e.a.V, e.values.row(first), 4*e.values.ld, 4, at(e.dot, p*e.sizeV), 64, d, 4*e.dprobs.ld, 0)
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
		e.k.attentionBackCols(at(e.scores.p, c), at(e.dprobs.p, c), lds, keys, 16, e.a.Scale, at(e.lse, from+c), at(e.delta, from+c))
		e.addQueries(from+c, rows, from, keys, c, j > 0)
	}
	for c := 0; c < n; c += 16 {
		e.addKeys(c, min(16, n-c), from+c, n-c, c, false)
	}
}

// below takes block j of keys with block i of queries, i > j.
func (e *gradients) below(i, j int) {
	from, to := e.block(i)
	first, n := j*keyBlock, to-from
	for c := 0; c < n; c += 16 {
		e.products((from+c)/16, first, keyBlock, c)
	}
	e.k.attentionBackCols(e.scores.p, e.dprobs.p, 4*e.scores.ld, keyBlock, 16*panels(n), e.a.Scale, at(e.lse, from), at(e.delta, from))
	e.addQueries(from, n, first, keyBlock, 0, j > 0)
	e.addKeys(0, keyBlock, from, n, 0, true)
}

// addQueries is dq of n queries from on += dscores^T keys, their columns from col on.
func (e *gradients) addQueries(from, n, first, keys, col int, acc bool) {
	ds, ld := at(e.dprobs.p, col), 4*e.dprobs.ld
	for c := 0; c < e.d; c += 16 {
		e.k.panel(n, keys, ds, 4, ld, at(e.keys.row(first), c), 4*e.keys.ld, at(e.dq.row(from), c), 4*e.dq.ld, flag(acc))
	}
}

// addKeys is dk += dscores queries and dv += scores do, for keys of the block from
// key on and n queries from on, their columns from col on.
func (e *gradients) addKeys(key, keys, from, n, col int, acc bool) {
	ld := 4 * e.scores.ld
	p, ds := at(e.scores.row(key), col), at(e.dprobs.row(key), col)
	for c := 0; c < e.a.V; c += 16 {
		e.k.panel(keys, n, p, ld, 4, at(e.dos.row(from), c), 4*e.dos.ld, at(e.dv.row(key), c), 4*e.dv.ld, flag(acc))
	}
	for c := 0; c < e.d; c += 16 {
		e.k.panel(keys, n, ds, ld, 4, at(e.qs.row(from), c), 4*e.qs.ld, at(e.dk.row(key), c), 4*e.dk.ld, flag(acc))
	}
}

// writeKeys writes the gradients of block j of keys.
func (e *gradients) writeKeys(j int) {
	a := e.a
	from, to := e.block(j)
	dkv, ld := at(rowPtr(e.g.DKV, e.first+from), e.head*(a.Nope+a.V)), bytes(e.g.DKV)
	e.k.copyRows(dkv, ld, e.dk.p, 4*e.dk.ld, to-from, a.Nope)
	e.k.copyRows(at(dkv, a.Nope), ld, e.dv.p, 4*e.dv.ld, to-from, a.V)
	e.k.copyRows(at(e.dkr, from*a.Rope), 4*a.Rope, at(e.dk.p, a.Nope), 4*e.dk.ld, to-from, a.Rope)
}
