package cpu

import "unsafe"

// gemmKernels are the parts that every matrix product is made of. Strides are in
// bytes. A packed panel of B holds nr columns: row p of K at p*nr floats.
type gemmKernels struct {
	mr, nr int // the tile that panel keeps in registers

	// panel is C[m][nr] (+)= A[m][k] B[k][nr]: A's element (i,p) is at
	// a+i*ars+p*aks, B's row p at b+p*bks, C's row i at c+i*ldc. acc 1 adds to C.
	// Every element is one chain of FMAs in the order of p, so k may be cut anywhere.
	panel func(m, k int, a *float32, ars, aks int, b *float32, bks int, c *float32, ldc int, acc int)
}

// floatAt is the float32 at p+bytes.
func floatAt(p *float32, bytes int) *float32 {
	return (*float32)(unsafe.Add(unsafe.Pointer(p), bytes))
}
