package num

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// format is a format as its definition has it, code by code.
type format struct {
	name           string
	bits, man      int
	bias           int
	inf            int // code of +infinity, or 0
	nan            int // codes from here on are NaN
	saturate       bool
	decode         func(uint16) float32
	encode         func(float32) uint16
	decodes        func([]float32, []uint16)
	encodes        func([]uint16, []float32)
	largest        float64
	smallestNormal float64
}

// bytes lifts functions on byte codes.
func bytes(decode func([]float32, []byte), encode func([]byte, []float32)) (func([]float32, []uint16), func([]uint16, []float32)) {
	return func(dst []float32, src []uint16) {
			b := make([]byte, len(src))
			for i, c := range src {
				b[i] = byte(c)
			}
			decode(dst, b)
		}, func(dst []uint16, src []float32) {
			b := make([]byte, len(dst))
			encode(b, src)
			for i, c := range b[:min(len(dst), len(src))] {
				dst[i] = uint16(c)
			}
		}
}

func formats() []format {
	d4, e4 := bytes(E4M3SliceToF32, E4M3SliceFromF32)
	d5, e5 := bytes(E5M2SliceToF32, E5M2SliceFromF32)
	return []format{
		{"BF16", 16, 7, 127, 0x7f80, 0x7f81, false, BF16ToF32, BF16FromF32, BF16SliceToF32, BF16SliceFromF32, 0x1.fep127, 0x1p-126},
		{"F16", 16, 10, 15, 0x7c00, 0x7c01, false, F16ToF32, F16FromF32, F16SliceToF32, F16SliceFromF32, 65504, 0x1p-14},
		{"E4M3", 8, 3, 7, 0, 0x7f, true, func(c uint16) float32 { return E4M3ToF32(byte(c)) },
			func(f float32) uint16 { return uint16(E4M3FromF32(f)) }, d4, e4, 448, 0x1p-6},
		{"E5M2", 8, 2, 15, 0x7c, 0x7d, true, func(c uint16) float32 { return E5M2ToF32(byte(c)) },
			func(f float32) uint16 { return uint16(E5M2FromF32(f)) }, d5, e5, 57344, 0x1p-14},
	}
}

// value decodes by the definition: sign * 2^(e-bias) * (1 + m/2^man).
func (f format) value(code int) float64 {
	sign := 1 << (f.bits - 1)
	mag := code &^ sign
	e, m := mag>>f.man, mag%(1<<f.man)
	v := math.Pow(2, float64(e-f.bias)) * (1 + float64(m)/float64(int(1)<<f.man))
	switch {
	case f.inf != 0 && mag == f.inf:
		v = math.Inf(1)
	case mag >= f.nan:
		return math.NaN()
	case e == 0:
		v = math.Pow(2, float64(1-f.bias)) * float64(m) / float64(int(1)<<f.man)
	}
	if code&sign != 0 {
		v = -v
		if v == 0 {
			v = math.Copysign(0, -1)
		}
	}
	return v
}

func same(a, b float64) bool {
	return math.IsNaN(a) && math.IsNaN(b) || a == b && math.Signbit(a) == math.Signbit(b)
}

func TestEveryCode(t *testing.T) {
	for _, f := range formats() {
		for code := range 1 << f.bits {
			want := f.value(code)
			got := f.decode(uint16(code))
			if !same(float64(got), want) {
				t.Fatalf("%s: code %#x is %v, expected %v", f.name, code, got, want)
			}
			back := int(f.encode(got))
			switch {
			case math.IsNaN(want):
				if !math.IsNaN(f.value(back)) {
					t.Errorf("%s: NaN %#x becomes %#x, a number", f.name, code, back)
				}
			case math.IsInf(want, 0) && f.saturate:
				if !same(f.value(back), math.Copysign(f.largest, want)) {
					t.Errorf("%s: infinity becomes %#x, expected the largest", f.name, back)
				}
			case back != code:
				t.Fatalf("%s: %v, code %#x, becomes %#x", f.name, want, code, back)
			}
		}
	}
}

// TestRounding looks at every pair of neighbours: half way goes to the even one, the
// float32s beside half way to the nearer.
func TestRounding(t *testing.T) {
	for _, f := range formats() {
		last := f.nan - 1
		if f.inf != 0 {
			last = f.inf - 1
		}
		for code := 0; code < last; code++ {
			low, high := f.value(code), f.value(code+1)
			half := float32((low + high) / 2)
			even := code + code&1
			for sign, top := range map[float32]int{1: 0, -1: 1 << (f.bits - 1)} {
				if got := int(f.encode(sign * half)); got != even|top {
					t.Fatalf("%s: %v, half way between %#x and its neighbour, becomes %#x, expected %#x", f.name, sign*half, code, got, even|top)
				}
				if got := int(f.encode(sign * math.Nextafter32(half, 0))); got != code|top {
					t.Fatalf("%s: just below half way after %#x becomes %#x", f.name, code|top, got)
				}
				if got := int(f.encode(sign * math.Nextafter32(half, math.MaxFloat32))); got != (code+1)|top {
					t.Fatalf("%s: just above half way after %#x becomes %#x", f.name, code|top, got)
				}
			}
		}
		if got := f.value(last); got != f.largest {
			t.Errorf("%s: the largest number is %v, expected %v", f.name, got, f.largest)
		}
		if got := f.value(1 << f.man); got != f.smallestNormal {
			t.Errorf("%s: the smallest normal number is %v, expected %v", f.name, got, f.smallestNormal)
		}
	}
}

func TestTooLarge(t *testing.T) {
	for _, f := range formats() {
		step := f.largest - f.value(int(f.encode(float32(f.largest)))-1)
		over := f.largest + step/2 // half way to the next number there would be
		want, below := math.Inf(1), f.largest
		if f.saturate {
			want = f.largest
		}
		if over < math.MaxFloat32 {
			if got := f.value(int(f.encode(float32(over)))); got != want {
				t.Errorf("%s: %v becomes %v, expected %v", f.name, over, got, want)
			}
		}
		if got := f.value(int(f.encode(math.Nextafter32(float32(min(over, math.MaxFloat32)), 0)))); f.name != "BF16" && got != below {
			t.Errorf("%s: just below %v becomes %v, expected %v", f.name, over, got, below)
		}
		if got := f.value(int(f.encode(float32(math.Inf(-1))))); got != -want {
			t.Errorf("%s: -infinity becomes %v, expected %v", f.name, got, -want)
		}
		if got := f.value(int(f.encode(math.MaxFloat32))); got != want {
			t.Errorf("%s: the largest float32 becomes %v, expected %v", f.name, got, want)
		}
	}
}

func TestSlices(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, f := range formats() {
		v, codes := make([]float32, 1001), make([]uint16, 1001)
		for i := range v {
			v[i] = float32(rng.NormFloat64() * 3)
			codes[i] = uint16(rng.IntN(1 << f.bits))
		}
		wide, narrow := slices.Repeat([]float32{-7}, 1003), slices.Repeat([]uint16{77}, 1003)
		f.decodes(wide, codes)
		f.encodes(narrow, v)
		for i := range v {
			if !same(float64(wide[i]), float64(f.decode(codes[i]))) || narrow[i] != f.encode(v[i]) {
				t.Fatalf("%s: element %d of a slice differs from the single conversion", f.name, i)
			}
		}
		if wide[1001] != -7 || narrow[1001] != 77 {
			t.Errorf("%s: a slice conversion wrote past the shorter slice", f.name)
		}
		f.decodes(wide[:3], codes)
		f.encodes(narrow[:3], v)
	}
}

func TestUE8M0(t *testing.T) {
	codes, all := make([]byte, 256), make([]float32, 256)
	for c := range 255 {
		codes[c] = byte(c)
		v := UE8M0ToF32(byte(c))
		if float64(v) != math.Pow(2, float64(c-127)) {
			t.Fatalf("code %d is %v, expected 2^%d", c, v, c-127)
		}
		up := c + 1
		if c == 254 {
			up = 254
		}
		if a, b := UE8M0FromF32(v), UE8M0FromF32(math.Nextafter32(v, math.MaxFloat32)); int(a) != c || int(b) != up {
			t.Fatalf("2^%d and the number after it become %d and %d, expected %d and %d", c-127, a, b, c, up)
		}
	}
	codes[255] = 255
	UE8M0SliceToF32(all, codes)
	if all[127] != 1 || all[130] != 8 || all[255] == all[255] {
		t.Errorf("a slice of all codes gives %v, %v, %v for 127, 130, 255", all[127], all[130], all[255])
	}
	in := []float32{0, float32(math.Copysign(0, -1)), 1e-45, 3, -1, float32(math.NaN()), float32(math.Inf(1)), math.MaxFloat32}
	got := make([]byte, len(in))
	UE8M0SliceFromF32(got, in)
	if want := []byte{0, 0, 0, 129, 255, 255, 254, 254}; !slices.Equal(got, want) {
		t.Errorf("%v become %v, expected %v", in, got, want)
	}
}

// A NaN keeps its sign, and the part of its payload that fits.
func TestNaNs(t *testing.T) {
	for _, b := range []uint32{0x7f800001, 0xff800001, 0x7fc00000, 0xffffffff, 0x7faaaaaa} {
		f := math.Float32frombits(b)
		sign := uint16(b >> 16 & 0x8000)
		if c := BF16FromF32(f); c&0x8000 != sign || BF16ToF32(c) == BF16ToF32(c) || c&0x40 == 0 {
			t.Errorf("NaN %#x becomes bfloat16 %#x", b, c)
		}
		if c := F16FromF32(f); c&0x8000 != sign || F16ToF32(c) == F16ToF32(c) || c&0x200 == 0 {
			t.Errorf("NaN %#x becomes half %#x", b, c)
		}
		if c := E4M3FromF32(f); uint16(c&0x80)<<8 != sign || c&0x7f != 0x7f {
			t.Errorf("NaN %#x becomes E4M3 %#x", b, c)
		}
		if c := E5M2FromF32(f); uint16(c&0x80)<<8 != sign || c&0x7f != 0x7f {
			t.Errorf("NaN %#x becomes E5M2 %#x", b, c)
		}
	}
}
