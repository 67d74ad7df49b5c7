package checkpoint

import (
	"encoding/binary"
	"errors"
	"runtime"
	"testing"
	"time"

	"sonde/text"
)

// tinyVocabulary is a tokenizer's metadata: all bytes, one merge, two control tokens.
func tinyVocabulary(g *GGUF) {
	var tokens []string
	kinds := []int32{3, 3}
	tokens = append(tokens, "<s>", "</s>")
	others := rune(0x100) // how bytes that cannot be printed are spelled
	for b := range rune(256) {
		if b < '!' || b > '~' && b < 0xa1 || b == 0xad {
			b, others = others, others+1
		}
		tokens, kinds = append(tokens, string(b)), append(kinds, 1)
	}
	tokens, kinds = append(tokens, "ab"), append(kinds, 1)
	g.set("tokenizer.ggml.model", "gpt2")
	g.set("tokenizer.ggml.pre", "qwen2")
	g.set("tokenizer.ggml.tokens", tokens)
	g.set("tokenizer.ggml.token_type", kinds)
	g.set("tokenizer.ggml.merges", []string{"a b"})
	g.set("tokenizer.ggml.eos_token_id", uint32(1))
}

// sentencePiece is a vocabulary of the other kind.
func sentencePiece(g *GGUF) {
	g.set("tokenizer.ggml.model", "llama")
	g.set("tokenizer.ggml.tokens", []string{"<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "▁a", "aa"})
	g.set("tokenizer.ggml.token_type", []int32{2, 3, 3, 6, 1, 1, 1, 1})
	g.set("tokenizer.ggml.scores", []float32{0, 0, 0, 0, -1, -2, -3, -4})
}

// ggufSeeds are whole files, each sound or with one fault, so that the fuzzer starts
// beyond the first checks.
func ggufSeeds(t testing.TB) (seeds [][]byte) {
	for _, g := range smallGGUF {
		for _, vocabulary := range []func(*GGUF){func(*GGUF) {}, tinyVocabulary, sentencePiece} {
			c := &GGUF{Values: map[string]any{}}
			for _, k := range g.Keys {
				c.set(k, g.Values[k])
			}
			vocabulary(c)
			seeds = append(seeds, ggufBytes(t, c, oneTensor()))
		}
	}
	for format := range uint32(41) {
		seeds = append(seeds, (&handMade{data: 300}).tensor("token_embd.weight", format, 0, 256).bytes())
	}
	for kind := range uint32(14) {
		seeds = append(seeds, good().add("k", kind, make([]byte, 16)).bytes(), good().add("k", 9, kind, uint64(1), make([]byte, 16)).bytes())
	}
	for _, n := range []uint64{0, 1, 1 << 31, 1 << 32, 1 << 61, 1 << 63, 1<<64 - 1} {
		seeds = append(seeds, (&handMade{tensors: n}).bytes(), (&handMade{pairs: n}).bytes(), good().add("k", 8, n).bytes(), good().add("k", 9, uint32(8), n).bytes(),
			(&handMade{data: 64}).tensor("w", 0, n, 4).bytes(), (&handMade{data: 64}).tensor("w", 0, 0, n, 2).bytes(), good().add("general.alignment", 10, n).bytes())
	}
	return seeds
}

// checkGGUF reads a file as far as a model is read. Whatever is let through must be
// readable to the last byte, within the memory and the time that the file's size
// allows.
func checkGGUF(t *testing.T, raw []byte) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	s, err := openGGUFBytes(raw)
	if err != nil && !isFormatError(err) {
		t.Fatalf("%v is not a *FormatError", err)
	}
	if err == nil {
		_, _, err := text.FromGGUF("x.gguf", s.GGUF.Values)
		var fe *text.FileError
		if err != nil && !errors.Is(err, text.ErrNoVocabulary) && !errors.As(err, &fe) {
			t.Fatalf("%v is not a *FileError", err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > uint64(2*len(raw)+64<<20) {
		t.Fatalf("%d bytes of memory for a file of %d", got, len(raw))
	}
	if d := time.Since(start); d > time.Second {
		t.Fatalf("a file of %d bytes took %v", len(raw), d)
	}
	if err != nil {
		return
	}
	for _, x := range s.Tensors() {
		n, ok := elements(x.Shape)
		per, whole := x.DType.RowBytes(x.Shape[len(x.Shape)-1])
		if !ok || !whole || int64(n/x.Shape[len(x.Shape)-1])*int64(per) != x.Bytes {
			t.Fatalf("%q: %v takes %d bytes", x.Name, x, x.Bytes)
		}
		at := s.weights.where[x.Name]
		if err := at.file.Read(at.info, 0, make([]byte, x.Bytes)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGGUFSeedsAreSound: the vocabularies of the fuzzers' seeds make tokenizers.
func TestGGUFSeedsAreSound(t *testing.T) {
	for _, vocabulary := range []func(*GGUF){tinyVocabulary, sentencePiece} {
		g := &GGUF{Values: map[string]any{}}
		vocabulary(g)
		tok, _, err := text.FromGGUF("x", g.Values)
		if err != nil || len(tok.Encode("ab a")) == 0 {
			t.Error(err)
		}
	}
}

// FuzzGGUF feeds the reader whole files.
func FuzzGGUF(f *testing.F) {
	for _, raw := range ggufSeeds(f) {
		f.Add(raw)
	}
	f.Fuzz(checkGGUF)
}

// FuzzGGUFNumber changes one number of a sound file.
func FuzzGGUFNumber(f *testing.F) {
	seeds := ggufSeeds(f)
	for i := range 10 {
		for _, n := range []uint64{0, 1, 1 << 31, 1 << 63, 1<<64 - 1} {
			f.Add(uint8(i), uint16(8+7*i), uint8(8), n)
		}
	}
	f.Fuzz(func(t *testing.T, seed uint8, at uint16, width uint8, n uint64) {
		raw := append([]byte(nil), seeds[int(seed)%len(seeds)]...)
		var number [8]byte
		binary.LittleEndian.PutUint64(number[:], n)
		copy(raw[min(int(at), len(raw)):], number[:width%9])
		checkGGUF(t, raw)
	})
}
