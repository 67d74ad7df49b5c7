package cpu

import (
	"fmt"
	"math"
	"testing"

	"sonde/compute"
)

// sameBits fails unless two F32 views agree bit for bit.
func sameBits(t *testing.T, what string, got, want compute.Tensor) {
	t.Helper()
	for r := range want.NumRows() {
		g, w := got.RowF32(r), want.RowF32(r)
		for c := range w {
			if math.Float32bits(g[c]) != math.Float32bits(w[c]) {
				t.Fatalf("%s: element [%d,%d] is %v, expected %v", what, r, c, g[c], w[c])
			}
		}
	}
}

// TestMatVecIsARowOfMatMul covers what is special to one row: rows of weights that
// share cache sets, rows shorter and longer than what is fetched ahead, rests.
func TestMatVecIsARowOfMatMul(t *testing.T) {
	for _, name := range setNames(t) {
		be := newBackend(t, name, 2)
		ar := be.NewArena("test")
		defer ar.Free()
		for _, dt := range []compute.DType{compute.F32, compute.BF16} {
			weights := random(be, ar.Alloc(dt, 1, 1500*2048), 1)
			for _, form := range []compute.Form{compute.NT, compute.NN} {
				for _, k := range []int{1, 40, 1000, 1024, 1500} {
					for _, n := range []int{1, 7, 70, 200} {
						for _, unit := range []int{1, 4096 / dt.Size()} {
							mark := ar.Mark()
							checkRow(t, be, ar, weights, form, k, n, unit)
							ar.Release(mark)
						}
					}
				}
			}
		}
	}
}

// checkRow compares a row of a product of three with a product of that row alone. The
// rows of the weights, taken from pool, are a multiple of unit elements apart.
func checkRow(t *testing.T, be *Backend, ar *compute.Arena, pool compute.Tensor, form compute.Form, k, n, unit int) {
	const m, row = 3, 1
	rows, cols := n, k
	if form == compute.NN {
		rows, cols = k, n
	}
	stride := roundUp(cols, unit)
	w := pool.Cols(0, rows*stride).Reshape(rows, stride).Cols(0, cols)
	a, c := random(be, ar.F32(m, k), 2), random(be, ar.F32(m, n), 3)
	one := ar.F32(1, n)
	be.Copy(one, c.Rows(row, row+1))
	args := compute.MatMulArgs{Form: form, C: c, A: a, B: w, Accumulate: k%2 == 0}
	be.MatMul(args)
	args.C, args.A = one, a.Rows(row, row+1)
	be.MatMul(args)
	what := fmt.Sprintf("%s %v, k %d, n %d, weights %v %d apart", be.Name(), form, k, n, w, stride)
	sameBits(t, what, one, c.Rows(row, row+1))
}

// TestScheduleReadsEveryLineOnce: the chains go through all rows in order.
func TestScheduleReadsEveryLineOnce(t *testing.T) {
	for _, lines := range []int{1, 3, 64, 3000} {
		for blocks := 1; blocks < 6; blocks++ {
			for _, lag := range []int{0, min(16, lines/chainCount)} {
				s := schedule{lines: lines, blocks: blocks, lag: lag}
				read := make([]int, blocks)
				for s.next() {
					if s.at[0].block < 0 && s.at[chainCount-1].block < 0 {
						t.Fatalf("lines %d blocks %d lag %d: a step without work", lines, blocks, lag)
					}
					for _, at := range s.at {
						if at.block < 0 {
							continue
						}
						if read[at.block] != at.line || s.step > maxLines {
							t.Fatalf("lines %d blocks %d lag %d: block %d goes on at line %d for %d after %d",
								lines, blocks, lag, at.block, at.line, s.step, read[at.block])
						}
						read[at.block] += s.step
					}
				}
				for b, n := range read {
					if n != lines {
						t.Fatalf("lines %d blocks %d lag %d: block %d was read to line %d", lines, blocks, lag, b, n)
					}
				}
			}
		}
	}
}

// TestCutCoversOnce: the tiles of a product cover C, no element twice.
func TestCutCoversOnce(t *testing.T) {
	k := available()[0]
	for _, m := range []int{1, 5, 64, 241, 1000} {
		for _, n := range []int{1, 16, 70, 2048} {
			for _, want := range []int{1, 8, 64} {
				g := k.cut(m, n, 512, want)
				seen := make([]int, m*n)
				for i := range g.down * g.across {
					rows, cols := g.tile(i)
					for r := rows.from; r < rows.to; r++ {
						for c := cols.from; c < cols.to; c++ {
							seen[r*n+c]++
						}
					}
				}
				for i, s := range seen {
					if s != 1 {
						t.Fatalf("%dx%d cut for %d: element %d is in %d tiles", m, n, want, i, s)
					}
				}
			}
		}
	}
}

// TestProductsDoNotAllocate: a model's step makes thousands of products.
func TestProductsDoNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector moves what stays on the stack otherwise")
	}
	be := newBackend(t, "", 2)
	ar := be.NewArena("test")
	defer ar.Free()
	for _, m := range []int{1, 40} {
		args := matrices(be, ar, compute.NT, m, 100, 64, compute.BF16)
		if n := testing.AllocsPerRun(50, func() { be.MatMul(args) }); n > 0.5 {
			t.Errorf("MatMul of %d rows makes %v allocations", m, n)
		}
	}
	offsets, index := routes(64, 4, 2)
	a := compute.GroupedMatMulArgs{Form: compute.NT, Experts: 4, Offsets: compute.WrapI32(offsets, 1, 5),
		A: random(be, ar.F32(64, 32), 1), AIndex: compute.WrapI32(index, 1, len(index)),
		B: random(be, ar.F32(4*16, 32), 2), C: ar.F32(len(index), 16)}
	if n := testing.AllocsPerRun(50, func() { be.GroupedMatMul(a) }); n > 0.5 {
		t.Errorf("GroupedMatMul makes %v allocations", n)
	}
}

func TestBadOffsetsPanic(t *testing.T) {
	be := newBackend(t, "", 1)
	for _, offsets := range [][]int32{{0, 5, 3, 4}, {1, 2, 3, 4}, {0, 1, 2, 3}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("offsets %v of 4 rows were taken", offsets)
				}
			}()
			be.GroupedMatMul(compute.GroupedMatMulArgs{Form: compute.NT, Experts: 3, Offsets: compute.WrapI32(offsets, 1, 4),
				A: compute.Wrap(make([]float32, 8), 4, 2), B: compute.Wrap(make([]float32, 12), 6, 2), C: compute.Wrap(make([]float32, 8), 4, 2)})
		}()
	}
}

func TestMachineIsDescribed(t *testing.T) {
	t.Setenv("SONDE_CPU", "generic")
	m, err := Info()
	if err != nil || m.Model == "" || m.Cores < 1 || m.Chosen != "generic" || m.Sets[len(m.Sets)-1] != "generic" {
		t.Fatalf("Info is %+v, %v", m, err)
	}
	t.Setenv("SONDE_CPU", "z80")
	if _, err := Info(); err == nil {
		t.Fatal("SONDE_CPU=z80 was accepted")
	}
	be := newBackend(t, "", 1)
	if p := be.MeasurePeak(); p < 0.1 || p > 1e5 {
		t.Errorf("%v GFLOP/s measured on one core", p)
	}
}
