package cpu

import (
	"sort"
	"sync"
	"unsafe"

	"sonde/compute"
	"sonde/num"
)

// isInt8 says whether a product with weights b meets them with rows quantised to int8;
// see compute.MatMulArgs.
func isInt8(f compute.Form, b compute.Tensor) bool {
	if _, block := b.DType().Block(); !block {
		return false
	}
	return f == compute.NT && b.Activations() == compute.ActInt8
}

// int8Job is one operation with rows quantised to int8: the rows are quantised once,
// then workers take tiles of C.
type int8Job struct {
	work, quantise func(w *worker, chunk int) // bound once

	k       *int8Kernels
	weights int8Weights
	a       int8Rows
	acc     bool
	few     bool // few rows meet weights where they lie, without panels
	parts   []int8Part
}

// int8Weights says how the weights of an operation are read.
type int8Weights struct {
	bt      num.BlockType
	f       *int8Format // nil: unpacked in Go
	panel   int8Panel
	k       int // elements in a row
	group   int
	min     bool
	nib     bool
	factors int // bytes of a group's factors in a panel
}

// int8Part is a product of rows of A, which follow each other, with one matrix of
// weights.
type int8Part struct {
	first        int // number of its first tile
	row, rows    int // of A
	n            int
	w, c         unsafe.Pointer
	ldw, ldc     int // bytes between rows
	tileM, tileN int
	down         int // tiles below each other
}

// int8Jobs are kept for the same reason as jobs.
var int8Jobs = sync.Pool{New: func() any {
	j := new(int8Job)
	j.work, j.quantise = j.tile, j.quantiseRows
	return j
}}

// int8MatMul is MatMul with rows quantised to int8.
func (b *Backend) int8MatMul(a compute.MatMulArgs) {
	if b.k.int8Kernels.quantise == nil || a.A.NumCols() == 0 {
		b.int8Plain(a)
		return
	}
	m := a.C.NumRows()
	j := b.startInt8(a.A, nil, a.B, a.Accumulate)
	tiles := j.add(0, m, a.C, a.B, tilesPerThread*b.pool.threads, 0)
	b.finishInt8(j, m, tiles)
}

// int8GroupedMatMul is GroupedMatMul with rows quantised to int8.
func (b *Backend) int8GroupedMatMul(a compute.GroupedMatMulArgs) {
	if b.k.int8Kernels.quantise == nil || a.A.NumCols() == 0 {
		b.Reference.GroupedMatMul(a)
		return
	}
	rows := a.C.NumRows()
	offsets := a.Offsets.RowI32(0)
	checkOffsets(offsets, rows)
	j := b.startInt8(a.A, indexOf(a.AIndex), a.Weights(), a.Accumulate)
	tiles, want := 0, tilesPerThread*b.pool.threads
	for e := range a.Experts {
		from, to := int(offsets[e]), int(offsets[e+1])
		if from == to {
			continue
		}
		tiles = j.add(from, to, a.C, a.Expert(e), want*(to-from)/rows+1, tiles)
	}
	b.finishInt8(j, rows, tiles)
}

// int8Plain is the reference's product, cut over the pool by columns.
func (b *Backend) int8Plain(a compute.MatMulArgs) {
	n := a.C.NumCols()
	per := (n + tilesPerThread*b.pool.threads - 1) / (tilesPerThread * b.pool.threads)
	b.pool.run((n+per-1)/per, func(_ *worker, c int) {
		p, from, to := a, c*per, min(n, (c+1)*per)
		p.C, p.B = a.C.Cols(from, to), a.B.Rows(from, to)
		b.Reference.MatMul(p)
	})
}

// startInt8 takes a job out of the pool for rows of a, those that index names if it is
// not nil, and weights like w.
func (b *Backend) startInt8(a compute.Tensor, index []int32, w compute.Tensor, acc bool) *int8Job {
	b.shared.begin()
	j := int8Jobs.Get().(*int8Job)
	j.k, j.acc = &b.k.int8Kernels, acc
	j.weights = j.k.describe(w)
	j.a = int8Rows{src: a, index: index}
	return j
}

// finishInt8 quantises m rows and makes the tiles.
func (b *Backend) finishInt8(j *int8Job, m, tiles int) {
	j.choose()
	j.reserve(&b.shared, m)
	per := j.a.perChunk()
	b.pool.run((m+per-1)/per, j.quantise)
	b.pool.run(tiles, j.work)
	b.shared.end()
	*j = int8Job{work: j.work, quantise: j.quantise, parts: j.parts[:0]}
	int8Jobs.Put(j)
}

// choose decides how rows meet weights, when all parts are known.
func (j *int8Job) choose() {
	f, most := j.weights.f, 0
	for i := range j.parts {
		most = max(most, j.parts[i].rows)
	}
	j.few = f != nil && f.few != nil && most <= int8FewRows
	j.a.wide = !j.weights.nib && (f == nil || most > 1 && !j.few)
}

// describe says how to read weights like w.
func (k *int8Kernels) describe(w compute.Tensor) int8Weights {
	bt, _ := w.DType().Block()
	d := int8Weights{bt: bt, f: k.formats[bt], k: w.NumCols(), group: bt.Group(), min: bt.HasMin(),
		factors: 4 * int8PanelCols}
	d.nib = d.f != nil && d.f.nib
	choices := [...]int8Panel{k.panelWide, k.panelWideMin, k.panelWide16, k.panelWide16Min}
	if d.nib { // such formats have groups of 32
		choices = [...]int8Panel{k.panelNib, k.panelNibMin, nil, nil}
	}
	kind := 0
	if d.min {
		kind, d.factors = 1, 2*d.factors
	}
	if d.group == 16 {
		kind += 2
	}
	d.panel = choices[kind]
	return d
}

// minInt8Tile is the size in multiply-adds down to which a tile is cut.
const minInt8Tile = 200_000

// add appends the product of rows [from, to) of A with w, cut into about want tiles,
// the first of them number first, and returns the number of the next.
func (j *int8Job) add(from, to int, c, w compute.Tensor, want, first int) int {
	p := int8Part{first: first, row: from, rows: to - from, n: w.NumRows(), w: w.Ptr(),
		c: c.Rows(from, to).Ptr(), ldw: strideBytes(w), ldc: strideBytes(c), down: 1}
	k := j.weights.k
	unit := int8PanelCols
	if p.rows == 1 {
		unit = int8Strip
	}
	p.tileN = max(roundUp((p.n+want-1)/want, unit), min(roundUp(minInt8Tile/(k*p.rows), unit), roundUp(p.n, unit)))
	across := (p.n + p.tileN - 1) / p.tileN
	p.tileM = p.rows
	if rows := 8 * int8PanelCols; across < want && p.rows >= 2*rows {
		p.down = min(want/across, p.rows/rows)
		p.tileM = roundUp((p.rows+p.down-1)/p.down, int8PanelRows)
		p.down = (p.rows + p.tileM - 1) / p.tileM
	}
	j.parts = append(j.parts, p)
	return first + across*p.down
}

// tile makes one tile of C.
func (j *int8Job) tile(w *worker, chunk int) {
	i := sort.Search(len(j.parts), func(i int) bool { return j.parts[i].first > chunk }) - 1
	p := &j.parts[i]
	chunk -= p.first
	r, c := chunk%p.down*p.tileM, chunk/p.down*p.tileN
	rows, cols := span{r, min(r+p.tileM, p.rows)}, span{c, min(c+p.tileN, p.n)}
	if rows.len() == 1 && j.weights.f != nil {
		j.oneRow(w, p, rows.from, cols)
		return
	}
	if j.few {
		j.fewRows(w, p, rows, cols)
		return
	}
	j.panels(w, p, rows, cols)
}
