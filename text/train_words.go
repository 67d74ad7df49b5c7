package text

import (
	"context"
	"hash/maphash"
	"sync"
	"unsafe"
)

// wordTable counts distinct pieces. Their bytes lie in one arena and the table is our
// own, because a Go map with a string a piece takes several times the memory.
type wordTable struct {
	seed  maphash.Seed
	arena []byte
	words []word
	slots []int32 // index into words and one, 0: empty; at most half full
}

// word is a distinct piece: its place in the arena and how often it occurs.
type word struct {
	off   int
	hash  uint32
	size  int32
	count int64
}

func newWordTable(seed maphash.Seed) *wordTable {
	return &wordTable{seed: seed, slots: make([]int32, 1<<12)}
}

func (t *wordTable) len() int { return len(t.words) }

func (t *wordTable) bytes(w *word) []byte { return t.arena[w.off : w.off+int(w.size)] }

// add counts piece n times more.
func (t *wordTable) add(piece []byte, hash uint32, n int64) {
	mask := uint32(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		k := t.slots[i]
		if k == 0 {
			t.slots[i] = int32(len(t.words)) + 1
			t.words = append(t.words, word{len(t.arena), hash, int32(len(piece)), n})
			t.arena = append(t.arena, piece...)
			if 2*len(t.words) > len(t.slots) {
				t.double()
			}
			return
		}
		if w := &t.words[k-1]; w.hash == hash && string(t.bytes(w)) == string(piece) {
			w.count += n
			return
		}
	}
}

// double makes the table twice as large.
func (t *wordTable) double() {
	t.slots = make([]int32, 2*len(t.slots))
	mask := uint32(len(t.slots) - 1)
	for k := range t.words {
		i := t.words[k].hash & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = int32(k) + 1
	}
}

// addText counts the pieces that scan cuts a document into.
func (t *wordTable) addText(cls *classTable, scan func(*classTable, string, int) int, doc []byte) {
	if len(doc) == 0 {
		return
	}
	s := unsafe.String(&doc[0], len(doc)) // the scanner keeps nothing of it
	for i := 0; i < len(s); {
		end := scan(cls, s, i)
		for i < end {
			j := min(end, i+maxTrainPiece)
			if j-i > 1 { // a single byte has no pairs
				t.add(doc[i:j], uint32(maphash.Bytes(t.seed, doc[i:j])), 1)
			}
			i = j
		}
	}
}

// merge adds the counts of o.
func (t *wordTable) merge(o *wordTable) {
	for k := range o.words {
		w := &o.words[k]
		t.add(o.bytes(w), w.hash, w.count)
	}
}

// batchBytes is how much text goes to a counting goroutine at a time.
const batchBytes = 1 << 18

// batch is a run of documents, one after the other.
type batch struct {
	text []byte
	ends []int
}

// countWords cuts the documents into pieces and counts them, in o.Threads goroutines.
// Sums do not depend on who counted what.
func countWords(ctx context.Context, docs func(yield func([]byte) bool), o TrainOptions) (*wordTable, error) {
	seed := maphash.MakeSeed()
	work, free := make(chan *batch), make(chan *batch, o.Threads+1)
	tables := make([]*wordTable, o.Threads)
	var wg sync.WaitGroup
	for i := range tables {
		tables[i] = newWordTable(seed)
		free <- new(batch)
		wg.Go(func() {
			cls, scan := classes(), scanDeepSeek
			if o.SingleDigits {
				scan = scanSmolLM
			}
			for b := range work {
				start := 0
				for _, end := range b.ends {
					tables[i].addText(cls, scan, b.text[start:end])
					start = end
				}
				free <- b
			}
		})
	}
	free <- new(batch)
	sendBatches(ctx, docs, work, free, o.Progress)
	close(work)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, t := range tables[1:] {
		tables[0].merge(t)
	}
	return tables[0], nil
}

// sendBatches copies documents into free batches and sends those on.
func sendBatches(ctx context.Context, docs func(yield func([]byte) bool), work chan<- *batch, free <-chan *batch, progress func(done, total int64)) {
	var read int64
	b := <-free
	docs(func(doc []byte) bool {
		b.text = append(b.text, doc...)
		b.ends = append(b.ends, len(b.text))
		read += int64(len(doc))
		if len(b.text) >= batchBytes {
			work <- b
			progress(read, 0)
			b = <-free
			b.text, b.ends = b.text[:0], b.ends[:0]
		}
		return ctx.Err() == nil
	})
	work <- b
	progress(read, 0)
}
