package compute_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"sonde/compute"
)

func TestConversions(t *testing.T) {
	be := compute.NewReference()
	wide, narrow := f(2, 2), h(2, 3).Cols(1, 3)
	// 1 + 2^-8 is half way between two bfloat16s, the even one is 1; 3 stays 3.
	be.UploadF32(narrow, []float32{1 + 0x1p-8, 1 + 3*0x1p-8, 3, -0.5})
	got := make([]float32, 4)
	be.DownloadF32(got, narrow)
	if want := []float32{1, 1 + 4*0x1p-8, 3, -0.5}; !slices.Equal(got, want) {
		t.Errorf("bfloat16 holds %v, expected %v", got, want)
	}
	raw := make([]byte, 8)
	be.Download(raw, narrow)
	if want := []byte{0x80, 0x3f, 0x82, 0x3f, 0x40, 0x40, 0x00, 0xbf}; !slices.Equal(raw, want) {
		t.Errorf("the bytes are % x, expected % x", raw, want)
	}
	be.Upload(wide, compute.BF16, raw)
	if got := wide.Float32s(); !slices.Equal(got, []float32{1, 1 + 4*0x1p-8, 3, -0.5}) {
		t.Errorf("widened: %v", got)
	}
	be.Upload(narrow, compute.F32, []byte{0, 0x80, 0x80, 0x3f, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0, 0, 0xc0, 0x7f})
	be.Copy(wide, narrow)
	if w := wide.Float32s(); w[0] != 1 || w[1] != 0 || !math.IsInf(float64(w[2]), -1) || w[3] == w[3] {
		t.Errorf("rounded and copied back: %v", w)
	}
	ids, back := n(1, 3), make([]int32, 3)
	be.UploadI32(ids, []int32{-1, 7, math.MaxInt32})
	be.DownloadI32(back, ids)
	if !slices.Equal(back, []int32{-1, 7, math.MaxInt32}) {
		t.Errorf("integers come back as %v", back)
	}
}

func TestElementwiseAgainstLoops(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(12, 1))
	x, y := randoms(rng, 15, 1), randoms(rng, 15, 1)
	d := compute.Wrap(f32(x), 3, 5)
	be.Add(d, compute.Wrap(f32(y), 3, 5))
	be.Scale(d, 0.5)
	want := make(vec, 15)
	for i := range want {
		want[i] = (x[i] + y[i]) / 2
	}
	close(t, "(x+y)/2", d.Float32s(), want, 1e-7)
	if got := be.SumSquares(compute.Wrap(f32(x), 3, 5)); math.Abs(got-inner(x, x)) > 1e-12*got {
		t.Errorf("the sum of squares is %v, expected %v", got, inner(x, x))
	}
	be.Zero(d.Cols(1, 4))
	for i, v := range d.Float32s() {
		if inside := i%5 >= 1 && i%5 < 4; inside != (v == 0) {
			t.Errorf("after Zero of columns 1 to 3, element %d is %v", i, v)
		}
	}
}

func TestGroupedMatMulAgainstFloat64(t *testing.T) {
	be, rng := compute.NewReference(), rand.New(rand.NewPCG(13, 1))
	const experts, out, in, tokens = 3, 4, 5, 6
	x, w, dy := randoms(rng, tokens*in, 1), randoms(rng, experts*out*in, 1), randoms(rng, 7*out, 1)
	offsets, token := []int32{0, 4, 4, 7}, []int32{0, 2, 3, 5, 1, 2, 4}
	y, dx, dw := make(vec, 7*out), make(vec, 7*in), randoms(rng, experts*out*in, 1)
	gotW := f32(dw)
	for r := range 7 {
		e := 0
		for int(offsets[e+1]) <= r {
			e++
		}
		for o := range out {
			for i := range in {
				y[r*out+o] += x[int(token[r])*in+i] * w[(e*out+o)*in+i]
				dx[r*in+i] += dy[r*out+o] * w[(e*out+o)*in+i]
				dw[(e*out+o)*in+i] += dy[r*out+o] * x[int(token[r])*in+i]
			}
		}
	}
	a := compute.GroupedMatMulArgs{Experts: experts, Offsets: compute.WrapI32(offsets, 1, 4)}
	X, W, DY, index := compute.Wrap(f32(x), tokens, in), compute.Wrap(f32(w), experts*out, in), compute.Wrap(f32(dy), 7, out), compute.WrapI32(token, 1, 7)
	run := func(form compute.Form, c, l, r, li, ri compute.Tensor) {
		a.Form, a.C, a.A, a.B, a.AIndex, a.BIndex = form, c, l, r, li, ri
		be.GroupedMatMul(a)
	}
	none := compute.Tensor{}
	gotY, gotX := f(7, out), f(7, in)
	run(compute.NT, gotY, X, W, index, none)
	run(compute.NN, gotX, DY, W, none, none)
	run(compute.TN, compute.Wrap(gotW, experts*out, in), DY, X, none, index)
	close(t, "y", gotY.Float32s(), y, 1e-6)
	close(t, "dx", gotX.Float32s(), dx, 1e-6)
	close(t, "dw", gotW, dw, 1e-6)
}
