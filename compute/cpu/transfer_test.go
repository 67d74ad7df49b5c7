package cpu

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"sonde/compute"
)

// TestTransfersEqualTheReference moves random bits, NaNs among them, in and out of
// dense and strided tensors, on one and on several workers.
func TestTransfersEqualTheReference(t *testing.T) {
	ref := compute.NewReference()
	for _, threads := range []int{1, 3} {
		be, err := New(Options{Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		defer be.Close()
		for _, shape := range [][2]int{{1, 1}, {3, 5}, {1, 3*spanLen + 7}, {300, 700}, {0, 4}, {4, 0}} {
			for _, strided := range []bool{false, true} {
				for _, to := range []compute.DType{compute.F32, compute.BF16, compute.I32} {
					for _, from := range []compute.DType{compute.F32, compute.BF16, compute.I32} {
						if (to == compute.I32) != (from == compute.I32) {
							continue
						}
						name := fmt.Sprintf("%v %v to %v, strided %v, %d threads", shape, from, to, strided, threads)
						compareTransfer(t, name, be, ref, shape, strided, from, to)
					}
				}
			}
		}
	}
}

func compareTransfer(t *testing.T, name string, be *Backend, ref *compute.Reference, shape [2]int, strided bool, from, to compute.DType) {
	ar := be.NewArena("transfer")
	defer ar.Free()
	rows, cols := shape[0], shape[1]
	alloc := func() (whole, view compute.Tensor) {
		if !strided {
			whole = ar.Alloc(to, rows, cols)
			return whole, whole
		}
		whole = ar.Alloc(to, rows, cols+9)
		return whole, whole.Cols(4, 4+cols)
	}
	wholeA, a := alloc()
	wholeB, b := alloc()
	r := rand.New(rand.NewPCG(uint64(rows), uint64(cols)))
	raw := make([]byte, rows*cols*from.Size()+1)[1:] // not aligned
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	be.Upload(a, from, raw)
	ref.Upload(b, from, raw)
	equal(t, name+": Upload, gaps included", ref, wholeA, wholeB)
	got, want := make([]byte, a.Len()*to.Size()), make([]byte, a.Len()*to.Size())
	be.Download(got, a)
	ref.Download(want, a)
	if string(got) != string(want) {
		t.Errorf("%s: Download differs", name)
	}
	if to == compute.I32 || from == compute.BF16 {
		return
	}
	v, w := make([]float32, a.Len()), make([]float32, a.Len())
	be.DownloadF32(v, a)
	ref.DownloadF32(w, a)
	if string(bits(v)) != string(bits(w)) {
		t.Errorf("%s: DownloadF32 differs", name)
	}
	for i := range v {
		v[i] = r.Float32()*4 - 2
	}
	be.UploadF32(a, v)
	ref.UploadF32(b, v)
	equal(t, name+": UploadF32, gaps included", ref, wholeA, wholeB)
}

func equal(t *testing.T, name string, ref *compute.Reference, a, b compute.Tensor) {
	x, y := make([]byte, a.Len()*a.DType().Size()), make([]byte, a.Len()*a.DType().Size())
	ref.Download(x, a)
	ref.Download(y, b)
	if string(x) != string(y) {
		t.Errorf("%s differs", name)
	}
}

func bits(v []float32) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic(err)
	}
	return b
}
