package cpu

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sonde/compute"
)

// reportBytes adds GB/s to b, of the best round.
func reportBytes(b *testing.B, size int, op func()) {
	op()
	best := time.Duration(1 << 62)
	b.ResetTimer()
	for b.Loop() {
		start := time.Now()
		op()
		best = min(best, time.Since(start))
	}
	b.ReportMetric(float64(size)/best.Seconds()/1e9, "GB/s")
}

// ids is n numbers below limit.
func ids(ar *compute.Arena, n, limit int) compute.Tensor {
	t := ar.I32(1, n)
	for i := range t.RowI32(0) {
		t.RowI32(0)[i] = int32(i * 7919 % limit)
	}
	return t
}

func BenchmarkLogProb(b *testing.B) {
	for _, s := range [][3]int{{512, 128, 4096}, {512, 384, 8192}} { // tokens, width, vocabulary
		for _, dt := range []compute.DType{compute.F32, compute.BF16} {
			for _, grads := range []bool{false, true} {
				b.Run(fmt.Sprintf("%v/T%d/D%d/V%d/gradients=%v", dt, s[0], s[1], s[2], grads), func(b *testing.B) {
					be := newBackend(b, "", 0)
					ar := be.NewArena("benchmark")
					defer ar.Free()
					a := compute.LogProbBackwardArgs{LogProbArgs: compute.LogProbArgs{
						H: random(be, ar.F32(s[0], s[1]), 1), W: random(be, ar.Alloc(dt, s[2], s[1]), 2),
						Targets: ids(ar, s[0], s[2]), LogP: ar.F32(1, s[0])}}
					flops := 2 * float64(s[0]*s[1]*s[2])
					if !grads {
						report(b, be, flops, func() { be.LogProb(a.LogProbArgs) })
						return
					}
					be.Scale(a.H, 0.1)
					a.Coef, a.DH, a.DW = random(be, ar.F32(1, s[0]), 3), ar.F32(s[0], s[1]), random(be, ar.F32(s[2], s[1]), 4)
					report(b, be, 3*flops, func() { be.LogProbBackward(a) })
				})
			}
		}
	}
}

// attentionShapes are batch, length, heads, nope, rope, v of small models.
var attentionShapes = [][6]int{{4, 256, 4, 32, 16, 32}, {1, 512, 6, 64, 32, 64}, {1, 2048, 2, 64, 32, 64}}

func BenchmarkMLA(b *testing.B) {
	for _, s := range attentionShapes {
		for _, grads := range []bool{false, true} {
			b.Run(fmt.Sprintf("B%d/T%d/H%d/%d+%d/V%d/gradients=%v", s[0], s[1], s[2], s[3], s[4], s[5], grads), func(b *testing.B) {
				be := newBackend(b, "", 0)
				ar := be.NewArena("benchmark")
				defer ar.Free()
				rows, dq, dkv := s[0]*s[1], s[2]*(s[3]+s[4]), s[2]*(s[3]+s[5])
				kv, kr := random(be, ar.F32(rows, dkv), 2), random(be, ar.F32(rows, s[4]), 3)
				a := compute.MLAArgs{Heads: s[2], Nope: s[3], Rope: s[4], V: s[5], Scale: 0.1,
					Q: random(be, ar.F32(rows, dq), 1), O: ar.F32(rows, s[2]*s[5]), LSE: ar.F32(rows, s[2])}
				for row := 0; row < rows; row += s[1] {
					a.Seqs = append(a.Seqs, compute.MLASeq{Row: row, Rows: s[1], KV: kv.Rows(row, row+s[1]), KR: kr.Rows(row, row+s[1])})
				}
				// Scores of the causal half alone count.
				pairs := float64(s[0]*s[2]) * float64(s[1]) * float64(s[1]+1) / 2
				qk, v := float64(s[3]+s[4]), float64(s[5])
				if !grads {
					report(b, be, 2*pairs*(qk+v), func() { be.MLAForward(a) })
					return
				}
				be.MLAForward(a)
				g := compute.MLAGrads{DO: random(be, ar.F32(rows, s[2]*s[5]), 4), DQ: ar.F32(rows, dq), DKV: ar.F32(rows, dkv), DKR: ar.F32(rows, s[4])}
				report(b, be, 2*pairs*(3*qk+2*v), func() { be.MLABackward(a, g) })
			})
		}
	}
}

func BenchmarkLatentAttention(b *testing.B) {
	for _, s := range [][5]int{{1, 1024, 6, 128, 32}, {1, 1024, 16, 512, 64}, {1, 1024, 128, 512, 64}, {256, 256, 6, 128, 32}, {64, 1024, 16, 512, 64}} { // rows, start, heads, latent, rope
		b.Run(fmt.Sprintf("M%d/from%d/H%d/%d+%d", s[0], s[1], s[2], s[3], s[4]), func(b *testing.B) {
			be := newBackend(b, "", 0)
			ar := be.NewArena("benchmark")
			defer ar.Free()
			d := s[3] + s[4]
			a := compute.LatentArgs{Heads: s[2], Latent: s[3], Rope: s[4], Scale: 0.05, Q: random(be, ar.F32(s[0], s[2]*d), 1), O: ar.F32(s[0], s[2]*s[3]),
				Seqs: []compute.LatentSeq{{Rows: s[0], Start: s[1], Cache: random(be, ar.F32(s[0]+s[1], d), 2)}}}
			pairs := float64(s[2]*s[0]) * (float64(s[1]) + float64(s[0]+1)/2)
			report(b, be, 2*pairs*float64(d+s[3]), func() { be.LatentAttention(a) })
		})
	}
}

// BenchmarkRows has the operations that are bound by memory.
func BenchmarkRows(b *testing.B) {
	for _, s := range [][2]int{{4096, 128}, {4096, 384}, {8192, 256}} {
		be := newBackend(b, "", 0)
		ar := be.NewArena("benchmark")
		t, d := s[0], s[1]
		x, y, z, u, w := random(be, ar.F32(t, d), 1), random(be, ar.F32(t, d), 2), random(be, ar.F32(t, d), 3), random(be, ar.F32(t, d), 4), random(be, ar.F32(1, d), 5)
		p, rstd := random(be, ar.F32(t, d), 6), random(be, ar.F32(1, t), 7)
		v := ar.F32(t, d)
		be.Zero(v)
		pos, table := ids(ar, t, 512), random(be, ar.F32(512, 32), 8)
		slot := ar.I32(t/4, 4)
		for i := range slot.Int32s() {
			slot.Int32s()[i] = int32(i * 31 % t)
		}
		size := 4 * t * d
		run := func(name string, tensors float64, op func()) {
			b.Run(fmt.Sprintf("%s/%dx%d", name, t, d), func(b *testing.B) { reportBytes(b, int(tensors*float64(size)), op) })
		}
		run("Add", 3, func() { be.Add(y, x) })
		half := ar.Alloc(compute.BF16, t, d)
		run("CopyToBF16", 1.5, func() { be.Copy(half, x) })
		run("CopyFromBF16", 1.5, func() { be.Copy(y, half) })
		run("Zero", 1, func() { be.Zero(y) })
		run("Scale", 2, func() { be.Scale(y, 1) })
		run("Embed", 2, func() { be.Embed(y, x, pos) })
		run("SumSquares", 1, func() { be.SumSquares(x) })
		run("RMSNorm", 2, func() { be.RMSNorm(y, rstd, x, w, 1e-6) })
		run("RMSNormBackwardInput", 3, func() { be.RMSNormBackwardInput(y, z, x, w, rstd, false) })
		run("RMSNormBackwardWeight", 2, func() { be.RMSNormBackwardWeight(w, z, x, rstd) })
		run("SwiGLU", 3, func() { be.SwiGLU(y, x, z, rstd) })
		run("SwiGLUBackward", 5, func() { be.SwiGLUBackward(y, u, rstd, z, x, p, rstd) })
		run("Rope", 2, func() {
			be.Rope(compute.RopeArgs{X: x, Pos: pos, Table: table, Heads: d / 32, HeadStride: 32, Dim: 32})
		})
		run("RopeHalves", 2, func() {
			be.Rope(compute.RopeArgs{X: x, Pos: pos, Table: table, Heads: d / 32, HeadStride: 32, Dim: 32, Halves: true})
		})
		run("LayerNorm", 2, func() { be.LayerNorm(y, x, w, w, 1e-6) })
		run("AddRow", 2, func() { be.AddRow(y, w) })
		run("SumRows", 1, func() { be.SumRows(w, z) })
		run("CombineRows", 1.25, func() { be.CombineRows(y.Rows(0, t/4), x, slot, false) })
		run("EmbedBackward", 3, func() { be.EmbedBackward(y, x, pos) })
		run("AdamW", 7, func() {
			be.AdamW(compute.AdamWArgs{P: p, G: x, M: z, V: v, LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Correct1: 0.1, Correct2: 0.05, GradScale: 1})
		})
		ar.Free()
	}
}

// BenchmarkRoute reports the time of a token, the router's unit of work.
func BenchmarkRoute(b *testing.B) {
	for _, s := range [][4]int{{4096, 16, 4, 4}, {4096, 32, 4, 4}, {1024, 256, 8, 8}} { // tokens, experts, top, groups
		be := newBackend(b, "", 0)
		ar := be.NewArena("benchmark")
		t, e, k := s[0], s[1], s[2]
		a := compute.RouteArgs{TopK: k, Groups: s[3], TopGroups: s[3] / 2, Normalize: true, Scale: 2.5,
			Logits: random(be, ar.F32(t, e), 1), Bias: random(be, ar.F32(1, e), 2), Scores: ar.F32(t, e), Experts: ar.I32(t, k), Weights: ar.F32(t, k),
			Offsets: ar.I32(1, e+1), Token: ar.I32(1, t*k), Slot: ar.I32(t, k), RowW: ar.F32(1, t*k)}
		g := compute.RouteBackwardArgs{RouteArgs: a, DRowW: random(be, ar.F32(1, t*k), 3), DLogits: ar.F32(t, e), Lens: slices.Repeat([]int{256}, t/256), AuxAlpha: 1e-4, AuxScale: 1}
		run := func(name string, op func()) {
			b.Run(fmt.Sprintf("%s/T%d/E%d/top%d", name, t, e, k), func(b *testing.B) {
				best := time.Duration(1 << 62)
				for b.Loop() {
					start := time.Now()
					op()
					best = min(best, time.Since(start))
				}
				b.ReportMetric(float64(best.Nanoseconds())/float64(t), "ns/token")
			})
		}
		run("forward", func() { be.Route(a) })
		run("backward", func() { be.RouteBackward(g) })
		ar.Free()
	}
}
