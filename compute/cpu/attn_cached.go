package cpu

import (
	"math"
	"unsafe"

	"sonde/compute"
)

// cachedChunk is how many keys, counted from the start of the sequence, make one
// partial softmax; partial results are joined in their order. Cutting there lets
// many workers share one row without changing its bits.
const cachedChunk = 4 * keyBlock

// cachedRows is how many rows of the product (a row is one head of one token) work
// together: each cached row that is read meets all of them.
const cachedRows = 64

// cached is causal attention of heads that share their keys and values, for new rows
// of one sequence: a group of heads of grouped-query attention, all heads of MLA's
// absorbed form, whose values are the first columns of its keys, or one head of its
// expanded form, whose keys have a part that all heads share. A few heads of the
// expanded form are taken together where there is one row.
type cached struct {
	heads, d, dv int // d columns of queries and keys, dv of values
	start, n     int // position of the first token, number of tokens
	scale        float32
	q, o, lse    matrix // of the tokens: [heads*d], [heads*dv], [heads] or none
	keys         keyParts
	values       columnsOf
	room         int            // rows that keys and values have
	apart        int            // floats between the keys and values of two heads, the first part's; 0: they are shared
	picks        compute.Tensor // [n, K] or none: the keys of each token
}

// keyParts is keys whose columns lie in two places: the second may be empty.
type keyParts [2]columnsOf

// onePart is keys of d columns that lie together.
func onePart(m matrix, d int) keyParts { return keyParts{{m, d, 0}} }

// from is the keys from row i on.
func (k keyParts) from(i int) keyParts {
	for p := range k {
		k[p].p = k[p].row(i)
	}
	return k
}

// rows is the number of rows of the product.
func (a *cached) rows() int { return a.n * a.heads }

// blocks is in how many blocks the rows are cut. Picked keys are one token's alone.
func (a *cached) blocks() int {
	if a.picks.IsZero() {
		return (a.rows() + cachedRows - 1) / cachedRows
	}
	return a.n * a.perToken()
}

// perToken is in how many blocks the heads of a token with picks are cut.
func (a *cached) perToken() int { return (a.heads + cachedRows - 1) / cachedRows }

// chunks is the number of partial softmaxes of the last token.
func (a *cached) chunks() int {
	n := a.start + a.n
	if !a.picks.IsZero() {
		n = min(n, a.picks.NumCols())
	}
	return (n + cachedChunk - 1) / cachedChunk
}

// few tells whether the rows of a block are a few heads of one token.
func (a *cached) few() bool { return a.heads <= fewHeads && (a.n == 1 || !a.picks.IsZero()) }

// cachedBlock is a block of rows at work.
type cachedBlock struct {
	cached
	k        *kernels
	w        *worker
	first, n int     // rows
	few      bool    // they are a few heads of one token
	last     int     // keys that its last row sees
	limit    []int32 // keys that each row sees, where they are many
	picks    []int32 // of its token
	queries  *float32
	scores   *float32 // [keyBlock][16], or of few heads [head][keyBlock]
	fade     *float32
	f, g     *float32
}

// block begins the work on block c of a.
func (a *cached) block(w *worker, k *kernels, c int) cachedBlock {
	r := cachedBlock{cached: *a, k: k, w: w, first: c * cachedRows, few: a.few()}
	r.n = min(cachedRows, a.rows()-r.first)
	t := (r.first + r.n - 1) / a.heads
	r.last = a.start + t + 1
	if !a.picks.IsZero() {
		t := c / a.perToken()
		h := c % a.perToken() * cachedRows
		r.first, r.n = t*a.heads+h, min(cachedRows, a.heads-h)
		r.picks = picked("attention", a.picks.RowI32(t), a.start+t+1)
		r.last = len(r.picks)
	}
	if r.few {
		p := scratch(w, fewHeads*keyBlock+3*16)
		r.scores, r.fade, r.f, r.g = p, at(p, fewHeads*keyBlock), at(p, fewHeads*keyBlock+16), at(p, fewHeads*keyBlock+32)
		return r
	}
	r.scores, r.fade = scratch(w, keyBlock*16), scratch(w, 16)
	r.f, r.g = scratch(w, cachedRows), scratch(w, cachedRows)
	r.limit = w.scratch.I32(1, cachedRows).RowI32(0)
	for i := range r.limit {
		r.limit[i] = int32(r.last)
		if r.picks == nil {
			r.limit[i] = int32(a.start + (r.first+min(i, r.n-1))/a.heads + 1)
		}
	}
	return r
}

// partial is a softmax over some keys: the largest score, the sum, and the values.
type partial struct {
	out  matrix
	m, l *float32
}

// partialSize is the floats of a partial of rows rows, a multiple of 16.
func partialSize(rows, dv int) int { return rows * (oddLines(dv) + 2) }

// newPartial lays a partial into partialSize floats at p.
func newPartial(p *float32, rows, dv int) partial {
	ld := oddLines(dv)
	return partial{matrix{p, ld}, at(p, rows*ld), at(p, rows*(ld+1))}
}

// scratchPartial is a partial in the worker's memory.
func (r *cachedBlock) scratchPartial() partial {
	rows := 16 * panels(r.n)
	return newPartial(scratch(r.w, partialSize(rows, r.dv)), rows, r.dv)
}

// clear makes p, of r's rows, a softmax over nothing. Few heads see the same keys: their
// values are written before they are added to.
func (r *cachedBlock) clear(p partial) {
	if !r.few {
		clear(slice(p.out.p, r.n*p.out.ld))
	}
	m, l := slice(p.m, 16*panels(r.n)), slice(p.l, 16*panels(r.n))
	clear(l)
	for i := range m {
		m[i] = -math.MaxFloat32
	}
}

// packQueries brings the block's queries into panels of 16, or of few heads into the
// form that they need.
func (r *cachedBlock) packQueries() {
	if r.few {
		r.packFew()
		return
	}
	r.queries = scratch(r.w, panels(r.n)*packed(r.d))
	rows := newMatrix(r.w, r.n, r.d)
	r.eachToken(func(i, t, h, n int) {
		r.k.copyRows(rows.row(i), 4*rows.ld, at(r.q.row(t), h*r.d), 4*r.d, n, r.d)
	})
	packRows(r.w, r.k, r.queries, rows.p, 4*rows.ld, r.n, r.d)
}

// eachToken runs f for rows [i, i+n), heads h to h+n of token t.
func (r *cachedBlock) eachToken(f func(i, t, h, n int)) {
	for i := 0; i < r.n; {
		t, h := (r.first+i)/r.heads, (r.first+i)%r.heads
		n := min(r.n-i, r.heads-h)
		f(i, t, h, n)
		i += n
	}
}

// whole does all chunks of the block.
func (r *cachedBlock) whole() {
	r.packQueries()
	total := r.scratchPartial()
	r.chunk(0, total)
	if r.last > cachedChunk {
		part := r.scratchPartial()
		for c := 1; c*cachedChunk < r.last; c++ {
			r.chunk(c, part)
			r.join(total, part)
		}
	}
	r.write(total)
}

// chunk makes the partial softmax over chunk c of the keys.
func (r *cachedBlock) chunk(c int, p partial) {
	r.clear(p)
	mark := r.w.scratch.Mark()
	end := min(r.last, (c+1)*cachedChunk)
	for first := c * cachedChunk; first < end; first += keyBlock {
		r.keysFrom(first, min(keyBlock, end-first), p, first == c*cachedChunk)
		r.w.scratch.Release(mark)
	}
}

// keysFrom takes n keys from place first on into p.
func (r *cachedBlock) keysFrom(first, n int, p partial, fresh bool) {
	if r.few {
		r.stepFew(p, first, n, fresh)
		return
	}
	keys, values := r.operands(first, n)
	for panel := range panels(r.n) {
		r.step(p, panel, keys, values, first, n, fresh)
	}
}

// operands is the keys and values from place first on, where they lie or copied: when
// they are picked, when reading whole registers of values would leave the row, when many
// rows meet values that share a few sets of the cache, and when many meet float16.
func (r *cachedBlock) operands(first, n int) (keys keyParts, values columnsOf) {
	if r.picks != nil {
		return r.gather(r.picks[first : first+n])
	}
	keys, values = r.keys.from(first), r.values
	values.p = values.row(first)
	widen := values.half == 1 && !r.few
	if widen {
		keys = onePart(r.copied(keys[0], n), r.d)
	}
	if widen || r.dv%16 != 0 || r.n > 16 && r.values.ld%256 == 0 {
		values = columnsOf{r.copied(values, n), r.dv, 0}
	}
	return keys, values
}

// copied is n rows of c in scratch memory, as float32.
func (r *cachedBlock) copied(c columnsOf, n int) matrix {
	m := newMatrix(r.w, n, c.n)
	r.copyTo(m, 0, c, n)
	return m
}

// copyTo copies n rows of c to columns col.. of m, as float32.
func (r *cachedBlock) copyTo(m matrix, col int, c columnsOf, n int) {
	if c.half == 1 {
		r.k.widenF16(n, c.n, (*byte)(unsafe.Pointer(c.p)), 4*c.ld, at(m.p, col), 4*m.ld)
		return
	}
	m.put(r.k, col, c.p, 4*c.ld, n, c.n)
}

// gather copies the picked keys and their values; what stands after the last of up to
// 16 keys or columns is undefined.
func (r *cachedBlock) gather(picks []int32) (keys keyParts, values columnsOf) {
	k := newMatrix(r.w, 16*panels(len(picks)), r.d)
	col := 0
	for _, part := range r.keys {
		for i, p := range picks {
			if part.n > 0 {
				r.k.copyRows(at(k.row(i), col), 0, part.row(int(p)), 0, 1, part.n)
			}
		}
		col += part.n
	}
	keys = onePart(k, r.d)
	if r.values.p == r.keys[0].p && oddLines(r.dv) <= k.ld {
		return keys, columnsOf{k, r.dv, 0}
	}
	values = columnsOf{newMatrix(r.w, len(picks), r.dv), r.dv, 0}
	for i, p := range picks {
		r.k.copyRows(values.row(i), 0, r.values.row(int(p)), 0, 1, r.dv)
	}
	return keys, values
}

// step takes n keys from place first on into the softmax of a panel of 16 rows and
// adds their values.
func (r *cachedBlock) step(p partial, panel int, keys keyParts, values columnsOf, first, n int, fresh bool) {
	from := 16 * panel
	rows := min(16, r.n-from)
	n = min(n, int(r.limit[from+rows-1])-first)
	if n <= 0 {
		return
	}
	r.score(panel, keys, n)
	if skip := max(0, int(r.limit[from])-first); skip < n {
		r.k.maskCols(at(r.scores, 16*skip), 64, n-skip, 16, &r.limit[from], first+skip)
	}
	r.k.softmaxCols(r.scores, 64, n, 16, r.scale, at(p.m, from), at(p.l, from), r.fade)
	if !fresh && fades(slice(r.fade, rows)) {
		r.k.scaleRows(p.out.row(from), 4*p.out.ld, p.out.row(from), 4*p.out.ld, r.fade, rows, r.dv)
	}
	for c := 0; c < r.dv; c += 16 {
		r.k.panel(rows, n, r.scores, 4, 64, at(values.p, c), 4*values.ld, at(p.out.row(from), c), 4*p.out.ld, flag(!fresh))
	}
}

// fades tells whether multiplying by f changes anything.
func fades(f []float32) bool {
	for _, v := range f {
		if v != 1 {
			return true
		}
	}
	return false
}

// scoreSteps is how many steps of the scores' product run at a time, so that a panel of
// queries and a few cached rows stay in the first cache.
const scoreSteps = 288

// score fills scores[key][row] for n keys and a panel of rows.
func (r *cachedBlock) score(panel int, keys keyParts, n int) {
	queries, done := at(r.queries, panel*packed(r.d)), 0
	for _, part := range keys {
		for c := 0; c < part.n; c += scoreSteps {
			steps := min(scoreSteps, part.n-c)
			r.k.panel(n, steps, at(part.p, c), 4*part.ld, 4, at(queries, 16*done), 64, r.scores, 64, flag(done > 0))
			done += steps
		}
	}
}

// join takes the partial softmax over the next chunk into total. A row that sees
// nothing of it keeps its bits: its factors are 1 and 0.
func (r *cachedBlock) join(total, p partial) {
	m, pm, f, g := slice(total.m, r.n), slice(p.m, r.n), slice(r.f, r.n), slice(r.g, r.n)
	for i := range r.n {
		top := max(m[i], pm[i])
		f[i], g[i], m[i] = m[i]-top, pm[i]-top, top
	}
	r.k.expMinus(r.f, r.n, 0)
	r.k.expMinus(r.g, r.n, 0)
	l, pl := slice(total.l, r.n), slice(p.l, r.n)
	for i := range r.n {
		l[i] = l[i]*f[i] + pl[i]*g[i]
	}
	r.k.mergeRows(total.out.p, 4*total.out.ld, p.out.p, 4*p.out.ld, r.f, r.g, r.n, r.dv)
}

// write divides by the sums and writes the output.
func (r *cachedBlock) write(p partial) {
	l, m := slice(p.l, r.n), slice(p.m, r.n)
	if r.lse.p != nil {
		r.eachToken(func(i, t, h, n int) {
			lse := slice(at(r.lse.row(t), h), n)
			for j := range lse {
				lse[j] = m[i+j] + float32(math.Log(float64(l[i+j])))
			}
		})
	}
	for i := range l {
		l[i] = 1 / l[i]
	}
	if r.few {
		r.k.scaleRows(at(r.o.row(r.first/r.heads), r.first%r.heads*r.dv), 4*r.dv, p.out.p, 4*p.out.ld, p.l, r.n, r.dv)
		return
	}
	r.eachToken(func(i, t, h, n int) {
		r.k.scaleRows(at(r.o.row(t), h*r.dv), 4*r.dv, p.out.row(i), 4*p.out.ld, at(p.l, i), n, r.dv)
	})
}
