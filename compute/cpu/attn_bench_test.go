package cpu

import (
	"fmt"
	"testing"
	"time"

	"sonde/compute"
)

// gqaShapes are heads, key heads and width: SmolLM2-135M's, Qwen2-1.5B's, Llama 3 8B's.
var gqaShapes = [][3]int{{9, 3, 64}, {12, 2, 128}, {32, 8, 128}}

// gqa has seqs sequences with rows new rows each after start old ones.
func gqa(be *Backend, ar *compute.Arena, g [3]int, seqs, rows, start int) compute.AttentionArgs {
	h, kv, d := g[0], g[1], g[2]
	a := compute.AttentionArgs{Heads: h, KVHeads: kv, Dim: d, Scale: 0.1,
		Q: random(be, ar.F32(seqs*rows, h*d), 1), O: ar.F32(seqs*rows, h*d), LSE: ar.F32(seqs*rows, h)}
	for i := range seqs {
		a.Seqs = append(a.Seqs, compute.AttentionSeq{Row: i * rows, Rows: rows, Start: start,
			K: random(be, ar.F32(start+rows, kv*d), 2), V: random(be, ar.F32(start+rows, kv*d), 3)})
	}
	return a
}

func BenchmarkAttentionPrefill(b *testing.B) {
	for _, g := range gqaShapes {
		for _, s := range [][3]int{{1, 512, 0}, {4, 256, 0}, {1, 128, 1920}} { // sequences, rows, start
			b.Run(fmt.Sprintf("H%d/%d/%d/B%d/T%d/from%d", g[0], g[1], g[2], s[0], s[1], s[2]), func(b *testing.B) {
				be := newBackend(b, "", 0)
				ar := be.NewArena("benchmark")
				defer ar.Free()
				a := gqa(be, ar, g, s[0], s[1], s[2])
				pairs := float64(g[0]*s[0]*s[1]) * (float64(s[2]) + float64(s[1]+1)/2)
				report(b, be, 4*pairs*float64(g[2]), func() { be.Attention(a) })
			})
		}
	}
}

// BenchmarkAttentionDecode has one row per sequence and as many layers as fill 96 MB
// with keys and values, so that none of them is in a cache; it reports the rate at
// which they are read and its share of a plain read loop's.
func BenchmarkAttentionDecode(b *testing.B) {
	for _, g := range gqaShapes {
		for _, s := range [][2]int{{1, 1023}, {8, 255}, {1, 8191}} { // sequences, start
			b.Run(fmt.Sprintf("H%d/%d/%d/B%d/from%d", g[0], g[1], g[2], s[0], s[1]), func(b *testing.B) {
				be := newBackend(b, "", 0)
				ar := be.NewArena("benchmark")
				defer ar.Free()
				var layers []compute.AttentionArgs
				size := 8 * s[0] * (s[1] + 1) * g[1] * g[2]
				for range max(1, (96<<20)/size) {
					layers = append(layers, gqa(be, ar, g, s[0], 1, s[1]))
				}
				read := be.MeasureReadBandwidth()
				best := time.Duration(1 << 62)
				for b.Loop() {
					start := time.Now()
					for _, a := range layers {
						be.Attention(a)
					}
					best = min(best, time.Since(start))
				}
				rate := float64(size*len(layers)) / best.Seconds() / 1e9
				b.ReportMetric(rate, "GB/s")
				b.ReportMetric(100*rate/read, "%read")
				b.ReportMetric(float64(best.Microseconds())/float64(len(layers)), "us/layer")
			})
		}
	}
}

func BenchmarkAttentionBackward(b *testing.B) {
	for _, s := range [][5]int{{9, 3, 64, 4, 256}, {12, 2, 128, 1, 512}} { // heads, key heads, width, sequences, rows
		b.Run(fmt.Sprintf("H%d/%d/%d/B%d/T%d", s[0], s[1], s[2], s[3], s[4]), func(b *testing.B) {
			be := newBackend(b, "", 0)
			ar := be.NewArena("benchmark")
			defer ar.Free()
			a := gqa(be, ar, [3]int(s[:3]), s[3], s[4], 0)
			be.Attention(a)
			g := compute.AttentionGrads{DO: random(be, ar.F32(s[3]*s[4], s[0]*s[2]), 5), DQ: ar.F32(s[3]*s[4], s[0]*s[2])}
			for range a.Seqs {
				g.DK, g.DV = append(g.DK, ar.F32(s[4], s[1]*s[2])), append(g.DV, ar.F32(s[4], s[1]*s[2]))
			}
			pairs := float64(s[0]*s[3]) * float64(s[4]) * float64(s[4]+1) / 2
			report(b, be, 10*pairs*float64(s[2]), func() { be.AttentionBackward(a, g) })
		})
	}
}

// BenchmarkIndex has V3.2's indexer; pairs of scores count.
func BenchmarkIndex(b *testing.B) {
	for _, s := range [][2]int{{1, 8191}, {64, 4096}} { // rows, start
		b.Run(fmt.Sprintf("M%d/from%d", s[0], s[1]), func(b *testing.B) {
			be := newBackend(b, "", 0)
			ar := be.NewArena("benchmark")
			defer ar.Free()
			const heads, dim, top = 64, 128, 2048
			a := compute.IndexArgs{Heads: heads, Dim: dim, TopK: top, Start: s[1], Q: random(be, ar.F32(s[0], heads*dim), 1),
				W: random(be, ar.F32(s[0], heads), 2), K: random(be, ar.F32(s[0]+s[1], dim), 3), Picks: ar.I32(s[0], top)}
			pairs := float64(s[0]) * (float64(s[1]) + float64(s[0]+1)/2)
			report(b, be, 2*pairs*heads*dim, func() { be.Index(a) })
		})
	}
}

// BenchmarkPickedKeys is V3.2's attention: the same number of picks at two depths.
func BenchmarkPickedKeys(b *testing.B) {
	for _, start := range []int{4095, 16383} {
		b.Run(fmt.Sprintf("H16/512+64/top2048/from%d", start), func(b *testing.B) {
			be := newBackend(b, "", 0)
			ar := be.NewArena("benchmark")
			defer ar.Free()
			const heads, latent, rope, top = 16, 512, 64, 2048
			a := compute.LatentArgs{Heads: heads, Latent: latent, Rope: rope, Scale: 0.05, Q: random(be, ar.F32(1, heads*(latent+rope)), 1),
				O: ar.F32(1, heads*latent), Picks: ar.I32(1, top),
				Seqs: []compute.LatentSeq{{Rows: 1, Start: start, Cache: random(be, ar.F32(start+1, latent+rope), 2)}}}
			for j := range top {
				a.Picks.RowI32(0)[j] = int32(j * (start + 1) / top)
			}
			report(b, be, 2*heads*top*(2*latent+rope), func() { be.LatentAttention(a) })
		})
	}
}

// BenchmarkExpandedDecode has one row for each of 512 short sequences, whose keys and
// values lie apart in memory, or are one and the same.
func BenchmarkExpandedDecode(b *testing.B) {
	const seqs, room, nope, rope, v = 512, 256, 32, 16, 32
	for _, heads := range []int{4} {
		for _, start := range []int{11, 36, 68} {
			for _, shared := range []bool{false, true} {
				b.Run(fmt.Sprintf("H%d/%d+%d/V%d/from%d/shared=%v", heads, nope, rope, v, start, shared), func(b *testing.B) {
					be := newBackend(b, "", 0)
					ar := be.NewArena("benchmark")
					defer ar.Free()
					a := compute.MLAArgs{Heads: heads, Nope: nope, Rope: rope, V: v, Scale: 0.1, Q: random(be, ar.F32(seqs, heads*(nope+rope)), 1), O: ar.F32(seqs, heads*v)}
					for i := range seqs {
						s := compute.MLASeq{Row: i, Rows: 1, Start: start, KV: ar.F32(room, heads*(nope+v)), KR: ar.F32(room, rope)}
						random(be, s.KV.Rows(0, start+1), 2)
						random(be, s.KR.Rows(0, start+1), 3)
						if shared && i > 0 {
							s.KV, s.KR = a.Seqs[0].KV, a.Seqs[0].KR
						}
						a.Seqs = append(a.Seqs, s)
					}
					best := time.Duration(1 << 62)
					for b.Loop() {
						start := time.Now()
						be.MLAForward(a)
						best = min(best, time.Since(start))
					}
					b.ReportMetric(float64(best.Microseconds()), "us")
					b.ReportMetric(float64(best.Nanoseconds())/float64(seqs*heads), "ns/head")
				})
			}
		}
	}
}
