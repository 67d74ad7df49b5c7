package num

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sonde/internal/golden"
)

// TestGoldenBlocks decodes the golden blocks of every type found and encodes the golden
// source, and compares bit for bit.
func TestGoldenBlocks(t *testing.T) {
	path := filepath.Join(golden.Dir(t), "gguf", "blocks.safetensors")
	if _, err := os.Stat(path); err != nil {
		t.Skip(err)
	}
	m := golden.Read(t, path)
	seen := 0
	for _, b := range blockTypes() {
		if _, ok := m[b.String()+".blocks"]; !ok {
			t.Logf("%-8v no golden blocks", b)
			continue
		}
		seen++
		values, wrong := differing(b.decoded(golden.Get(t, m, b.String()+".blocks").Raw), golden.Get(t, m, b.String()+".values").F32())
		line := fmt.Sprintf("%-8v %6d values, %d differ", b, values, wrong)
		if q, ok := m[b.String()+".quantized"]; ok && b.Writable() {
			n, bad := 0, 0
			for i, c := range b.coded(golden.Get(t, m, "source").F32(), nil) {
				n++
				if c != q.Raw[i] {
					bad++
				}
			}
			wrong += bad
			line += fmt.Sprintf("; %d bytes encoded, %d differ", n, bad)
		} else if ok {
			t.Errorf("%v has golden bytes but is not written", b)
		}
		t.Log(line)
		if wrong > 0 {
			t.Errorf("%v differs", b)
		}
	}
	if seen == 0 {
		t.Error("no golden blocks of a known type")
	}
	goldenBF16(t, m)
}

// goldenBF16 is the same for BF16, which has no blocks.
func goldenBF16(t *testing.T, m map[string]golden.Tensor) {
	raw, ok := m["BF16.blocks"]
	if !ok {
		return
	}
	codes := make([]uint16, len(raw.Raw)/2)
	for i := range codes {
		codes[i] = binary.LittleEndian.Uint16(raw.Raw[2*i:])
	}
	got := make([]float32, len(codes))
	BF16SliceToF32(got, codes)
	values, wrong := differing(got, golden.Get(t, m, "BF16.values").F32())
	bad, want := 0, golden.Get(t, m, "BF16.quantized").Raw
	for i, v := range golden.Get(t, m, "source").F32() {
		if BF16FromF32(v) != binary.LittleEndian.Uint16(want[2*i:]) {
			bad++
		}
	}
	t.Logf("BF16     %6d values, %d differ; %d bytes encoded, %d codes differ", values, wrong, len(want), bad)
	if wrong+bad > 0 {
		t.Error("BF16 differs")
	}
}

// differing counts the values of got that are not, bit for bit, those of want; NaNs are
// all one.
func differing(got, want []float32) (n, wrong int) {
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) && !(got[i] != got[i] && want[i] != want[i]) {
			wrong++
		}
	}
	return len(want), wrong
}

// FuzzDecode decodes whatever bytes in every format: no panic, and what Unpack gives
// makes the same numbers.
func FuzzDecode(f *testing.F) {
	r := rand.NewChaCha8([32]byte{})
	for range 8 {
		b := make([]byte, 512)
		r.Read(b)
		f.Add(b)
	}
	f.Add(make([]byte, 256))
	f.Add(slices.Repeat([]byte{255}, 256))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, b := range blockTypes() {
			src := data[:len(data)/b.Bytes()*b.Bytes()]
			n := len(src) / b.Bytes() * b.Elements()
			want, got := b.decoded(src), make([]float32, n)
			codes, d, m := make([]int8, n), make([]float32, n/b.Group()), make([]float32, n/b.Group())
			b.Unpack(codes, d, m, src)
			for i, c := range codes {
				got[i] = d[i/b.Group()] * float32(c)
				if b.HasMin() {
					got[i] = float32(got[i]) + m[i/b.Group()]
				}
			}
			if _, wrong := differing(got, want); wrong > 0 {
				t.Errorf("%v: %d of %d numbers differ between Unpack and Decode", b, wrong, n)
			}
		}
	})
}

// TestUnpackRange holds the codes to what kernels of eight bits count on: none is -128,
// so that its sign can be changed.
func TestUnpackRange(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	for _, b := range blockTypes() {
		if b == Q8_0 { // its codes are bytes of the file, -128 among them
			continue
		}
		src := make([]byte, 64*b.Bytes())
		r.Read(src)
		n := 64 * b.Elements()
		codes := make([]int8, n)
		b.Unpack(codes, make([]float32, n/b.Group()), make([]float32, n/b.Group()), src)
		if slices.Min(codes) == -128 {
			t.Errorf("%v has the code -128", b)
		}
	}
}

func blockTypes() (all []BlockType) {
	for i := range 256 {
		if BlockType(i).Known() {
			all = append(all, BlockType(i))
		}
	}
	return all
}
