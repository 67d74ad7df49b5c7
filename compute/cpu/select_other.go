//go:build !amd64

package cpu

// archKernels: other architectures run the generic set.
func archKernels() []*kernels { return nil }

// pause is a hint to the processor inside a waiting loop; there is none here.
func pause() {}
