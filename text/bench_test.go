package text

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// smallTokenizer is trained once for all tests and benchmarks; without Go source
// those are skipped.
func smallTokenizer(t testing.TB) *Tokenizer {
	docs := goSource(t, 4<<20)
	trainSmall.Do(func() { small = mustTrain(t, docs, TrainOptions{VocabSize: 4096}) })
	return small
}

var (
	trainSmall sync.Once
	small      *Tokenizer
)

func deepseekTokenizer(t testing.TB) *Tokenizer {
	data, err := os.ReadFile(filepath.Join(sharedDir(t, "SONDE_TOKENIZERS", "tokenizers"), "deepseek_v3", "tokenizer.json"))
	if err != nil {
		t.Skip(err)
	}
	tok, err := LoadTokenizer(data)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// BenchmarkEncode encodes Go source, file by file, in one goroutine.
func BenchmarkEncode(b *testing.B) {
	docs := goSource(b, 16<<20)
	size := len(bytes.Join(docs, nil))
	run := func(name string, tok *Tokenizer) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(size))
			var ids []int32
			tokens := 0
			for b.Loop() {
				tokens = 0
				for _, d := range docs {
					ids = tok.AppendEncode(ids[:0], string(d))
					tokens += len(ids)
				}
			}
			b.ReportMetric(float64(size)/float64(tokens), "bytes/token")
		})
	}
	run("trained4096", smallTokenizer(b))
	run("deepseek_v3", deepseekTokenizer(b))
}

// BenchmarkScan is the share of BenchmarkEncode that cuts text into pieces.
func BenchmarkScan(b *testing.B) {
	s := string(bytes.Join(goSource(b, 8<<20), nil))
	b.SetBytes(int64(len(s)))
	cls := classes()
	for b.Loop() {
		for i := 0; i < len(s); {
			i = scanDeepSeek(cls, s, i)
		}
	}
}

// BenchmarkEncodeCold encodes with nothing remembered: every piece is merged anew.
func BenchmarkEncodeCold(b *testing.B) {
	tok := smallTokenizer(b)
	s := string(bytes.Join(goSource(b, 1<<20), nil))
	b.SetBytes(int64(len(s)))
	w := new(scratch)
	var ids []int32
	cls := classes()
	for b.Loop() {
		ids = ids[:0]
		for i := 0; i < len(s); {
			j := scanDeepSeek(cls, s, i)
			ids = append(ids, tok.bpe(s[i:j], w)...)
			i = j
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	tok := smallTokenizer(b)
	s := string(bytes.Join(goSource(b, 8<<20), nil))
	ids := tok.Encode(s)
	b.SetBytes(int64(len(s)))
	for b.Loop() {
		tok.Decode(ids)
	}
}

func BenchmarkLoad(b *testing.B) {
	data, err := os.ReadFile(filepath.Join(sharedDir(b, "SONDE_TOKENIZERS", "tokenizers"), "deepseek_v3", "tokenizer.json"))
	if err != nil {
		b.Skip(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := LoadTokenizer(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTrain trains on Go source with one goroutine a core.
func BenchmarkTrain(b *testing.B) {
	docs := goSource(b, 32<<20)
	b.SetBytes(int64(len(bytes.Join(docs, nil))))
	for b.Loop() {
		if _, err := TrainBPE(context.Background(), all(docs), TrainOptions{VocabSize: 8192}); err != nil {
			b.Fatal(err)
		}
	}
}
