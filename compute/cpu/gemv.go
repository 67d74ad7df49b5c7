package cpu

import "unsafe"

// row computes columns cols of one row of C: what a decoding step does with every
// weight. Weights are read once, where they lie.
func (t *gemmKernels) row(w *worker, p *product, i int, cols span) {
	r := i
	if p.aRows != nil {
		r = int(p.aRows[i])
	}
	x := (*float32)(unsafe.Add(p.a, r*p.lda))
	if p.round {
		rounded := scratch(w, p.k)
		t.copyRow(rounded, x, p.k, true)
		x = rounded
	}
	y := (*float32)(unsafe.Add(p.c, i*p.ldc))
	if !p.acc {
		clear(unsafe.Slice(floatAt(y, 4*cols.from), cols.len()))
	}
	g := &w.gemv
	*g = gemv{t: t, b: &p.b, k: p.k, x: x, y: y, chains: &w.chains, lanes: t.lanes,
		packed: scratch(w, blockK*t.nr), spare: scratch(w, t.nr)}
	t.prepare(w, &p.b)
	switch {
	case p.b.widened():
		cols.from = g.widened(w, cols)
	case p.b.transposed && t.lanes > 0 && !p.b.round:
		cols.from = g.rows(cols)
	case !p.b.transposed && t.wide > 0 && !p.b.round:
		cols.from = g.columns(cols)
	}
	for ; cols.from < cols.to; cols.from += t.nr {
		g.viaPanel(0, cols.from, min(t.nr, cols.to-cols.from))
	}
}

// gemv adds one row times a matrix to y.
type gemv struct {
	t      *gemmKernels
	b      *operand
	k      int
	x, y   *float32
	chains *[chainCount]chain
	packed *float32 // room for a panel of B
	spare  *float32 // room for nr sums

	lanes   int          // rows of a chain
	factors *gemvFactors // E4M3
}

// chainCount is how many chains gemvT advances at a time.
const chainCount = 2

// chain is what gemvT needs to know of lanes outputs: where in their rows of w and in
// x it stands, and their sums so far.
type chain struct {
	w    unsafe.Pointer
	x, y *float32
}

// rows makes the outputs cols whose weights are rows in memory, as many as come in
// whole lanes, and returns where it stopped.
func (g *gemv) rows(cols span) int {
	size := g.b.size()
	lines := g.k * size / 64
	s := schedule{lines: lines, blocks: cols.len() / g.lanes}
	if lines > 0 && s.blocks > 0 {
		if g.b.ld%aliasStride == 0 {
			s.lag = min(aliasLag, lines/chainCount)
		}
		for s.next() {
			g.advance(&s, cols.from)
		}
	}
	end := cols.from + s.blocks*g.lanes
	if done := lines * 64 / size; done < g.k {
		for j := cols.from; j < end; j += g.t.nr {
			g.viaPanel(done, j, min(g.t.nr, end-j))
		}
	}
	return end
}

// aliasStride is a distance between rows in bytes at which they all fall into the same
// sets of the first-level cache, which are smaller than the rows in work.
const aliasStride = 4096

// aliasLag is by how many cache lines the chains keep apart then: enough that the lines
// the processor fetches ahead by itself do not meet either.
const aliasLag = 16

// maxLines and maxSteps keep a call of a kernel, which cannot be interrupted, at about
// 1 MiB of memory and 100 us.
const (
	maxLines = 1024
	maxSteps = 4096
)

// schedule gives out blocks of rows to the chains, which work side by side. Chain c is
// c*lag lines behind the first, so that rows that share sets of the cache there are
// read at different places.
type schedule struct {
	lines, blocks, lag int
	now, step          int                                   // all chains stand at now and go on by step lines
	at                 [chainCount]struct{ block, line int } // block -1: nothing to do
}

// next finds how far the chains can go before one of them comes to the end of its rows.
func (s *schedule) next() bool {
	s.now += s.step
	s.step = 0
	for c := range s.at {
		at := &s.at[c]
		t := s.now - c*s.lag
		at.block, at.line = -1, 0
		left := -t
		if t >= 0 {
			at.line = t % s.lines
			left = s.lines - at.line
			if block := t/s.lines*chainCount + c; block < s.blocks {
				at.block = block
			} else {
				continue
			}
		}
		if s.step == 0 || left < s.step {
			s.step = left
		}
	}
	s.step = min(s.step, maxLines)
	return s.step > 0
}

// advance runs the kernel for one step of the schedule; a chain without work repeats
// another's and its sums are dropped.
func (g *gemv) advance(s *schedule, first int) {
	size := g.b.size()
	var idle [chainCount]bool
	busy := -1
	for c, at := range s.at {
		if idle[c] = at.block < 0; idle[c] {
			continue
		}
		j := first + at.block*g.lanes
		g.chains[c] = chain{w: unsafe.Add(g.b.p, j*g.b.ld+64*at.line), x: floatAt(g.x, 4*64/size*at.line), y: floatAt(g.y, 4*j)}
		if g.factors != nil {
			g.factors.at[c] = floatAt(g.factors.of(g, c, j, s.lines), 4*g.lanes*at.line)
		}
		busy = c
	}
	for c := range idle {
		if idle[c] {
			g.chains[c] = g.chains[busy]
			g.chains[c].y = g.spare
			if g.factors != nil {
				g.factors.at[c] = g.factors.at[busy]
			}
		}
	}
	chains, next := (*byte)(unsafe.Pointer(g.chains)), g.ahead(s, first)
	switch {
	case g.b.bf16:
		g.t.gemvTBF16(s.step, g.b.ld, chains, next)
	case g.factors != nil:
		g.t.gemvTE4M3(s.step, g.b.ld, chains, next, &g.factors.at[0])
	case g.b.widened():
		g.t.gemvTF16(s.step, g.b.ld, chains, next)
	default:
		g.t.gemvTF32(s.step, g.b.ld, chains, next)
	}
}

// shortRow is up to how many bytes of a row the processor's own prefetching, which
// needs some lines of every row to find out, is not enough. (Of longer rows it is
// enough, and asking costs time.)
const shortRow = 2048

// ahead is where the rows begin that come next, or nil when they need not be fetched
// early. It goes through them in the order of memory, at the pace of the chains.
func (g *gemv) ahead(s *schedule, first int) *byte {
	at := s.at[0]
	if s.lines*64 > shortRow || g.b.ld != s.lines*64 || at.block < 0 || at.block+2*chainCount > s.blocks {
		return nil
	}
	rows := g.lanes * chainCount
	j := first + at.block*g.lanes + rows
	return (*byte)(unsafe.Add(g.b.p, j*g.b.ld+at.line*64*rows))
}

// columns makes the outputs cols whose weights are columns in memory, as many as the
// kernel takes at a time, and returns where it stopped.
func (g *gemv) columns(cols span) int {
	b, j := g.b, cols.from
	for ; j+g.t.wide <= cols.to; j += g.t.wide {
		for p := 0; p < g.k; p += maxSteps {
			k := min(maxSteps, g.k-p)
			w, x, y := unsafe.Add(b.p, p*b.ld+j*b.size()), floatAt(g.x, 4*p), floatAt(g.y, 4*j)
			if b.bf16 {
				g.t.gemvNBF16(k, (*uint16)(w), b.ld, x, y)
			} else {
				g.t.gemvNF32(k, (*float32)(w), b.ld, x, y)
			}
		}
	}
	return j
}

// viaPanel makes n outputs from j on over k from p0 on, from a packed panel of B.
func (g *gemv) viaPanel(p0, j, n int) {
	t, ld := g.t, 4*g.t.nr
	y := floatAt(g.y, 4*j)
	out := y
	if n < t.nr {
		out = g.spare
		copy(unsafe.Slice(out, n), unsafe.Slice(y, n))
	}
	for ; p0 < g.k; p0 += blockK {
		k := min(blockK, g.k-p0)
		t.pack(g.packed, g.b, p0, k, j, n)
		t.panel(1, k, floatAt(g.x, 4*p0), 0, 4, g.packed, ld, out, ld, 1)
	}
	if n < t.nr {
		copy(unsafe.Slice(y, n), unsafe.Slice(out, n))
	}
}
