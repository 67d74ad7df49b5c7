package num

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"sonde/internal/golden"
)

// TestGoldenBlocks decodes the golden blocks of every type found and compares bit for
// bit.
func TestGoldenBlocks(t *testing.T) {
	m := golden.Read(t, filepath.Join(golden.Dir(t), "gguf", "blocks.safetensors"))
	seen := 0
	for _, b := range blockTypes() {
		blocks, ok := m[b.String()+".blocks"]
		if !ok {
			t.Logf("%-8v no golden blocks", b)
			continue
		}
		seen++
		want := golden.Get(t, m, b.String()+".values").F32()
		got := make([]float32, len(want))
		b.Decode(got, blocks.Raw)
		wrong := 0
		for i := range want {
			if math.Float32bits(got[i]) != math.Float32bits(want[i]) && !(got[i] != got[i] && want[i] != want[i]) {
				if wrong++; wrong == 1 {
					t.Errorf("%v: element %d is %g, want %g", b, i, got[i], want[i])
				}
			}
		}
		t.Logf("%-8v %6d values, %d differ", b, len(want), wrong)
	}
	if seen == 0 {
		t.Error("no golden blocks of a known type")
	}
	for name := range m {
		if ty, ok := strings.CutSuffix(name, ".blocks"); ok && ty != "BF16" && blockNamed(ty) == 0 {
			t.Logf("%s: not a block format here", ty)
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

func blockNamed(name string) BlockType {
	for _, b := range blockTypes() {
		if b.String() == name {
			return b
		}
	}
	return 0
}
