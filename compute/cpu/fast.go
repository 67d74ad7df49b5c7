package cpu

import "sonde/compute"

// Fast reports whether products with weights of format dt, met by activations of
// format act, have kernels of their own here. The others are unpacked in plain Go
// before they are multiplied, or multiplied there.
func (b *Backend) Fast(dt compute.DType, act compute.Activations) bool {
	if b.k.name == "generic" {
		return false
	}
	block, ok := dt.Block()
	switch {
	case !ok:
		return dt == compute.F32 || dt == compute.BF16 || dt == compute.F16 && b.k.widenF16 != nil || dt == compute.E4M3 && b.k.widenE4M3 != nil
	case act == compute.ActInt8:
		return b.k.formats[block] != nil
	}
	return b.k.widenBlocks[block] != nil
}
