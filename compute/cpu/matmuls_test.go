package cpu

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"sonde/compute"
	"sonde/num"
)

// TestMatMulsAreMatMuls: several products at once, of one format, of several, with and
// without int8, give the bits of one after the other.
func TestMatMulsAreMatMuls(t *testing.T) {
	for _, threads := range []int{1, 3} {
		b, err := New(Options{Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		ar := b.NewArena("test")
		defer ar.Free()
		rng := rand.New(rand.NewPCG(4, 5))
		const k = 256
		weights := func(dt compute.DType, act compute.Activations, n int) compute.Tensor {
			v := make([]float32, n*k)
			for i := range v {
				v[i] = float32(rng.NormFloat64())
			}
			w := ar.Alloc(dt, n, k)
			if bt, ok := dt.Block(); ok {
				bt.Encode(unsafe.Slice((*byte)(w.Ptr()), n*dt.RowBytes(k)), v, nil)
			} else {
				b.UploadF32(w, v)
			}
			return w.WithActivations(act)
		}
		q4, q8 := compute.BlockDType(num.Q4_1), compute.BlockDType(num.Q8_0)
		ws := []compute.Tensor{weights(q4, compute.ActInt8, 96), weights(q4, compute.ActInt8, 33), weights(q4, compute.ActInt8, 200),
			weights(q8, compute.ActInt8, 64), weights(q8, compute.ActInt8, 7), weights(q8, compute.ActF32, 7), weights(compute.F32, 0, 40)}
		for _, m := range []int{0, 1, 2, 9, 40} {
			x := ar.F32(m, k)
			v := make([]float32, m*k)
			for i := range v {
				v[i] = float32(rng.NormFloat64())
			}
			b.UploadF32(x, v)
			for _, acc := range []bool{false, true} {
				run := func(together bool) (out [][]float32) {
					var as []compute.MatMulArgs
					for _, w := range ws {
						c := ar.F32(m, w.NumRows())
						b.UploadF32(c, slices.Repeat([]float32{0.5}, c.Len()))
						as = append(as, compute.MatMulArgs{Form: compute.NT, C: c, A: x, B: w, Accumulate: acc})
					}
					if together {
						b.MatMuls(as)
					} else {
						for _, a := range as {
							b.MatMul(a)
						}
					}
					for _, a := range as {
						v := make([]float32, a.C.Len())
						b.DownloadF32(v, a.C)
						out = append(out, v)
					}
					return out
				}
				if !slices.EqualFunc(run(true), run(false), slices.Equal) {
					t.Errorf("%d threads, %d rows, accumulate %v: other bits", threads, m, acc)
				}
			}
		}
	}
}
