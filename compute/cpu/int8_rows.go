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
	codes    unsafe.Pointer
	ld       int // bytes between rows of codes; twice that between rows of pairs
	pairs    unsafe.Pointer
	aux      unsafe.Pointer
	ldx      int
	halves   int
	multiple int
}

// reserve finds memory for m rows. Rows are kept from falling into the same sets of
// the cache.
func (j *int8Job) reserve(s *opShared, m int) {
	a, w := &j.a, &j.weights
	a.ld = w.k + 64
	a.ldx = 8*w.k/w.group + 64
	a.codes = unsafe.Pointer(s.floats(m * a.ld / 4))
	if a.wide {
		a.pairs = unsafe.Pointer(s.floats(m * a.ld / 2))
	}
	a.aux = unsafe.Pointer(s.floats(m * a.ldx / 4))
	if w.group == 16 {
		a.halves = 1
	}
	if w.f != nil {
		a.multiple = w.f.offset
	}
}

// perChunk is how many rows a worker quantises at a time.
func (a *int8Rows) perChunk() int { return max(1, chunkElems/a.src.NumCols()) }

func (j *int8Job) quantiseRows(_ *worker, chunk int) {
	per := j.a.perChunk()
	j.a.run(j.k, &j.weights, span{chunk * per, min(j.a.m, (chunk+1)*per)})
}

// run quantises rows.
func (a *int8Rows) run(k *int8Kernels, w *int8Weights, rows span) {
	for r := rows.from; r < rows.to; r++ {
		src := r
		if a.index != nil {
			src = int(a.index[r])
		}
		var pairs *int16
		if a.wide {
			pairs = (*int16)(unsafe.Add(a.pairs, 2*r*a.ld))
		}
		k.quantise(w.k/32, rowPtr(a.src, src), (*int8)(unsafe.Add(a.codes, r*a.ld)), pairs,
			(*float32)(unsafe.Add(a.aux, r*a.ldx)), a.halves, a.multiple)
	}
}

// maxRowBytes keeps a call of a row kernel, which cannot be interrupted, short.
const maxRowBytes = 512 << 10

// oneRow makes columns cols of row r of part p from weights where they lie.
func (j *int8Job) oneRow(w *worker, p *int8Part, r int, cols span) {
	t := &j.weights
	y := (*float32)(unsafe.Add(p.c, r*p.ldc+4*cols.from))
	if !j.acc {
		clear(unsafe.Slice(y, cols.len()))
	}
	a, x := (*byte)(unsafe.Add(j.a.codes, (p.row+r)*j.a.ld)), (*float32)(unsafe.Add(j.a.aux, (p.row+r)*j.a.ldx))
	blocks := t.k / t.bt.Elements()
	most := max(1, maxRowBytes/(int8Strip*blocks*t.bt.Bytes()))
	strips := cols.len() / int8Strip
	for at := 0; at < strips; at += most {
		n := min(most, strips-at)
		b := unsafe.Add(p.w, (cols.from+at*int8Strip)*p.ldw)
		t.f.row(n, blocks, (*byte)(b), p.ldw, a, x, floatAt(y, 4*at*int8Strip), t.following(b, p.ldw, t.k))
	}
	if rest := cols.len() - strips*int8Strip; rest > 0 {
		out := scratch(w, int8Strip)
		tail := unsafe.Slice(floatAt(y, 4*strips*int8Strip), rest)
		copy(unsafe.Slice(out, rest), tail)
		b, ld := j.strip(w, p, cols.to-rest, 0, t.k)
		t.f.row(1, blocks, (*byte)(b), ld, a, x, out, (*byte)(b))
		copy(tail, unsafe.Slice(out, rest))
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
