package cpu

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"sonde/compute"
	"sonde/num"
)

// fp8Weights are random codes of numbers with factors per 128x128.
func fp8Weights(be compute.Backend, ar *compute.Arena, rows, cols int, factor func(i int) float32) compute.Tensor {
	rng := rand.New(rand.NewPCG(3, 4))
	w := ar.Alloc(compute.E4M3, rows, cols)
	for i, raw := 0, w.Bytes(0, 0, cols*rows); i < len(raw); i++ {
		if raw[i] = byte(rng.Uint32()); raw[i]&0x7f == 0x7f {
			raw[i] = 0
		}
	}
	s := &compute.Scales{T: ar.F32((rows+127)/128, (cols+127)/128), BlockRows: 128, BlockCols: 128}
	v := make([]float32, s.T.Len())
	for i := range v {
		v[i] = factor(i)
	}
	be.UploadF32(s.T, v)
	return compute.FP8(w, s)
}

// sameOrNaN fails unless two F32 views agree bit for bit, NaNs among themselves.
func sameOrNaN(t *testing.T, what string, got, want compute.Tensor) (nans int) {
	t.Helper()
	for r := range want.NumRows() {
		g, w := got.RowF32(r), want.RowF32(r)
		for c := range w {
			if w[c] != w[c] {
				nans++
			}
			if math.Float32bits(g[c]) != math.Float32bits(w[c]) && !(g[c] != g[c] && w[c] != w[c]) {
				t.Fatalf("%s: element [%d,%d] is %v, expected %v", what, r, c, g[c], w[c])
			}
		}
	}
	return nans
}

// TestFP8Extremes: FP8's code of NaN spoils the outputs it belongs to and no others, and
// factors beyond what the kernels take give what the reference gives.
func TestFP8Extremes(t *testing.T) {
	const n, k = 300, 640
	inf := float32(math.Inf(1))
	for what, c := range map[string]struct {
		nan    []int // rows that get a code of NaN
		factor func(i int) float32
		spoilt int // rows whose outputs are NaN
	}{
		"NaN codes":         {[]int{0, 9, 130, 299}, func(i int) float32 { return float32(i+1) / 100 }, 4},
		"large factors":     {nil, func(i int) float32 { return 0x1p100 / float32(i+1) }, 0},
		"subnormal factors": {nil, func(i int) float32 { return 0x1p-149 * float32(i+1) }, 0},
		"NaN factor":        {nil, func(i int) float32 { return []float32{1, float32(math.NaN())}[max(0, i-13)] }, 44},
		"infinite factor":   {nil, func(i int) float32 { return []float32{1, inf}[max(0, i-13)] }, 44},
	} {
		for _, name := range setNames(t) {
			if name == "generic" {
				continue // its products are not the reference's bit for bit
			}
			be, ref := newBackend(t, name, 2), compute.NewReference()
			ar := be.NewArena("test")
			defer ar.Free()
			w := fp8Weights(be, ar, n, k, c.factor)
			for i, r := range c.nan {
				w.Bytes(r, 7+70*i, 1)[0] = []byte{0x7f, 0xff}[i%2]
			}
			for _, m := range []int{1, 5} {
				got, want := ar.F32(m, n), ar.F32(m, n)
				a := compute.MatMulArgs{Form: compute.NT, A: random(be, ar.F32(m, k), 1), B: w, C: want}
				ref.MatMul(a)
				a.C = got
				be.MatMul(a)
				if nans := sameOrNaN(t, what, got, want); nans != m*c.spoilt {
					t.Errorf("%s: %d outputs are NaN, expected %d for each of %d rows", what, nans, c.spoilt, m)
				}
			}
			wide, wider := ar.F32(n, k), ar.F32(n, k)
			ref.Copy(wide, w)
			be.Copy(wider, w)
			sameOrNaN(t, what+", widened", wider, wide)
		}
	}
}

// TestLongRowsOfFiles: rows that share cache sets are read at different places, and each
// place has its factors.
func TestLongRowsOfFiles(t *testing.T) {
	for _, name := range setNames(t) {
		be := newBackend(t, name, 2)
		ar := be.NewArena("test")
		defer ar.Free()
		for _, k := range []int{4096, 8192, 8192 + 72} {
			const n = 150
			for _, w := range []compute.Tensor{fileWeights(be, ar, compute.F16, n, k), fp8Weights(be, ar, n, k, func(i int) float32 { return float32(i%7) - 3.3 })} {
				c, one := ar.F32(3, n), ar.F32(1, n)
				a := compute.MatMulArgs{Form: compute.NT, A: random(be, ar.F32(3, k), 1), B: w, C: c}
				be.MatMul(a)
				a.A, a.C = a.A.Rows(1, 2), one
				be.MatMul(a)
				sameBits(t, name+" "+w.String(), one, c.Rows(1, 2))
			}
		}
	}
}

// TestFormatsDoNotAllocate is TestProductsDoNotAllocate for weights as they are in files.
func TestFormatsDoNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector moves what stays on the stack otherwise")
	}
	be := newBackend(t, "", 2)
	ar := be.NewArena("test")
	defer ar.Free()
	for _, dt := range benchFormats {
		w := fileWeights(be, ar, dt, 512, 512)
		for _, m := range []int{1, 40} {
			for _, form := range []compute.Form{compute.NT, compute.NN} {
				a := compute.MatMulArgs{Form: form, C: ar.F32(m, 512), A: random(be, ar.F32(m, 512), 1), B: w}
				if n := testing.AllocsPerRun(10, func() { be.MatMul(a) }); n > 0.5 {
					t.Errorf("MatMul %v of %d rows and %v makes %v allocations", form, m, dt, n)
				}
			}
		}
		g := compute.GroupedMatMulArgs{Form: compute.NT, Experts: 2, Offsets: compute.WrapI32([]int32{0, 3, 4}, 1, 3),
			A: random(be, ar.F32(4, 512), 1), C: ar.F32(4, 256), Bs: []compute.Tensor{w.Rows(256, 512), w.Rows(0, 256)}}
		if n := testing.AllocsPerRun(10, func() { be.GroupedMatMul(g) }); n > 0.5 {
			t.Errorf("GroupedMatMul of %v makes %v allocations", dt, n)
		}
	}
}

// TestRowKernelsOfTwoWidths: the row kernels for F16 and FP8 may have narrower chains than
// those for float32, as they have beside AVX-512. Here wide chains are made of narrow ones.
func TestRowKernelsOfTwoWidths(t *testing.T) {
	be := newBackend(t, "", 2)
	narrow := *be.k
	if narrow.fileLanes == 0 || narrow.lanes != narrow.fileLanes {
		t.Skipf("%s has no such kernels of one width", narrow.name)
	}
	wide, lanes := narrow, narrow.lanes
	wide.lanes = 2 * lanes
	wide.gemvTF32 = func(lines, ld int, chains, next *byte) {
		whole := unsafe.Slice((*chain)(unsafe.Pointer(chains)), chainCount)
		for h := range 2 {
			var half [chainCount]chain
			for c, w := range whole {
				half[c] = chain{unsafe.Add(w.w, h*lanes*ld), w.x, floatAt(w.y, 4*h*lanes)}
			}
			narrow.gemvTF32(lines, ld, (*byte)(unsafe.Pointer(&half)), nil)
		}
	}
	ar := be.NewArena("test")
	defer ar.Free()
	const n, k = 203, 1024 + 256
	bad := fp8Weights(be, ar, n, k, func(i int) float32 { return 0x1p100 / float32(i+1) }) // not for the row kernel
	for _, w := range []compute.Tensor{fileWeights(be, ar, compute.F16, n, k), fileWeights(be, ar, compute.BlockDType(num.Q8_0), n, k),
		fp8Weights(be, ar, n, k, func(i int) float32 { return float32(i) - 3.3 }), bad} {
		got, want := ar.F32(1, n), ar.F32(1, n)
		a := compute.MatMulArgs{Form: compute.NT, A: random(be, ar.F32(1, k), 1), B: w, C: want}
		be.k = &narrow
		be.MatMul(a)
		be.k, a.C = &wide, got
		be.MatMul(a)
		sameBits(t, w.String(), got, want)
	}
}
