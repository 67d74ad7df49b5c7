package cpu

import (
	"math"

	"sonde/compute"
)

// indexScores is about how many scores are kept at a time.
const indexScores = 1 << 20

// Index picks the keys that each row's attention reads; see compute.IndexArgs.
func (b *Backend) Index(a compute.IndexArgs) {
	a.Check()
	m := a.Q.NumRows()
	all := min(m, max(0, a.TopK-a.Start)) // these rows see no more than they may pick
	for i := range all {
		pickFirst(a.Picks.RowI32(i), a.Start+i+1)
	}
	if all == m {
		return
	}
	if !b.k.vector {
		b.rowChunks(m-all, a.Heads*(a.Start+m)*a.Dim/16, func(from, to int) { b.Reference.Index(indexRows(a, all+from, all+to)) })
		return
	}
	b.shared.begin()
	defer b.shared.end()
	ld := 16 * panels(a.Start+m)
	step := max(1, min(m-all, indexScores/ld))
	scores := b.shared.floats(step * ld)
	for from := all; from < m; from += step {
		b.indexBatch(indexRows(a, from, min(m, from+step)), matrix{scores, ld})
	}
}

// indexRows is a for rows [from, to).
func indexRows(a compute.IndexArgs, from, to int) compute.IndexArgs {
	a.Start, a.Q, a.W, a.Picks = a.Start+from, a.Q.Rows(from, to), a.W.Rows(from, to), a.Picks.Rows(from, to)
	return a
}

// pickFirst picks the n keys that there are.
func pickFirst(picks []int32, n int) {
	for j := range picks {
		picks[j] = -1
		if j < n {
			picks[j] = int32(j)
		}
	}
}

// indexBatch scores all keys for some rows, a block of keys at a time, then picks.
func (b *Backend) indexBatch(a compute.IndexArgs, scores matrix) {
	m := a.Q.NumRows()
	b.pool.run((a.Start+m+keyBlock-1)/keyBlock, func(w *worker, c int) {
		first := c * keyBlock
		n := min(keyBlock, a.Start+m-first)
		keys, products := scratch(w, panels(n)*packed(a.Dim)), scratch(w, 16*a.Heads)
		packRows(w, b.k, keys, rowPtr(a.K, first), bytes(a.K), n, a.Dim)
		for i := max(0, first-a.Start); i < m; i++ {
			for p := 0; p < panels(n) && first+16*p <= a.Start+i; p++ {
				b.k.panel(a.Heads, a.Dim, rowPtr(a.Q, i), 4*a.Dim, 4, at(keys, p*packed(a.Dim)), 64, products, 64, 0)
				b.k.indexSum(at(scores.row(i), first+16*p), products, 64, a.Heads, rowPtr(a.W, i))
			}
		}
	})
	b.pool.run(m, func(_ *worker, i int) {
		pickBest(a.Picks.RowI32(i), slice(scores.row(i), a.Start+i+1))
	})
}

// pickBest writes the places of the largest scores, of which there are more than picks;
// of equal ones the earlier win.
func pickBest(picks []int32, scores []float32) {
	least, ties := kthLargest(scores, len(picks))
	n := 0
	for j, v := range scores {
		o := ordered(v)
		if o > least || o == least && ties > 0 {
			picks[n] = int32(j)
			n++
			if o == least {
				ties--
			}
		}
	}
}

// ordered maps numbers to integers that compare alike; -0 is 0.
func ordered(v float32) uint32 {
	b := math.Float32bits(v + 0)
	return b ^ (uint32(int32(b)>>31) | 1<<31)
}

// kthLargest is the k-th largest of more than k scores, and how many equal to it are
// among the k largest. Digits are found from the highest down, by counting.
func kthLargest(scores []float32, k int) (value uint32, ties int) {
	var count [1 << 11]int32
	known := uint32(0) // bits of value found so far
	for _, digit := range [...]struct{ shift, bits uint32 }{{21, 11}, {10, 11}, {0, 10}} {
		clear(count[:])
		mask := uint32(1)<<digit.bits - 1
		for _, v := range scores {
			if o := ordered(v); o&known == value {
				count[o>>digit.shift&mask]++
			}
		}
		d := mask
		for ; k > int(count[d]); d-- {
			k -= int(count[d])
		}
		value |= d << digit.shift
		known |= mask << digit.shift
	}
	return value, k
}
