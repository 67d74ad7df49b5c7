package checkpoint

import (
	"errors"
	"os"
	"testing"
	"unsafe"

	"sonde/compute"
	"sonde/nn"
)

// TestOpenMemory: a model in memory is bound where it lies, and a bad one is refused as on
// a disk.
func TestOpenMemory(t *testing.T) {
	m := newMaker(t)
	dir := t.TempDir()
	w := m.param("w", compute.BF16, 4, 8)
	must(t, SaveHF(dir, HF{ConfigJSON: []byte("{}")}, []nn.Param{w}, m.be, 0))
	files := Files{}
	for _, name := range []string{"config.json", "model.safetensors"} {
		raw, err := os.ReadFile(dir + "/" + name)
		must(t, err)
		files[name] = raw
	}
	s, err := OpenMemory("inside", files)
	must(t, err)
	defer s.Close()
	if len(s.Tensors()) != 1 || string(s.Config) != "{}" || s.Tokenizer != nil {
		t.Fatalf("%+v", s)
	}
	var bound compute.Tensor
	slot := nn.Slot{Param: m.param("w", compute.BF16, 4, 8), Field: &bound, Experts: 1}
	must(t, s.Bind([]nn.Slot{slot}, m.be, m.ar, BindOptions{FetchAhead: true}))
	raw := files["model.safetensors"]
	at, start := uintptr(bound.Ptr()), uintptr(unsafe.Pointer(&raw[0]))
	if at < start || at >= start+uintptr(len(raw)) {
		t.Error("the matrix was copied")
	}
	var fe *FormatError
	for name, broken := range map[string]Files{
		"no config":  {"model.safetensors": raw},
		"no weights": {"config.json": []byte("{}")},
		"cut short":  {"config.json": []byte("{}"), "model.safetensors": raw[:len(raw)-1]},
		"no header":  {"config.json": []byte("{}"), "model.safetensors": raw[:7]},
	} {
		if _, err := OpenMemory("inside", broken); !errors.As(err, &fe) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
