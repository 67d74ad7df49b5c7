package train

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Several patterns over one folder: each finds its own files, and a file that two of
// them name is read once.
func TestPatternsOverOneFolder(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.go"), "a")
	put(t, filepath.Join(dir, "b.md"), "b")
	put(t, filepath.Join(dir, "sub", "c.go"), "c")
	if err := os.Symlink(filepath.Join(dir, "a.go"), filepath.Join(dir, "link.go")); err != nil {
		t.Skip(err)
	}
	for _, c := range []struct {
		patterns []string
		want     []string
		files    int
	}{
		{[]string{"*.go", "*.md"}, []string{"a", "b"}, 2},
		{[]string{"*.go", "*.go"}, []string{"a"}, 1},
		{[]string{"*.go", "**/*.go"}, []string{"a", "c"}, 2},
		{[]string{"*.md", ""}, []string{"b", "a", "c"}, 3},
		{[]string{"sub", "", "a.go"}, []string{"c", "a", "b"}, 3},
	} {
		var patterns []string
		for _, p := range c.patterns {
			patterns = append(patterns, filepath.Join(dir, p))
		}
		docs, counts := readAll(t, "", patterns...)
		if diff := cmp.Diff(c.want, docs); diff != "" {
			t.Errorf("%q: %s", c.patterns, diff)
		}
		if counts.Files != c.files || counts.Duplicates != 0 {
			t.Errorf("%q: %d files read and %d duplicates, expected %d and none", c.patterns, counts.Files, counts.Duplicates, c.files)
		}
	}
}

func TestGlobClasses(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"[!a]x", "bx", true}, {"[!a]x", "ax", false}, {"[!a]x", "!x", true},
		{"[^a]x", "ax", false}, {"[a-c]x", "bx", true}, {"[a-c]x", "dx", false}, {`[\d]`, "d", true}, {`[\d]`, "5", false},
	} {
		re, err := globExpr(c.pattern)
		if err != nil {
			t.Fatalf("%s: %v", c.pattern, err)
		}
		if got := re.MatchString(c.name); got != c.want {
			t.Errorf("%s matches %s: %v, expected %v", c.pattern, c.name, got, c.want)
		}
	}
	if _, err := globExpr("[!]"); err == nil {
		t.Error("a class of nothing was taken")
	}
}

// A folder that its repository ignores is read when the user names it.
func TestNamedFolderIsReadThoughIgnored(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, ".git", "HEAD"), "")
	put(t, filepath.Join(dir, ".gitignore"), "data/\n*.log\n")
	put(t, filepath.Join(dir, "other", "a.log"), "log")
	put(t, filepath.Join(dir, "other", "b.txt"), "other")
	put(t, filepath.Join(dir, "data", "x.txt"), "text")
	put(t, filepath.Join(dir, "data", "sub", ".gitignore"), "*.tmp\n")
	put(t, filepath.Join(dir, "data", "sub", "y.tmp"), "tmp")
	for _, c := range []struct {
		pattern string
		want    []string
		ignored int
	}{
		{"", []string{"other"}, 2}, {"other", []string{"other"}, 1},
		{"data", []string{"text"}, 1}, {"data/*.txt", []string{"text"}, 0}, {"data/sub/..", []string{"text"}, 1},
	} {
		docs, counts := readAll(t, "", dir+"/"+c.pattern)
		if diff := cmp.Diff(c.want, docs); diff != "" || counts.Ignored != c.ignored {
			t.Errorf("%q: %d ignored, expected %d; %s", c.pattern, counts.Ignored, c.ignored, diff)
		}
	}
}

func TestByteOrderMarkBeforeJSONLines(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.jsonl"), "\ufeff{\"text\":\"one\"}\r\n{\"text\":\"two\"}\r\n")
	docs, counts := readAll(t, "", dir)
	if diff := cmp.Diff([]string{"one", "two"}, docs); diff != "" || counts.Malformed != 0 {
		t.Errorf("%d lines passed over; %s", counts.Malformed, diff)
	}
}
