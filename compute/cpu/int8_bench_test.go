package cpu

import (
	"fmt"
	"testing"
	"time"

	"sonde/compute"
	"sonde/num"
)

var int8Benched = []num.BlockType{num.Q4_0, num.Q4_1, num.Q8_0, num.Q4_K, num.Q6_K}

// int8Peak is what the workers reach together in a loop of nothing but products of
// bytes on registers, in GOP/s.
func (b *Backend) int8Peak() float64 {
	const calls, rounds = 100, 1 << 14
	return b.pool.best(float64(calls*rounds*b.k.loopOps), func(*worker, int) {
		for range calls {
			b.k.loop(rounds)
		}
	})
}

// best is the shortest time of op.
func best(b *testing.B, op func()) float64 {
	op()
	least := time.Duration(1 << 62)
	b.ResetTimer()
	for b.Loop() {
		start := time.Now()
		op()
		least = min(least, time.Since(start))
	}
	return least.Seconds()
}

func int8Backend(b *testing.B) *Backend {
	be := newBackend(b, "", 0)
	if be.k.quantise == nil {
		b.Skip("these kernels have no products of int8")
	}
	return be
}

// blocks are weights of some format, of zeros: that does not change the time.
func blocks(ar *compute.Arena, bt num.BlockType, n, k int) compute.Tensor {
	t := ar.Alloc(compute.BlockDType(bt), n, k).WithActivations(compute.ActInt8)
	compute.NewReference().Zero(compute.NewTensor(t.Ptr(), compute.I32, 1, n*t.DType().RowBytes(k)/4))
	return t
}

func BenchmarkInt8MatMul(b *testing.B) {
	for _, bt := range int8Benched {
		for _, s := range [][3]int{{512, 576, 576}, {512, 1536, 576}, {512, 576, 1536}, {512, 1024, 4096}, {8, 1536, 576}} {
			m, n, k := s[0], s[1], s[2]
			if k%bt.Elements() != 0 {
				k = k/256*256 + 256
			}
			b.Run(fmt.Sprintf("%v/%dx%dx%d", bt, m, n, k), func(b *testing.B) {
				be := int8Backend(b)
				ar := be.NewArena("benchmark")
				defer ar.Free()
				args := compute.MatMulArgs{Form: compute.NT, C: ar.F32(m, n), A: random(be, ar.F32(m, k), 1), B: blocks(ar, bt, n, k)}
				peak := be.int8Peak()
				rate := 2 * float64(m*n*k) / best(b, func() { be.MatMul(args) }) / 1e9
				b.ReportMetric(rate, "GOP/s")
				b.ReportMetric(100*rate/peak, "%peak")
			})
		}
	}
}

// BenchmarkInt8MatVec is one token against weights larger than the cache.
func BenchmarkInt8MatVec(b *testing.B) {
	for _, bt := range int8Benched {
		for _, k := range []int{576, 1536, 4096} {
			if k%bt.Elements() != 0 {
				k = k/256*256 + 256
			}
			b.Run(fmt.Sprintf("%v/k%d", bt, k), func(b *testing.B) {
				be := int8Backend(b)
				ar := be.NewArena("benchmark")
				defer ar.Free()
				row := compute.BlockDType(bt).RowBytes(k)
				n := (128 << 20) / row / 16 * 16
				args := compute.MatMulArgs{Form: compute.NT, C: ar.F32(1, n), A: random(be, ar.F32(1, k), 1), B: blocks(ar, bt, n, k)}
				read := be.measureRead(compute.NewTensor(args.B.Ptr(), compute.F32, be.Threads(), n*row/4/be.Threads()))
				rate := float64(n*row) / best(b, func() { be.MatMul(args) }) / 1e9
				b.ReportMetric(rate, "GB/s")
				b.ReportMetric(100*rate/read, "%read")
			})
		}
	}
}

// BenchmarkInt8Tokens is all products with weights of a small Llama (hidden 576, 30
// layers) for one token, for eight sequences together and for a prompt.
func BenchmarkInt8Tokens(b *testing.B) {
	for _, bt := range []num.BlockType{num.Q4_0, num.Q4_1, num.Q8_0} {
		for _, m := range []int{1, 8, 512} {
			b.Run(fmt.Sprintf("%v/%d", bt, m), func(b *testing.B) {
				be := int8Backend(b)
				ar := be.NewArena("benchmark")
				defer ar.Free()
				var steps []compute.MatMulArgs
				bytes := 0
				add := func(m, n, k int) {
					steps = append(steps, compute.MatMulArgs{Form: compute.NT, C: ar.F32(m, n), A: random(be, ar.F32(m, k), 1), B: blocks(ar, bt, n, k)})
					bytes += n * compute.BlockDType(bt).RowBytes(k)
				}
				for range 30 {
					for _, s := range [][2]int{{576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}} {
						add(m, s[0], s[1])
					}
				}
				add(min(m, 8), 49152, 576)
				t := best(b, func() {
					for _, s := range steps {
						be.MatMul(s)
					}
				})
				b.ReportMetric(float64(m)/t, "tokens/s")
				b.ReportMetric(float64(bytes)/t/1e9, "GB/s")
			})
		}
	}
}
