package cpu

import (
	"unsafe"

	"sonde/compute"
)

// int8Rows are rows of A, quantised: codes, and with each group's factor what else of
// it the weights' format asks for.
type int8Rows struct {
	src      compute.Tensor
	index    []int32 // rows of src; nil: 0, 1, 2, ...
	m        int
	wide     bool // the codes are also needed as int16
	ld, ldx  int  // bytes between rows of codes (twice that: of pairs) and of aux
	halves   int
	multiple int
	first    int8Codes
	// rest is what the rounding of outlying groups left over, in those blocks of
	// weights' elements that again lists: their number, then theirs.
	rest    int8Codes
	again   unsafe.Pointer
	ldAgain int
}

// int8Codes are memory for codes of rows.
type int8Codes struct{ codes, pairs, aux unsafe.Pointer }

func (c *int8Codes) reserve(s *opShared, a *int8Rows, m int) {
	c.codes = unsafe.Pointer(s.floats(m * a.ld / 4))
	if a.wide {
		c.pairs = unsafe.Pointer(s.floats(m * a.ld / 2))
	}
	c.aux = unsafe.Pointer(s.floats(m * a.ldx / 4))
}

// row is the codes and aux of row r from element k on; of pairs there may be none.
func (a *int8Rows) row(c *int8Codes, group, r, k int) (codes *byte, pairs *int16, aux *float32) {
	if c.pairs != nil {
		pairs = (*int16)(unsafe.Add(c.pairs, 2*(r*a.ld+k)))
	}
	return (*byte)(unsafe.Add(c.codes, r*a.ld+k)), pairs, (*float32)(unsafe.Add(c.aux, r*a.ldx+8*(k/group)))
}

// blocksAgain lists the blocks of row r that have a rest.
func (a *int8Rows) blocksAgain(r int) []int32 {
	list := (*int32)(unsafe.Add(a.again, r*a.ldAgain))
	return unsafe.Slice((*int32)(unsafe.Add(unsafe.Pointer(list), 4)), *list)
}

// isAgain reports whether row r has a rest in block e.
func (a *int8Rows) isAgain(r, e int) bool {
	for _, b := range a.blocksAgain(r) {
		if int(b) == e {
			return true
		}
	}
	return false
}

// reserve finds memory for m rows. Rows are kept from falling into the same sets of
// the cache.
func (j *int8Job) reserve(s *opShared, m int) {
	a, w := &j.a, &j.weights
	a.m = m
	a.ld = w.k + 64
	a.ldx = 8*w.k/w.group + 64
	if j.few {
		a.ldx = a.ld // one register is the stride of both
	}
	a.ldAgain = 4 * (1 + w.k/w.bt.Elements())
	a.first.reserve(s, a, m)
	a.rest.reserve(s, a, m)
	a.again = unsafe.Pointer(s.floats(m * a.ldAgain / 4))
	if w.group == 16 {
		a.halves = 1
	}
	if w.f != nil {
		a.multiple = w.f.offset
	}
}

// perChunk is how many rows a worker quantises at a time.
func (a *int8Rows) perChunk() int { return max(1, chunkElems/a.src.NumCols()) }

func (j *int8Job) quantiseRows(w *worker, chunk int) {
	a, per := &j.a, j.a.perChunk()
	residual := scratch(w, 32)
	for r := chunk * per; r < min(a.m, (chunk+1)*per); r++ {
		src := r
		if a.index != nil {
			src = int(a.index[r])
		}
		x := rowPtr(a.src, src)
		codes, pairs, aux := a.row(&a.first, j.weights.group, r, 0)
		j.k.quantise(j.weights.k/32, x, (*int8)(unsafe.Pointer(codes)), pairs, aux, a.halves, a.multiple)
		j.quantiseRest(r, x, residual)
	}
}

// quantiseRest finds the outlying groups of row r and quantises what their rounding left
// over; see compute.MatMulArgs.
func (j *int8Job) quantiseRest(r int, x, residual *float32) {
	a, t := &j.a, &j.weights
	codes, _, aux := a.row(&a.first, t.group, r, 0)
	step := 8 << a.halves // bytes of aux for 32 elements
	n := t.k / 32
	sum := float32(0)
	for g := range n {
		sum += *floatAt(aux, g*step)
	}
	limit := compute.Outlying(sum, n)
	list := unsafe.Slice((*int32)(unsafe.Add(a.again, r*a.ldAgain)), a.ldAgain/4)
	list[0] = 0
	for g := range n {
		s := *floatAt(aux, g*step)
		if !(s > limit) {
			continue
		}
		e := int32(32 * g / t.bt.Elements())
		if c := list[0]; c == 0 || list[c] != e {
			list[0]++
			list[c+1] = e
			j.clearRest(r, int(e))
		}
		code := unsafe.Slice((*int8)(unsafe.Add(unsafe.Pointer(codes), 32*g)), 32)
		v := unsafe.Slice(floatAt(x, 128*g), 32)
		out := unsafe.Slice(residual, 32)
		for i := range out {
			out[i] = v[i] - float32(s*float32(code[i]))
		}
		c, pairs, ax := a.row(&a.rest, t.group, r, 32*g)
		j.k.quantise(1, residual, (*int8)(unsafe.Pointer(c)), pairs, ax, a.halves, a.multiple)
	}
}

// clearRest makes the rest of a block nothing.
func (j *int8Job) clearRest(r, block int) {
	a, t := &j.a, &j.weights
	n := t.bt.Elements()
	codes, pairs, aux := a.row(&a.rest, t.group, r, block*n)
	clear(unsafe.Slice(codes, n))
	if pairs != nil {
		clear(unsafe.Slice(pairs, n))
	}
	clear(unsafe.Slice(aux, 2*n/t.group))
}

// maxRowBytes keeps a call of a row kernel, which cannot be interrupted, short.
const maxRowBytes = 512 << 10

// oneRow makes columns cols of row r of part p from weights where they lie.
func (j *int8Job) oneRow(w *worker, p *int8Part, r int, cols span) {
	if !j.acc {
		clear(unsafe.Slice((*float32)(unsafe.Add(p.c, r*p.ldc+4*cols.from)), cols.len()))
	}
	j.inRow(w, p, &j.a.first, r, cols, span{0, j.weights.k})
	for _, e := range j.a.blocksAgain(p.row + r) {
		n := j.weights.bt.Elements()
		j.inRow(w, p, &j.a.rest, r, cols, span{int(e) * n, int(e)*n + n})
	}
}

// inRow adds to columns cols of row r of part p the products of elements ks.
func (j *int8Job) inRow(w *worker, p *int8Part, from *int8Codes, r int, cols, ks span) {
	t := &j.weights
	y := (*float32)(unsafe.Add(p.c, r*p.ldc+4*cols.from))
	a, _, x := j.a.row(from, t.group, p.row+r, ks.from)
	blocks, skip := ks.len()/t.bt.Elements(), ks.from/t.bt.Elements()*t.bt.Bytes()
	most := max(1, maxRowBytes/(int8Strip*blocks*t.bt.Bytes()))
	strips := cols.len() / int8Strip
	for at := 0; at < strips; at += most {
		n := min(most, strips-at)
		b := unsafe.Add(p.w, (cols.from+at*int8Strip)*p.ldw+skip)
		t.f.row(n, blocks, (*byte)(b), p.ldw, a, x, floatAt(y, 4*at*int8Strip), t.following(b, p.ldw, ks.len()))
	}
	if rest := cols.len() - strips*int8Strip; rest > 0 {
		mark := w.scratch.Mark()
		out := scratch(w, int8Strip)
		tail := unsafe.Slice(floatAt(y, 4*strips*int8Strip), rest)
		copy(unsafe.Slice(out, rest), tail)
		b, ld := j.strip(w, p, cols.to-rest, ks.from, ks.to)
		t.f.row(1, blocks, (*byte)(b), ld, a, x, out, (*byte)(b))
		copy(tail, unsafe.Slice(out, rest))
		w.scratch.Release(mark)
	}
}

// following is where the eight rows begin that follow those at b, of k elements and ld
// bytes apart, if they lie one behind the other, else b: a place that it does no harm to
// fetch.
func (t *int8Weights) following(b unsafe.Pointer, ld, k int) *byte {
	if ld != k/t.bt.Elements()*t.bt.Bytes() {
		return (*byte)(b)
	}
	return (*byte)(unsafe.Add(b, int8Strip*ld))
}

// strip is int8Strip rows of weights from row n on, columns [from, to), for a kernel
// that takes no fewer: past the last row stand zeros.
func (j *int8Job) strip(w *worker, p *int8Part, n, from, to int) (b unsafe.Pointer, ld int) {
	t := &j.weights
	skip, size := from/t.bt.Elements()*t.bt.Bytes(), (to-from)/t.bt.Elements()*t.bt.Bytes()
	b = unsafe.Add(p.w, n*p.ldw+skip)
	have := p.n - n
	if have >= int8Strip {
		return b, p.ldw
	}
	ld = roundUp(size, 4)
	copied := unsafe.Pointer(scratch(w, int8Strip*ld/4))
	clear(unsafe.Slice((*byte)(copied), int8Strip*ld))
	for i := range max(have, 0) {
		copy(unsafe.Slice((*byte)(unsafe.Add(copied, i*ld)), size), unsafe.Slice((*byte)(unsafe.Add(b, i*p.ldw)), size))
	}
	return copied, ld
}
