package text

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// spmMeta is a small SentencePiece vocabulary as a GGUF file has it, and what the
// sentencepiece library makes of some texts with it.
func spmMeta(t *testing.T) (meta map[string]any, cases []goldenCase) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "sentencepiece.json"))
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Tokens []string
		Scores []float32
		Kinds  []int32
		Cases  []goldenCase
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	return map[string]any{ggufModel: "llama", ggufTokens: f.Tokens, ggufScores: f.Scores, ggufTypes: f.Kinds}, f.Cases
}

func TestSentencePiece(t *testing.T) {
	meta, cases := spmMeta(t)
	tok, c, err := FromGGUF("m.gguf", meta)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range cases {
		if got := tok.Encode(x.Text); !slices.Equal(got, x.IDs) {
			t.Errorf("%q\n got %v\nwant %v", x.Text, got, x.IDs)
		}
		if got := tok.Decode(x.IDs); x.Text != "" && got != " "+x.Text {
			t.Errorf("%q comes back as %q", x.Text, got)
		}
	}
	if c.BOS != "<s>" || c.EOS != "</s>" || !c.AddBOS || tok.BOS() != 1 || tok.EOS() != 2 || len(cases) < 100 {
		t.Errorf("%d cases, config %+v", len(cases), c)
	}
	if got := tok.EncodeWithSpecial("<s>a</s>"); len(got) < 3 || got[0] != 1 || got[len(got)-1] != 2 {
		t.Errorf("with control tokens: %v", got)
	}
	if ids := tok.Encode("<s>"); slices.Contains(ids, 1) {
		t.Errorf("text that spells a control token: %v", ids)
	}
	for id := range int32(tok.VocabSize()) {
		if back, ok := tok.ID(tok.Token(id)); tok.Added(id) == nil && !strings.HasPrefix(meta[ggufTokens].([]string)[id], "<0x") && (!ok || back != id) {
			t.Errorf("token %d is %q, which is %d", id, tok.Token(id), back)
		}
	}
	if _, err := tok.JSON(); !errors.Is(err, errSPM) {
		t.Errorf("as a tokenizer.json: %v", err)
	}
	if _, err := tok.GGUF(c, tok.VocabSize()); !errors.Is(err, errSPM) {
		t.Errorf("as metadata: %v", err)
	}
}

func TestSentencePieceWithoutPrefix(t *testing.T) {
	meta, _ := spmMeta(t)
	meta[ggufPrefix] = false
	tok, _, err := FromGGUF("m.gguf", meta)
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Decode(tok.Encode("return x")); got != "return x" {
		t.Errorf("got %q", got)
	}
}

// TestT12SentencePiece: a megabyte of one character is no bomb.
func TestT12SentencePiece(t *testing.T) {
	meta, _ := spmMeta(t)
	tok, _, err := FromGGUF("m.gguf", meta)
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range []string{" ", "a", "\x00", "深", "e "} {
		s := strings.Repeat(unit, 1<<20/len(unit))
		start := time.Now()
		if got := tok.Decode(tok.Encode(s)); got != " "+s {
			t.Errorf("%q does not come back", unit)
		}
		t.Logf("%q: %v", unit, time.Since(start))
	}
}

func TestSentencePieceRefused(t *testing.T) {
	for _, x := range []struct {
		key   string
		value any
		want  string
	}{
		{ggufScores, nil, "has 0 scores"},
		{ggufScores, []float32{1}, "has 1 scores"},
		{ggufTypes, nil, "0 kinds"},
		{ggufTypes, []int32{1}, "has 1 entries"},
		{ggufBOS, uint32(1 << 20), "bos_token_id"},
	} {
		meta, _ := spmMeta(t)
		if delete(meta, x.key); x.value != nil {
			meta[x.key] = x.value
		}
		_, _, err := FromGGUF("m.gguf", meta)
		var fe *FileError
		if !errors.As(err, &fe) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s = %v: got %v", x.key, x.value, err)
		}
	}
	for _, token := range []string{"<0x0>", "<0xZZ>", "<0x000>", "\n"} {
		meta, _ := spmMeta(t)
		meta[ggufTokens].([]string)[10] = token
		if _, _, err := FromGGUF("m.gguf", meta); err == nil || !strings.Contains(err.Error(), "is no byte") {
			t.Errorf("the byte %q: got %v", token, err)
		}
	}
}
