package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"sonde/compute"
	"sonde/nn"
)

// rawFile is a safetensors file with the given header and data.
func rawFile(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func put(t testing.TB, dir, name string, raw []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// maker makes parameters in an arena of their own.
type maker struct {
	be *compute.Reference
	ar *compute.Arena
}

func newMaker(t *testing.T) maker {
	be := compute.NewReference()
	ar := be.NewArena("test")
	t.Cleanup(func() { ar.Free(); be.Close() })
	return maker{be, ar}
}

func (m maker) param(name string, dt compute.DType, shape ...int) nn.Param {
	n, _ := elements(shape)
	rows, cols := 1, n
	if len(shape) == 2 {
		rows, cols = shape[0], shape[1]
	}
	return nn.Param{Name: name, T: m.ar.Alloc(dt, rows, cols), Shape: shape}
}

// random fills params with random bits, NaNs of every kind included.
func (m maker) random(params []nn.Param, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for _, p := range params {
		raw := make([]byte, (paramBytes(p)+7)/8*8)
		for i := 0; i < len(raw); i += 8 {
			binary.LittleEndian.PutUint64(raw[i:], r.Uint64())
		}
		raw = raw[:paramBytes(p)]
		m.be.Upload(p.T, p.T.DType(), raw)
	}
}

// contents is the bytes of every parameter, for comparing.
func (m maker) contents(params []nn.Param) string {
	var all []byte
	for _, p := range params {
		raw := make([]byte, paramBytes(p))
		m.be.Download(raw, p.T)
		all = append(all, raw...)
	}
	return string(all)
}

// small is a set of parameters of every format and several shapes.
func (m maker) small() []nn.Param {
	return []nn.Param{
		m.param("b.bias", compute.BF16, 5),
		m.param("a.weight", compute.F32, 3, 4),
		m.param("c.weight", compute.BF16, 2, 3),
		m.param("norm", compute.F32, 7),
		m.param("none", compute.F32, 0, 4),
		m.param("ids", compute.I32, 6),
		m.param("naïve \"quoted\" <名>", compute.F32, 1, 1),
	}
}

func isFormatError(err error) bool {
	var fe *FormatError
	return errors.As(err, &fe) && fe.Path != "" && fe.Problem != ""
}

func floats(m maker, p nn.Param) []float32 {
	v := make([]float32, p.T.Len())
	if p.T.DType() == compute.F32 {
		m.be.DownloadF32(v, p.T)
		return v
	}
	raw := make([]byte, paramBytes(p))
	m.be.Download(raw, p.T)
	widen(v, BF16, raw)
	return v
}

func entry(name string, dt DType, shape string, begin, end int) string {
	return fmt.Sprintf(`%q:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, dt, shape, begin, end)
}
