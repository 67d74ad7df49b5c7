package compute

import (
	"encoding/binary"
	"fmt"
	"math"

	"sonde/num"
)

// Reference is every operation in plain Go on one thread: slow, short, and what the
// fast backends are compared with.
//
// Two orders of summation are used, and the fast backends keep to them.
//
// A product of matrices is one chain of fused multiply-adds per element, over k from
// zero up; the fast backends' float32 products equal these bit for bit.
//
// A sum along a row (of squares in RMSNorm, of exponentials in softmax, of products
// in gradients to scales) runs in 16 lanes: lane j takes the elements j, j+16, j+32, ...
// in ascending order, by fused multiply-adds where the terms are products of two
// factors; then lane j gets lane j+8 added for j < 8, then j+4 for j < 4, j+2 for
// j < 2, and lane 1 for lane 0.
type Reference struct{}

var _ Backend = (*Reference)(nil)

// NewReference makes the plain-Go backend. It holds nothing.
func NewReference() *Reference { return &Reference{} }

// Name is "reference".
func (*Reference) Name() string { return "reference" }

// Threads is 1.
func (*Reference) Threads() int { return 1 }

// NewArena makes an empty arena in main memory.
func (*Reference) NewArena(name string) *Arena { return NewArena(name, HostMemory{}) }

// Close does nothing.
func (*Reference) Close() {}

// fma is a*b+c rounded once, as the processors' instruction. The product is exact in
// float64, the sum is not; rounding it again is harmless unless it lies half way
// between two float32s, or among the subnormal ones, where the half ways are
// elsewhere.
func fma(a, b, c float32) float32 {
	p := float64(a) * float64(b)
	s := p + float64(c)
	if !delicate(s) {
		return float32(s)
	}
	return roundOnce(p, float64(c), s)
}

// delicate reports whether rounding a rounded sum again could go wrong.
func delicate(sum float64) bool {
	const half, low29 = 1 << 28, 1<<29 - 1
	return math.Float64bits(sum)&low29 == half || math.Abs(sum) < 0x1p-126
}

// roundOnce rounds p+c to float32, given their rounded float64 sum: it makes the sum
// odd where it is not exact, which keeps it off every half way (Boldo & Melquiond,
// 2008).
func roundOnce(p, c, sum float64) float32 {
	t := sum - p
	rest := (p - (sum - t)) + (c - t) // Knuth's two-sum: exact
	if bits := math.Float64bits(sum); rest != 0 && bits&1 == 0 && !math.IsInf(sum, 0) && !math.IsNaN(sum) {
		if rest > 0 == (sum > 0) {
			sum = math.Float64frombits(bits + 1)
		} else {
			sum = math.Float64frombits(bits - 1)
		}
	}
	return float32(sum)
}

func exp(x float32) float32 { return float32(math.Exp(float64(x))) }

// lanes sums in the order that Reference's comment gives.
type lanes [16]float32

func (l *lanes) tree() float32 {
	for half := 8; half > 0; half /= 2 {
		for j := range half {
			l[j] += l[j+half]
		}
	}
	return l[0]
}

// dotLanes is the sum of x*y in 16 lanes.
func dotLanes(x, y []float32) float32 {
	var l lanes
	for i := range x {
		l[i%16] = fma(x[i], y[i], l[i%16])
	}
	return l.tree()
}

// sumLanes is the sum of x in 16 lanes.
func sumLanes(x []float32) float32 {
	var l lanes
	for i := range x {
		l[i%16] += x[i]
	}
	return l.tree()
}

// Upload fills t; see Backend.
func (*Reference) Upload(t Tensor, src DType, raw []byte) {
	if !(len(raw) == t.rows*src.RowBytes(t.cols) && converts(t.dtype, src)) {
		mismatch("Upload", fmt.Sprintf("%d bytes of %v do not fit", len(raw), src), t)
	}
	if _, block := src.Block(); block || src == F16 || src == E4M3 {
		uploadWeights(t, src, raw)
		return
	}
	for r := range t.rows {
		for c := range t.cols {
			i := r*t.cols + c
			switch src {
			case F32, I32:
				t.setBits(r, c, src, binary.LittleEndian.Uint32(raw[4*i:]))
			case BF16:
				t.setBits(r, c, src, uint32(binary.LittleEndian.Uint16(raw[2*i:])))
			}
		}
	}
}

// setBits writes an element given in format src.
func (t Tensor) setBits(r, c int, src DType, bits uint32) {
	if src == BF16 && t.dtype == F32 {
		bits <<= 16
	}
	if src == F32 && t.dtype == BF16 {
		bits = uint32(num.BF16FromF32(math.Float32frombits(bits)))
	}
	switch t.dtype {
	case BF16:
		t.RowBF16(r)[c] = uint16(bits)
	case F32:
		t.RowF32(r)[c] = math.Float32frombits(bits)
	case I32:
		t.RowI32(r)[c] = int32(bits)
	}
}

// bits reads an element in its own format.
func (t Tensor) bits(r, c int) uint32 {
	switch t.dtype {
	case BF16:
		return uint32(t.RowBF16(r)[c])
	case F32:
		return math.Float32bits(t.RowF32(r)[c])
	}
	return uint32(t.RowI32(r)[c])
}

// UploadF32 fills t from v, row-major.
func (*Reference) UploadF32(t Tensor, v []float32) {
	if !(len(v) == t.Len() && floating(t)) {
		mismatch("UploadF32", fmt.Sprintf("%d values do not fit", len(v)), t)
	}
	for r := range t.rows {
		for c := range t.cols {
			t.setBits(r, c, F32, math.Float32bits(v[r*t.cols+c]))
		}
	}
}

// UploadI32 fills t from v, row-major.
func (*Reference) UploadI32(t Tensor, v []int32) {
	if !(len(v) == t.Len() && t.dtype == I32) {
		mismatch("UploadI32", fmt.Sprintf("%d values do not fit", len(v)), t)
	}
	for r := range t.rows {
		copy(t.RowI32(r), v[r*t.cols:])
	}
}

// DownloadF32 reads t, of any format but I32, into dst, row-major.
func (*Reference) DownloadF32(dst []float32, t Tensor) {
	if !(len(dst) == t.Len() && readable(t)) {
		mismatch("DownloadF32", fmt.Sprintf("%d values do not fit", len(dst)), t)
	}
	t.CheckScales("DownloadF32")
	for r := range t.rows {
		t.readRow(dst[r*t.cols:(r+1)*t.cols], r, false)
	}
}

// DownloadI32 reads t into dst, row-major.
func (*Reference) DownloadI32(dst []int32, t Tensor) {
	if !(len(dst) == t.Len() && t.dtype == I32) {
		mismatch("DownloadI32", fmt.Sprintf("%d values do not fit", len(dst)), t)
	}
	for r := range t.rows {
		copy(dst[r*t.cols:], t.RowI32(r))
	}
}

// Download reads t's elements as little-endian bytes of its own format.
func (*Reference) Download(dst []byte, t Tensor) {
	if !(len(dst) == t.rows*t.dtype.RowBytes(t.cols)) {
		mismatch("Download", fmt.Sprintf("%d bytes do not fit", len(dst)), t)
	}
	if widened(t) {
		for r := range t.rows {
			dst = dst[copy(dst, t.Bytes(r, 0, t.cols)):]
		}
		return
	}
	for r := range t.rows {
		for c := range t.cols {
			i := r*t.cols + c
			if t.dtype == BF16 {
				binary.LittleEndian.PutUint16(dst[2*i:], uint16(t.bits(r, c)))
			} else {
				binary.LittleEndian.PutUint32(dst[4*i:], t.bits(r, c))
			}
		}
	}
}

// Zero clears t, whatever its format.
func (*Reference) Zero(t Tensor) {
	for r := range t.rows {
		clear(t.Bytes(r, 0, t.cols))
	}
}

// Copy is dst = src; F32 and BF16 take any format of numbers, rounded or widened.
func (*Reference) Copy(dst, src Tensor) {
	if !(dst.rows == src.rows && dst.cols == src.cols && converts(dst.dtype, src.dtype)) {
		mismatch("Copy", "shapes must be equal and formats convertible", dst, src)
	}
	src.CheckScales("Copy")
	row := make([]float32, src.cols)
	for r := range dst.rows {
		if dst.dtype == src.dtype {
			copy(dst.Bytes(r, 0, dst.cols), src.Bytes(r, 0, src.cols))
			continue
		}
		src.Widen(row, r, 0)
		for c, v := range row {
			dst.setBits(r, c, F32, math.Float32bits(v))
		}
	}
}

// Add is dst += src.
func (*Reference) Add(dst, src Tensor) {
	if !(is(src, F32, dst.rows, dst.cols)) {
		mismatch("Add", "shapes must be equal, both F32", dst, src)
	}
	for r := range dst.rows {
		d, s := dst.RowF32(r), src.RowF32(r)
		for c := range d {
			d[c] += s[c]
		}
	}
}

// Scale is t *= s.
func (*Reference) Scale(t Tensor, s float32) {
	for r := range t.rows {
		row := t.RowF32(r)
		for c := range row {
			row[c] *= s
		}
	}
}

// SumSquares is the sum of squares in float64, row by row.
func (*Reference) SumSquares(t Tensor) float64 {
	var sum float64
	for r := range t.rows {
		for _, v := range t.RowF32(r) {
			sum += float64(v) * float64(v)
		}
	}
	return sum
}

// AdamW is one optimiser step; see AdamWArgs.
func (*Reference) AdamW(a AdamWArgs) {
	a.Check()
	for r := range a.P.rows {
		p, g, m, v := a.P.RowF32(r), a.G.RowF32(r), a.M.RowF32(r), a.V.RowF32(r)
		for c := range p {
			gr := g[c] * a.GradScale
			m[c] = fma(a.Beta1, m[c], (1-a.Beta1)*gr)
			v[c] = fma(a.Beta2, v[c], (1-a.Beta2)*gr*gr)
			root := float32(math.Sqrt(float64(v[c] / a.Correct2)))
			step := fma(a.WeightDecay, p[c], (m[c]/a.Correct1)/(root+a.Eps))
			p[c] = fma(-a.LR, step, p[c])
			if !a.Working.IsZero() {
				a.Working.RowBF16(r)[c] = num.BF16FromF32(p[c])
			}
		}
	}
}
