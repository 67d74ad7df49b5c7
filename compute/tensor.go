// Package compute defines what a processor must be able to do for Sonde: one
// interface of coarse operations (Backend), the tensors they work on, the arenas
// that hold those tensors outside Go's heap, and a plain-Go reference of every
// operation (Reference) that the fast backends are tested against.
package compute

import (
	"fmt"
	"unsafe"
)

// Tensor is a two-dimensional view of a device's memory: Rows x Cols elements,
// rows Stride elements apart. It is a small value: pass it by value, slice it with
// Rows and Cols. It does not own memory; the Arena that made it does. The zero
// Tensor stands for "none" where an operation has optional operands.
//
// Above package compute nobody reads the elements: use a Backend's uploads and
// downloads.
type Tensor struct {
	ptr                unsafe.Pointer
	rows, cols, stride int
	dtype              DType
	act                Activations
	row0, col0         int32   // E4M3: place of the first element in what scales covers
	scales             *Scales // E4M3
}

// NewTensor wraps memory that a backend owns. ptr must stay valid, and outside
// Go's heap or pinned by the caller, for as long as the tensor is used.
func NewTensor(ptr unsafe.Pointer, dt DType, rows, cols int) Tensor {
	return Tensor{ptr: ptr, rows: rows, cols: cols, stride: cols, dtype: dt}
}

// Wrap makes a tensor over a Go slice, for tests and small host-side tables.
func Wrap(data []float32, rows, cols int) Tensor {
	if len(data) < rows*cols {
		panic(fmt.Sprintf("compute: %d elements cannot hold %dx%d", len(data), rows, cols))
	}
	return NewTensor(unsafe.Pointer(unsafe.SliceData(data)), F32, rows, cols)
}

// WrapI32 is Wrap for int32 data.
func WrapI32(data []int32, rows, cols int) Tensor {
	if len(data) < rows*cols {
		panic(fmt.Sprintf("compute: %d elements cannot hold %dx%d", len(data), rows, cols))
	}
	return NewTensor(unsafe.Pointer(unsafe.SliceData(data)), I32, rows, cols)
}

// WrapBF16 is Wrap for bfloat16 data.
func WrapBF16(data []uint16, rows, cols int) Tensor {
	if len(data) < rows*cols {
		panic(fmt.Sprintf("compute: %d elements cannot hold %dx%d", len(data), rows, cols))
	}
	return NewTensor(unsafe.Pointer(unsafe.SliceData(data)), BF16, rows, cols)
}

// IsZero reports whether t is the absent tensor.
func (t Tensor) IsZero() bool { return t.ptr == nil }

// NumRows is the number of rows.
func (t Tensor) NumRows() int { return t.rows }

// NumCols is the number of columns.
func (t Tensor) NumCols() int { return t.cols }

// Stride is the distance between rows in elements.
func (t Tensor) Stride() int { return t.stride }

// DType is the element format.
func (t Tensor) DType() DType { return t.dtype }

// Len is the number of elements of the view.
func (t Tensor) Len() int { return t.rows * t.cols }

// Contiguous reports whether the rows follow each other without gaps.
func (t Tensor) Contiguous() bool { return t.stride == t.cols || t.rows <= 1 }

// Ptr is the address of the first element, for backends.
func (t Tensor) Ptr() unsafe.Pointer { return t.ptr }

// Rows is the view of rows [from, to).
func (t Tensor) Rows(from, to int) Tensor {
	if from < 0 || to < from || to > t.rows {
		panic(fmt.Sprintf("compute: rows [%d:%d) of a tensor with %d rows", from, to, t.rows))
	}
	if from < to {
		t.ptr = unsafe.Add(t.ptr, from*t.dtype.RowBytes(t.stride))
		t.row0 += int32(from)
	}
	t.rows = to - from
	return t
}

// Cols is the view of columns [from, to); its stride is t's. Columns of block formats
// are cut between blocks alone.
func (t Tensor) Cols(from, to int) Tensor {
	if from < 0 || to < from || to > t.cols {
		panic(fmt.Sprintf("compute: columns [%d:%d) of a tensor with %d columns", from, to, t.cols))
	}
	if from < to {
		t.ptr = unsafe.Add(t.ptr, t.dtype.RowBytes(from))
		t.col0 += int32(from)
	}
	t.cols = to - from
	return t
}

// Reshape gives a contiguous tensor another shape with the same number of elements.
func (t Tensor) Reshape(rows, cols int) Tensor {
	if !t.Contiguous() || rows*cols != t.rows*t.cols || t.scales != nil {
		panic(fmt.Sprintf("compute: cannot reshape %v to %dx%d", t, rows, cols))
	}
	t.rows, t.cols, t.stride = rows, cols, cols
	return t
}

// String shows the format and shape, for error messages.
func (t Tensor) String() string {
	if t.IsZero() {
		return "none"
	}
	return fmt.Sprintf("%v[%d,%d]", t.dtype, t.rows, t.cols)
}

// span is the number of elements from the first to one past the last.
func (t Tensor) span() int {
	if t.rows == 0 || t.cols == 0 {
		return 0
	}
	return (t.rows-1)*t.stride + t.cols
}

// Float32s is the memory of an F32 view, gaps between rows included; for backends
// on the host.
func (t Tensor) Float32s() []float32 {
	t.check(F32)
	return unsafe.Slice((*float32)(t.ptr), t.span())
}

// BF16s is Float32s for BF16 views.
func (t Tensor) BF16s() []uint16 {
	t.check(BF16)
	return unsafe.Slice((*uint16)(t.ptr), t.span())
}

// Int32s is Float32s for I32 views.
func (t Tensor) Int32s() []int32 {
	t.check(I32)
	return unsafe.Slice((*int32)(t.ptr), t.span())
}

// RowF32 is row i of an F32 view; for backends on the host.
func (t Tensor) RowF32(i int) []float32 {
	t.check(F32)
	return unsafe.Slice((*float32)(unsafe.Add(t.ptr, i*t.stride*4)), t.cols)
}

// RowBF16 is row i of a BF16 view.
func (t Tensor) RowBF16(i int) []uint16 {
	t.check(BF16)
	return unsafe.Slice((*uint16)(unsafe.Add(t.ptr, i*t.stride*2)), t.cols)
}

// RowI32 is row i of an I32 view.
func (t Tensor) RowI32(i int) []int32 {
	t.check(I32)
	return unsafe.Slice((*int32)(unsafe.Add(t.ptr, i*t.stride*4)), t.cols)
}

func (t Tensor) check(d DType) {
	if t.dtype != d {
		panic(fmt.Sprintf("compute: %v used as %v", t, d))
	}
}
