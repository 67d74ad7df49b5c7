package cpu

import (
	"sort"
	"sync"
	"unsafe"

	"sonde/compute"
)

// job is one operation made of matrix products, cut into tiles that workers take one
// by one.
type job struct {
	t  *gemmKernels
	fn func(w *worker, chunk int) // job.work, bound once

	one    product // a single product, or what all products share
	locate func(j *job, chunk int) (p product, rows, cols span)

	grid grid // of every product, where they are equal in size
	head compute.HeadMatMulArgs

	// Grouped products.
	group   compute.GroupedMatMulArgs
	offsets []int32
	experts []expertTiles
}

// jobs are kept because the bound method and the lists of a job would otherwise be
// allocated by every operation.
var jobs = sync.Pool{New: func() any {
	j := new(job)
	j.fn = j.work
	return j
}}

func (j *job) work(w *worker, chunk int) {
	var rows, cols span
	w.product, rows, cols = j.locate(j, chunk)
	j.t.tile(w, &w.product, rows, cols)
}

// start takes a job out of the pool and run gives it back.
func (b *Backend) start() *job {
	j := jobs.Get().(*job)
	j.t = &b.k.gemmKernels
	return j
}

func (b *Backend) finish(j *job, chunks int) {
	b.pool.run(chunks, j.fn)
	*j = job{fn: j.fn, experts: j.experts[:0]}
	jobs.Put(j)
}

// grid is how a product's C is cut into tiles.
type grid struct {
	m, n         int
	tileM, tileN int
	down, across int // tiles
}

// cut chooses tiles for C of m x n so that about want tiles (or more) come out of
// each of the products, where they are large enough to be cut.
func (t *gemmKernels) cut(m, n, k, want int) grid {
	g := grid{m: m, n: n}
	g.down = (m + tileM - 1) / tileM
	g.tileM = roundUp((m+g.down-1)/g.down, t.mr)
	g.down = (m + g.tileM - 1) / g.tileM
	g.tileN = min(tileN, roundUp(n, t.nr))
	for g.down*((n+g.tileN-1)/g.tileN) < want && g.tileN > 2*t.nr && min(m, g.tileM)*g.tileN*k > minTile {
		g.tileN = roundUp(g.tileN/2, t.nr)
	}
	g.across = (n + g.tileN - 1) / g.tileN
	return g
}

// minTile is the size in multiply-adds down to which a tile is cut: smaller ones would
// copy the same blocks of A too often.
const minTile = 600_000

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

// tile is tile i of the grid; neighbours share columns, so that B's panels are
// likely still in the cache.
func (g grid) tile(i int) (rows, cols span) {
	r, c := i%g.down*g.tileM, i/g.down*g.tileN
	return span{r, min(r+g.tileM, g.m)}, span{c, min(c+g.tileN, g.n)}
}

// tilesPerThread is how finely an operation is cut: finely enough that the workers
// end together.
const tilesPerThread = 4

// MatMul is one product; see compute.MatMulArgs.
func (b *Backend) MatMul(a compute.MatMulArgs) {
	m, n, k := a.Dims()
	if m == 0 || n == 0 {
		return
	}
	if isInt8(a.Form, a.B) {
		b.int8MatMul(a)
		return
	}
	j := b.start()
	j.one = newProduct(a.Form, a.C, a.A, a.B, a.BF16)
	j.one.m, j.one.n, j.one.k, j.one.acc = m, n, k, a.Accumulate
	j.grid = j.t.cut(m, n, k, tilesPerThread*b.pool.threads)
	j.locate = locateSingle
	b.finish(j, j.grid.down*j.grid.across)
}

func locateSingle(j *job, chunk int) (product, span, span) {
	rows, cols := j.grid.tile(chunk)
	return j.one, rows, cols
}

// newProduct describes the operands of a form; the sizes are set by the caller.
func newProduct(f compute.Form, c, a, b compute.Tensor, bf16 bool) product {
	isBF16, isF32 := b.DType() == compute.BF16, b.DType() == compute.F32
	p := product{
		a: a.Ptr(), lda: strideBytes(a), aT: f == compute.TN,
		c: c.Ptr(), ldc: strideBytes(c),
		b:     operand{ld: strideBytes(b), bf16: isBF16, transposed: f == compute.NT, round: bf16 && isF32},
		round: bf16 && isF32 || isBF16,
	}
	p.b.set(b)
	return p
}

// set makes o read matrix b, of the format and stride that o was made for.
func (o *operand) set(b compute.Tensor) {
	o.p = b.Ptr()
	if isWidened(b) {
		o.w = b
	}
}

// HeadMatMul is one product per head; see compute.HeadMatMulArgs.
func (b *Backend) HeadMatMul(a compute.HeadMatMulArgs) {
	a.Check()
	m := a.C.NumRows()
	if m == 0 || a.CWidth == 0 || a.Heads == 0 {
		return
	}
	j := b.start()
	j.head = a
	j.one = newProduct(a.Form, a.C, a.A, a.B, a.BF16)
	j.one.m, j.one.n, j.one.k = m, a.CWidth, a.AWidth
	j.grid = j.t.cut(m, a.CWidth, a.AWidth, (tilesPerThread*b.pool.threads+a.Heads-1)/a.Heads)
	j.locate = locateHead
	b.finish(j, a.Heads*j.grid.down*j.grid.across)
}

func locateHead(j *job, chunk int) (product, span, span) {
	per := j.grid.down * j.grid.across
	h := chunk / per
	p, a := j.one, &j.head
	p.c = a.C.Cols(h*a.CCols, h*a.CCols+a.CWidth).Ptr()
	p.a = a.A.Cols(h*a.ACols+a.AOff, h*a.ACols+a.AOff+a.AWidth).Ptr()
	p.b.set(a.B.Rows(h*a.BRows+a.BOff, h*a.BRows+a.BOff+a.BCount))
	rows, cols := j.grid.tile(chunk % per)
	return p, rows, cols
}

// expertTiles is the share of one expert in a grouped product.
type expertTiles struct {
	expert int
	first  int // number of its first tile
	grid   grid
}

// GroupedMatMul is one product per expert; see compute.GroupedMatMulArgs.
func (b *Backend) GroupedMatMul(a compute.GroupedMatMulArgs) {
	rows, m, n, k := a.Dims()
	if rows == 0 || n == 0 {
		return
	}
	if isInt8(a.Form, a.Weights()) {
		b.int8GroupedMatMul(a)
		return
	}
	j := b.start()
	j.group, j.offsets = a, a.Offsets.RowI32(0)
	checkOffsets(j.offsets, rows)
	j.one = newProduct(a.Form, a.C, a.A, a.Weights(), a.BF16)
	j.one.n = n
	j.one.aRows = indexOf(a.AIndex)
	j.one.b.rows = indexOf(a.BIndex)
	tiles := b.cutGroups(j, rows, m, n, k)
	j.locate = locateExpert
	b.finish(j, tiles)
}

func indexOf(t compute.Tensor) []int32 {
	if t.IsZero() {
		return nil
	}
	return t.RowI32(0)
}

// checkOffsets panics when rows would be left out or read beyond the end.
func checkOffsets(offsets []int32, rows int) {
	ok := offsets[0] == 0 && int(offsets[len(offsets)-1]) == rows
	for e := 1; e < len(offsets); e++ {
		ok = ok && offsets[e-1] <= offsets[e]
	}
	if !ok {
		panic("compute: GroupedMatMul: Offsets must rise from 0 to the number of rows")
	}
}

// cutGroups lists the experts that have rows with their tiles and returns the number
// of all tiles.
func (b *Backend) cutGroups(j *job, rows, m, n, k int) int {
	tiles := 0
	want := tilesPerThread * b.pool.threads
	for e := range j.group.Experts {
		count := int(j.offsets[e+1] - j.offsets[e])
		if count == 0 {
			continue
		}
		share := want*count/rows + 1
		var g grid
		if j.group.Form == compute.TN {
			g = j.t.cut(m, n, count, share)
		} else {
			g = j.t.cut(count, n, k, share)
		}
		j.experts = append(j.experts, expertTiles{e, tiles, g})
		tiles += g.down * g.across
	}
	return tiles
}

func locateExpert(j *job, chunk int) (product, span, span) {
	i := sort.Search(len(j.experts), func(i int) bool { return j.experts[i].first > chunk }) - 1
	x := j.experts[i]
	from, to := int(j.offsets[x.expert]), int(j.offsets[x.expert+1])
	p, a := j.one, &j.group
	if a.Form == compute.TN {
		p.m, p.k, p.acc = x.grid.m, to-from, true
		p.c = a.C.Rows(x.expert*p.m, (x.expert+1)*p.m).Ptr()
		p.a, p.aRows = rowsFrom(a.A, p.aRows, from, to)
		p.b.p, p.b.rows = rowsFrom(a.B, p.b.rows, from, to)
	} else {
		p.m, p.k, p.acc = to-from, a.A.NumCols(), a.Accumulate
		p.c = a.C.Rows(from, to).Ptr()
		p.a, p.aRows = rowsFrom(a.A, p.aRows, from, to)
		weights := a.Expert(x.expert)
		p.b.ld = strideBytes(weights)
		p.b.set(weights)
	}
	rows, cols := x.grid.tile(chunk - x.first)
	return p, rows, cols
}

// rowsFrom is rows [from, to) of t, by way of an index where there is one.
func rowsFrom(t compute.Tensor, index []int32, from, to int) (unsafe.Pointer, []int32) {
	if index != nil {
		return t.Ptr(), index[from:to]
	}
	return t.Rows(from, to).Ptr(), nil
}
