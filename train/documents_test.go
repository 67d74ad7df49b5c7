package train

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
)

// readAll lists the documents of patterns and the counts.
func readAll(t *testing.T, exclude string, patterns ...string) ([]string, Counts) {
	t.Helper()
	docs, counts, err := tryRead(exclude, patterns...)
	if err != nil {
		t.Fatal(err)
	}
	return docs, counts
}

func tryRead(exclude string, patterns ...string) ([]string, Counts, error) {
	c := &corpus{field: "text", piece: 1 << 20}
	var err error
	if c.sources, err = findSources(patterns, exclude, &c.counts); err != nil {
		return nil, c.counts, err
	}
	var docs []string
	err = c.each(&c.counts, func(d *document) error {
		docs = append(docs, string(d.text))
		return nil
	})
	return docs, c.counts, err
}

func TestFolderSkipsWhatIsNotText(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "b.txt"), "bee")
	put(t, filepath.Join(dir, "a.txt"), "ay")
	put(t, filepath.Join(dir, "same.txt"), "ay")
	put(t, filepath.Join(dir, "zero"), "has a \x00 byte")
	put(t, filepath.Join(dir, "latin1.txt"), "caf\xe9 au lait")
	put(t, filepath.Join(dir, "late.txt"), strings.Repeat("x", 9000)+"\xff")
	put(t, filepath.Join(dir, "empty.txt"), "")
	put(t, filepath.Join(dir, ".git", "config"), "[core]")
	put(t, filepath.Join(dir, "run", "log.txt"), "the run's own")
	docs, counts := readAll(t, filepath.Join(dir, "run"), dir)
	if diff := cmp.Diff([]string{"ay", "bee"}, docs); diff != "" {
		t.Error(diff)
	}
	want := Counts{Files: 5, Documents: 2, Duplicates: 1, Binary: 3, Empty: 1, Bytes: 5}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Error(diff)
	}
}

func TestGitignore(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, ".git", "HEAD"), "")
	put(t, filepath.Join(dir, ".gitignore"), "*.log\nbuild/\n/top.txt\n")
	put(t, filepath.Join(dir, "top.txt"), "1")
	put(t, filepath.Join(dir, "keep.txt"), "2")
	put(t, filepath.Join(dir, "build", "x.txt"), "3")
	put(t, filepath.Join(dir, "sub", "a.log"), "4")
	put(t, filepath.Join(dir, "sub", "top.txt"), "5")
	put(t, filepath.Join(dir, "sub", "deep", ".gitignore"), "!b.log\nc.txt\n")
	put(t, filepath.Join(dir, "sub", "deep", "b.log"), "6")
	put(t, filepath.Join(dir, "sub", "deep", "c.txt"), "7")
	docs, counts := readAll(t, "", dir)
	if diff := cmp.Diff([]string{"2", "6", "5"}, docs); diff != "" {
		t.Error(diff)
	}
	if counts.Ignored != 4 {
		t.Errorf("%d ignored, expected 4", counts.Ignored)
	}
	// A folder inside the repository obeys the rules above it.
	docs, _ = readAll(t, "", filepath.Join(dir, "sub"))
	if diff := cmp.Diff([]string{"6", "5"}, docs); diff != "" {
		t.Error(diff)
	}
}

func TestLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need rights on Windows")
	}
	dir, other := t.TempDir(), t.TempDir()
	put(t, filepath.Join(other, "o.txt"), "other")
	put(t, filepath.Join(dir, "a", "f.txt"), "f")
	for name, target := range map[string]string{"a/up": dir, "other": other, "gone": filepath.Join(dir, "nowhere")} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	docs, counts := readAll(t, "", dir)
	if diff := cmp.Diff([]string{"f", "other"}, docs); diff != "" {
		t.Error(diff)
	}
	if counts.Loops != 1 || counts.Unreadable != 1 {
		t.Errorf("%+v: expected one loop and one broken link", counts)
	}
}

func TestGlobs(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"a.go", "b.txt", "sub/c.go", "sub/deep/d.go", "sub/deep/e.md"} {
		put(t, filepath.Join(dir, filepath.FromSlash(f)), f)
	}
	for pattern, want := range map[string][]string{
		"*.go":            {"a.go"},
		"**/*.go":         {"a.go", "sub/c.go", "sub/deep/d.go"},
		"sub/*/*.[dm]*":   {"sub/deep/e.md"},
		"sub/**":          {"sub/c.go", "sub/deep/d.go", "sub/deep/e.md"},
		"?.txt":           {"b.txt"},
		"./sub/../[ab].*": {"a.go", "b.txt"},
	} {
		docs, _ := readAll(t, "", dir+"/"+pattern)
		if diff := cmp.Diff(want, docs); diff != "" {
			t.Errorf("%s: %s", pattern, diff)
		}
	}
	_, _, err := tryRead("", dir+"/*.rs")
	wantError(t, err, "matches no file")
	_, _, err = tryRead("", filepath.Join(dir, "none"))
	wantError(t, err, "does not exist", "--data")
	_, _, err = tryRead("")
	wantError(t, err, "--data")
}

func TestJSONLines(t *testing.T) {
	name := filepath.Join(t.TempDir(), "d.jsonl")
	put(t, name, `{"text":"one","n":1}`+"\n\n"+`{"text":"tw\u00f6\n"}`+"\n{\"body\":\"x\"}\n[1]\n{\"text\":7}\n"+
		`{"text":""}`+"\n{\"text\":\""+strings.Repeat("y", maxLine)+"\"}\n"+`{"text":"last"}`)
	docs, counts := readAll(t, "", name)
	if diff := cmp.Diff([]string{"one", "twö\n", "last"}, docs); diff != "" {
		t.Error(diff)
	}
	if counts.Malformed != 4 || counts.Empty != 1 {
		t.Errorf("%+v: expected 4 malformed lines and 1 empty text", counts)
	}
}

func TestParquet(t *testing.T) {
	type row struct {
		ID   int     `parquet:"id"`
		Text *string `parquet:"text,optional"`
	}
	one, two := "one", "two"
	name := filepath.Join(t.TempDir(), "d.parquet")
	if err := parquet.WriteFile(name, []row{{1, &one}, {2, nil}, {3, &two}}); err != nil {
		t.Fatal(err)
	}
	docs, counts := readAll(t, "", name)
	if diff := cmp.Diff([]string{"one", "two"}, docs); diff != "" || counts.Malformed != 1 {
		t.Error(diff, counts)
	}
	c := corpus{field: "id", piece: 1 << 20, sources: []source{{name, parquetFile}}}
	wantError(t, c.each(&Counts{}, func(*document) error { return nil }), "no column of strings", "--text-field", "text")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(raw) {
		put(t, name, string(raw[:cut]))
		if _, _, err := tryRead("", name); err == nil {
			t.Fatalf("a file cut to %d of %d bytes was read without error", cut, len(raw))
		}
	}
}

func TestLongDocumentsAreCutAtLines(t *testing.T) {
	var b strings.Builder
	for b.Len() < 10000 {
		b.WriteString("a line of ünïcode text\n")
	}
	text := b.String() + strings.Repeat("é", 700)
	name := filepath.Join(t.TempDir(), "long.txt")
	put(t, name, text)
	for _, cut := range []func(r *reader, yield func([]byte) error) error{
		func(r *reader, yield func([]byte) error) error { return r.each(source{name, plainText}, yield) },
		func(r *reader, yield func([]byte) error) error { return r.cut([]byte(text), yield) },
	} {
		var pieces []string
		if err := cut(&reader{piece: 1000, counts: &Counts{}}, func(d []byte) error { pieces = append(pieces, string(d)); return nil }); err != nil {
			t.Fatal(err)
		}
		if strings.Join(pieces, "") != text {
			t.Error("the pieces do not make up the text")
		}
		for i, p := range pieces {
			if len(p) > 1000 || !utf8.ValidString(p) || (i < 9 && !strings.HasSuffix(p, "\n")) {
				t.Errorf("piece %d of %d bytes is too long or badly cut", i, len(p))
			}
		}
	}
}
