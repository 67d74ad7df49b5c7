package num

import "testing"

// BenchmarkDecode reports the bytes of float32 written per second.
func BenchmarkDecode(b *testing.B) {
	for _, ty := range blockTypes() {
		b.Run(ty.String(), func(b *testing.B) {
			n := 16 * 256
			src := make([]byte, n/ty.Elements()*ty.Bytes())
			for i := range src {
				src[i] = byte(i * 37)
			}
			dst := make([]float32, n)
			b.SetBytes(int64(n) * 4)
			b.ReportAllocs()
			for b.Loop() {
				ty.Decode(dst, src)
			}
		})
	}
}

// BenchmarkEncode reports millions of elements per second, without and with importance.
func BenchmarkEncode(b *testing.B) {
	x := normal(16*256, 0.02)
	w := make([]float32, len(x))
	for i := range w {
		w[i] = 1 + float32(i%7)
	}
	for _, ty := range writable() {
		for kind, weights := range map[string][]float32{"": nil, "/importance": w} {
			b.Run(ty.String()+kind, func(b *testing.B) {
				dst := make([]byte, len(x)/ty.Elements()*ty.Bytes())
				b.ReportAllocs()
				for b.Loop() {
					ty.Encode(dst, x, weights)
				}
				b.ReportMetric(float64(len(x))*1e3/float64(b.Elapsed().Nanoseconds())*float64(b.N), "M/s")
			})
		}
	}
}
