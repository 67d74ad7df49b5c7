package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"sonde/compute"
	"sonde/nn"
)

func list(p ...nn.Param) []nn.Param { return p }

func loadBytes(t *testing.T, raw []byte, m maker, params []nn.Param) error {
	t.Helper()
	f, err := openBytes(raw)
	must(t, err)
	set := tensorSet{path: "x", block: fp8Block}
	must(t, set.add(f, nil))
	return set.load(params, m.be, false)
}

func TestLoadConverts(t *testing.T) {
	le := binary.LittleEndian
	half := []uint16{0x3c00, 0xc100, 0x0001, 0x7bff} // 1, -2.5, 2^-24, 65504
	brain := []uint16{0x3f80, 0xc020, 0x0001, 0x7f7f}
	wide := []float64{1, -2.5, 1e-30, 3.0000001}
	var h, b, d, s []byte
	for i := range 4 {
		h = le.AppendUint16(h, half[i])
		b = le.AppendUint16(b, brain[i])
		d = le.AppendUint64(d, math.Float64bits(wide[i]))
		s = le.AppendUint32(s, math.Float32bits(float32(wide[i])))
	}
	for _, c := range []struct {
		dt   DType
		raw  []byte
		want []float32
	}{
		{F16, h, []float32{1, -2.5, 0x1p-24, 65504}},
		{BF16, b, []float32{1, -2.5, 0x1p-133, 0x1.fep127}},
		{F64, d, []float32{1, -2.5, 1e-30, 3.0000001}},
		{F32, s, []float32{1, -2.5, 1e-30, 3.0000001}},
	} {
		for _, to := range []compute.DType{compute.F32, compute.BF16} {
			m := newMaker(t)
			p := m.param("w", to, 2, 2)
			must(t, loadBytes(t, rawFile(`{`+entry("w", c.dt, "[2,2]", 0, len(c.raw))+`}`, c.raw), m, list(p)))
			want := c.want
			if to == compute.BF16 {
				want = rounded(want)
			}
			if got := floats(m, p); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s to %v: got %v, expected %v", c.dt, to, got, want)
			}
		}
	}
}

// rounded is v in bfloat16, by way of float64 arithmetic on the 8 leading bits.
func rounded(v []float32) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		_, e := math.Frexp(float64(x))
		step := math.Ldexp(1, max(e-8, -133))
		out[i] = float32(math.RoundToEven(float64(x)/step) * step)
		if math.Abs(float64(out[i])) > 0x1.fep127 {
			out[i] = float32(math.Inf(1))
		}
	}
	return out
}

// TestLoadFP8 loads ragged block-scaled weights and compares every element with the
// definition.
func TestLoadFP8(t *testing.T) {
	for _, shape := range [][2]int{{1, 1}, {128, 128}, {129, 1}, {200, 300}, {3, 257}} {
		for _, scaleType := range []DType{F32, BF16} {
			n, k := shape[0], shape[1]
			sn, sk := (n+127)/128, (k+127)/128
			data := make([]byte, 0, n*k)
			for i := range n * k {
				code := byte(i*7 + i/300)
				if code&0x7f == 0x7f {
					code = 0 // not a number
				}
				data = append(data, code)
			}
			scales := make([]float32, sn*sk)
			for i := range scales {
				scales[i] = float32(i+1) * 0.25
				if scaleType == F32 {
					scales[i] *= 1.0001
					data = binary.LittleEndian.AppendUint32(data, math.Float32bits(scales[i]))
				} else {
					data = binary.LittleEndian.AppendUint16(data, uint16(math.Float32bits(scales[i])>>16))
				}
			}
			m := newMaker(t)
			p := m.param("w.weight", compute.F32, n, k)
			header := `{` + entry("w.weight", F8E4M3, fmt.Sprintf("[%d,%d]", n, k), 0, n*k) + `,` +
				entry("w.weight_scale_inv", scaleType, fmt.Sprintf("[%d,%d]", sn, sk), n*k, len(data)) + `}`
			must(t, loadBytes(t, rawFile(header, data), m, list(p)))
			got := floats(m, p)
			for i := range n * k {
				want := e4m3(data[i]) * scales[i/k/128*sk+i%k/128]
				if got[i] != want {
					t.Fatalf("%dx%d, scales %s: element %d is %v, expected %v", n, k, scaleType, i, got[i], want)
				}
			}
		}
	}
}

// e4m3 decodes by the definition: 1 sign, 4 exponent (bias 7), 3 mantissa bits.
func e4m3(c byte) float32 {
	v := math.Ldexp(float64(c&7)/8+1, int(c>>3&15)-7)
	if c>>3&15 == 0 {
		v = math.Ldexp(float64(c&7)/8, -6)
	}
	if c>>7 == 1 {
		v = -v
	}
	return float32(v)
}

// TestLoadPieces makes rows, and parts of rows, pass in several pieces.
func TestLoadPieces(t *testing.T) {
	m := newMaker(t)
	tall := m.param("tall", compute.F32, 3000, 1000)          // 12 MB
	wide := m.param("wide", compute.F32, 2, pieceBytes/4+100) // a row does not fit
	view := m.param("view", compute.F32, 700, 1000)
	view.T = view.T.Cols(10, 610)
	view.Shape = []int{700, 600}
	params := list(tall, wide, view)
	m.random(params, 9)
	want := m.contents(params)
	var b bytes.Buffer
	must(t, writeTensors(&b, outTensors(params, m.be, make([]byte, pieceBytes)), nil))
	m.random(params, 10)
	must(t, loadBytes(t, b.Bytes(), m, params))
	if m.contents(params) != want {
		t.Error("what was loaded is not what was written")
	}
}

func TestLoadErrorListsEverything(t *testing.T) {
	m := newMaker(t)
	data := make([]byte, 4+16+4+4)
	raw := rawFile(`{`+entry("extra", F32, "[1]", 0, 4)+`,`+entry("shape", F32, "[2,2]", 4, 20)+`,`+
		entry("kind", I32, "[1]", 20, 24)+`,`+entry("fp8", F8E4M3, "[2,2]", 24, 28)+`}`, data)
	p := m.param("shape", compute.F32, 4)
	m.random(list(p), 1)
	before := m.contents(list(p))
	bad := m.param("bad", compute.F32, 4)
	bad.Shape = []int{5}
	err := loadBytes(t, raw, m, list(p, m.param("kind", compute.F32, 1), m.param("missing", compute.BF16, 3, 2),
		m.param("fp8", compute.F32, 2, 2), bad))
	var le *LoadError
	if !errors.As(err, &le) || len(le.Problems) != 6 {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		`tensor "extra" (F32 [1]) is not part of the model`,
		`tensor "shape": expected F32 [4], found F32 [2 2]`,
		`tensor "kind": expected F32 [1], found I32 [1]`,
		`tensor "missing" is missing, expected BF16 [3 2]`,
		`tensor "fp8_scale_inv" is missing, expected F32 [1 1]`,
		`tensor "bad": expected F32 [5], found memory for F32[1,4]`,
		"x.safetensors", "the config must be the one",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if m.contents(list(p)) != before {
		t.Error("a parameter was touched although the load was refused")
	}
}

func TestLoadErrorStaysReadable(t *testing.T) {
	m := newMaker(t)
	var params []nn.Param
	for i := range 500 {
		params = append(params, m.param(fmt.Sprintf("layer.%d", i), compute.F32, 1))
	}
	err := loadBytes(t, rawFile(`{}`, nil), m, params)
	if n := strings.Count(err.Error(), "\n"); n != maxProblems+1 || !strings.Contains(err.Error(), "and 480 more") {
		t.Errorf("%d lines:\n%v", n, err)
	}
}

func TestLoadRefusesWrongScales(t *testing.T) {
	m := newMaker(t)
	for _, c := range []struct {
		dt    DType
		shape string
		bytes int
	}{{F32, "[1,1]", 4}, {F32, "[2]", 8}, {F64, "[2,1]", 16}} {
		data := make([]byte, 129+c.bytes)
		raw := rawFile(`{`+entry("w", F8E4M3, "[129,1]", 0, 129)+`,`+entry("w_scale_inv", c.dt, c.shape, 129, 129+c.bytes)+`}`, data)
		err := loadBytes(t, raw, m, list(m.param("w", compute.F32, 129, 1)))
		if err == nil || !strings.Contains(err.Error(), "expected F32 [2 1]") {
			t.Errorf("%s %s: %v", c.dt, c.shape, err)
		}
	}
}

// TestFP8Blocks reads weights whose config names another block.
func TestFP8Blocks(t *testing.T) {
	m := newMaker(t)
	p := m.param("w", compute.F32, 5, 7)
	data := make([]byte, 35+4*2*3)
	for i := range 35 {
		data[i] = 0x38 // 1.0
	}
	for i := range 6 {
		binary.LittleEndian.PutUint32(data[35+4*i:], math.Float32bits(float32(i+1)))
	}
	dir := t.TempDir()
	put(t, dir, "config.json", []byte(`{"quantization_config":{"weight_block_size":[4,3]}}`))
	put(t, dir, singleName, rawFile(`{`+entry("w", F8E4M3, "[5,7]", 0, 35)+`,`+entry("w_scale_inv", F32, "[2,3]", 35, 59)+`}`, data))
	f, err := Open(dir)
	must(t, err)
	defer f.Close()
	must(t, f.Load(list(p), m.be))
	if got := fmt.Sprint(floats(m, p)[21:]); got != "[1 1 1 2 2 2 3 4 4 4 5 5 5 6]" {
		t.Error(got)
	}
	for _, block := range []string{"[0,128]", "[128,-1]", "[128]", "[128,128,1]", `"x"`, "[1e99,1]"} {
		put(t, dir, "config.json", []byte(`{"quantization_config":{"weight_block_size":`+block+`}}`))
		if _, err := Open(dir); !isFormatError(err) {
			t.Errorf("a block of %s: %v", block, err)
		}
	}
}
