package golden

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, header string, body []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.safetensors")
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(append(b, header...), body...)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	var body []byte
	body = binary.LittleEndian.AppendUint32(body, math.Float32bits(1.5))
	body = binary.LittleEndian.AppendUint32(body, math.Float32bits(-2))
	body = binary.LittleEndian.AppendUint32(body, uint32(0xfffffff9))
	m := Read(t, write(t, `{"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},`+
		`"y":{"dtype":"I32","shape":[],"data_offsets":[8,12]}}`, body))
	if got := fmt.Sprint(Get(t, m, "x").F32(), Get(t, m, "x").Shape, Get(t, m, "y").I32()); got != "[1.5 -2] [1 2] [-7]" {
		t.Errorf("read %s", got)
	}
}

func TestReadBroken(t *testing.T) {
	path := write(t, `{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, make([]byte, 4))
	if _, err := read(path); err == nil {
		t.Error("a tensor beyond the end was read")
	}
}

func TestGoldenCasesHoldTensors(t *testing.T) {
	for _, c := range Cases(t, "model") {
		if n := len(Read(t, c.Path("golden.safetensors"))); n < 3 {
			t.Errorf("%s: %d tensors", c.Name, n)
		}
	}
}
