package text

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// goroot is the folder of the Go toolchain, "" if there is none.
var goroot = sync.OnceValue(func() string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
})

// goSource reads Go files of the toolchain's own library, up to limit bytes.
func goSource(t testing.TB, limit int) [][]byte {
	var docs [][]byte
	root := filepath.Join(goroot(), "src")
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || limit <= 0 || filepath.Ext(p) != ".go" {
			return err
		}
		data, err := os.ReadFile(p)
		docs = append(docs, data)
		limit -= len(data)
		return err
	})
	if err != nil || len(docs) == 0 {
		t.Skipf("no Go source in %s: %v", root, err)
	}
	return docs
}

// all yields documents in order.
func all(docs [][]byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for _, d := range docs {
			if !yield(d) {
				return
			}
		}
	}
}

func mustTrain(t testing.TB, docs [][]byte, o TrainOptions) *Tokenizer {
	t.Helper()
	tok, err := TrainBPE(context.Background(), all(docs), o)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func mustJSON(t testing.TB, tok *Tokenizer) []byte {
	t.Helper()
	data, err := tok.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTrainIsDeterministic(t *testing.T) {
	docs := goSource(t, 1<<20)
	want := mustJSON(t, mustTrain(t, docs, TrainOptions{VocabSize: 1024, Threads: 1}))
	for _, threads := range []int{2, 7} {
		if got := mustJSON(t, mustTrain(t, docs, TrainOptions{VocabSize: 1024, Threads: threads})); !bytes.Equal(got, want) {
			t.Errorf("%d threads give another tokenizer than one", threads)
		}
	}
	slices.Reverse(docs)
	if got := mustJSON(t, mustTrain(t, docs, TrainOptions{VocabSize: 1024, Threads: 2})); !bytes.Equal(got, want) {
		t.Error("the order of the documents matters")
	}
}

func TestTrainLayout(t *testing.T) {
	const size = 600
	tok := mustTrain(t, goSource(t, 1<<18), TrainOptions{VocabSize: size, Warn: func(m string) { t.Error(m) }})
	want := map[string]int32{
		"<｜begin▁of▁sentence｜>": 0, "<｜end▁of▁sentence｜>": 1, "<｜▁pad▁｜>": 2, "!": 3, "Ġ": 223,
		"<｜User｜>": size - 4, "<｜Assistant｜>": size - 3, "<think>": size - 2, "</think>": size - 1,
	}
	for s, id := range want {
		if got, ok := tok.ID(s); !ok || got != id {
			t.Errorf("%q has id %d (%v), want %d", s, got, ok, id)
		}
		if got := tok.Token(id); got != s {
			t.Errorf("id %d is %q, want %q", id, got, s)
		}
	}
	if tok.VocabSize() != size || tok.BOS() != 0 || tok.EOS() != 1 || tok.Placeholders() != 0 {
		t.Errorf("size %d, bos %d, eos %d, placeholders %d", tok.VocabSize(), tok.BOS(), tok.EOS(), tok.Placeholders())
	}
	for id := range int32(size) {
		if tok.Token(id) == "" {
			t.Errorf("id %d is no token", id)
		}
	}
}

// TestTrainByHand is a case small enough to follow: " ab" x3 and " abc" x2.
func TestTrainByHand(t *testing.T) {
	tok := mustTrain(t, [][]byte{[]byte(" ab ab ab abc abc")}, TrainOptions{VocabSize: MinVocab + 3})
	var got []string
	for id := int32(3 + 256); id < MinVocab+3-4; id++ {
		got = append(got, tok.Token(id))
	}
	// "ab" and "Ġa" both occur 5 times; a (67) comes before Ġ (223).
	if want := []string{"ab", "Ġab", "Ġabc"}; !slices.Equal(got, want) {
		t.Errorf("tokens %q, want %q", got, want)
	}
}

func TestTrainTooLittleText(t *testing.T) {
	var warning string
	tok := mustTrain(t, [][]byte{[]byte("aaaa bbbb aaaa")}, TrainOptions{VocabSize: 512, Warn: func(m string) { warning = m }})
	if tok.VocabSize() != 512 || tok.Placeholders() == 0 || !strings.Contains(warning, "placeholders") {
		t.Errorf("size %d, %d placeholders, warning %q", tok.VocabSize(), tok.Placeholders(), warning)
	}
	if s := "aaaa <｜place▁holder▁no▁0｜>"; tok.Decode(tok.Encode(s)) != s {
		t.Errorf("%q does not come back", s)
	}
}

func TestTrainErrors(t *testing.T) {
	ctx := context.Background()
	for _, size := range []int{-1, 0, MinVocab - 1, MaxVocab + 1} {
		if _, err := TrainBPE(ctx, all([][]byte{[]byte("text")}), TrainOptions{VocabSize: size}); err == nil || !strings.Contains(err.Error(), "263") {
			t.Errorf("vocabulary of %d: %v", size, err)
		}
	}
	if _, err := TrainBPE(ctx, all(nil), TrainOptions{VocabSize: 300}); err == nil || !strings.Contains(err.Error(), "no text") {
		t.Errorf("no documents: %v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	read := 0
	_, err := TrainBPE(ctx, func(yield func([]byte) bool) {
		for yield([]byte("one document after another")) {
			if read++; read == 100 {
				cancel()
			}
			if read > 101 {
				t.Fatal("reads on after the context was cancelled")
			}
		}
	}, TrainOptions{VocabSize: 300})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestSingleDigits: no merge joins two digits, and the file says so to others' readers.
func TestSingleDigits(t *testing.T) {
	docs := [][]byte{[]byte("12 and 12 and 12 and 1212 and 12")}
	for _, single := range []bool{false, true} {
		tok := mustTrain(t, docs, TrainOptions{VocabSize: MinVocab + 8, SingleDigits: single})
		again, err := LoadTokenizer(mustJSON(t, tok))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(again.Encode("1212")); single != (n == 4) {
			t.Errorf("SingleDigits %v: 1212 has %d tokens", single, n)
		}
		if n := len(again.Encode(" and")); n != 1 {
			t.Errorf("SingleDigits %v: \" and\" has %d tokens", single, n)
		}
	}
}
