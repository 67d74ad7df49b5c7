package train

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestPermuteIsABijection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 3000).Draw(t, "n")
		key := rapid.Uint64().Draw(t, "key")
		seen := make([]bool, n)
		for i := range n {
			p := Permute(i, n, key)
			if p < 0 || p >= n || seen[p] {
				t.Fatalf("Permute(%d, %d) = %d: outside, or seen before", i, n, p)
			}
			seen[p] = true
		}
	})
}

func TestSamplerStaysInsideAndShuffles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seqLen, ahead := rapid.IntRange(2, 40).Draw(t, "seqLen"), rapid.IntRange(1, 3).Draw(t, "ahead")
		total := int64(seqLen+ahead) + rapid.Int64Range(0, 2000).Draw(t, "more")
		s, err := newSampler(total, seqLen, ahead, rapid.Uint64().Draw(t, "seed"))
		if err != nil {
			t.Fatal(err)
		}
		for epoch := range int64(3) {
			seen := map[int64]bool{}
			for i := range s.windows {
				at := s.start(epoch*s.windows + i)
				if at < 0 || at+int64(seqLen+ahead) > total || seen[at] {
					t.Fatalf("sequence %d of epoch %d starts at %d of %d: outside, or seen before", i, epoch, at, total)
				}
				seen[at] = true
			}
		}
	})
	s, _ := newSampler(100000, 10, 2, 7)
	other, _ := newSampler(100000, 10, 2, 8)
	ordered, same := 0, 0
	for i := range int64(1000) {
		if s.start(i+1) == s.start(i)+10 {
			ordered++
		}
		if s.start(i) == other.start(i) {
			same++
		}
	}
	if ordered > 20 || same > 20 {
		t.Errorf("%d of 1000 sequences follow their predecessor, %d are those of another seed", ordered, same)
	}
}

func TestTooLittleDataForAWindow(t *testing.T) {
	_, err := newSampler(20, 20, 2, 1)
	wantError(t, err, "20 tokens", "--seq-len")
}

func TestTokenFiles(t *testing.T) {
	ids := []int32{0, 1, 65535, 300, 7}
	for _, vocab := range []int{65536, 65537} {
		name := filepath.Join(t.TempDir(), "x.tokens")
		d := &dataset{Vocab: vocab, Width: tokenWidth(vocab)}
		w, err := createTokens(name, d.Width)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := w.append(ids); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
		r, err := openTokens(name, d, 15)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]int32, 5)
		if err := r.read(got, 5); err != nil || !cmp.Equal(got, ids) {
			t.Errorf("vocabulary %d: read %v, %v", vocab, got, err)
		}
		r.vocab = 1000
		wantError(t, r.read(got, 0), "damaged", "65535")
		if err := os.Truncate(name, 10); err != nil {
			t.Fatal(err)
		}
		wantError(t, r.read(got, 10), "unexpected EOF")
		r.close()
		_, err = openTokens(name, d, 15)
		wantError(t, err, "has 10 bytes", fmt.Sprint(15*d.Width))
	}
}

func TestFillTargets(t *testing.T) {
	tokens, targets := make([]int32, 3), [][]int32{make([]int32, 3), make([]int32, 3)}
	fillTargets(tokens, targets, []int32{1, 2, 3, 4, 5})
	if diff := cmp.Diff([][]int32{{1, 2, 3}, {2, 3, 4}, {3, 4, 5}}, append([][]int32{tokens}, targets...)); diff != "" {
		t.Error(diff)
	}
}
