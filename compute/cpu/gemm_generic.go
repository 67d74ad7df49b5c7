package cpu

import (
	"math"
	"unsafe"

	"sonde/num"
)

// genericNR is the width of a panel in plain Go: what fits in scalar registers.
const genericNR = 4

// genericGemm is the plain-Go set. Products are rounded before they are added where
// the processor has no fused multiply-add that Go uses for float32.
func genericGemm() gemmKernels {
	return gemmKernels{
		mr: 1, nr: genericNR, panel: panelGeneric,
		packTF32: packTF32Generic, packTBF16: packTBF16Generic,
		packNF32: packNF32Generic, packNBF16: packNBF16Generic,
		packNRows: packNRowsGeneric, roundBF16: roundBF16Generic,
		fmaLoop: fmaLoopGeneric, fmaFlops: 16, readLoop: readLoopGeneric,
	}
}

// quad is one step of a panel.
type quad = [genericNR]float32

// panelGeneric keeps one row of four sums in registers.
func panelGeneric(m, k int, a *float32, ars, aks int, b *float32, bks int, c *float32, ldc int, acc int) {
	for i := range m {
		row := (*quad)(unsafe.Pointer(floatAt(c, i*ldc)))
		var c0, c1, c2, c3 float32
		if acc != 0 {
			c0, c1, c2, c3 = row[0], row[1], row[2], row[3]
		}
		for p := range k {
			x := *floatAt(a, i*ars+p*aks)
			v := (*quad)(unsafe.Pointer(floatAt(b, p*bks)))
			c0 += x * v[0]
			c1 += x * v[1]
			c2 += x * v[2]
			c3 += x * v[3]
		}
		row[0], row[1], row[2], row[3] = c0, c1, c2, c3
	}
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

func roundBF16Generic(n int, src, dst *float32) {
	out := unsafe.Slice(dst, n)
	for i, v := range unsafe.Slice(src, n) {
		out[i] = num.RoundBF16(v)
	}
}

// sink keeps the measuring loops' results alive.
var sink float32

func fmaLoopGeneric(n int) {
	var s [8]float32
	s0, s1, s2, s3, s4, s5, s6, s7 := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
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
	sink = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7
}

func readLoopGeneric(bytes int, p *float32) {
	var s uint64
	for _, v := range unsafe.Slice((*uint64)(unsafe.Pointer(p)), bytes/8) {
		s |= v
	}
	sink = float32(s)
}
