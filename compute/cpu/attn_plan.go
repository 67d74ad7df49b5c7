package cpu

import (
	"sort"
	"sync/atomic"
	"unsafe"
)

// cachedPlan cuts the attentions of several sequences, which have as many groups of
// heads each, into pieces of work: a block of rows with all its keys, or with a chunk
// of them where that occupies more workers or a sequence has but one block. A piece is
// of one group, or of neighbours that take turns, because their keys are neighbours in
// memory. The last piece of a block to be finished joins all.
type cachedPlan struct {
	seqs, groups int
	get          func(seq, group int) cached
	split        bool
	together     int // groups of a piece

	first    []int32 // first place of each sequence; a place is a block, or a chunk for one
	joins    []int32 // first counter of each sequence
	left     []int32 // chunks of each block of each group that are not finished
	partials *float32
	rows, dv int // of a partial
}

// runCached runs the attentions that get gives, which may be called on any worker.
func (b *Backend) runCached(seqs, groups int, get func(seq, group int) cached) {
	if seqs == 0 {
		return
	}
	b.shared.begin()
	defer b.shared.end()
	p := cachedPlan{seqs: seqs, groups: groups, get: get, first: b.shared.ints(seqs + 1), joins: b.shared.ints(seqs + 1)}
	p.cut(b.pool.threads)
	places := int(p.first[seqs])
	if !p.split {
		pieces := places * groups
		per := max(1, min(mostPieces, pieces/(16*b.pool.threads)))
		b.pool.run((pieces+per-1)/per, func(w *worker, c int) {
			// The last blocks see most keys: they go first.
			p.wholes(w, b.k, max(0, pieces-(c+1)*per), pieces-c*per)
		})
		return
	}
	p.left = b.shared.ints(int(p.joins[seqs]))
	p.partials = b.shared.floats(places * groups * partialSize(p.rows, p.dv))
	p.count()
	pieces := (groups + p.together - 1) / p.together
	b.pool.run(places*pieces, func(w *worker, c int) {
		from := c % pieces * p.together
		p.chunk(w, b.k, c/pieces, from, min(groups, from+p.together))
	})
}

// mostPieces is how many pieces, which may be small, a worker takes at a time.
const mostPieces = 16

// ints is n int32 of the shared memory, undefined.
func (s *opShared) ints(n int) []int32 { return s.arena.I32(1, n).RowI32(0) }

// cut counts the pieces: whole blocks when there are enough of them, unless a sequence
// has but one block and many keys.
func (p *cachedPlan) cut(threads int) {
	blocks, most, few := 0, 0, true
	for i := range p.seqs {
		a := p.get(i, 0)
		n, chunks := a.blocks(), a.chunks()
		p.first[i+1], p.joins[i+1] = int32(chunks), int32(n) // to be summed
		blocks += n * p.groups
		if n == 1 {
			most = max(most, chunks)
		}
		few = few && a.few()
		p.rows, p.dv = max(p.rows, min(cachedRows, 16*panels(a.rows()))), a.dv
	}
	p.split = blocks < 4*threads || most > 1
	p.first[0], p.joins[0] = 0, 0
	for i := range p.seqs {
		chunks, n := p.first[i+1], p.joins[i+1]
		if !p.split {
			chunks = 1
		}
		p.first[i+1], p.joins[i+1] = p.first[i]+n*chunks, p.joins[i]+n*int32(p.groups)
	}
	p.together = 1
	for few && p.together < min(p.groups, mostTogether, columnsTogether/p.dv) && int(p.first[p.seqs])*p.groups >= 2*threads*(p.together+1) {
		p.together++
	}
}

// Groups that a piece takes together: their blocks of keys and values should stay in the
// second-level cache.
const (
	mostTogether    = 4
	columnsTogether = 512
)

// count sets the chunks that are to be finished.
func (p *cachedPlan) count() {
	for i := range p.seqs {
		a := p.get(i, 0)
		for j := p.joins[i]; j < p.joins[i+1]; j++ {
			p.left[j] = int32(a.chunks())
		}
	}
}

// find is the sequence of a place and its number there.
func (p *cachedPlan) find(place int) (seq, n int) {
	if place < p.seqs && int(p.first[place]) == place && int(p.first[place+1]) == place+1 {
		return place, 0 // as where each sequence has one place
	}
	seq = sort.Search(p.seqs, func(i int) bool { return int(p.first[i+1]) > place })
	return seq, place - int(p.first[seq])
}

// wholes does pieces [from, to), blocks with all their keys, from the last to the first.
func (p *cachedPlan) wholes(w *worker, k *kernels, from, to int) {
	next, block := p.piece(to - 1)
	for i := to - 1; i >= from; i-- {
		a, c := next, block
		if i > from {
			next, block = p.piece(i - 1)
			next.fetch(k)
		}
		r := a.block(w, k, c)
		r.whole()
		w.scratch.Reset()
	}
}

// piece is the attention of a piece and its block there.
func (p *cachedPlan) piece(c int) (a cached, block int) {
	seq, block := p.find(c / p.groups)
	return p.get(seq, c%p.groups), block
}

// chunk does a block with a chunk of its keys, for groups [from, to).
func (p *cachedPlan) chunk(w *worker, k *kernels, place, from, to int) {
	seq, n := p.find(place)
	var as [mostTogether]cached
	var rs [mostTogether]cachedBlock
	var parts [mostTogether]partial
	as[0] = p.get(seq, from)
	chunks := as[0].chunks()
	block, chunk := n/chunks, n%chunks
	for i := range to - from {
		as[i] = p.get(seq, from+i)
		rs[i], parts[i] = as[i].block(w, k, block), p.partial(place*p.groups+from+i)
	}
	if chunk*cachedChunk < rs[0].last {
		chunkTogether(rs[:to-from], parts[:to-from], chunk)
	}
	for i := range rs[:to-from] {
		if atomic.AddInt32(&p.left[int(p.joins[seq])+block*p.groups+from+i], -1) == 0 {
			p.finish(&rs[i], (place-chunk)*p.groups+from+i)
		}
	}
}

// finish joins the partial results of a block, the first of which is at place first.
func (p *cachedPlan) finish(r *cachedBlock, first int) {
	total := p.partial(first)
	for j := 1; j*cachedChunk < r.last; j++ {
		r.join(total, p.partial(first+j*p.groups))
	}
	r.write(total)
}

// chunkTogether makes the partial softmaxes of groups over chunk c of their keys.
func chunkTogether(rs []cachedBlock, parts []partial, c int) {
	for i := range rs {
		rs[i].packQueries()
		rs[i].clear(parts[i])
	}
	w := rs[0].w
	mark := w.scratch.Mark()
	end := min(rs[0].last, (c+1)*cachedChunk)
	for first := c * cachedChunk; first < end; first += keyBlock {
		if first == c*cachedChunk {
			fetchTogether(rs, first, min(end, first+keyBlock))
		}
		fetchTogether(rs, first+keyBlock, min(end, first+2*keyBlock))
		for i := range rs {
			rs[i].keysFrom(first, min(keyBlock, end-first), parts[i], first == c*cachedChunk)
			w.scratch.Release(mark)
		}
	}
}

// fetchTogether reads the keys and values [from, to) of few heads of groups that are
// neighbours, in the order in which they lie.
func fetchTogether(rs []cachedBlock, from, to int) {
	first, last := &rs[0], &rs[len(rs)-1]
	if !first.few || first.picks != nil || first.apart > 0 || from >= to {
		return
	}
	for i, c := range [...]columnsOf{first.keys[0], first.values} {
		end := [...]columnsOf{last.keys[0], last.values}[i]
		c.n += int(uintptr(unsafe.Pointer(end.p))-uintptr(unsafe.Pointer(c.p))) / 4 << c.half
		c.fetch(first.k, from, to)
	}
}

// partial is a partial's room.
func (p *cachedPlan) partial(i int) partial {
	return newPartial(at(p.partials, i*partialSize(p.rows, p.dv)), p.rows, p.dv)
}
