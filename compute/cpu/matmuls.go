package cpu

import "sonde/compute"

// MatMuls is several products. Neighbours that meet the same rows, quantised to int8,
// with weights of one format are one operation: the rows are quantised once, and the
// workers meet once.
func (b *Backend) MatMuls(as []compute.MatMulArgs) {
	for len(as) > 0 {
		n := b.alike(as)
		if n == 1 {
			b.MatMul(as[0])
		} else {
			b.int8MatMuls(as[:n])
		}
		as = as[n:]
	}
}

// alike is how many of the first products can be one operation.
func (b *Backend) alike(as []compute.MatMulArgs) int {
	n, first := 1, as[0]
	if !isInt8(first.Form, first.B) || b.k.int8Kernels.quantise == nil || first.A.Len() == 0 {
		return 1
	}
	for n < len(as) && as[n].A == first.A && as[n].Form == first.Form && as[n].Accumulate == first.Accumulate &&
		as[n].B.DType() == first.B.DType() && as[n].B.Activations() == first.B.Activations() {
		n++
	}
	return n
}

// int8MatMuls is int8MatMul for several weights of one format.
func (b *Backend) int8MatMuls(as []compute.MatMulArgs) {
	m, total := 0, 0
	for _, a := range as {
		rows, n, _ := a.Dims()
		m, total = rows, total+n
	}
	if total == 0 {
		return
	}
	j := b.startInt8(as[0].A, nil, as[0].B, as[0].Accumulate)
	tiles, want := 0, tilesPerThread*b.pool.threads
	for _, a := range as {
		if n := a.B.NumRows(); n > 0 {
			tiles = j.add(0, m, a.C, a.B, want*n/total+1, tiles)
		}
	}
	b.finishInt8(j, m, tiles)
}
