package cpu

// avx2Gemm is the set for AVX2 and FMA.
func avx2Gemm() gemmKernels {
	return gemmKernels{mr: 6, nr: 16, panel: gemmPanelAVX2}
}
