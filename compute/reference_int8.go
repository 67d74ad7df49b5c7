package compute

import "math"

// int8Rows is a tensor's rows quantised to int8 codes with a factor per 32 elements.
type int8Rows struct {
	codes   []int8
	factors []float32
	k       int
}

// actBlock is how many consecutive elements of a row share a factor.
const actBlock = 32

// outlying is how many times the mean factor of a row an outlying one is.
const outlying = 4

// Outlying is the limit above which a factor of a row is outlying, given the sum of all
// n of them, taken in their order; see MatMulArgs.
func Outlying(sum float32, n int) float32 { return outlying * (sum / float32(n)) }

// quantize gives the rows of an F32 tensor as MatMulArgs describes; k is a multiple of
// 32. A block with an element that is not finite gets codes of zero and a factor that
// is not finite, so that what it is multiplied with becomes NaN.
func quantize(t Tensor) int8Rows {
	q := int8Rows{make([]int8, t.Len()), make([]float32, t.Len()/actBlock), t.cols}
	for r := range t.rows {
		row := t.RowF32(r)
		for b := 0; b < t.cols; b += actBlock {
			x := row[b : b+actBlock]
			q.factors[(r*t.cols+b)/actBlock] = quantizeBlock(q.codes[r*t.cols+b:], x)
		}
	}
	return q
}

// rest is what the rounding of outlying groups of t to q left over, quantised; the
// factors of the other groups are zero.
func (q int8Rows) rest(t Tensor) int8Rows {
	rest := int8Rows{make([]int8, len(q.codes)), make([]float32, len(q.factors)), q.k}
	n := q.k / actBlock
	for r := range t.rows {
		row, codes, factors := t.RowF32(r), q.codes[r*q.k:], q.factors[r*n:][:n]
		sum := float32(0)
		for _, s := range factors {
			sum += s
		}
		for g, s := range factors {
			if !(s > Outlying(sum, n)) {
				continue
			}
			var left [actBlock]float32
			for i := range left {
				at := g*actBlock + i
				left[i] = row[at] - float32(s*float32(codes[at]))
			}
			rest.factors[r*n+g] = quantizeBlock(rest.codes[r*q.k+g*actBlock:], left[:])
		}
	}
	return rest
}

// quantizeBlock writes the codes of x and returns their factor.
func quantizeBlock(codes []int8, x []float32) float32 {
	amax := float32(0)
	for _, v := range x {
		amax = max(amax, float32(math.Abs(float64(v))))
	}
	s := amax / 127
	if !(s > 0 && s <= math.MaxFloat32) {
		return s
	}
	for i, v := range x {
		c := math.RoundToEven(float64(v / s))
		codes[i] = int8(max(-127, min(c, 127))) // beyond only where s is subnormal
	}
	return s
}

// unpacked is a row of weights, taken apart.
type unpacked struct {
	codes []int8
	d, m  []float32
	group int
	min   bool
}

// int8MatMul is the product of rows quantised to int8 with weights in blocks; see
// MatMulArgs.
func int8MatMul(a MatMulArgs) {
	bt, _ := a.B.dtype.Block()
	k, group := a.A.cols, bt.Group()
	rows := quantize(a.A)
	rest := rows.rest(a.A)
	w := unpacked{make([]int8, k), make([]float32, k/group), make([]float32, k/group), group, bt.HasMin()}
	for j := range a.B.rows {
		bt.Unpack(w.codes, w.d, w.m, a.B.Bytes(j, 0, k))
		for i := range a.A.rows {
			acc := float32(0)
			if a.Accumulate {
				acc = a.C.RowF32(i)[j]
			}
			acc = rows.chain(acc, i, w, false)
			a.C.RowF32(i)[j] = rest.chain(acc, i, w, true)
		}
	}
}

// chain goes on from acc with the product of row i and a row of weights; sparse passes
// over groups whose factor is zero.
func (q int8Rows) chain(acc float32, i int, w unpacked, sparse bool) float32 {
	for g := range w.d {
		s := q.factors[(i*q.k+g*w.group)/actBlock]
		if sparse && s == 0 {
			continue
		}
		sum, plain := 0, 0
		for l := g * w.group; l < (g+1)*w.group; l++ {
			c := int(q.codes[i*q.k+l])
			sum += c * int(w.codes[l])
			plain += c
		}
		acc = fma(s*w.d[g], float32(sum), acc)
		if w.min {
			acc = fma(s*w.m[g], float32(plain), acc)
		}
	}
	return acc
}
