package reason

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// The values of Long: what becomes of examples that are longer than there is room.
const (
	LongDrop   = "drop"   // left out and counted
	LongCut    = "cut"    // the end is cut off
	LongRefuse = "refuse" // an error
)

// listSource is examples in memory, one after the other.
type listSource struct {
	tokens []int32
	ends   []int // of each example in tokens
	spans  []span
	first  []int // of each example in spans
	sum    hash.Hash
	name   string
}

// span is a run of tokens of one weight that is not 0.
type span struct {
	from, to int32 // within its example
	weight   float32
}

func newList(name string) *listSource { return &listSource{sum: sha256.New(), name: name} }

// Len is the number of examples.
func (s *listSource) Len() int64 { return int64(len(s.ends)) }

// Name is the files' and a hash of what was read from them.
func (s *listSource) Name() string {
	return s.name + ", SHA-256 " + hex.EncodeToString(s.sum.Sum(nil))[:16]
}

// size is the number of tokens of example i.
func (s *listSource) size(i int) int {
	if i == 0 {
		return s.ends[0]
	}
	return s.ends[i] - s.ends[i-1]
}

// At returns example i.
func (s *listSource) At(i int64) (Example, error) {
	n := s.size(int(i))
	e := Example{Tokens: s.tokens[s.ends[i]-n : s.ends[i]], Weights: make([]float32, n)}
	to := len(s.spans)
	if int(i)+1 < len(s.first) {
		to = s.first[i+1]
	}
	for _, p := range s.spans[s.first[i]:to] {
		for t := p.from; t < p.to; t++ {
			e.Weights[t] = p.weight
		}
	}
	return e, nil
}

// add appends an example.
func (s *listSource) add(e Example) {
	s.first = append(s.first, len(s.spans))
	for t := 0; t < len(e.Weights); {
		from := t
		for t++; t < len(e.Weights) && e.Weights[t] == e.Weights[from]; t++ {
		}
		if e.Weights[from] != 0 {
			s.spans = append(s.spans, span{int32(from), int32(t), e.Weights[from]})
		}
	}
	s.tokens = append(s.tokens, e.Tokens...)
	s.ends = append(s.ends, len(s.tokens))
	binary.Write(s.sum, binary.LittleEndian, int64(len(e.Tokens)))
	binary.Write(s.sum, binary.LittleEndian, e.Tokens)
	binary.Write(s.sum, binary.LittleEndian, e.Weights)
}

// fitter decides on examples that are too long and remembers what it did.
type fitter struct {
	room int
	long string
	cut  int      // examples shortened or left out
	some []string // where the first of them are
	none int      // examples without a token to learn
}

// fit returns the example as it may be learned from; false leaves it out.
func (f *fitter) fit(e Example, where string) (Example, bool, error) {
	if n := len(e.Tokens); n > f.room {
		if f.long == LongRefuse {
			return e, false, fmt.Errorf("%s: the example has %d tokens, and there is room for %d: shorten it, raise --max-len, or choose --long drop or --long cut", where, n, f.room)
		}
		f.cut++
		if len(f.some) < 3 {
			f.some = append(f.some, fmt.Sprintf("%s (%d tokens)", where, n))
		}
		if f.long == LongDrop {
			return e, false, nil
		}
		e.Tokens, e.Weights = e.Tokens[:f.room], e.Weights[:f.room]
	}
	if len(e.Tokens) < 2 || e.learned() == 0 {
		f.none++
		return e, false, nil
	}
	return e, true, nil
}

// report says what was left out, "" where nothing was.
func (f *fitter) report() string {
	var parts []string
	if f.cut > 0 {
		did := map[string]string{LongDrop: "left out", LongCut: "cut"}[f.long]
		more := ""
		if f.cut > len(f.some) {
			more = ", ..."
		}
		parts = append(parts, fmt.Sprintf("%d examples longer than %d tokens are %s: %s%s", f.cut, f.room, did, strings.Join(f.some, ", "), more))
	}
	if f.none > 0 {
		parts = append(parts, fmt.Sprintf("%d have nothing to learn", f.none))
	}
	return strings.Join(parts, "; ")
}
