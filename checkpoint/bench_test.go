package checkpoint

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/nn"
)

const benchRows, benchCols = 8192, 2048 // 64 MB of F32

func benchMaker(b *testing.B) (compute.Backend, *compute.Arena) {
	be, err := cpu.New(cpu.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ar := be.NewArena("bench")
	b.Cleanup(func() { ar.Free(); be.Close() })
	return be, ar
}

func benchParam(ar *compute.Arena, dt compute.DType) []nn.Param {
	return list(nn.Param{Name: "w", T: ar.Alloc(dt, benchRows, benchCols), Shape: []int{benchRows, benchCols}})
}

// BenchmarkHash is the speed of SHA-256 alone: the floor of saving and opening a state.
func BenchmarkHash(b *testing.B) {
	raw := make([]byte, pieceBytes)
	b.SetBytes(pieceBytes)
	for b.Loop() {
		sha256.Sum256(raw)
	}
}

// BenchmarkSaveState writes, hashes and syncs 64 MB; the disk decides.
func BenchmarkSaveState(b *testing.B) {
	be, ar := benchMaker(b)
	p := benchParam(ar, compute.F32)
	be.Zero(p[0].T)
	dir := b.TempDir()
	b.SetBytes(paramBytes(p[0]))
	for b.Loop() {
		if err := SaveState(dir, 1, State{Weights: p, Backend: be}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoadState opens (and so hashes) and loads 64 MB from the page cache.
func BenchmarkLoadState(b *testing.B) {
	be, ar := benchMaker(b)
	p := benchParam(ar, compute.F32)
	dir := b.TempDir()
	if err := SaveState(dir, 1, State{Weights: p, Backend: be}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(paramBytes(p[0]))
	for b.Loop() {
		s, err := LoadLatest(dir)
		if err == nil {
			err = s.Load(p, nil, be)
		}
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}

// BenchmarkLoad converts 16M elements from the page cache; bytes are the file's.
func BenchmarkLoad(b *testing.B) {
	for _, from := range []DType{F32, BF16, F16, F8E4M3} {
		for _, to := range []compute.DType{compute.F32, compute.BF16} {
			b.Run(fmt.Sprintf("%s-%v", from, to), func(b *testing.B) { benchLoad(b, from, to) })
		}
	}
}

func benchLoad(b *testing.B, from DType, to compute.DType) {
	be, ar := benchMaker(b)
	p := benchParam(ar, to)
	n := benchRows * benchCols * from.Size()
	header, all := entry("w", from, fmt.Sprintf("[%d,%d]", benchRows, benchCols), 0, n), n
	if from.IsFP8() {
		all += benchRows / 128 * benchCols / 128 * 4
		header += `,` + entry("w_scale_inv", F32, fmt.Sprintf("[%d,%d]", benchRows/128, benchCols/128), n, all)
	}
	dir := b.TempDir()
	put(b, dir, "config.json", []byte("{}"))
	put(b, dir, singleName, rawFile(`{`+header+`}`, make([]byte, all)))
	f, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.SetBytes(int64(n))
	for b.Loop() {
		if err := f.Load(p, be); err != nil {
			b.Fatal(err)
		}
	}
}
