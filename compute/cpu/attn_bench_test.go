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
