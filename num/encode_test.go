package num

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"testing"
)

func writable() (all []BlockType) {
	for _, b := range blockTypes() {
		if b.Writable() {
			all = append(all, b)
		}
	}
	return all
}

// normal is n nearly normal numbers of the given spread, the same on every machine: each
// the sum of twelve even ones.
func normal(n int, spread float64) []float32 {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	x := make([]float32, n)
	for i := range x {
		sum := -6 * (1<<16 - 1)
		for range 12 {
			sum += int(r.Uint32() >> 16)
		}
		x[i] = float32(float64(sum) / (1 << 16) * spread)
	}
	return x
}

func (b BlockType) coded(x, importance []float32) []byte {
	out := make([]byte, len(x)/b.Elements()*b.Bytes())
	b.Encode(out, x, importance)
	return out
}

func (b BlockType) decoded(src []byte) []float32 {
	out := make([]float32, len(src)/b.Bytes()*b.Elements())
	b.Decode(out, src)
	return out
}

// relative is the weighted error of y, relative to x (roots of the mean squares).
func relative(x, y, w []float32) float64 {
	var err, all float64
	for i := range x {
		weight := 1.0
		if w != nil {
			weight = float64(w[i])
		}
		err += weight * math.Pow(float64(x[i])-float64(y[i]), 2)
		all += weight * math.Pow(float64(x[i]), 2)
	}
	return math.Sqrt(err / all)
}

// TestEncodeError holds every writable format to the error on normal numbers that the
// search reached when it was written, with half a per cent of room.
func TestEncodeError(t *testing.T) {
	limit := map[BlockType]float64{
		Q4_0: 0.08411, Q4_1: 0.07680, Q5_0: 0.04190, Q5_1: 0.03711, Q8_0: 0.00524,
		Q2_K: 0.26127, Q3_K: 0.15057, Q4_K: 0.06892, Q5_K: 0.03336, Q6_K: 0.01668,
		IQ4_NL: 0.07297, IQ4_XS: 0.07338,
	}
	x := normal(64*256, 0.02)
	for _, b := range writable() {
		got := relative(x, b.decoded(b.coded(x, nil)), nil)
		t.Logf("%-7v %.5f", b, got)
		if got > 1.005*limit[b] {
			t.Errorf("%v: relative error %.5f, was %.5f", b, got, limit[b])
		}
	}
}

// TestEncodeImportance gives some columns much more weight: their error must fall, and
// with it the weighted error.
func TestEncodeImportance(t *testing.T) {
	x := normal(16*256, 0.02)
	w := make([]float32, len(x))
	for i, v := range normal(len(x), 1.5) {
		w[i] = float32(math.Exp(float64(v)))
	}
	for _, b := range writable() {
		without, with := relative(x, b.decoded(b.coded(x, nil)), w), relative(x, b.decoded(b.coded(x, w)), w)
		t.Logf("%-7v %.5f without, %.5f with", b, without, with)
		if b == Q8_0 {
			if with != without {
				t.Errorf("Q8_0 depends on the importance")
			}
			continue
		}
		if with > 0.97*without {
			t.Errorf("%v: weighted error %.5f with the weights, %.5f without", b, with, without)
		}
	}
}

// TestEncodeEdges encodes what is no weight: no panic; and where halves can hold the
// factors, numbers that are near, a single one more so.
func TestEncodeEdges(t *testing.T) {
	fill := func(f func(i int) float32) []float32 {
		x := make([]float32, 256)
		for i := range x {
			x[i] = f(i)
		}
		return x
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	cases := map[string][]float32{
		"zero": fill(func(int) float32 { return 0 }),
		"one":  fill(func(int) float32 { return 1 }),
		"less": fill(func(int) float32 { return -3 }),
		"spike": fill(func(i int) float32 {
			if i == 77 {
				return 1000
			}
			return 0
		}),
		"tiny":     fill(func(i int) float32 { return float32(i%7-3) * 1e-9 }),
		"denormal": fill(func(i int) float32 { return float32(i%7-3) * 1e-44 }),
		"positive": fill(func(i int) float32 { return 5 + float32(i%5)*0.1 }),
		"NaN":      fill(func(i int) float32 { return []float32{1, nan, -1}[i%3] }),
		"NaNs":     fill(func(int) float32 { return nan }),
		"infinity": fill(func(i int) float32 { return []float32{1, inf, -inf}[i%3] }),
		"largest":  fill(func(i int) float32 { return []float32{math.MaxFloat32, -math.MaxFloat32}[i%2] }),
	}
	weights := map[string][]float32{
		"none": nil, "even": fill(func(int) float32 { return 1e-12 }), "zero": make([]float32, 256),
		"half": fill(func(i int) float32 { return float32(i / 32 % 2) }), "vast": fill(func(i int) float32 { return 1e30 }),
	}
	for _, b := range writable() {
		for name, x := range cases {
			for kind, w := range weights {
				y := b.decoded(b.coded(x, w))
				checkEdge(t, fmt.Sprintf("%v, %s, weights %s", b, name, kind), name, x, y)
			}
		}
	}
}

func checkEdge(t *testing.T, what, name string, x, y []float32) {
	t.Helper()
	switch name {
	case "NaN", "NaNs", "infinity", "largest", "tiny", "denormal":
		return
	}
	var top float32
	for _, v := range x {
		top = max(top, abs(v))
	}
	step := float32(0.6) // of the largest: two bits, and weights that leave elements out
	if name == "zero" || name == "one" || name == "less" {
		step = 0.025 // one number alone
	}
	for i := range y {
		if !(abs(y[i]-x[i]) <= step*top) {
			t.Errorf("%s: element %d is %g, was %g", what, i, y[i], x[i])
			return
		}
	}
}

// TestEncodeSameBytes holds the bytes to those of the machine the test was written on:
// another machine must choose the same codes. Whoever changes the search changes them.
func TestEncodeSameBytes(t *testing.T) {
	want := map[BlockType][2]uint32{
		Q4_0:   {0xaff969f6, 0xee86cfda},
		Q4_1:   {0xc8f671d6, 0x8d0be534},
		Q5_0:   {0x3276468d, 0x261550d1},
		Q5_1:   {0x4a427968, 0x495e0b78},
		Q8_0:   {0x7f2a6a1f, 0x7f2a6a1f},
		Q2_K:   {0xc8bf6d80, 0x49a01720},
		Q3_K:   {0xf51b5265, 0x57589e59},
		Q4_K:   {0x49df7827, 0x51409610},
		Q5_K:   {0xb3110ee4, 0x62aac72e},
		Q6_K:   {0x41ef3bf6, 0x887db1a7},
		IQ4_NL: {0x43fef48, 0x657a3696},
		IQ4_XS: {0x686d8954, 0xe58edec6},
	}
	x := normal(16*256, 0.02)
	w := make([]float32, len(x))
	for i := range w {
		w[i] = float32(i*i%61) / 64
	}
	for _, b := range writable() {
		got := [2]uint32{crc32.ChecksumIEEE(b.coded(x, nil)), crc32.ChecksumIEEE(b.coded(x, w))}
		if got != want[b] {
			t.Errorf("%v: {%#x, %#x}, want %#x", b, got[0], got[1], want[b])
		}
	}
}

// TestEncodeAgain encodes what a format itself can say: it must come back nearly as it
// was, from the IQ4 formats too.
func TestEncodeAgain(t *testing.T) {
	for _, b := range writable() {
		x := b.decoded(b.coded(normal(16*256, 0.02), nil))
		got := relative(x, b.decoded(b.coded(x, nil)), nil)
		t.Logf("%-7v %.6f", b, got)
		if got > 0.02 {
			t.Errorf("%v: a second rounding moves the numbers by %.4f", b, got)
		}
	}
}

// FuzzEncode encodes whatever floats with whatever importance in every format: no panic,
// and the bytes decode.
func FuzzEncode(f *testing.F) {
	r := rand.NewChaCha8([32]byte{})
	for range 4 {
		b := make([]byte, 2048)
		r.Read(b)
		f.Add(b[:1024], b[1024:])
		f.Add(b[:1024], b[:0])
	}
	f.Fuzz(func(t *testing.T, bits, weights []byte) {
		var x, w [256]float32
		for i := range x {
			if 4*i+4 <= len(bits) {
				x[i] = math.Float32frombits(binary.LittleEndian.Uint32(bits[4*i:]))
			}
			if 4*i+4 <= len(weights) {
				w[i] = math.Float32frombits(binary.LittleEndian.Uint32(weights[4*i:]))
			}
		}
		for _, b := range writable() {
			b.decoded(b.coded(x[:], nil))
			b.decoded(b.coded(x[:], w[:]))
		}
	})
}
