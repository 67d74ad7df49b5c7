package golden

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"
)

// Tensor is one tensor of a safetensors file: the raw little-endian bytes and the
// shape that the file's header gives.
type Tensor struct {
	Name  string
	DType string // as in the file: "F32", "I32", "U8", "BF16", ...
	Shape []int
	Raw   []byte
}

// Read reads every tensor of a safetensors file. A broken file ends the test.
func Read(t testing.TB, path string) map[string]Tensor {
	t.Helper()
	tensors, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	return tensors
}

// Get is the tensor called name; one that is missing ends the test.
func Get(t testing.TB, m map[string]Tensor, name string) Tensor {
	t.Helper()
	x, ok := m[name]
	if !ok {
		t.Fatalf("the golden file has no tensor %q", name)
	}
	return x
}

// Len is the number of elements.
func (x Tensor) Len() int {
	n := 1
	for _, d := range x.Shape {
		n *= d
	}
	return n
}

// F32 is the elements of an F32, BF16 or F64 tensor. It panics on others.
func (x Tensor) F32() []float32 {
	out := make([]float32, x.Len())
	for i := range out {
		switch x.DType {
		case "F32":
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(x.Raw[4*i:]))
		case "BF16":
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(x.Raw[2*i:])) << 16)
		case "F64":
			out[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(x.Raw[8*i:])))
		default:
			panic(fmt.Sprintf("golden: tensor %q is %s, not float", x.Name, x.DType))
		}
	}
	return out
}

// I32 is the elements of an I32 or I64 tensor. It panics on others.
func (x Tensor) I32() []int32 {
	out := make([]int32, x.Len())
	for i := range out {
		switch x.DType {
		case "I32":
			out[i] = int32(binary.LittleEndian.Uint32(x.Raw[4*i:]))
		case "I64":
			out[i] = int32(binary.LittleEndian.Uint64(x.Raw[8*i:]))
		default:
			panic(fmt.Sprintf("golden: tensor %q is %s, not an integer", x.Name, x.DType))
		}
	}
	return out
}

// read trusts the file: goldens are the developer's own. The loader for users' files
// is package checkpoint.
func read(path string) (map[string]Tensor, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) < 8 || binary.LittleEndian.Uint64(b) > uint64(len(b)-8) {
		return nil, fmt.Errorf("%s: not a safetensors file", path)
	}
	body := b[8+binary.LittleEndian.Uint64(b):]
	var header map[string]json.RawMessage
	if err := json.Unmarshal(b[8:len(b)-len(body)], &header); err != nil {
		return nil, fmt.Errorf("%s: header: %w", path, err)
	}
	delete(header, "__metadata__")
	tensors := make(map[string]Tensor, len(header))
	for name, raw := range header {
		var e struct {
			DType   string
			Shape   []int
			Offsets [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, fmt.Errorf("%s: tensor %q: %w", path, name, err)
		}
		if e.Offsets[0] < 0 || e.Offsets[1] < e.Offsets[0] || e.Offsets[1] > len(body) {
			return nil, fmt.Errorf("%s: tensor %q lies outside the file", path, name)
		}
		tensors[name] = Tensor{name, e.DType, e.Shape, body[e.Offsets[0]:e.Offsets[1]]}
	}
	return tensors, nil
}
