package text

import "slices"

// A merge joins two neighbouring tokens into one. The one with the lowest rank that
// applies anywhere in a piece is done first, the leftmost of equals.
type merge struct {
	left, right int32
	rank, id    int32
}

// noRank is the rank of a pair that does not merge.
const noRank = int32(1<<31 - 1)

// mergeTable finds the merge of a pair of tokens: open addressing, at most half full.
// It only grows by add, and is read by many goroutines afterwards.
type mergeTable struct {
	slots []merge // rank < 0: empty
	mask  uint32
	n     int
}

func newMergeTable(n int) *mergeTable {
	size := 16
	for size < 2*n {
		size *= 2
	}
	t := &mergeTable{slots: make([]merge, size), mask: uint32(size - 1)}
	for i := range t.slots {
		t.slots[i].rank = -1
	}
	return t
}

// pairHash spreads a pair of ids over 32 bits (a multiplicative hash).
func pairHash(left, right int32) uint32 {
	h := (uint64(uint32(left))<<32 | uint64(uint32(right))) * 0x9e3779b97f4a7c15
	return uint32(h >> 32)
}

// add enters m; a pair entered before gets the new rank, as Hugging Face's loader does.
func (t *mergeTable) add(m merge) {
	for i := pairHash(m.left, m.right) & t.mask; ; i = (i + 1) & t.mask {
		s := &t.slots[i]
		if s.rank < 0 {
			t.n++
			*s = m
			return
		}
		if s.left == m.left && s.right == m.right {
			*s = m
			return
		}
	}
}

// find gives rank and id of the merge of left and right, or noRank.
func (t *mergeTable) find(left, right int32) (rank, id int32) {
	for i := pairHash(left, right) & t.mask; ; i = (i + 1) & t.mask {
		s := &t.slots[i]
		if s.rank < 0 {
			return noRank, 0
		}
		if s.left == left && s.right == right {
			return s.rank, s.id
		}
	}
}

// scratch is the working memory of merging one piece.
type scratch struct {
	ids, ranks, next, prev []int32
	queue, heap            []uint64
}

// shortPiece is the length in bytes up to which looking at every pair for the best
// merge is faster than keeping a heap.
const shortPiece = 32

// mergePiece replaces the byte ids in w.ids by the tokens they merge into, and
// returns them (valid until the next call).
func (t *mergeTable) mergePiece(w *scratch) []int32 {
	if len(w.ids) <= shortPiece {
		return t.mergeShort(w)
	}
	return t.mergeLong(w)
}

// mergeShort looks for the lowest rank again after each merge: quadratic, for a few tokens.
func (t *mergeTable) mergeShort(w *scratch) []int32 {
	ids := w.ids
	ranks := append(w.ranks[:0], make([]int32, len(ids))...)
	w.ranks = ranks
	for i := range ids[:len(ids)-1] {
		ranks[i], _ = t.find(ids[i], ids[i+1])
	}
	ranks[len(ids)-1] = noRank
	for len(ids) > 1 {
		best, at := noRank, 0
		for i, r := range ranks[:len(ids)-1] {
			if r < best {
				best, at = r, i
			}
		}
		if best == noRank {
			break
		}
		_, ids[at] = t.find(ids[at], ids[at+1])
		ids = append(ids[:at+1], ids[at+2:]...)
		ranks = append(ranks[:at+1], ranks[at+2:]...)
		t.rerank(ids, ranks, at)
	}
	return ids
}

// rerank looks up the pairs that the token at place i takes part in.
func (t *mergeTable) rerank(ids, ranks []int32, i int) {
	if i > 0 {
		ranks[i-1], _ = t.find(ids[i-1], ids[i])
	}
	ranks[i] = noRank
	if i+1 < len(ids) {
		ranks[i], _ = t.find(ids[i], ids[i+1])
	}
}

// mergeLong keeps the pairs to merge in order of (rank, place), and the tokens in a
// linked list, so that n bytes take O(n log n). The pairs of the piece as it came are
// a sorted queue, those that merging makes a heap; when the queue is used up, the
// heap becomes the next one, which makes runs of one character linear. An entry is
// out of date when the rank of the pair at its place has changed.
func (t *mergeTable) mergeLong(w *scratch) []int32 {
	n := len(w.ids)
	w.ranks, w.next, w.prev = grow(w.ranks, n), grow(w.next, n), grow(w.prev, n)
	w.queue, w.heap = w.queue[:0], w.heap[:0]
	for i := range n {
		w.next[i], w.prev[i], w.ranks[i] = int32(i+1), int32(i-1), noRank
		if i+1 < n {
			if w.ranks[i], _ = t.find(w.ids[i], w.ids[i+1]); w.ranks[i] != noRank {
				w.heap = append(w.heap, uint64(w.ranks[i])<<32|uint64(i))
			}
		}
	}
	for head := 0; head < len(w.queue) || len(w.heap) > 0; {
		var e uint64
		switch {
		case head == len(w.queue):
			w.queue, w.heap, head = w.heap, w.queue[:0], 0
			slices.Sort(w.queue)
			continue
		case len(w.heap) > 0 && w.heap[0] < w.queue[head]:
			e, w.heap = heapPop(w.heap)
		default:
			e = w.queue[head]
			head++
		}
		if i := int32(uint32(e)); w.ranks[i] == int32(e>>32) {
			t.mergeAt(w, i)
		}
	}
	out := w.ids[:0]
	for i := int32(0); i < int32(n); i = w.next[i] {
		out = append(out, w.ids[i])
	}
	return out
}

// mergeAt joins the tokens at place i and after it, and enters the two new pairs.
func (t *mergeTable) mergeAt(w *scratch, i int32) {
	j := w.next[i]
	_, w.ids[i] = t.find(w.ids[i], w.ids[j])
	after := w.next[j]
	w.next[i], w.ranks[j] = after, noRank
	w.ranks[i] = noRank
	if int(after) < len(w.ids) {
		w.prev[after] = i
		t.enter(w, i, after)
	}
	if before := w.prev[i]; before >= 0 {
		t.enter(w, before, i)
	}
}

// enter sets the rank of the pair at places i and j and adds it to the heap.
func (t *mergeTable) enter(w *scratch, i, j int32) {
	w.ranks[i], _ = t.find(w.ids[i], w.ids[j])
	if w.ranks[i] != noRank {
		w.heap = heapPush(w.heap, uint64(w.ranks[i])<<32|uint64(i))
	}
}

// grow returns a slice of length n, in s's memory if that is large enough.
func grow(s []int32, n int) []int32 {
	if cap(s) < n {
		return make([]int32, n)
	}
	return s[:n]
}

// A binary heap of numbers, the smallest on top. container/heap would box each.

func heapDown(h []uint64, i int) {
	v := h[i]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1] < h[c] {
			c++
		}
		if h[c] >= v {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = v
}

func heapPop(h []uint64) (uint64, []uint64) {
	top, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	if last > 0 {
		heapDown(h, 0)
	}
	return top, h
}

func heapPush(h []uint64, v uint64) []uint64 {
	h = append(h, v)
	i := len(h) - 1
	for i > 0 {
		p := (i - 1) / 2
		if h[p] <= v {
			break
		}
		h[i] = h[p]
		i = p
	}
	h[i] = v
	return h
}
