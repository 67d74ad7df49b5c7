package cpu

import "sonde/num"

// avx2Gemm is the set for AVX2 and FMA.
func avx2Gemm() gemmKernels {
	return gemmKernels{
		mr: 6, nr: 16, panel: gemmPanelAVX2,
		packTF32: packTF32AVX2, packTBF16: packTBF16AVX2,
		packNF32: packNF32AVX2, packNBF16: packNBF16AVX2,
		packNRows: packNRowsAVX2, roundBF16: roundBF16AVX2, copyFar: copyRowsAVX2,
		lanes: 8, gemvTF32: gemvTF32AVX2, gemvTBF16: gemvTBF16AVX2,
		fileLanes: 8, gemvTF16: gemvTF16AVX2, gemvTE4M3: gemvTE4M3AVX2,
		wide: 64, gemvNF32: gemvNF32AVX2, gemvNBF16: gemvNBF16AVX2,
		fmaLoop: fmaLoopAVX2, fmaFlops: 12 * 8 * 2, readLoop: readLoopAVX2,
		widenKernels: avx2Widen(),
	}
}

// avx2Widen is what AVX-512 uses too.
func avx2Widen() widenKernels {
	k := widenKernels{widenF16: widenF16AVX2, widenE4M3: widenE4M3AVX2}
	k.widenBlocks[num.Q8_0] = widenQ80AVX2
	k.widenBlocks[num.Q4_0] = widenQ40AVX2
	k.widenBlocks[num.Q4_1] = widenQ41AVX2
	k.widenBlocks[num.Q4_K] = widenQ4KAVX2
	k.widenBlocks[num.Q5_K] = widenQ5KAVX2
	k.widenBlocks[num.Q6_K] = widenQ6KAVX2
	k.widenBlocks[num.Q5_0] = widenQ50AVX2
	k.widenBlocks[num.Q5_1] = widenQ51AVX2
	k.widenBlocks[num.Q2_K] = widenQ2KAVX2
	k.widenBlocks[num.Q3_K] = widenQ3KAVX2
	k.widenBlocks[num.IQ4_NL] = widenIQ4NLAVX2
	k.widenBlocks[num.IQ4_XS] = widenIQ4XSAVX2
	return k
}

// avx512Gemm is the set for AVX-512. bfloat16 is widened and multiplied in float32 as on
// AVX2, with the same bits. VDPBF16PS would give others: by its definition it adds
// products in pairs and takes denormal numbers for zero, going in and coming out. Nor
// has it been run: the emulator that this set is tested in lacks it.
func avx512Gemm() gemmKernels {
	return gemmKernels{
		mr: 12, nr: 16, panel: gemmPanelAVX512,
		packTF32: packTF32AVX512, packTBF16: packTBF16AVX512,
		packNF32: packNF32AVX512, packNBF16: packNBF16AVX512,
		packNRows: packNRowsAVX512, roundBF16: roundBF16AVX512, copyFar: copyRowsAVX512,
		lanes: 16, gemvTF32: gemvTF32AVX512, gemvTBF16: gemvTBF16AVX512,
		fileLanes: 8, gemvTF16: gemvTF16AVX2, gemvTE4M3: gemvTE4M3AVX2,
		wide: 128, gemvNF32: gemvNF32AVX512, gemvNBF16: gemvNBF16AVX512,
		fmaLoop: fmaLoopAVX512, fmaFlops: 12 * 16 * 2, readLoop: readLoopAVX512,
		widenKernels: avx2Widen(),
	}
}
