package cpu

import (
	"math"
	"runtime"
	"unsafe"

	"sonde/num"
)

// genericNR is the width of a panel in plain Go: what fits in scalar registers.
const genericNR = 4

// genericGemm is the plain-Go set. Products are rounded before they are added where
// the processor has no fused multiply-add that Go uses for float32.
func genericGemm() gemmKernels {
	return gemmKernels{
		mr: 2, nr: genericNR, panel: panelGeneric,
		packTF32: packTF32Generic, packTBF16: packTBF16Generic,
		packNF32: packNF32Generic, packNBF16: packNBF16Generic,
		packNRows: packNRowsGeneric, roundBF16: roundBF16Generic, copyFar: copyFarGeneric,
		fmaLoop: fmaLoopGeneric, fmaFlops: 16, readLoop: readLoopGeneric,
	}
}

// quad is one step of a panel.
type quad = [genericNR]float32

// panelGeneric keeps two rows of four sums in registers.
func panelGeneric(m, k int, a *float32, ars, aks int, b *float32, bks int, c *float32, ldc int, acc int) {
	for ; m >= 2; m -= 2 {
		panelPair(k, a, ars, aks, b, bks, c, ldc, acc)
		if m > 2 {
			a, c = floatAt(a, 2*ars), floatAt(c, 2*ldc)
		}
	}
	if m == 0 {
		return
	}
	row := (*quad)(unsafe.Pointer(c))
	if acc == 0 {
		*row = quad{}
	}
	for p := range k {
		x, v := *floatAt(a, p*aks), (*quad)(unsafe.Pointer(floatAt(b, p*bks)))
		row[0] += x * v[0]
		row[1] += x * v[1]
		row[2] += x * v[2]
		row[3] += x * v[3]
	}
}

func panelPair(k int, a *float32, ars, aks int, b *float32, bks int, c *float32, ldc int, acc int) {
	c0, c1 := (*quad)(unsafe.Pointer(c)), (*quad)(unsafe.Pointer(floatAt(c, ldc)))
	if acc == 0 {
		*c0, *c1 = quad{}, quad{}
	}
	a0, a1, a2, a3 := c0[0], c0[1], c0[2], c0[3]
	b0, b1, b2, b3 := c1[0], c1[1], c1[2], c1[3]
	for p := range k {
		x, y := *floatAt(a, p*aks), *floatAt(a, ars+p*aks)
		v := (*quad)(unsafe.Pointer(floatAt(b, p*bks)))
		a0 += x * v[0]
		a1 += x * v[1]
		a2 += x * v[2]
		a3 += x * v[3]
		b0 += y * v[0]
		b1 += y * v[1]
		b2 += y * v[2]
		b3 += y * v[3]
	}
	*c0, *c1 = quad{a0, a1, a2, a3}, quad{b0, b1, b2, b3}
}

func packTF32Generic(k int, src *float32, ld int, dst *float32) {
	for j := range genericNR {
		for p := range k {
			*floatAt(dst, 4*(p*genericNR+j)) = *floatAt(src, j*ld+4*p)
		}
	}
}

func packTBF16Generic(k int, src *uint16, ld int, dst *float32) {
	for j := range genericNR {
		row := unsafe.Slice((*uint16)(unsafe.Add(unsafe.Pointer(src), j*ld)), k)
		for p, v := range row {
			*floatAt(dst, 4*(p*genericNR+j)) = num.BF16ToF32(v)
		}
	}
}

func packNF32Generic(k int, src *float32, ld int, dst *float32) {
	for p := range k {
		*(*quad)(unsafe.Pointer(floatAt(dst, 4*p*genericNR))) = *(*quad)(unsafe.Pointer(floatAt(src, p*ld)))
	}
}

func packNBF16Generic(k int, src *uint16, ld int, dst *float32) {
	for p := range k {
		row := unsafe.Slice((*uint16)(unsafe.Add(unsafe.Pointer(src), p*ld)), genericNR)
		for j, v := range row {
			*floatAt(dst, 4*(p*genericNR+j)) = num.BF16ToF32(v)
		}
	}
}

func packNRowsGeneric(k int, src *float32, ld int, rows *int32, dst *float32) {
	for p, r := range unsafe.Slice(rows, k) {
		*(*quad)(unsafe.Pointer(floatAt(dst, 4*p*genericNR))) = *(*quad)(unsafe.Pointer(floatAt(src, int(r)*ld)))
	}
}

func copyFarGeneric(dst *float32, ldd int, src *float32, lds int, rows, cols int) {
	for i := range rows {
		copy(unsafe.Slice(floatAt(dst, i*ldd), cols), unsafe.Slice(floatAt(src, i*lds), cols))
	}
}

func roundBF16Generic(n int, src, dst *float32) {
	out := unsafe.Slice(dst, n)
	for i, v := range unsafe.Slice(src, n) {
		out[i] = num.RoundBF16(v)
	}
}

func fmaLoopGeneric(n int) {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	x := float32(math.Pi)
	for range n {
		s0 += x * x
		s1 += x * x
		s2 += x * x
		s3 += x * x
		s4 += x * x
		s5 += x * x
		s6 += x * x
		s7 += x * x
	}
	runtime.KeepAlive(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7)
}

func readLoopGeneric(bytes int, p *float32) {
	var s uint64
	for _, v := range unsafe.Slice((*uint64)(unsafe.Pointer(p)), bytes/8) {
		s |= v
	}
	runtime.KeepAlive(s)
}
