package text

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sharedDir is the folder that an environment variable names, by default one beside
// the repository.
func sharedDir(t testing.TB, env, name string) string {
	dir := os.Getenv(env)
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", name)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("%s: set %s to the folder of %s", err, env, name)
	}
	return dir
}

// goldenCase is one line of goldens/tokenizer/NAME.jsonl.
type goldenCase struct {
	Text    string
	IDs     []int32
	Decoded *string
}

// TestGoldenTokenizer compares with Hugging Face's ids over every tokenizer there is.
func TestGoldenTokenizer(t *testing.T) {
	goldens := filepath.Join(sharedDir(t, "SONDE_GOLDENS", "goldens"), "tokenizer")
	files := sharedDir(t, "SONDE_TOKENIZERS", "tokenizers")
	lists, err := filepath.Glob(filepath.Join(goldens, "*.jsonl"))
	if err != nil || len(lists) == 0 {
		t.Skipf("no cases in %s", goldens)
	}
	for _, list := range lists {
		name := strings.TrimSuffix(filepath.Base(list), ".jsonl")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(files, name, "tokenizer.json"))
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
			checkGoldens(t, tok, list)
		})
	}
}

func checkGoldens(t *testing.T, tok *Tokenizer, list string) {
	f, err := os.Open(list)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cases, badIDs, badText := 0, 0, 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var c goldenCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		cases++
		if got := tok.EncodeWithSpecial(c.Text); !slices.Equal(got, c.IDs) {
			if badIDs++; badIDs <= 5 {
				t.Errorf("%q\n got %v\nwant %v", c.Text, got, c.IDs)
			}
		}
		want := c.Text
		if c.Decoded != nil {
			want = *c.Decoded
		}
		if got := tok.Decode(c.IDs); got != want {
			if badText++; badText <= 5 {
				t.Errorf("decode %v\n got %q\nwant %q", c.IDs, got, want)
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d cases: %d differ in ids, %d in text", cases, badIDs, badText)
	if cases == 0 || badIDs+badText > 0 {
		t.Errorf("%d of %d cases differ", max(badIDs, badText), cases)
	}
}
