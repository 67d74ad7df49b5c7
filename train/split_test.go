package train

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"testing"
)

func scanned(t *testing.T, dir string, fraction float64) (*corpus, error) {
	t.Helper()
	c := &corpus{field: "text", piece: 1 << 20}
	var err error
	if c.sources, err = findSources([]string{dir}, "", &c.counts); err != nil {
		t.Fatal(err)
	}
	return c, c.scan(fraction, 1<<20)
}

func TestSplitGoesByContent(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for i := range 400 {
		put(t, filepath.Join(a, fmt.Sprintf("%d.txt", i)), fmt.Sprintf("document %d", i))
		put(t, filepath.Join(b, fmt.Sprintf("other%d.txt", 1000-i)), fmt.Sprintf("document %d", i))
	}
	sides := map[string]bool{}
	ca, err := scanned(t, a, 0.05)
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	if err := ca.each(&Counts{}, func(d *document) error {
		sides[string(d.text)] = ca.held(d)
		if ca.held(d) {
			held++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if held < 8 || held > 40 {
		t.Errorf("%d of 400 documents are held out, expected about 20", held)
	}
	cb, err := scanned(t, b, 0.05)
	if err != nil {
		t.Fatal(err)
	}
	if err := cb.each(&Counts{}, func(d *document) error {
		if cb.held(d) != sides[string(d.text)] {
			t.Errorf("%q lies on another side under another name and in another order", d.text)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if ca.counts.HeldoutBytes+ca.counts.TrainBytes != ca.counts.Bytes || ca.hash == cb.hash {
		t.Errorf("%+v: sides must add up, and the order must show in the hash", ca.counts)
	}
}

func TestOneSidedOrEmptyData(t *testing.T) {
	one := t.TempDir()
	put(t, filepath.Join(one, "a.txt"), "a single document")
	_, err := scanned(t, one, 0.0001)
	wantError(t, err, "held-out side", "--heldout", "--piece")
	_, err = scanned(t, one, 1)
	wantError(t, err, "nothing is left to learn from", "--heldout")

	_, err = scanned(t, t.TempDir(), 0.05)
	wantError(t, err, "no file", "--data")
	binary := t.TempDir()
	put(t, filepath.Join(binary, "a.bin"), "\x00\x01")
	_, err = scanned(t, binary, 0.05)
	wantError(t, err, "not UTF-8 text", "--data")
	empty := t.TempDir()
	put(t, filepath.Join(empty, "a.txt"), "")
	_, err = scanned(t, empty, 0.05)
	wantError(t, err, "empty files")
	lines := t.TempDir()
	put(t, filepath.Join(lines, "a.jsonl"), `{"content":"x"}`)
	_, err = scanned(t, lines, 0.05)
	wantError(t, err, `no field "text"`, "--text-field", "a.jsonl, line 1")
}

func TestHashSetGrows(t *testing.T) {
	s, err := newHashSet()
	if err != nil {
		t.Fatal(err)
	}
	defer s.free()
	const n = 30000
	for round := range 2 {
		for i := range n {
			fresh, err := s.add(sha256.Sum256([]byte(fmt.Sprint(i))))
			if err != nil {
				t.Fatal(err)
			}
			if fresh != (round == 0) {
				t.Fatalf("round %d: key %d is fresh: %v", round, i, fresh)
			}
		}
	}
}
