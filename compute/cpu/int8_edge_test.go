package cpu

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"sonde/compute"
	"sonde/num"
)

// TestInt8NumbersThatAreNone: a number that is infinite or none makes its row's results
// no numbers, whatever the other rows are; other rows are as without it.
func TestInt8NumbersThatAreNone(t *testing.T) {
	be := newBackend(t, "", 2)
	ar := be.NewArena("test")
	defer ar.Free()
	for _, bt := range blockTypes() {
		mark := ar.Mark()
		k := 2 * bt.Elements()
		w := randomBlocks(rand.New(rand.NewPCG(uint64(bt), 2)), ar.Alloc(compute.BlockDType(bt), 20, k))
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
			for _, m := range []int{1, 9} {
				a, c, want := random(be, ar.F32(m, k), 1), ar.F32(m, 20), ar.F32(m, 20)
				be.MatMul(compute.MatMulArgs{Form: compute.NT, C: want, A: a, B: w})
				a.RowF32(0)[k-5] = bad
				be.MatMul(compute.MatMulArgs{Form: compute.NT, C: c, A: a, B: w})
				for j, v := range c.RowF32(0) {
					if v == v {
						t.Fatalf("%v, %d rows: %v in a row gives %v in column %d, expected no number", bt, m, bad, v, j)
					}
				}
				sameBits(t, "the other rows", c.Rows(1, m), want.Rows(1, m))
			}
		}
		ar.Release(mark)
	}
}

// TestInt8ReadsNothingBehindWeights: the last row of weights may end where memory does,
// as that of a mapped file.
func TestInt8ReadsNothingBehindWeights(t *testing.T) {
	be := newBackend(t, "", 2)
	ar := be.NewArena("test")
	defer ar.Free()
	for _, bt := range blockTypes() {
		mark := ar.Mark()
		k := bt.Elements()
		dt := compute.BlockDType(bt)
		for _, n := range []int{8, 16, 21} {
			size := n * dt.RowBytes(k)
			end, free := memoryWithEnd(t, size)
			w := compute.NewTensor(unsafe.Add(end, -size), dt, n, k)
			randomBlocks(rand.New(rand.NewPCG(uint64(bt), 3)), w)
			for _, m := range []int{1, 7, 20} {
				a, c := random(be, ar.F32(m, k), 1), ar.F32(m, n)
				be.MatMul(compute.MatMulArgs{Form: compute.NT, C: c, A: a, B: w.WithActivations(compute.ActInt8)})
			}
			free()
		}
		ar.Release(mark)
	}
}

// TestInt8AllocatesNothing: an operation takes no memory of Go's.
func TestInt8AllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	be := newBackend(t, "", 2)
	if be.k.quantise == nil {
		t.Skip("no kernels here")
	}
	ar := be.NewArena("test")
	defer ar.Free()
	for _, m := range []int{1, 8, 40} {
		w := blocks(ar, num.Q4_1, 70, 64)
		args := compute.MatMulArgs{Form: compute.NT, C: ar.F32(m, 70), A: random(be, ar.F32(m, 64), 1), B: w}
		if n := testing.AllocsPerRun(20, func() { be.MatMul(args) }); n > 0 {
			t.Errorf("%d rows: %v allocations an operation, expected none", m, n)
		}
	}
}
