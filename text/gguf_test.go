package text

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDeepSeekV1Pieces compares with what Hugging Face's tokenizers library makes of
// the same splits, over random strings of characters from all classes.
func TestDeepSeekV1Pieces(t *testing.T) {
	f, err := os.Open(filepath.Join("testdata", "pieces_deepseek_v1.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, cases := bufio.NewScanner(f), 0
	for lines.Scan() {
		var c struct {
			Text  string
			LLM   []string `json:"deepseek-llm"`
			Coder []string `json:"deepseek-coder"`
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string][]string{"deepseek-llm": c.LLM, "deepseek-coder": c.Coder} {
			if got := piecesOf(findNamed(name), c.Text); !slices.Equal(got, want) {
				t.Errorf("%s: %q\n got %q\nwant %q", name, c.Text, got, want)
			}
		}
		cases++
	}
	if err := lines.Err(); err != nil || cases < 100 {
		t.Errorf("%d cases: %v", cases, err)
	}
}

func piecesOf(p *preTokenizer, s string) (list []string) {
	for i := 0; i < len(s); {
		j := p.next(classes(), s, i)
		list = append(list, s[i:j])
		i = j
	}
	return list
}

// TestDeepSeekV1Linear: white space that may end a piece is looked at but once or twice.
func TestDeepSeekV1Linear(t *testing.T) {
	for _, name := range []string{"deepseek-llm", "deepseek-coder"} {
		for _, unit := range []string{" ", " \u3000", "\u3000", "+ ", "a ", "1", "\n", "一 ", "! ", "\xff"} {
			s := strings.Repeat(unit, 1<<17/len(unit)) + "x"
			if got := strings.Join(piecesOf(findNamed(name), s), ""); got != s {
				t.Errorf("%s: %q is not the same in pieces", name, unit)
			}
		}
	}
}

// ggufOf are a tokenizer's metadata as a map.
func ggufOf(t *testing.T, tok *Tokenizer, c *TokenizerConfig, size int) map[string]any {
	t.Helper()
	list, err := tok.GGUF(c, size)
	if err != nil {
		t.Fatal(err)
	}
	meta := map[string]any{}
	for _, v := range list {
		meta[v.Key] = v.Value
	}
	return meta
}

func trained(t *testing.T) (*Tokenizer, *TokenizerConfig) {
	t.Helper()
	tok, err := TrainBPE(t.Context(), slices.Values([][]byte{bytes.Repeat([]byte("the cat sat on the mat. 深度学习 123\n"), 20)}), TrainOptions{VocabSize: 320})
	if err != nil {
		t.Fatal(err)
	}
	return tok, NewTokenizerConfig(tok, 512)
}

const sample = "<｜begin▁of▁sentence｜>the cat\n\n sat 1234 深度学习 <think>é\xff\x00</think>"

func TestGGUFRoundTrip(t *testing.T) {
	tok, c := trained(t)
	meta := ggufOf(t, tok, c, tok.VocabSize()+5)
	back, config, err := FromGGUF("m.gguf", meta)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := back.EncodeWithSpecial(sample), tok.EncodeWithSpecial(sample); !slices.Equal(got, want) {
		t.Errorf("ids %v, expected %v", got, want)
	}
	if back.BOS() != tok.BOS() || back.EOS() != tok.EOS() || !config.AddBOS || config.ChatTemplate != c.ChatTemplate || config.Pad != c.Pad {
		t.Errorf("the ends are %d and %d, the config %+v", back.BOS(), back.EOS(), config)
	}
	raw, err := back.JSON()
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadTokenizer(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := again.EncodeWithSpecial(sample), tok.EncodeWithSpecial(sample); !slices.Equal(got, want) {
		t.Errorf("as a tokenizer.json: ids %v, expected %v", got, want)
	}
	if kinds := meta[ggufTypes].([]int32); kinds[len(kinds)-1] != ggufUnused || kinds[0] != ggufControl || kinds[3] != ggufNormal {
		t.Errorf("kinds %v", kinds)
	}
	if _, err := tok.GGUF(c, tok.VocabSize()-1); err == nil {
		t.Error("a model with fewer logits than the tokenizer has ids was accepted")
	}
}

// TestGoldenGGUF: the published tokenizers give the same ids out of GGUF's metadata.
func TestGoldenGGUF(t *testing.T) {
	goldens := filepath.Join(sharedDir(t, "SONDE_GOLDENS", "goldens"), "tokenizer")
	lists, _ := filepath.Glob(filepath.Join(goldens, "*.jsonl"))
	if len(lists) == 0 {
		t.Skipf("no cases in %s", goldens)
	}
	for _, list := range lists {
		name := strings.TrimSuffix(filepath.Base(list), ".jsonl")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(sharedDir(t, "SONDE_TOKENIZERS", "tokenizers"), name, "tokenizer.json"))
			if err != nil {
				t.Skip(err)
			}
			tok, err := LoadTokenizer(data)
			if errors.Is(err, ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			back, _, err := FromGGUF("m.gguf", ggufOf(t, tok, &TokenizerConfig{}, tok.VocabSize()+100))
			if err != nil {
				t.Fatal(err)
			}
			checkGoldens(t, back, list)
		})
	}
}

// TestGGUFVocabularyRefused changes one thing of a sound vocabulary.
func TestGGUFVocabularyRefused(t *testing.T) {
	tok, c := trained(t)
	good := ggufOf(t, tok, c, tok.VocabSize())
	tokens := func(change func(list []string) []string) any {
		return change(slices.Clone(good[ggufTokens].([]string)))
	}
	for _, x := range []struct {
		key         string
		value       any
		want        string
		unsupported bool
	}{
		{ggufModel, "t5", `"t5"`, true},
		{ggufModel, "llama", ggufScores, false},
		{ggufModel, nil, ggufModel, true},
		{ggufModel, uint32(1), ggufModel, true},
		{ggufPre, "tekken", `"tekken"`, true},
		{ggufPre, nil, "is missing", true},
		{ggufTokens, nil, "has 0 tokens", false},
		{ggufTokens, []string{}, "has 0 tokens", false},
		{ggufTokens, "abc", "has 0 tokens", false},
		{ggufTokens, make([]string, ggufMaxTokens+1), "expected a list", false},
		{ggufTokens, tokens(func(l []string) []string { l[20] = l[21]; return l }), "given twice", false},
		{ggufTokens, tokens(func(l []string) []string { return append(l, "more") }), ggufTypes, false},
		{ggufTokens, tokens(func(l []string) []string { l[slices.Index(l, "a")] = "\xff\xfe"; return l }), "byte 0x61", true},
		{ggufTokens, tokens(func(l []string) []string { l[20] = ""; return l }), "empty token", false},
		{ggufTokens, tokens(func(l []string) []string { l[0] = strings.Repeat("x", 300); return l }), "300 bytes long", false},
		{ggufTypes, []int32{1}, "has 1 entries", false},
		{ggufTypes, []string{"a"}, "has 0 entries", false},
		{ggufMerges, nil, "has 0 merges", false},
		{ggufMerges, make([]string, ggufMaxMerges+1), "expected a list", false},
		{ggufMerges, []string{"ab"}, "not two tokens", false},
		{ggufMerges, []string{"a b c"}, "not two tokens", false},
		{ggufMerges, []string{"a "}, "not two tokens", false},
		{ggufMerges, []string{"zq qz"}, "not in model.vocab", false},
		{ggufBOS, uint32(1 << 30), "bos_token_id", false},
		{ggufBOS, int32(-1), "bos_token_id", false},
		{ggufEOS, uint64(math.MaxUint64), "eos_token_id", false},
		{ggufEOS, "1", "eos_token_id", false},
		{ggufAddBOS, uint8(1), "add_bos_token", false},
	} {
		meta := maps.Clone(good)
		if delete(meta, x.key); x.value != nil {
			meta[x.key] = x.value
		}
		_, _, err := FromGGUF("dir/m.gguf", meta)
		var fe *FileError
		if !errors.As(err, &fe) || !strings.HasPrefix(err.Error(), "dir/m.gguf: ") || !strings.Contains(err.Error(), x.want) || fe.Unsupported != x.unsupported || fe.Hint == "" {
			t.Errorf("%s = %.60v: got %v, expected a *FileError with %q", x.key, x.value, err, x.want)
		}
	}
	if _, _, err := FromGGUF("m.gguf", map[string]any{ggufModel: noVocab}); !errors.Is(err, ErrNoVocabulary) {
		t.Errorf("no vocabulary: got %v", err)
	}
}

// TestGGUFWithoutKinds: files without kinds of tokens have control tokens by their use.
func TestGGUFWithoutKinds(t *testing.T) {
	tok, c := trained(t)
	meta := ggufOf(t, tok, c, tok.VocabSize())
	delete(meta, ggufTypes)
	back, _, err := FromGGUF("m.gguf", meta)
	if err != nil {
		t.Fatal(err)
	}
	if a := back.Added(back.BOS()); a == nil || !a.Special || len(back.added) != 3 {
		t.Errorf("control tokens %v", back.added)
	}
}

// TestGGUFBeginsTexts: Llama 3's post-processor says what add_bos_token says elsewhere.
func TestGGUFBeginsTexts(t *testing.T) {
	tok, c := trained(t)
	c.AddBOS = false
	for raw, want := range map[string]bool{
		`null`: false, `{"type":"ByteLevel"}`: false,
		`{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A"}}]}`:                                                               false,
		`{"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}]}]}`: true,
		`{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}]}`:                                 true,
	} {
		tok.parts.postProcessor = json.RawMessage(raw)
		if got := ggufOf(t, tok, c, tok.VocabSize())[ggufAddBOS]; got != want {
			t.Errorf("%s: %v", raw, got)
		}
	}
}

// TestMissingBytes: bytes that the vocabulary lacks are left out of the ids.
func TestMissingBytes(t *testing.T) {
	tok, c := trained(t)
	meta := ggufOf(t, tok, c, tok.VocabSize())
	id, _ := tok.ID(string(byteSpelling[0xff]))
	meta[ggufTypes].([]int32)[id] = ggufUnused
	back, _, err := FromGGUF("m.gguf", meta)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"\xff", "a\xffb", "\xff\xff", "\xff\xff\xff the"} {
		if got := back.DecodeBytes(back.Encode(s)); !bytes.Equal(got, []byte(strings.ReplaceAll(s, "\xff", ""))) {
			t.Errorf("%q comes back as %q", s, got)
		}
	}
}
