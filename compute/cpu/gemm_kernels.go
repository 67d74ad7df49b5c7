package cpu

import "unsafe"

// gemmKernels are the parts that every matrix product is made of. Strides are in
// bytes. A packed panel of B holds nr columns as float32: step p of k at p*nr.
type gemmKernels struct {
	mr, nr int // the tile that panel keeps in registers

	// panel is C[m][nr] (+)= A[m][k] B[k][nr]: A's element (i,p) is at
	// a+i*ars+p*aks, B's row p at b+p*bks, C's row i at c+i*ldc. acc 1 adds to C.
	// Every element is one chain of FMAs in the order of p, so k may be cut anywhere.
	panel func(m, k int, a *float32, ars, aks int, b *float32, bks int, c *float32, ldc int, acc int)

	// packT packs k steps of a panel whose columns are rows in memory, ld bytes
	// apart; k is a positive multiple of 4 (F32) or 8 (BF16).
	packTF32  func(k int, src *float32, ld int, dst *float32)
	packTBF16 func(k int, src *uint16, ld int, dst *float32)
	// packN packs k steps of a panel that lies as [k][..] in memory.
	packNF32  func(k int, src *float32, ld int, dst *float32)
	packNBF16 func(k int, src *uint16, ld int, dst *float32)
	// packNRows is packNF32 where step p is row rows[p].
	packNRows func(k int, src *float32, ld int, rows *int32, dst *float32)
	// copyFar copies cols float32 of rows that may lie far apart.
	copyFar func(dst *float32, ldd int, src *float32, lds int, rows, cols int)
	// roundBF16 rounds n float32 to bfloat16, kept as float32; n is a multiple of 16.
	roundBF16 func(n int, src, dst *float32)

	// gemvT advances every chain by lines pieces of 64 bytes of its rows of w, which
	// are ld bytes apart, and fetches as much memory from next on, unless that is nil.
	// lanes is the number of rows of a chain, 0 where there is no kernel.
	lanes     int
	gemvTF32  func(lines, ld int, chains, next *byte)
	gemvTBF16 func(lines, ld int, chains, next *byte)
	// gemvTF16 and gemvTE4M3 are the same with chains of fileLanes rows. factors has for
	// each chain where, line by line, the factors of its rows are, times 2^120.
	fileLanes int
	gemvTF16  func(lines, ld int, chains, next *byte)
	gemvTE4M3 func(lines, ld int, chains, next *byte, factors **float32)
	// gemvN is y[wide] += x[k] times w as [k][..]; wide is 0 where there is no kernel.
	wide      int
	gemvNF32  func(k int, w *float32, ld int, x, y *float32)
	gemvNBF16 func(k int, w *uint16, ld int, x, y *float32)

	widenKernels

	// fmaLoop runs n rounds of fmaFlops floating-point operations on registers.
	fmaLoop  func(n int)
	fmaFlops int
	// readLoop loads bytes (a multiple of 256) and does nothing with them.
	readLoop func(bytes int, p *float32)
}

// widenKernels turn stretches of a row into float32; what has none goes through
// compute.Tensor.Widen.
type widenKernels struct {
	// widenF16 and widenE4M3 take rows of n elements, a multiple of 8, ld and ldd bytes
	// apart. E4M3's are multiplied by factor/256; where the result is not 0 they hold a
	// NaN, which is not one in dst.
	widenF16  func(rows, n int, src *byte, ld int, dst *float32, ldd int)
	widenE4M3 func(rows, n int, src *byte, ld int, dst *float32, ldd int, factor float32) (nan int)
	// widenBlocks has, by their types, what takes rows of whole blocks, at least one.
	widenBlocks [40]func(rows, blocks int, src *byte, ld int, dst *float32, ldd int)
}

// floatAt is the float32 at p+bytes.
func floatAt(p *float32, bytes int) *float32 {
	return (*float32)(unsafe.Add(unsafe.Pointer(p), bytes))
}
