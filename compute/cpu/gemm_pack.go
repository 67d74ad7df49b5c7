package cpu

import (
	"unsafe"

	"sonde/compute"
	"sonde/num"
)

// operand is the matrix B of a product as it lies in memory.
type operand struct {
	p          unsafe.Pointer
	ld         int // bytes between rows
	bf16       bool
	transposed bool    // rows are columns of the product (NT)
	round      bool    // F32 that is to be rounded to bfloat16
	rows       []int32 // row numbers; nil: 0, 1, 2, ... (never together with transposed or bf16)

	w    compute.Tensor // the matrix, where it is in a format to be widened
	held strip
}

// size is the bytes of an element, 0 for block formats.
func (o *operand) size() int {
	switch {
	case o.bf16:
		return 2
	case o.widened():
		return o.w.DType().Size()
	}
	return 4
}

// pack writes steps [p0, p0+k) of the panel of columns [j0, j0+cols) to dst, as
// float32 [k][nr]; columns beyond cols, at most nr, become zero.
func (t *gemmKernels) pack(dst *float32, o *operand, p0, k, j0, cols int) {
	if k == 0 {
		return
	}
	if o.widened() {
		t.packWidened(dst, o, p0, k, j0, cols)
		return
	}
	done := 0
	if cols == t.nr {
		done = t.packWhole(dst, o, p0, k, j0)
	}
	if done < k {
		t.packScalar(floatAt(dst, 4*done*t.nr), o, p0+done, k-done, j0, cols)
	}
	if o.round {
		t.roundBF16(k*t.nr, dst, dst)
	}
}

// packWhole packs a full panel with kernels and returns how many steps it did.
func (t *gemmKernels) packWhole(dst *float32, o *operand, p0, k, j0 int) int {
	switch {
	case o.transposed:
		src := unsafe.Add(o.p, j0*o.ld+p0*o.size())
		if o.bf16 {
			if k &^= 7; k > 0 {
				t.packTBF16(k, (*uint16)(src), o.ld, dst)
			}
		} else if k &^= 3; k > 0 {
			t.packTF32(k, (*float32)(src), o.ld, dst)
		}
	case o.rows != nil:
		t.packNRows(k, (*float32)(unsafe.Add(o.p, 4*j0)), o.ld, &o.rows[p0], dst)
	case o.bf16:
		t.packNBF16(k, (*uint16)(unsafe.Add(o.p, p0*o.ld+2*j0)), o.ld, dst)
	default:
		t.packNF32(k, (*float32)(unsafe.Add(o.p, p0*o.ld+4*j0)), o.ld, dst)
	}
	return k
}

// packScalar packs the ragged edges.
func (t *gemmKernels) packScalar(dst *float32, o *operand, p0, k, j0, cols int) {
	out := unsafe.Slice(dst, k*t.nr)
	for p := range k {
		row := p0 + p
		if o.rows != nil {
			row = int(o.rows[row])
		}
		for j := range t.nr {
			v := float32(0)
			if j < cols {
				v = o.at(row, j0+j)
			}
			out[p*t.nr+j] = v
		}
	}
}

// at is the element that step row of k and column col of the product meet.
func (o *operand) at(row, col int) float32 {
	if o.transposed {
		row, col = col, row
	}
	p := unsafe.Add(o.p, row*o.ld+col*o.size())
	if o.bf16 {
		return num.BF16ToF32(*(*uint16)(p))
	}
	return *(*float32)(p)
}

// copyBlock copies rows x cols float32 to dst, ldd bytes a row, rounded to bfloat16
// if asked. Row i is src's row from+i, or the one that index names.
func (t *gemmKernels) copyBlock(dst *float32, ldd int, src unsafe.Pointer, lds int, index []int32, from, rows, cols int, round bool) {
	if index == nil && !round && rows > 0 {
		t.copyFar(dst, ldd, (*float32)(unsafe.Add(src, from*lds)), lds, rows, cols)
		return
	}
	for i := range rows {
		r := from + i
		if index != nil {
			r = int(index[r])
		}
		in := (*float32)(unsafe.Add(src, r*lds))
		t.copyRow(floatAt(dst, i*ldd), in, cols, round)
	}
}

// copyRow copies n float32, rounded to bfloat16 if asked.
func (t *gemmKernels) copyRow(dst, src *float32, n int, round bool) {
	if !round {
		copy(unsafe.Slice(dst, n), unsafe.Slice(src, n))
		return
	}
	whole := n &^ 15
	if whole > 0 {
		t.roundBF16(whole, src, dst)
	}
	in, out := unsafe.Slice(src, n), unsafe.Slice(dst, n)
	for i := whole; i < n; i++ {
		out[i] = num.RoundBF16(in[i])
	}
}
