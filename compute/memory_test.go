package compute

import (
	"errors"
	"math"
	"testing"
)

func TestHostMemory(t *testing.T) {
	ar := NewReference().NewArena("test")
	defer ar.Free()
	a := ar.F32(3, 5)
	if uintptr(a.Ptr())%align != 0 {
		t.Errorf("a tensor begins at %p, not at a multiple of %d", a.Ptr(), align)
	}
	for r := range 3 {
		for _, v := range a.RowF32(r) {
			if v != 0 {
				t.Fatalf("fresh memory holds %v", v)
			}
		}
	}
	a.RowF32(2)[4] = 7
	m := ar.Mark()
	big := ar.F32(chunkSize/4, 2) // larger than a chunk
	big.RowF32(chunkSize/4 - 1)[1] = 1
	held := ar.Bytes()
	ar.Release(m)
	if again := ar.F32(chunkSize/4, 2); again.Ptr() != big.Ptr() || ar.Bytes() != held {
		t.Errorf("memory was not reused after Release: %d bytes held, then %d", held, ar.Bytes())
	}
	if a.RowF32(2)[4] != 7 {
		t.Error("Release touched an older tensor")
	}
}

func TestOutOfMemoryNamesTheArena(t *testing.T) {
	for _, shape := range [][2]int{
		{1 << 28, math.MaxInt32},
		{1 << 40, 1 << 24}, {1 << 40, 1 << 23}, {1 << 62, 4}, {math.MaxInt, math.MaxInt}, // products that overflow
	} {
		func() {
			defer func() {
				oom, ok := recover().(*OutOfMemory)
				if !ok || oom.Arena != "moments" || errors.Unwrap(oom) == nil {
					t.Errorf("%v: Alloc panicked with %v", shape, oom)
				}
			}()
			NewReference().NewArena("moments").F32(shape[0], shape[1])
		}()
	}
}
