package reason

import (
	"slices"

	"sonde/model"
	"sonde/train"
)

// rows is the number of rows that an example takes of a pass: its last token is a target
// alone.
func (e *Example) rows() int { return len(e.Tokens) - 1 }

// bestFit lays pieces of the given sizes into as few bins of room as it can, longest first,
// each into the fullest bin that it fits into; a piece larger than room gets a bin of its
// own. The bins hold the pieces' numbers.
func bestFit(sizes []int, room int) [][]int {
	order := make([]int, len(sizes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return sizes[b] - sizes[a] })
	var bins [][]int
	var left []int
	for _, i := range order {
		best := -1
		for b, l := range left {
			if sizes[i] <= l && (best < 0 || l < left[best]) {
				best = b
			}
		}
		if best < 0 {
			best = len(bins)
			bins, left = append(bins, nil), append(left, max(room, sizes[i]))
		}
		bins[best] = append(bins[best], i)
		left[best] -= sizes[i]
	}
	return bins
}

// packExamples lays examples side by side for a pass, in which each sees itself alone,
// with the weight of every row's target.
func packExamples(examples []Example) (model.Packed, []float32) {
	var p model.Packed
	var weights []float32
	for _, e := range examples {
		n := e.rows()
		p.Lens = append(p.Lens, n)
		p.Tokens = append(p.Tokens, e.Tokens[:n]...)
		weights = append(weights, e.Weights[1:]...)
		for t := range n {
			target := int32(-1)
			if e.Weights[t+1] != 0 {
				target = e.Tokens[t+1]
			}
			p.Targets = append(p.Targets, target)
		}
	}
	return p, weights
}

// Seeds of streams that must not meet those of others.
const (
	seedOrder = 1000 + iota
	seedExamples
	seedAsked
	seedAnswers
)

// stream is the order in which a source's examples are learned from: epoch after epoch,
// each in an order of its own that the seed decides. Nothing is stored of it.
type stream struct {
	src  Source
	seed uint64
}

// at is example k of the stream, from 0.
func (s stream) at(k int64) (Example, error) { return s.src.At(s.place(k)) }

func (s stream) place(k int64) int64 {
	n := s.src.Len()
	if n == 0 {
		return k
	}
	return train.Permute(k%n, n, mixSeeds(s.seed, seedOrder, uint64(k/n)))
}

// take gives the examples of a step, from number k of the stream on: as many as fit into
// rows, at least one, none from number end on (negative: there is no end).
func (s stream) take(k, end int64, rows int) ([]Example, error) {
	var out []Example
	for sum := 0; end < 0 || k < end; k++ {
		e, err := s.at(k)
		if err != nil {
			return nil, err
		}
		if sum += e.rows(); len(out) > 0 && sum > rows {
			break
		}
		out = append(out, e)
	}
	return out, nil
}
