package cpu

import (
	"encoding/binary"
	"unsafe"

	"sonde/compute"
	"sonde/num"
)

// spanLen is how many elements a worker moves at a time: enough to be worth waking it.
const spanLen = 1 << 16

// littleEndian reports whether memory already has the order of bytes that files have.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Upload fills t from row-major little-endian bytes of format src, on all workers.
func (b *Backend) Upload(t compute.Tensor, src compute.DType, raw []byte) {
	ints := src == compute.I32 || t.DType() == compute.I32
	if src.Size() == 0 || isWidened(t) || !littleEndian || len(raw) != t.Len()*src.Size() || ints && src != t.DType() || src == compute.F16 || src == compute.E4M3 {
		b.Reference.Upload(t, src, raw) // which names the mismatch
		return
	}
	b.spans(t, func(p unsafe.Pointer, at, n int) {
		from := raw[at*src.Size():][:n*src.Size()]
		switch {
		case src == t.DType():
			copy(unsafe.Slice((*byte)(p), len(from)), from)
		case src == compute.BF16:
			widen(unsafe.Slice((*float32)(p), n), from)
		default:
			narrow(unsafe.Slice((*uint16)(p), n), from)
		}
	})
}

// UploadF32 fills t (F32 or BF16) from v, row-major.
func (b *Backend) UploadF32(t compute.Tensor, v []float32) {
	if t.DType() == compute.I32 || len(v) != t.Len() {
		b.Reference.UploadF32(t, v)
		return
	}
	b.spans(t, func(p unsafe.Pointer, at, n int) {
		from := v[at : at+n]
		if t.DType() == compute.F32 {
			copy(unsafe.Slice((*float32)(p), n), from)
			return
		}
		num.BF16SliceFromF32(unsafe.Slice((*uint16)(p), n), from)
	})
}

// DownloadF32 reads t, of any format but I32, into dst, row-major.
func (b *Backend) DownloadF32(dst []float32, t compute.Tensor) {
	if t.DType() == compute.I32 || len(dst) != t.Len() {
		b.Reference.DownloadF32(dst, t)
		return
	}
	if isWidened(t) {
		t.CheckScales("DownloadF32")
		cols := t.NumCols()
		b.rowChunks(t.NumRows(), cols, func(from, to int) {
			for r := from; r < to; r++ {
				b.k.widenRow(dst[r*cols:(r+1)*cols], &t, r, 0)
			}
		})
		return
	}
	if t.DType() == compute.F32 && t.Contiguous() && t.Len() <= spanLen {
		copy(dst, t.Float32s())
		return
	}
	b.downloadMany(dst, t)
}

// downloadMany is DownloadF32 of a tensor with many elements, F32 or BF16.
func (b *Backend) downloadMany(dst []float32, t compute.Tensor) {
	b.spans(t, func(p unsafe.Pointer, at, n int) {
		to := dst[at : at+n]
		if t.DType() == compute.F32 {
			copy(to, unsafe.Slice((*float32)(p), n))
			return
		}
		num.BF16SliceToF32(to, unsafe.Slice((*uint16)(p), n))
	})
}

// Download reads t in its own format as little-endian bytes, row-major.
func (b *Backend) Download(dst []byte, t compute.Tensor) {
	size := t.DType().Size()
	if isWidened(t) || !littleEndian || len(dst) != t.Len()*size {
		b.Reference.Download(dst, t)
		return
	}
	b.spans(t, func(p unsafe.Pointer, at, n int) {
		copy(dst[at*size:], unsafe.Slice((*byte)(p), n*size))
	})
}

// spans calls each for stretches of t's memory without gaps: n elements at p, which
// are t's from the at-th on.
func (b *Backend) spans(t compute.Tensor, each func(p unsafe.Pointer, at, n int)) {
	rows, cols, stride, size := t.NumRows(), t.NumCols(), t.Stride(), t.DType().Size()
	if t.Len() == 0 {
		return
	}
	if t.Contiguous() {
		n := rows * cols
		b.pool.run((n+spanLen-1)/spanLen, func(_ *worker, chunk int) {
			at := chunk * spanLen
			each(unsafe.Add(t.Ptr(), at*size), at, min(spanLen, n-at))
		})
		return
	}
	per := max(1, spanLen/cols)
	b.pool.run((rows+per-1)/per, func(_ *worker, chunk int) {
		for r := chunk * per; r < min(rows, (chunk+1)*per); r++ {
			each(unsafe.Add(t.Ptr(), r*stride*size), r*cols, cols)
		}
	})
}

// widen turns the bytes of bfloat16 values into float32.
func widen(dst []float32, raw []byte) {
	for i := range dst {
		dst[i] = num.BF16ToF32(binary.LittleEndian.Uint16(raw[2*i:]))
	}
}

// narrow turns the bytes of float32 values into bfloat16, to nearest even. Bytes of a
// file need not be aligned, so they are not read as float32.
func narrow(dst []uint16, raw []byte) {
	var part [256]float32
	for len(dst) > 0 {
		n := min(len(dst), len(part))
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&part)), 4*n), raw)
		num.BF16SliceFromF32(dst, part[:n])
		dst, raw = dst[n:], raw[4*n:]
	}
}
