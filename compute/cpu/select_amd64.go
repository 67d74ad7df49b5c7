package cpu

import "github.com/klauspost/cpuid/v2"

// archKernels lists the sets for this processor, widest first.
func archKernels() []*kernels {
	if !cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3, cpuid.BMI2) {
		return nil
	}
	k := genericKernels()
	k.name = "avx2"
	k.gemmKernels = avx2Gemm()
	avx2Ops(&k.opKernels)
	return []*kernels{k}
}
