package compute

import (
	"fmt"
	"math"
	"unsafe"

	"sonde/num"
)

// readable reports whether t's elements are numbers that operations may read as
// float32: F32 and every format of weights.
func readable(t Tensor) bool {
	if b, ok := t.dtype.Block(); ok {
		return b.Known()
	}
	return t.dtype != I32
}

// widened reports whether t is read as the F32 tensor it stands for: the formats that
// only files have. BF16 is not among them, it rounds what it meets.
func widened(t Tensor) bool { return readable(t) && !floating(t) }

// converts reports whether elements of format src can become dst's: F32 and BF16 take
// any number, the others what they are.
func converts(dst, src DType) bool {
	return dst == src || (dst == F32 || dst == BF16) && src != I32
}

// uploadWeights is Upload from a format that only files have.
func uploadWeights(t Tensor, src DType, raw []byte) {
	per := src.RowBytes(t.cols)
	aligned := make([]uint16, (per+1)/2) // bytes of a file need not be
	part := NewTensor(unsafe.Pointer(unsafe.SliceData(aligned)), src, 1, t.cols)
	row := make([]float32, t.cols)
	for r := range t.rows {
		from := raw[r*per : (r+1)*per]
		if t.dtype == src {
			copy(t.Bytes(r, 0, t.cols), from)
			continue
		}
		copy(part.Bytes(0, 0, t.cols), from)
		part.Widen(row, 0, 0)
		for c, v := range row {
			t.setBits(r, c, F32, math.Float32bits(v))
		}
	}
}

// Bytes is the memory of n elements of row r of any tensor from column col on; for
// backends on the host. Columns of block formats are whole blocks.
func (t Tensor) Bytes(r, col, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(t.ptr, r*t.dtype.RowBytes(t.stride)+t.dtype.RowBytes(col))), t.dtype.RowBytes(n))
}

// Widen reads len(dst) elements of row r from column col on as float32, exactly: BF16
// and F16 widened, codes of E4M3 times their factors (rounded once), blocks as package
// num decodes them; col and len(dst) are whole blocks there. For backends on the host.
func (t Tensor) Widen(dst []float32, r, col int) {
	if len(dst) == 0 {
		return
	}
	raw := t.Bytes(r, col, len(dst))
	p := unsafe.Pointer(unsafe.SliceData(raw))
	switch t.dtype {
	case F32:
		copy(dst, unsafe.Slice((*float32)(p), len(dst)))
	case BF16:
		num.BF16SliceToF32(dst, unsafe.Slice((*uint16)(p), len(dst)))
	case F16:
		num.F16SliceToF32(dst, unsafe.Slice((*uint16)(p), len(dst)))
	case E4M3:
		num.E4M3SliceToF32(dst, raw)
		t.scaleRow(dst, r, col)
	default:
		b, ok := t.dtype.Block()
		if !ok {
			panic(fmt.Sprintf("compute: %v has no elements that can be read as F32", t))
		}
		b.Decode(dst, raw)
	}
}

// scaleRow multiplies elements of row r of an E4M3 tensor, from column col on, by
// their factors. A tensor without factors stands for its codes' values.
func (t Tensor) scaleRow(dst []float32, r, col int) {
	s := t.scales
	if s == nil {
		return
	}
	factors := s.T.RowF32((int(t.row0) + r) / s.BlockRows)
	col += int(t.col0)
	for i := 0; i < len(dst); {
		block := (col + i) / s.BlockCols
		end := min(len(dst), (block+1)*s.BlockCols-col)
		for f := factors[block]; i < end; i++ {
			dst[i] *= f
		}
	}
}

// CheckScales panics when the factors of an E4M3 tensor do not cover it.
func (t Tensor) CheckScales(op string) {
	s := t.scales
	if t.dtype != E4M3 || s == nil || t.rows == 0 || t.cols == 0 {
		return
	}
	if !(s.T.dtype == F32 && s.BlockRows > 0 && s.BlockCols > 0 &&
		(int(t.row0)+t.rows-1)/s.BlockRows < s.T.rows && (int(t.col0)+t.cols-1)/s.BlockCols < s.T.cols) {
		mismatch(op, fmt.Sprintf("factors per %dx%d must be F32 and cover the matrix from [%d,%d] on", s.BlockRows, s.BlockCols, t.row0, t.col0), t, s.T)
	}
}
