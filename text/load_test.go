package text

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestJSONRoundTrip: a tokenizer that is written and loaded is the same one.
func TestJSONRoundTrip(t *testing.T) {
	tok := smallTokenizer(t)
	data := mustJSON(t, tok)
	again, err := LoadTokenizer(data)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(mustJSON(t, again), data) {
		t.Error("the file written again differs")
	}
	for _, d := range goSource(t, 1<<18) {
		if !slices.Equal(tok.Encode(string(d)), again.Encode(string(d))) {
			t.Fatal("ids differ")
		}
	}
	for id := range int32(tok.VocabSize()) {
		if tok.Token(id) != again.Token(id) || tok.DecodeBytes([]int32{id}) == nil {
			t.Fatalf("token %d: %q and %q", id, tok.Token(id), again.Token(id))
		}
	}
	if again.BOS() != 0 || again.EOS() != 1 {
		t.Errorf("bos %d, eos %d", again.BOS(), again.EOS())
	}
}

// tinyJSON is a whole tokenizer.json with the smallest vocabulary and one merge.
func tinyJSON(t testing.TB) map[string]any {
	tok := mustTrain(t, [][]byte{[]byte("ab ab")}, TrainOptions{VocabSize: MinVocab + 1})
	var f map[string]any
	if err := json.Unmarshal(mustJSON(t, tok), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestMergesAsPairs: newer files give merges as lists of two.
func TestMergesAsPairs(t *testing.T) {
	f := tinyJSON(t)
	f["model"].(map[string]any)["merges"] = [][]string{{"a", "b"}}
	data, _ := json.Marshal(f)
	tok, err := LoadTokenizer(data)
	if err != nil {
		t.Fatal(err)
	}
	if ids := tok.Encode("ab"); len(ids) != 1 {
		t.Errorf("ids %v", ids)
	}
}

// TestHostileTokenizers: each damage is an error that names the part.
func TestHostileTokenizers(t *testing.T) {
	model := func(key string, v any) func(map[string]any) {
		return func(f map[string]any) { f["model"].(map[string]any)[key] = v }
	}
	vocab := func(token string, id any) func(map[string]any) {
		return func(f map[string]any) { f["model"].(map[string]any)["vocab"].(map[string]any)[token] = id }
	}
	added := func(v ...any) func(map[string]any) {
		return func(f map[string]any) { f["added_tokens"] = append(f["added_tokens"].([]any), v...) }
	}
	set := func(key string, v any) func(map[string]any) { return func(f map[string]any) { f[key] = v } }
	type obj = map[string]any
	for _, c := range []struct {
		name        string
		change      func(map[string]any)
		want        string
		unsupported bool
	}{
		{"no model", set("model", nil), "model", false},
		{"unigram", model("type", "Unigram"), "model.type", true},
		{"sentencepiece", model("byte_fallback", true), "byte_fallback", true},
		{"dropout", model("dropout", 0.5), "dropout", true},
		{"suffix", model("end_of_word_suffix", "</w>"), "end_of_word_suffix", true},
		{"vocab is a list", model("vocab", []int{1}), "model.vocab", false},
		{"no vocab", model("vocab", obj{}), "byte 0x0a", true},
		{"negative id", vocab("a", -1), "id -1", false},
		{"huge id", vocab("a", 2147483647), "2147483647", false},
		{"id beyond 32 bits", vocab("a", 4294967296), "model.vocab", false},
		{"fractional id", vocab("a", 1.5), "model.vocab", false},
		{"same id twice", vocab("zz", 10), "twice", false},
		{"empty token", vocab("", 263), "empty", false},
		{"byte missing", func(f map[string]any) { delete(f["model"].(obj)["vocab"].(obj), "A") }, "byte 0x41", true},
		{"merges are numbers", model("merges", []int{1}), "model.merges", false},
		{"merge of one", model("merges", []string{"ab"}), "model.merges[0]", false},
		{"merge of three", model("merges", []string{"a b c"}), "model.merges[0]", false},
		{"pair of three", model("merges", [][]string{{"a", "b", "c"}}), "model.merges[0]", false},
		{"merge of strangers", model("merges", []string{"a b", "zz y"}), "model.merges[1]", false},
		{"merge to a stranger", model("merges", []string{"a z"}), "model.merges[0]", false},
		{"added: huge id", added(obj{"id": 1 << 30, "content": "<x>"}), "added_tokens[", false},
		{"added: negative id", added(obj{"id": -5, "content": "<x>"}), "added_tokens[", false},
		{"added: empty", added(obj{"id": 264, "content": ""}), "added_tokens", false},
		{"added: too long", added(obj{"id": 264, "content": strings.Repeat("x", 257)}), "257 bytes", false},
		{"added: twice", added(obj{"id": 264, "content": "<think>"}), "twice", false},
		{"added: same id", added(obj{"id": 263, "content": "<x>"}), "twice", false},
		{"added: id of a byte", added(obj{"id": 10, "content": "<x>"}), "contradicts", false},
		{"added: byte with another id", added(obj{"id": 264, "content": "a"}), "contradicts", false},
		{"no pre-tokeniser", set("pre_tokenizer", nil), "ByteLevel", true},
		{"unknown pattern", set("pre_tokenizer", obj{"type": "Sequence", "pretokenizers": []any{
			obj{"type": "Split", "pattern": obj{"Regex": strings.Repeat("(a+)+", 1000)}, "behavior": "Isolated"},
			obj{"type": "ByteLevel", "use_regex": false}}}), "(a+)+", true},
		{"other split", set("pre_tokenizer", obj{"type": "Sequence", "pretokenizers": []any{
			obj{"type": "Split", "pattern": obj{"String": " "}, "behavior": "Removed"},
			obj{"type": "ByteLevel", "use_regex": false}}}), "Removed", true},
		{"many steps", set("pre_tokenizer", obj{"type": "Sequence", "pretokenizers": make([]obj, 1000)}), "1000 steps", true},
		{"prefix space", set("pre_tokenizer", obj{"type": "ByteLevel", "add_prefix_space": true}), "add_prefix_space", true},
		{"normaliser", set("normalizer", obj{"type": "Lowercase"}), "Lowercase", true},
		{"decoder", set("decoder", obj{"type": "WordPiece"}), "decoder", true},
		{"decoder is a number", set("decoder", 5), "decoder", false},
	} {
		f := tinyJSON(t)
		c.change(f)
		data, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		_, err = LoadTokenizer(data)
		var fe *FileError
		if !errors.As(err, &fe) || errors.Is(err, ErrUnsupported) != c.unsupported {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || fe.Hint == "" || len(err.Error()) > 1000 {
			t.Errorf("%s: %q should name %q and a way out", c.name, err, c.want)
		}
	}
}

func TestNotATokenizer(t *testing.T) {
	for _, s := range []string{"", "{", "[]", "null", "{}", "\xff", strings.Repeat("[", 1<<20), `{"model":{"vocab":{}}}` + "x"} {
		if _, err := LoadTokenizer([]byte(s)); err == nil || !strings.HasPrefix(err.Error(), "tokenizer.json") {
			t.Errorf("%.20q: %v", s, err)
		}
	}
}

// FuzzLoadTokenizer: whatever the file, loading ends in an error or in a tokenizer
// that encodes, decodes and can be written again.
func FuzzLoadTokenizer(f *testing.F) {
	whole, _ := json.Marshal(tinyJSON(f))
	f.Add(whole)
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := LoadTokenizer(data)
		if err != nil {
			return
		}
		const s = "abc <think> \xff 你好 123\n"
		got := string(tok.DecodeBytes(tok.Encode(s)))
		if tok.normalize == nil && !leftOut(got, s, func(b byte) bool { return tok.spm == nil && tok.byteID[b] == noByte }) {
			t.Errorf("%q comes back as %q", s, got)
		}
		tok.Decode(tok.EncodeWithSpecial(s))
		if _, err := LoadTokenizer(mustJSON(t, tok)); err != nil {
			t.Errorf("written again: %v", err)
		}
	})
}

// leftOut says whether got is s, but for bytes that may be missing.
func leftOut(got, s string, may func(byte) bool) bool {
	k := 0
	for i := range len(s) {
		switch {
		case k < len(got) && got[k] == s[i]:
			k++
		case !may(s[i]):
			return false
		}
	}
	return k == len(got)
}

// FuzzScanners: every scanner moves on, stays within the text, and cuts no character.
func FuzzScanners(f *testing.F) {
	for _, s := range []string{"a  b\r\n 12345 日本・ 's\x00\x01x\xff", "'", " '", "\u3040a", "\u00a0\u2028\n!"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, p := range preTokenizers {
			at := map[int]bool{}
			for i := range s {
				at[i] = true
			}
			at[len(s)] = true
			for i := 0; i < len(s); {
				j := p.next(classes(), s, i)
				if j <= i || j > len(s) || !at[j] {
					t.Fatalf("%s: %q: from %d to %d", p.name, s, i, j)
				}
				i = j
			}
		}
	})
}

func ExampleTokenizer_Encode() {
	docs := func(yield func([]byte) bool) { yield([]byte("one two one two three")) }
	tok, err := TrainBPE(context.Background(), docs, TrainOptions{VocabSize: 270})
	if err != nil {
		fmt.Println(err)
		return
	}
	typed := "one <think>"
	fmt.Println(len(tok.Encode(typed)), "tokens as text,", len(tok.EncodeWithSpecial(typed)), "with the control token")
	fmt.Println(tok.Decode(tok.Encode(typed)))
	// Output:
	// 9 tokens as text, 3 with the control token
	// one <think>
}
