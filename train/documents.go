package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

// Counts says what became of the files and documents that were looked at.
type Counts struct {
	Files      int `json:"files"`      // files read
	Documents  int `json:"documents"`  // distinct documents kept
	Duplicates int `json:"duplicates"` // documents left out because an equal one was kept
	Ignored    int `json:"ignored"`    // files and folders named by a .gitignore
	Binary     int `json:"binary"`     // files that are not UTF-8 text
	Empty      int `json:"empty"`      // documents without a byte
	Unreadable int `json:"unreadable"` // files or links that could not be opened
	Malformed  int `json:"malformed"`  // JSONL lines or parquet rows without the text
	Loops      int `json:"loops"`      // linked folders that were already visited

	Bytes        int64 `json:"bytes"`         // text of all documents kept
	TrainBytes   int64 `json:"train_bytes"`   // on the training side
	HeldoutBytes int64 `json:"heldout_bytes"` // on the held-out side
}

// String lists what was kept and, where there is any, what was left out.
func (c Counts) String() string {
	s := fmt.Sprintf("%s from %s, %s", count(c.Documents, "document"), count(c.Files, "file"), size(c.Bytes))
	var left []string
	for _, p := range []struct {
		n    int
		what string
	}{{c.Ignored, "git-ignored"}, {c.Binary, "binary"}, {c.Duplicates, "duplicate"}, {c.Empty, "empty"},
		{c.Malformed, "without text"}, {c.Unreadable, "unreadable"}, {c.Loops, "linked twice"}} {
		if p.n > 0 {
			left = append(left, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if left != nil {
		s += " (left out: " + strings.Join(left, ", ") + ")"
	}
	return s
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return count(int(n), "byte")
}

// format is how a file holds documents.
type format uint8

const (
	plainText format = iota
	jsonLines
	parquetFile
)

func formatOf(name string) format {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jsonl", ".ndjson":
		return jsonLines
	case ".parquet":
		return parquetFile
	}
	return plainText
}

// source is a file that holds documents.
type source struct {
	path   string
	format format
}

// finder walks what the user named and collects the files in a fixed order: as named,
// and within a folder by name.
type finder struct {
	exclude os.FileInfo     // the run's own folder
	visited map[string]bool // folders that the pattern at hand has entered, by real path
	taken   map[string]bool // files found, by real path, where several patterns are named
	matched bool            // the pattern at hand has named a file
	counts  *Counts
	found   []source
}

// namesExist checks what the user named before anything is begun.
func namesExist(patterns []string) error {
	if len(patterns) == 0 {
		return errNoData
	}
	for _, p := range patterns {
		if _, err := os.Stat(p); err != nil && !strings.ContainsAny(p, "*?[") {
			return dataError(p, err)
		}
	}
	return nil
}

var errNoData = errors.New("no data was named: give files, folders or globs with --data")

func dataError(p string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("data %q does not exist: check the path given to --data", p)
	}
	return fmt.Errorf("data %q cannot be read: %w", p, err)
}

// findSources lists the files that patterns (files, folders, globs) name. exclude, the
// run's folder, is never entered.
func findSources(patterns []string, exclude string, counts *Counts) ([]source, error) {
	if len(patterns) == 0 {
		return nil, errNoData
	}
	f := &finder{counts: counts}
	f.exclude, _ = os.Stat(exclude)
	if len(patterns) > 1 {
		f.taken = map[string]bool{}
	}
	for _, p := range patterns {
		f.visited = map[string]bool{} // another pattern may want other files of a folder
		if err := f.add(p); err != nil {
			return nil, err
		}
	}
	return f.found, nil
}

func (f *finder) add(p string) error {
	info, err := os.Stat(p)
	switch {
	case err == nil && info.IsDir():
		return f.folder(p, outerRules(p), func(string, bool) bool { return true })
	case err == nil:
		f.take(p)
		return nil
	case strings.ContainsAny(p, "*?["):
		return f.glob(p)
	}
	return dataError(p, err)
}

// glob walks the folder before the pattern's first wildcard; "**" matches any number
// of folders.
func (f *finder) glob(pattern string) error {
	slash := path.Clean(filepath.ToSlash(pattern))
	re, err := globExpr(slash)
	if err != nil {
		return fmt.Errorf("data pattern %q: %w", pattern, err)
	}
	root := path.Dir(slash[:strings.IndexAny(slash, "*?[")] + "x")
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		return fmt.Errorf("data pattern %q: folder %q does not exist", pattern, root)
	}
	deep := strings.Contains(slash, "**")
	want := func(p string, dir bool) bool {
		p = filepath.ToSlash(p)
		if dir {
			return deep || strings.Count(p, "/") < strings.Count(slash, "/")
		}
		return re.MatchString(p)
	}
	f.matched = false
	dir := filepath.FromSlash(root)
	if err := f.folder(dir, outerRules(dir), want); err != nil {
		return err
	}
	if !f.matched {
		return fmt.Errorf("data pattern %q matches no file (quote it so that the shell leaves it alone; ** crosses folders)", pattern)
	}
	return nil
}

// globExpr turns a slash-separated pattern into an anchored expression.
func globExpr(pattern string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString("^")
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case strings.HasPrefix(pattern[i:], "**/"):
			b.WriteString("(?:.*/)?")
			i += 2
		case strings.HasPrefix(pattern[i:], "**"):
			b.WriteString(".*")
			i++
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case c == '[':
			end := strings.IndexByte(pattern[i:], ']')
			if end < 2 {
				return nil, errors.New("a [ without its ]")
			}
			class := strings.ReplaceAll(pattern[i+1:i+end], `\`, `\\`)
			if class[0] == '!' {
				class = "^" + class[1:]
			}
			b.WriteString("[" + class + "]")
			i += end
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	b.WriteString("$")
	return regexp.Compile(b.String())
}

// wanted says whether a walk takes a file or enters a folder.
type wanted func(path string, dir bool) bool

// folder collects the files under dir that want accepts and no .gitignore names.
func (f *finder) folder(dir string, rules []*ignoreRules, want wanted) error {
	real, err := filepath.EvalSymlinks(dir)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		f.counts.Unreadable++
		return nil
	}
	if f.visited[real] {
		f.counts.Loops++
		return nil
	}
	f.visited[real] = true
	if info, err := os.Stat(real); err == nil && f.exclude != nil && os.SameFile(info, f.exclude) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		f.counts.Unreadable++
		return nil
	}
	if r := readRules(dir); r != nil {
		rules = append(rules[:len(rules):len(rules)], r)
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	for _, e := range entries {
		if err := f.entry(filepath.Join(dir, e.Name()), e, rules, want); err != nil {
			return err
		}
	}
	return nil
}

func (f *finder) entry(p string, e fs.DirEntry, rules []*ignoreRules, want wanted) error {
	info, err := os.Stat(p) // follows links
	if err != nil {
		f.counts.Unreadable++
		return nil
	}
	switch {
	case e.Name() == ".git":
		return nil
	case ignored(rules, p, info.IsDir()):
		f.counts.Ignored++
		return nil
	case info.IsDir() && want(p, true):
		return f.folder(p, rules, want)
	case info.Mode().IsRegular() && e.Name() != ".gitignore" && want(p, false):
		f.take(p)
		f.matched = true
	}
	return nil
}

// take lists a file unless an earlier pattern has named it.
func (f *finder) take(p string) {
	if f.taken != nil {
		real, err := filepath.EvalSymlinks(p)
		if err == nil {
			real, err = filepath.Abs(real)
		}
		if err == nil {
			if f.taken[real] {
				return
			}
			f.taken[real] = true
		}
	}
	f.found = append(f.found, source{p, formatOf(p)})
}
