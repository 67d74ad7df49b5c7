package compute

import (
	"fmt"
	"math"
	"unsafe"
)

// align is the alignment of every tensor, a cache line and the widest vector.
const align = 64

// chunkSize is the least an arena asks of its backend at a time.
const chunkSize = 32 << 20

// Allocator gives and takes back large blocks of device memory.
type Allocator interface {
	Map(bytes int) (unsafe.Pointer, error)
	Unmap(p unsafe.Pointer, bytes int)
}

type chunk struct {
	p    unsafe.Pointer
	size int
}

// Arena hands out tensors from large blocks outside Go's heap and takes them back
// all at once. It is not safe for concurrent use.
type Arena struct {
	name   string
	alloc  Allocator
	chunks []chunk
	cur    int // chunk in use
	off    int // first free byte in it
}

// NewArena makes an empty arena over alloc; backends call it.
func NewArena(name string, alloc Allocator) *Arena { return &Arena{name: name, alloc: alloc} }

// Mark is a place in an arena to return to.
type Mark struct{ cur, off int }

// Mark remembers what is allocated now.
func (a *Arena) Mark() Mark { return Mark{a.cur, a.off} }

// Release forgets what was allocated since m; the memory is reused.
func (a *Arena) Release(m Mark) { a.cur, a.off = m.cur, m.off }

// Reset forgets everything; the memory is reused.
func (a *Arena) Reset() { a.cur, a.off = 0, 0 }

// Bytes is the memory mapped for this arena.
func (a *Arena) Bytes() int {
	n := 0
	for _, c := range a.chunks {
		n += c.size
	}
	return n
}

// Used is the memory that is allocated now.
func (a *Arena) Used() int {
	n := a.off
	for _, c := range a.chunks[:min(a.cur, len(a.chunks))] {
		n += c.size
	}
	return n
}

// Alloc returns a contiguous tensor whose contents are undefined. It panics with
// *OutOfMemory when the system refuses, or where no system could grant it.
func (a *Arena) Alloc(dt DType, rows, cols int) Tensor {
	if cols > 0 && rows > math.MaxInt/2/max(1, dt.RowBytes(cols)) {
		panic(&OutOfMemory{Arena: a.name, Bytes: math.MaxInt, Held: a.Bytes(), Err: fmt.Errorf("%d x %d %v overflow", rows, cols, dt)})
	}
	n := (rows*dt.RowBytes(cols) + align - 1) &^ (align - 1)
	if n == 0 {
		n = align
	}
	for {
		if a.cur < len(a.chunks) {
			c := a.chunks[a.cur]
			if a.off+n <= c.size {
				p := unsafe.Add(c.p, a.off)
				a.off += n
				return NewTensor(p, dt, rows, cols)
			}
			if a.cur+1 < len(a.chunks) {
				a.cur, a.off = a.cur+1, 0
				continue
			}
		}
		a.grow(n)
	}
}

// F32 is Alloc(F32, rows, cols).
func (a *Arena) F32(rows, cols int) Tensor { return a.Alloc(F32, rows, cols) }

// I32 is Alloc(I32, rows, cols).
func (a *Arena) I32(rows, cols int) Tensor { return a.Alloc(I32, rows, cols) }

func (a *Arena) grow(n int) {
	size := max(chunkSize, (n+(2<<20)-1)&^((2<<20)-1))
	p, err := a.alloc.Map(size)
	if err != nil {
		panic(&OutOfMemory{Arena: a.name, Bytes: size, Held: a.Bytes(), Err: err})
	}
	a.chunks = append(a.chunks, chunk{p, size})
	a.cur, a.off = len(a.chunks)-1, 0
}

// Free returns the memory to the system. Its tensors must not be used any more.
func (a *Arena) Free() {
	for _, c := range a.chunks {
		a.alloc.Unmap(c.p, c.size)
	}
	a.chunks, a.cur, a.off = nil, 0, 0
}

// OutOfMemory is what Alloc panics with; long runs turn it into an error at their
// edge.
type OutOfMemory struct {
	Arena       string
	Bytes, Held int
	Err         error
}

// Error says which arena wanted how much.
func (e *OutOfMemory) Error() string {
	return fmt.Sprintf("out of memory: the arena for %s holds %d MiB and could not get %d MiB more: %v",
		e.Arena, e.Held>>20, e.Bytes>>20, e.Err)
}

// Unwrap is the system's error.
func (e *OutOfMemory) Unwrap() error { return e.Err }

// CatchOutOfMemory, deferred, makes a lack of memory an error. Other panics go on.
func CatchOutOfMemory(err *error) {
	if lack := AsOutOfMemory(recover()); lack != nil {
		*err = lack
	}
}

// AsOutOfMemory tells a lack of memory from other panics, which go on: a deferred function
// passes it what recover returns. It is nil where nothing was recovered.
func AsOutOfMemory(cause any) *OutOfMemory {
	switch cause := cause.(type) {
	case nil:
		return nil
	case *OutOfMemory:
		return cause
	default:
		panic(cause)
	}
}
