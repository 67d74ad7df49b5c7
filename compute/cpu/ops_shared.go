package cpu

import (
	"fmt"
	"sync"
	"unsafe"

	"sonde/compute"
)

// opShared is memory that all workers of one operation share. An operation that
// uses it holds the lock from begin to end.
type opShared struct {
	mu    sync.Mutex
	arena *compute.Arena
}

// begin locks and empties the memory; the caller unlocks when its operation is over.
func (s *opShared) begin() {
	s.mu.Lock()
	if s.arena == nil {
		s.arena = compute.NewArena("what an operation's workers share", compute.HostMemory{})
	}
	s.arena.Reset()
}

func (s *opShared) end() { s.mu.Unlock() }

// floats is n float32 of the shared memory, undefined.
func (s *opShared) floats(n int) *float32 { return (*float32)(s.arena.F32(1, n).Ptr()) }

// free gives the memory back.
func (s *opShared) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.arena != nil {
		s.arena.Free()
	}
}

// chunkElems is how many elements a chunk of a row-wise operation has: enough to
// outweigh the pool's bookkeeping, few enough for one call of a kernel.
const chunkElems = 1 << 14

// rowChunks runs f over rows [from, to) on all workers; small work stays here.
func (b *Backend) rowChunks(rows, cols int, f func(from, to int)) {
	per := max(1, chunkElems/max(cols, 1))
	if rows <= per {
		if rows > 0 {
			f(0, rows)
		}
		return
	}
	b.pool.run((rows+per-1)/per, func(_ *worker, c int) { f(c*per, min(rows, (c+1)*per)) })
}

// fits panics when ok is false, naming the operation and its tensors.
func fits(ok bool, op string, ts ...compute.Tensor) {
	if !ok {
		// A copy, so that the list itself stays on the caller's stack.
		panic(fmt.Sprintf("cpu: %s: the shapes do not fit: %v", op, append([]compute.Tensor(nil), ts...)))
	}
}

func isF32(t compute.Tensor, rows, cols int) bool {
	return t.DType() == compute.F32 && t.NumRows() == rows && t.NumCols() == cols
}

func isI32(t compute.Tensor, rows, cols int) bool {
	return t.DType() == compute.I32 && t.NumRows() == rows && t.NumCols() == cols
}

// rowPtr is the address of row i of an F32 view.
func rowPtr(t compute.Tensor, i int) *float32 {
	return (*float32)(unsafe.Add(t.Ptr(), 4*i*t.Stride()))
}

// rowPtr16 is the address of row i of a BF16 view.
func rowPtr16(t compute.Tensor, i int) *uint16 {
	return (*uint16)(unsafe.Add(t.Ptr(), 2*i*t.Stride()))
}

// bytes is a view's row stride in bytes, F32.
func bytes(t compute.Tensor) int { return 4 * t.Stride() }

// at is element i behind p.
func at(p *float32, i int) *float32 { return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*i)) }

// slice is n floats from p on.
func slice(p *float32, n int) []float32 { return unsafe.Slice(p, n) }
