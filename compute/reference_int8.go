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

// int8MatMul is the product of rows quantised to int8 with weights in blocks; see
// MatMulArgs.
func int8MatMul(a MatMulArgs) {
	bt, _ := a.B.dtype.Block()
	k, group := a.A.cols, bt.Group()
	rows := quantize(a.A)
	codes, d, m := make([]int8, k), make([]float32, k/group), make([]float32, k/group)
	for j := range a.B.rows {
		bt.Unpack(codes, d, m, a.B.Bytes(j, 0, k))
		for i := range a.A.rows {
			acc := float32(0)
			if a.Accumulate {
				acc = a.C.RowF32(i)[j]
			}
			for g := range d {
				sum, plain := 0, 0
				for l := g * group; l < (g+1)*group; l++ {
					c := int(rows.codes[i*k+l])
					sum += c * int(codes[l])
					plain += c
				}
				s := rows.factors[(i*k+g*group)/actBlock]
				acc = fma(s*d[g], float32(sum), acc)
				if bt.HasMin() {
					acc = fma(s*m[g], float32(plain), acc)
				}
			}
			a.C.RowF32(i)[j] = acc
		}
	}
}
