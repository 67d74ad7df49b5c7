//go:build !amd64

package cpu

import (
	"runtime"

	"github.com/klauspost/cpuid/v2"
)

// archKernels: other architectures run the generic set.
func archKernels() []*kernels { return nil }

// pause is a hint to the processor inside a waiting loop; there is none here.
func pause() {}

// describeCPU is the processor's name, where it tells it.
func describeCPU() (model string, features []string) {
	if cpuid.CPU.BrandName == "" {
		return runtime.GOARCH, nil
	}
	return cpuid.CPU.BrandName, nil
}
