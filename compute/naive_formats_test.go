package compute_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"sonde/compute"
	"sonde/num"
)

// fp8 is a part of a matrix of FP8 with factors per block, from [row0, col0] on.
func fp8(rng *rand.Rand, rows, cols, row0, col0, blockRows, blockCols int) (t compute.Tensor, codes []byte, factors []float32) {
	whole := [2]int{row0 + rows + 3, col0 + cols + 2}
	across := (whole[1] + blockCols - 1) / blockCols
	codes = make([]byte, whole[0]*whole[1])
	for i := range codes {
		codes[i] = byte(rng.IntN(0x7f) | rng.IntN(2)<<7)
	}
	factors = f32(randoms(rng, (whole[0]+blockRows-1)/blockRows*across, 1))
	s := &compute.Scales{T: compute.Wrap(factors, len(factors)/across, across), BlockRows: blockRows, BlockCols: blockCols}
	t = compute.FP8(compute.NewTensor(unsafe.Pointer(&codes[0]), compute.E4M3, whole[0], whole[1]), s)
	return t.Rows(row0, row0+rows).Cols(col0, col0+cols), codes, factors
}

// TestFP8PartsFindTheirFactors: the element of a view of a view is its code's value times
// the factor of its place in the whole matrix.
func TestFP8PartsFindTheirFactors(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, c := range [][6]int{{3, 5, 0, 0, 128, 128}, {9, 40, 5, 7, 4, 16}, {300, 130, 100, 60, 128, 128}} {
		rows, cols, row0, col0, br, bc := c[0], c[1], c[2], c[3], c[4], c[5]
		w, codes, factors := fp8(rng, rows, cols, row0, col0, br, bc)
		width := col0 + cols + 2
		got := make([]float32, rows*cols)
		compute.NewReference().DownloadF32(got, w)
		for r := range rows {
			for k := range cols {
				f := factors[(row0+r)/br*((width+bc-1)/bc)+(col0+k)/bc]
				if want := num.E4M3ToF32(codes[(row0+r)*width+col0+k]) * f; got[r*cols+k] != want {
					t.Fatalf("%v: element [%d,%d] is %v, expected %v", c, r, k, got[r*cols+k], want)
				}
			}
		}
	}
}

// q80 is a row of blocks of Q8_0.
func q80(rng *rand.Rand, n int) (raw []byte, values vec) {
	for range n / 32 {
		d := uint16(0x2c00 + rng.IntN(0x800)) // 0.06 to 0.25
		raw = binary.LittleEndian.AppendUint16(raw, d)
		for range 32 {
			c := int8(rng.IntN(255) - 127)
			raw, values = append(raw, byte(c)), append(values, float64(num.F16ToF32(d))*float64(c))
		}
	}
	return raw, values
}

// TestProductOfQuantisedRows: with rows of int8 the product is that of the rows as they
// are rounded, half a step at most from what they were.
func TestProductOfQuantisedRows(t *testing.T) {
	const m, n, k = 3, 4, 96
	rng := rand.New(rand.NewPCG(2, 2))
	x := randoms(rng, m*k, 1)
	var raw []byte
	var w vec
	for range n {
		r, v := q80(rng, k)
		raw, w = append(raw, r...), append(w, v...)
	}
	b := compute.NewTensor(unsafe.Pointer(&raw[0]), compute.BlockDType(num.Q8_0), n, k)
	got, plain := make([]float32, m*n), make([]float32, m*n)
	a := compute.MatMulArgs{Form: compute.NT, C: compute.Wrap(got, m, n), A: compute.Wrap(f32(x), m, k), B: b.WithActivations(compute.ActInt8)}
	compute.NewReference().MatMul(a)
	a.C, a.B = compute.Wrap(plain, m, n), b
	compute.NewReference().MatMul(a)
	want, exact := make(vec, m*n), make(vec, m*n)
	for i := range m {
		for j := range n {
			bound := 0.0
			for l := range k {
				amax := 0.0
				for _, v := range x[i*k+l/32*32 : i*k+l/32*32+32] {
					amax = max(amax, math.Abs(v))
				}
				s := amax / 127
				want[i*n+j] += s * math.RoundToEven(x[i*k+l]/s) * w[j*k+l]
				exact[i*n+j] += x[i*k+l] * w[j*k+l]
				bound += s / 2 * math.Abs(w[j*k+l])
			}
			if off := math.Abs(float64(got[i*n+j]) - exact[i*n+j]); off == 0 || off > bound*1.001 {
				t.Errorf("output [%d,%d] is %g off, between 0 and %g expected", i, j, off, bound)
			}
		}
	}
	close(t, "the product of quantised rows", got, want, 1e-5)
	close(t, "the product of rows as they are", plain, exact, 1e-6)
}

// A row that is not finite must not pass for one that is.
func TestQuantisedRowsKeepNaN(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	raw, _ := q80(rng, 64)
	b := compute.NewTensor(unsafe.Pointer(&raw[0]), compute.BlockDType(num.Q8_0), 1, 64).WithActivations(compute.ActInt8)
	for what, c := range map[string]struct {
		v    float32
		zero bool
	}{"NaN": {float32(math.NaN()), false}, "infinity": {float32(math.Inf(1)), false}, "zeros": {0, true}} {
		x, out := make([]float32, 64), make([]float32, 1)
		x[40] = c.v
		compute.NewReference().MatMul(compute.MatMulArgs{Form: compute.NT, C: compute.Wrap(out, 1, 1), A: compute.Wrap(x, 1, 64), B: b})
		if c.zero && out[0] != 0 || !c.zero && out[0] == out[0] {
			t.Errorf("a row with %s gives %v", what, out[0])
		}
	}
}

// TestBadWeightsPanic: weights that do not fit end in a message with the shapes.
func TestBadWeightsPanic(t *testing.T) {
	be := compute.NewReference()
	rng := rand.New(rand.NewPCG(4, 4))
	w, _, _ := fp8(rng, 6, 4, 0, 0, 2, 2)
	few := compute.FP8(w.Rows(0, 6), &compute.Scales{T: f(1, 2), BlockRows: 4, BlockCols: 2})
	grouped := compute.GroupedMatMulArgs{Form: compute.NT, C: f(2, 3), A: f(2, 4), Experts: 2, Offsets: n(1, 3)}
	ragged, mixed, short := grouped, grouped, grouped
	ragged.Bs = []compute.Tensor{f(3, 4), f(2, 4)}
	mixed.Bs = []compute.Tensor{f(3, 4), h(3, 4)}
	short.Bs = []compute.Tensor{f(3, 4)}
	for _, c := range []struct {
		call string
		want []string
		do   func()
	}{
		{"factors", []string{"MatMul", "2x2", "F32[1,2]"}, func() {
			w := compute.FP8(w.Rows(0, 6), &compute.Scales{T: f(1, 2), BlockRows: 2, BlockCols: 2})
			be.MatMul(compute.MatMulArgs{Form: compute.NT, C: f(2, 6), A: f(2, 4), B: w})
		}},
		{"embed", []string{"Embed", "4x2", "F32[1,2]"}, func() { be.Embed(f(1, 4), few, n(1, 1)) }},
		{"TN", []string{"MatMul TN", "F8_E4M3"}, func() { be.MatMul(compute.MatMulArgs{Form: compute.TN, C: f(2, 4), A: f(6, 2), B: w}) }},
		{"ragged experts", []string{"GroupedMatMul NT", "expert 1", "F32[2,4]"}, func() { be.GroupedMatMul(ragged) }},
		{"mixed experts", []string{"GroupedMatMul NT", "expert 1", "BF16[3,4]"}, func() { be.GroupedMatMul(mixed) }},
		{"missing experts", []string{"GroupedMatMul NT", "2 experts", "are 1"}, func() { be.GroupedMatMul(short) }},
		{"upload", []string{"Upload", "F8_E4M3"}, func() { be.Upload(w, compute.F32, make([]byte, 96)) }},
	} {
		t.Run(c.call, func(t *testing.T) {
			defer func() {
				said := fmt.Sprint(recover())
				for _, w := range c.want {
					if !strings.Contains(said, w) {
						t.Errorf("the panic lacks %q: %s", w, said)
					}
				}
			}()
			c.do()
		})
	}
}

// TestUploadConverts: bytes of a file in any format become float32 or bfloat16.
func TestUploadConverts(t *testing.T) {
	be := compute.NewReference()
	rng := rand.New(rand.NewPCG(5, 5))
	raw, values := q80(rng, 64)
	wide, narrow := f(2, 32), h(2, 32)
	be.Upload(wide, compute.BlockDType(num.Q8_0), raw)
	be.Upload(narrow, compute.BlockDType(num.Q8_0), raw)
	for i, v := range values {
		if got := wide.Float32s()[i]; got != float32(v) {
			t.Fatalf("element %d is %v, expected %v", i, got, v)
		}
		if got := narrow.BF16s()[i]; got != num.BF16FromF32(float32(v)) {
			t.Fatalf("element %d is %#x as bfloat16, expected %v rounded", i, got, v)
		}
	}
}
