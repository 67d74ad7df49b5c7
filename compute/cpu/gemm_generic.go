package cpu

import "unsafe"

// genericGemm is the plain-Go set. Products are rounded before they are added where
// the processor has no fused multiply-add that Go uses for float32.
func genericGemm() gemmKernels {
	return gemmKernels{mr: 2, nr: 4, panel: panelGeneric}
}

// panelGeneric keeps one row of four sums in registers.
func panelGeneric(m, k int, a *float32, ars, aks int, b *float32, bks int, c *float32, ldc int, acc int) {
	for i := range m {
		row := (*[4]float32)(unsafe.Pointer(floatAt(c, i*ldc)))
		var c0, c1, c2, c3 float32
		if acc != 0 {
			c0, c1, c2, c3 = row[0], row[1], row[2], row[3]
		}
		pa, pb := floatAt(a, i*ars), b
		for range k {
			v := (*[4]float32)(unsafe.Pointer(pb))
			x := *pa
			c0 += x * v[0]
			c1 += x * v[1]
			c2 += x * v[2]
			c3 += x * v[3]
			pa, pb = floatAt(pa, aks), floatAt(pb, bks)
		}
		row[0], row[1], row[2], row[3] = c0, c1, c2, c3
	}
}
