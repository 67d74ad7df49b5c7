package cpu

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sonde/compute"
	"sonde/num"
)

// benchFormats are the formats of files to measure, with F32 to compare with.
var benchFormats = []compute.DType{compute.F32, compute.F16, compute.E4M3, compute.BlockDType(num.Q8_0), compute.BlockDType(num.Q4_0),
	compute.BlockDType(num.Q4_1), compute.BlockDType(num.Q4_K), compute.BlockDType(num.Q5_K), compute.BlockDType(num.Q6_K),
	compute.BlockDType(num.IQ4_XS), compute.BlockDType(num.Q3_K), compute.BlockDType(num.IQ3_S)}

// fileWeights is a matrix of format dt with random bytes that are no NaNs, FP8 with normal
// numbers.
func fileWeights(be *Backend, ar *compute.Arena, dt compute.DType, rows, cols int) compute.Tensor {
	if dt == compute.F32 {
		w := ar.F32(rows, cols)
		be.Scale(w, 0)
		return w
	}
	w := ar.Alloc(dt, rows, cols)
	rng := rand.New(rand.NewPCG(1, 2))
	part := make([]byte, 1<<20)
	for i := 0; i+8 <= len(part); i += 8 {
		binary.LittleEndian.PutUint64(part[i:], rng.Uint64()&0x3f3f3f3f3f3f3f3f) // no NaNs as halves or codes
	}
	for i := 0; dt == compute.E4M3 && i < len(part); i++ {
		part[i] = num.E4M3FromF32(float32(100 * rng.NormFloat64()))
	}
	for raw := w.Reshape(1, rows*cols).Bytes(0, 0, rows*cols); len(raw) > 0; raw = raw[min(len(raw), len(part)):] {
		copy(raw, part)
	}
	if dt == compute.E4M3 {
		s := &compute.Scales{T: ar.F32((rows+127)/128, (cols+127)/128), BlockRows: 128, BlockCols: 128}
		be.Zero(s.T)
		return compute.FP8(w, s)
	}
	return w
}

// BenchmarkFormatsMatMul is a prefill, float32 rows times weights as they are
// in files.
func BenchmarkFormatsMatMul(b *testing.B) {
	for _, m := range []int{128, 512} {
		for _, dt := range benchFormats {
			b.Run(fmt.Sprintf("%v/%dx1024x1024", dt, m), func(b *testing.B) {
				be := newBackend(b, "", 0)
				ar := be.NewArena("benchmark")
				defer ar.Free()
				args := compute.MatMulArgs{Form: compute.NT, C: ar.F32(m, 1024), A: random(be, ar.F32(m, 1024), 1), B: fileWeights(be, ar, dt, 1024, 1024)}
				report(b, be, 2*float64(m)*1024*1024, func() { be.MatMul(args) })
			})
		}
	}
}

// BenchmarkFormatsMatVec is one row times weights larger than the cache, as a share of a
// plain read loop over as much memory.
func BenchmarkFormatsMatVec(b *testing.B) {
	for _, dt := range benchFormats {
		for _, k := range []int{1024, 4096} {
			b.Run(fmt.Sprintf("%v/k%d", dt, k), func(b *testing.B) { benchFileMatVec(b, dt, k) })
		}
	}
}

func benchFileMatVec(b *testing.B, dt compute.DType, k int) {
	const size = 128 << 20
	be := newBackend(b, "", 0)
	ar := be.NewArena("benchmark")
	defer ar.Free()
	n := size / dt.RowBytes(k)
	args := compute.MatMulArgs{Form: compute.NT, C: ar.F32(1, n), A: random(be, ar.F32(1, k), 1), B: fileWeights(be, ar, dt, n, k)}
	be.MatMul(args)
	read := be.measureRead(ar.F32(be.Threads(), size/4/be.Threads())) // which clears it
	best := time.Duration(1 << 62)
	b.ResetTimer()
	for b.Loop() {
		start := time.Now()
		be.MatMul(args)
		best = min(best, time.Since(start))
	}
	rate := float64(n*dt.RowBytes(k)) / best.Seconds() / 1e9
	b.ReportMetric(rate, "GB/s")
	b.ReportMetric(100*rate/read, "%read")
}
