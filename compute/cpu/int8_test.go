package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"sonde/compute"
	"sonde/num"
)

// blockTypes lists all formats of weights in blocks.
func blockTypes() (all []num.BlockType) {
	for b := range num.BlockType(255) {
		if b.Known() {
			all = append(all, b)
		}
	}
	return all
}

// randomBlocks fills rows of weights with random bytes whose factors are moderate
// numbers.
func randomBlocks(r *rand.Rand, t compute.Tensor) compute.Tensor {
	bt, _ := t.DType().Block()
	codes, d, m := make([]int8, 256), make([]float32, 16), make([]float32, 16)
	for row := range t.NumRows() {
		p := unsafe.Add(t.Ptr(), row*strideBytes(t))
		raw := unsafe.Slice((*byte)(p), t.DType().RowBytes(t.NumCols()))
		for ; len(raw) > 0; raw = raw[bt.Bytes():] {
			for good := false; !good; {
				for i := range bt.Bytes() {
					raw[i] = byte(r.Uint32())
				}
				bt.Unpack(codes, d, m, raw[:bt.Bytes()])
				good = true
				for g := range bt.Elements() / bt.Group() {
					good = good && math.Abs(float64(d[g])) < 1e4 && math.Abs(float64(m[g])) < 1e4
				}
			}
		}
	}
	return t.WithActivations(compute.ActInt8)
}

// TestInt8AgreesWithReference: every format, by one row and by many, with strides and
// ragged numbers of rows.
func TestInt8AgreesWithReference(t *testing.T) {
	for _, name := range setNames(t) {
		be := newBackend(t, name, 2)
		ar := be.NewArena("test")
		defer ar.Free()
		for _, bt := range blockTypes() {
			r := rand.New(rand.NewPCG(uint64(bt), 1))
			for i, s := range [][3]int{{1, 8, 1}, {1, 37, 3}, {2, 16, 2}, {3, 5, 1}, {5, 50, 1}, {6, 32, 4}, {7, 17, 2}, {13, 24, 5}, {40, 70, 2}, {1, 300, 7}} {
				mark := ar.Mark()
				checkInt8(t, be, ar, bt, s[0], s[1], s[2]*max(bt.Elements(), 64*(1+i%3)), i%3*bt.Elements(), i%2 == 0, r)
				ar.Release(mark)
			}
		}
	}
}

func checkInt8(t *testing.T, be *Backend, ar *compute.Arena, bt num.BlockType, m, n, k, gap int, acc bool, r *rand.Rand) {
	t.Helper()
	w := randomBlocks(r, ar.Alloc(compute.BlockDType(bt), n, k+gap)).Cols(gap, k+gap)
	a, c := random(be, ar.F32(m, k+gap), r.Uint64()).Cols(0, k), random(be, ar.F32(m, n+gap), r.Uint64()).Cols(0, n)
	want := ar.F32(m, n)
	be.Copy(want, c)
	args := compute.MatMulArgs{Form: compute.NT, C: c, A: a, B: w, Accumulate: acc}
	be.MatMul(args)
	args.C = want
	compute.NewReference().MatMul(args)
	sameBits(t, fmt.Sprintf("%s %v, %dx%dx%d, gap %d, add %v", be.Name(), bt, m, n, k, gap, acc), c, want)
}

// TestInt8FewRows: every number of rows that meets weights without panels, and the next
// ones, with outlying groups that one row has or several neighbours have.
func TestInt8FewRows(t *testing.T) {
	be := newBackend(t, "", 2)
	ar := be.NewArena("test")
	defer ar.Free()
	for _, bt := range []num.BlockType{num.Q4_0, num.Q4_1, num.Q5_0, num.Q8_0} {
		r := rand.New(rand.NewPCG(uint64(bt), 4))
		for m := 2; m <= int8FewRows+2; m++ {
			mark := ar.Mark()
			n, k := 5+13*(m%3), 640
			w := randomBlocks(r, ar.Alloc(compute.BlockDType(bt), n, k))
			a, c, want := random(be, ar.F32(m, k), r.Uint64()), random(be, ar.F32(m, n), r.Uint64()), ar.F32(m, n)
			be.Copy(want, c)
			for row := range m {
				a.RowF32(row)[32*r.IntN(3)] = 1000
				a.RowF32(row)[32*r.IntN(20)+31] = -2000
			}
			args := compute.MatMulArgs{Form: compute.NT, C: c, A: a, B: w, Accumulate: m%2 == 1}
			be.MatMul(args)
			args.C = want
			compute.NewReference().MatMul(args)
			sameBits(t, fmt.Sprintf("%v, %dx%dx%d", bt, m, n, k), c, want)
			ar.Release(mark)
		}
	}
}
