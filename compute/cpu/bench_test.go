package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sonde/compute"
)

// report adds GFLOP/s and %peak to b: the best of its rounds against the best of a
// loop of register-only multiply-adds measured just before.
func report(b *testing.B, be *Backend, flops float64, op func()) {
	op() // maps scratch memory, wakes the workers
	peak := be.MeasurePeak()
	best := time.Duration(1 << 62)
	b.ResetTimer()
	for b.Loop() {
		start := time.Now()
		op()
		best = min(best, time.Since(start))
	}
	rate := flops / best.Seconds() / 1e9
	b.ReportMetric(rate, "GFLOP/s")
	b.ReportMetric(100*rate/peak, "%peak")
}

// random fills a tensor with normal numbers.
func random(be *Backend, t compute.Tensor, seed uint64) compute.Tensor {
	r := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, t.Len())
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	be.UploadF32(t, v)
	return t
}

// matrices allocates and fills the operands of a form.
func matrices(be *Backend, ar *compute.Arena, f compute.Form, m, n, k int, dt compute.DType) compute.MatMulArgs {
	a, bShape := [2]int{m, k}, [2]int{k, n}
	if f == compute.TN {
		a = [2]int{k, m}
	}
	if f == compute.NT {
		bShape = [2]int{n, k}
	}
	return compute.MatMulArgs{Form: f, C: random(be, ar.F32(m, n), 1),
		A: random(be, ar.F32(a[0], a[1]), 2), B: random(be, ar.Alloc(dt, bShape[0], bShape[1]), 3), Accumulate: f == compute.TN}
}

func BenchmarkMatMul(b *testing.B) {
	shapes := [][3]int{{1024, 1024, 1024}, {64, 256, 256}, {64, 1024, 1024}, {128, 512, 512},
		{256, 256, 1024}, {256, 1024, 256}, {512, 1024, 1024}, {4096, 384, 384}, {2048, 128, 128}}
	for _, f := range []compute.Form{compute.NT, compute.NN, compute.TN} {
		for _, dt := range []compute.DType{compute.F32, compute.BF16} {
			if f == compute.TN && dt == compute.BF16 {
				continue
			}
			for _, s := range shapes {
				b.Run(fmt.Sprintf("%v/%v/%dx%dx%d", f, dt, s[0], s[1], s[2]), func(b *testing.B) {
					be := newBackend(b, "", 0)
					ar := be.NewArena("benchmark")
					defer ar.Free()
					args := matrices(be, ar, f, s[0], s[1], s[2], dt)
					report(b, be, 2*float64(s[0]*s[1]*s[2]), func() { be.MatMul(args) })
				})
			}
		}
	}
}

// BenchmarkMatVec is one token against weights larger than the cache, in GB/s of
// weights and as a share of a plain read loop over the same memory.
func BenchmarkMatVec(b *testing.B) {
	for _, f := range []compute.Form{compute.NT, compute.NN} {
		for _, dt := range []compute.DType{compute.F32, compute.BF16} {
			for _, k := range []int{1024, 4096} {
				b.Run(fmt.Sprintf("%v/%v/k%d", f, dt, k), func(b *testing.B) { benchMatVec(b, f, dt, k) })
			}
		}
	}
}

func benchMatVec(b *testing.B, f compute.Form, dt compute.DType, k int) {
	const bytes = 256 << 20
	be := newBackend(b, "", 0)
	ar := be.NewArena("benchmark")
	defer ar.Free()
	n := bytes / dt.Size() / k
	rows, cols := n, k
	if f == compute.NN {
		rows, cols = k, n
	}
	w := ar.Alloc(dt, rows, cols)
	be.Zero(w)
	args := compute.MatMulArgs{Form: f, C: ar.F32(1, n), A: random(be, ar.F32(1, k), 1), B: w}
	be.MatMul(args)
	read := be.measureRead(compute.NewTensor(w.Ptr(), compute.F32, be.Threads(), bytes/4/be.Threads()))
	best := time.Duration(1 << 62)
	b.ResetTimer()
	for b.Loop() {
		start := time.Now()
		be.MatMul(args)
		best = min(best, time.Since(start))
	}
	rate := bytes / best.Seconds() / 1e9
	b.ReportMetric(rate, "GB/s")
	b.ReportMetric(100*rate/read, "%read")
}

// BenchmarkGroupedMatMul has the shapes of training: every token goes to top of the
// experts, by a random router.
func BenchmarkGroupedMatMul(b *testing.B) {
	for _, s := range []struct{ tokens, experts, top, hidden, inner int }{
		{4096, 16, 2, 128, 64}, {4096, 64, 6, 384, 128}, {2048, 64, 4, 384, 256}, {8192, 64, 6, 1024, 512},
	} {
		for _, f := range []compute.Form{compute.NT, compute.NN, compute.TN} {
			b.Run(fmt.Sprintf("%v/t%d_e%dx%d_%dx%d", f, s.tokens, s.experts, s.top, s.hidden, s.inner), func(b *testing.B) {
				benchGrouped(b, f, s.tokens, s.experts, s.top, s.hidden, s.inner)
			})
		}
	}
}

func benchGrouped(b *testing.B, f compute.Form, tokens, experts, top, hidden, inner int) {
	be := newBackend(b, "", 0)
	ar := be.NewArena("benchmark")
	defer ar.Free()
	offsets, index := routes(tokens, experts, top)
	rows := len(index)
	a := compute.GroupedMatMulArgs{Form: f, Experts: experts, Offsets: ar.I32(1, experts+1)}
	be.UploadI32(a.Offsets, offsets)
	idx := ar.I32(1, rows)
	be.UploadI32(idx, index)
	x, y := random(be, ar.F32(tokens, hidden), 1), random(be, ar.F32(rows, inner), 2)
	w := random(be, ar.F32(experts*inner, hidden), 3)
	switch f {
	case compute.NT: // gate or up: tokens by index
		a.A, a.AIndex, a.B, a.C = x, idx, w, y
	case compute.NN: // its gradient to the input
		a.A, a.B, a.C = y, w, ar.F32(rows, hidden)
	case compute.TN: // its gradient to the weights
		a.A, a.B, a.BIndex, a.C = y, x, idx, w
	}
	report(b, be, 2*float64(rows*hidden*inner), func() { be.GroupedMatMul(a) })
}

// routes sends every token to top different experts of a random permutation.
func routes(tokens, experts, top int) (offsets, index []int32) {
	r := rand.New(rand.NewPCG(5, 5))
	lists := make([][]int32, experts)
	for t := range tokens {
		for _, e := range r.Perm(experts)[:top] {
			lists[e] = append(lists[e], int32(t))
		}
	}
	offsets = append(offsets, 0)
	for _, l := range lists {
		index = append(index, l...)
		offsets = append(offsets, int32(len(index)))
	}
	return offsets, index
}
