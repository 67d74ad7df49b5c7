// Package cpu runs the operations of package compute on the host's processor: SIMD
// kernels generated for each vector width, chosen at start by what the processor
// can do, and a pool of workers that stays alive between operations. What has no
// kernel here falls back to the plain-Go reference.
package cpu

//go:generate go run -C gen .

import (
	"fmt"
	"runtime"

	"sonde/compute"
)

// Options says how a Backend is to run.
type Options struct {
	// Threads is the number of workers, the caller's goroutine included; 0 means one
	// for every processor Go may use.
	Threads int
}

// Backend is the host's processor. One operation runs at a time; calls from several
// goroutines wait for each other only where they share the pool, so the caller keeps
// operations that depend on each other in order.
type Backend struct {
	*compute.Reference
	k      *kernels
	pool   *pool
	shared opShared
}

var _ compute.Backend = (*Backend)(nil)

// New starts a Backend. The environment variable SONDE_CPU forces a kernel set
// (generic, avx2, avx512); it is an error to ask for one that this processor or this
// program does not have.
func New(o Options) (*Backend, error) {
	if o.Threads < 0 {
		return nil, fmt.Errorf("cpu: %d threads: give 0 for all cores or a positive number", o.Threads)
	}
	k, err := selectFromEnv()
	if err != nil {
		return nil, err
	}
	n := o.Threads
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return &Backend{Reference: compute.NewReference(), k: k, pool: newPool(n)}, nil
}

// Name is the kernel set in use: generic, avx2 or avx512.
func (b *Backend) Name() string { return b.k.name }

// Threads is the number of workers, the caller's goroutine included.
func (b *Backend) Threads() int { return b.pool.threads }

// NewArena makes an empty arena in host memory.
func (b *Backend) NewArena(name string) *compute.Arena {
	return compute.NewArena(name, compute.HostMemory{})
}

// Close stops the workers and frees their scratch memory.
func (b *Backend) Close() {
	b.pool.close()
	b.shared.free()
}
