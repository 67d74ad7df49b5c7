package cpu

import "github.com/klauspost/cpuid/v2"

// archKernels lists the sets for this processor, widest first. A feature counts only
// where the system keeps the registers it needs (XGETBV).
func archKernels() []*kernels {
	if !cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3, cpuid.BMI2, cpuid.F16C) {
		return nil
	}
	k := &kernels{name: "avx2", gemmKernels: avx2Gemm(), int8Kernels: avx2Int8()}
	avx2Ops(&k.opKernels)
	if !cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL) {
		return []*kernels{k}
	}
	wide := &kernels{name: "avx512", gemmKernels: avx512Gemm(), int8Kernels: avx2Int8()}
	avx512Ops(&wide.opKernels)
	return []*kernels{wide, k}
}

// describeCPU is the processor's name and its vector extensions.
func describeCPU() (model string, features []string) {
	for _, f := range []cpuid.FeatureID{
		cpuid.AVX2, cpuid.FMA3, cpuid.F16C, cpuid.AVXVNNI, cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512VL,
		cpuid.AVX512DQ, cpuid.AVX512VNNI, cpuid.AVX512VBMI, cpuid.AVX512BF16, cpuid.AMXBF16, cpuid.AMXINT8,
	} {
		if cpuid.CPU.Supports(f) {
			features = append(features, f.String())
		}
	}
	return cpuid.CPU.BrandName, features
}
