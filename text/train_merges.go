package text

import "context"

// trainer finds the merges. Words are sequences of ids in one array, shortened in
// place; each pair that may still win knows how often it occurs and in which words
// it was seen.
type trainer struct {
	bytes  []string        // token id -> bytes
	known  map[string]bool // the bytes of all tokens
	merges [][2]int32      // in order
	syms   []int32         // the words' tokens, one word after the other
	words  []trainWord
	pairs  map[uint64]*pair
	heap   []candidate

	fresh       []freshPair // the pairs with the newest token
	left, right []int32     // place in fresh and one of (token, newest) and (newest, token); 0: none
}

type trainWord struct {
	off   int
	size  int32
	count int64
}

// pair counts a pair's occurrences; seen holds every word that has it (and maybe
// some that had it once).
type pair struct {
	count int64
	seen  []int32
}

type freshPair struct {
	left, right int32
	pair        pair
}

// candidate is a pair in the heap; its count may be too high by now, never too low,
// because only pairs with the newest token grow.
type candidate struct {
	count       int64
	left, right int32
}

// before is the order in which pairs are joined.
func (a candidate) before(b candidate) bool {
	if a.count != b.count {
		return a.count > b.count
	}
	if a.left != b.left {
		return a.left < b.left
	}
	return a.right < b.right
}

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// newTrainer turns counted words into sequences of byte tokens and counts their pairs.
func newTrainer(words *wordTable) *trainer {
	tr := &trainer{bytes: make([]string, len(firstTokens)), known: map[string]bool{}, pairs: map[uint64]*pair{}}
	var id [256]int32
	for i, b := range byteOrder {
		id[b] = int32(len(firstTokens) + i)
		tr.addToken(string([]byte{b}))
	}
	tr.syms = make([]int32, len(words.arena))
	tr.words = make([]trainWord, len(words.words))
	for i, b := range words.arena {
		tr.syms[i] = id[b]
	}
	for k := range words.words {
		w := &words.words[k]
		tr.words[k] = trainWord{w.off, w.size, w.count}
		syms := tr.syms[w.off : w.off+int(w.size)]
		for i := 1; i < len(syms); i++ {
			tr.count(pairKey(syms[i-1], syms[i]), int32(k), w.count)
		}
	}
	for key, p := range tr.pairs {
		if p.count < minPairs {
			delete(tr.pairs, key)
			continue
		}
		tr.heap = append(tr.heap, candidate{p.count, int32(key >> 32), int32(uint32(key))})
	}
	for i := len(tr.heap)/2 - 1; i >= 0; i-- {
		tr.down(i)
	}
	return tr
}

func (tr *trainer) addToken(bytes string) {
	tr.bytes = append(tr.bytes, bytes)
	tr.known[bytes] = true
	tr.left = append(tr.left, make([]int32, len(tr.bytes)-len(tr.left))...)
	tr.right = append(tr.right, make([]int32, len(tr.bytes)-len(tr.right))...)
}

func (tr *trainer) count(key uint64, word int32, n int64) {
	p := tr.pairs[key]
	if p == nil {
		p = new(pair)
		tr.pairs[key] = p
	}
	p.add(word, n)
}

func (p *pair) add(word int32, n int64) {
	p.count += n
	if k := len(p.seen); k == 0 || p.seen[k-1] != word {
		p.seen = append(p.seen, word)
	}
}

// run finds up to want merges.
func (tr *trainer) run(ctx context.Context, want int, progress func(done, total int64)) error {
	for len(tr.merges) < want {
		if len(tr.merges)%64 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			progress(int64(len(tr.merges)), int64(want))
		}
		c, p := tr.best()
		if p == nil {
			break
		}
		delete(tr.pairs, pairKey(c.left, c.right))
		joined := tr.bytes[c.left] + tr.bytes[c.right]
		if tr.known[joined] {
			continue
		}
		tr.merges = append(tr.merges, [2]int32{c.left, c.right})
		tr.addToken(joined)
		for _, k := range p.seen {
			tr.mergeWord(k, c.left, c.right, int32(len(tr.bytes)-1))
		}
		tr.keepFresh()
	}
	progress(int64(len(tr.merges)), int64(want))
	return nil
}

// best takes the pair that comes first; nil when no pair occurs often enough.
func (tr *trainer) best() (candidate, *pair) {
	for len(tr.heap) > 0 {
		c := tr.heap[0]
		p := tr.pairs[pairKey(c.left, c.right)]
		if p.count == c.count {
			tr.pop()
			return c, p
		}
		if p.count < minPairs {
			delete(tr.pairs, pairKey(c.left, c.right))
			tr.pop()
			continue
		}
		tr.heap[0].count = p.count
		tr.down(0)
	}
	return candidate{}, nil
}

// mergeWord joins every left, right in word k to id and moves the counts of the
// pairs on either side.
func (tr *trainer) mergeWord(k, left, right, id int32) {
	w := &tr.words[k]
	syms := tr.syms[w.off : w.off+int(w.size)]
	n := 0
	for i := 0; i < len(syms); i++ {
		if syms[i] != left || i+1 == len(syms) || syms[i+1] != right {
			syms[n] = syms[i]
			n++
			continue
		}
		if n > 0 {
			tr.drop(syms[n-1], left, id, w.count)
			tr.freshFor(&tr.left[syms[n-1]], syms[n-1], id).pair.add(k, w.count)
		}
		if i+2 < len(syms) {
			next := syms[i+2]
			tr.drop(right, next, id, w.count)
			tr.freshFor(&tr.right[next], id, next).pair.add(k, w.count)
		}
		syms[n] = id
		n++
		i++
	}
	w.size = int32(n)
}

// drop takes n occurrences from a pair. Pairs that were rare from the start are not kept.
func (tr *trainer) drop(left, right, id int32, n int64) {
	if left == id {
		tr.freshFor(&tr.right[right], id, right).pair.count -= n
	} else if p := tr.pairs[pairKey(left, right)]; p != nil {
		p.count -= n
	}
}

// freshFor is the entry of a pair with the newest token; at is where its place is kept.
func (tr *trainer) freshFor(at *int32, left, right int32) *freshPair {
	if *at == 0 {
		tr.fresh = append(tr.fresh, freshPair{left: left, right: right})
		*at = int32(len(tr.fresh))
	}
	return &tr.fresh[*at-1]
}

// keepFresh enters the pairs with the newest token that occur often enough.
func (tr *trainer) keepFresh() {
	id := int32(len(tr.bytes) - 1)
	for i := range tr.fresh {
		f := &tr.fresh[i]
		if f.right == id {
			tr.left[f.left] = 0
		} else {
			tr.right[f.right] = 0
		}
		if f.pair.count >= minPairs {
			p := f.pair
			tr.pairs[pairKey(f.left, f.right)] = &p
			tr.push(candidate{p.count, f.left, f.right})
		}
		f.pair.seen = nil
	}
	tr.fresh = tr.fresh[:0]
}

// The heap of candidates, the one to join next on top.

func (tr *trainer) down(i int) {
	h := tr.heap
	v := h[i]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1].before(h[c]) {
			c++
		}
		if !h[c].before(v) {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = v
}

func (tr *trainer) pop() {
	last := len(tr.heap) - 1
	tr.heap[0] = tr.heap[last]
	tr.heap = tr.heap[:last]
	if last > 0 {
		tr.down(0)
	}
}

func (tr *trainer) push(c candidate) {
	tr.heap = append(tr.heap, c)
	h := tr.heap
	i := len(h) - 1
	for i > 0 {
		p := (i - 1) / 2
		if !c.before(h[p]) {
			break
		}
		h[i] = h[p]
		i = p
	}
	h[i] = c
}
