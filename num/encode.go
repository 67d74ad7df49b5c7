package num

import "fmt"

// Writable reports whether Encode writes the format.
func (b BlockType) Writable() bool {
	switch b {
	case Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS:
		return true
	}
	return false
}

// Encode rounds whole blocks to a writable format. len(src) is a multiple of Elements
// and says how many blocks; dst holds at least as many. importance is nil, or says for
// every element of src what its squared error counts (an importance matrix: the mean
// square of the activation that the element meets); only the ratios within a block
// matter, and none is negative.
//
// Without importance Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 are written as llama.cpp writes
// them, byte for byte; so is Q8_0 with it. All others are the outcome of a search for
// the factors of least squared error. The bytes are the same on every machine.
//
// A block with a NaN or an infinity, or with numbers beyond what half-precision factors
// reach, gives a block without meaning: whoever cares looks beforehand.
func (b BlockType) Encode(dst []byte, src, importance []float32) {
	s := b.shape()
	if !b.Writable() {
		panic(fmt.Sprintf("num: %v is read, not written", b))
	}
	if len(src)%s.elements != 0 || importance != nil && len(importance) != len(src) {
		panic(fmt.Sprintf("num: %d elements with %d weights are not whole blocks of %v, %d each",
			len(src), len(importance), b, s.elements))
	}
	e := encoder{weighted: importance != nil, steep: b == Q3_K && importance == nil}
	search := b.searched(e.weighted)
	for ; len(src) > 0; src = src[s.elements:] {
		copy(e.x[:], src[:s.elements])
		if search && e.weighted {
			e.weigh(s.elements, importance[:s.elements])
			importance = importance[s.elements:]
		} else if search {
			e.weigh(s.elements, nil)
		}
		b.encode(&e, dst[:s.bytes])
		dst = dst[s.bytes:]
	}
}

// searched reports whether the format's factors are searched for, with or without
// importance, and do not follow from the extremes alone.
func (b BlockType) searched(weighted bool) bool {
	switch b {
	case Q8_0:
		return false
	case Q4_0, Q4_1, Q5_0, Q5_1:
		return weighted
	}
	return true
}

// encoder is a block on its way into bytes.
type encoder struct {
	x, w, wx [256]float32 // elements, their weights, the products
	weighted bool         // by an importance
	steep    bool         // errors count by the square of their element
	q        [256]int8    // codes
}

// leastImportance is what an element counts at least, in means of its block: what the
// calibration never met may still be met.
const leastImportance = 1e-4

// weigh says what the squared errors of the block's n elements count: their importance
// times (mean square + x*x)^1/4, since the errors of large elements lean towards zero and
// therefore add up. On the outputs of a real model's layers that did best among the
// powers 0, 1/4, 1/2 and 1. With a mere eight levels and nothing that names the columns
// which matter, those of massive activations, the square of x alone kept a real model's
// predictions nearer to the original's, see steep.
func (e *encoder) weigh(n int, importance []float32) {
	x := e.x[:n]
	var square, all float32
	for _, v := range x {
		square += mul(v, v)
	}
	for _, v := range importance {
		all += v
	}
	square, all = square/float32(n), float32(n)*inverse(all)
	for i, v := range x {
		w := mul(v, v)
		if !e.steep {
			w = sqrt(sqrt(square + w))
		}
		if all > 0 {
			w *= max(mul(importance[i], all), leastImportance)
		}
		e.w[i], e.wx[i] = w, mul(w, v)
	}
}

func (b BlockType) encode(e *encoder, dst []byte) {
	switch b {
	case Q8_0:
		e.q80((*[34]byte)(dst))
	case Q4_0:
		e.q40((*[18]byte)(dst))
	case Q4_1:
		e.q41((*[20]byte)(dst))
	case Q5_0:
		e.q50((*[22]byte)(dst))
	case Q5_1:
		e.q51((*[24]byte)(dst))
	case Q2_K:
		e.q2k((*[84]byte)(dst))
	case Q3_K:
		e.q3k((*[110]byte)(dst))
	case Q4_K:
		e.q4k((*[144]byte)(dst))
	case Q5_K:
		e.q5k((*[176]byte)(dst))
	case Q6_K:
		e.q6k((*[210]byte)(dst))
	case IQ4_NL:
		e.iq4nl((*[18]byte)(dst))
	case IQ4_XS:
		e.iq4xs((*[136]byte)(dst))
	}
}
