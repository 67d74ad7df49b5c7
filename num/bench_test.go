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
