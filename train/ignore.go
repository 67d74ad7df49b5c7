package train

import (
	"os"
	"path/filepath"
	"strings"

	gitignore "github.com/sabhiram/go-gitignore"
)

// ignoreRules are the patterns of one folder's .gitignore.
type ignoreRules struct {
	dir    string
	rules  *gitignore.GitIgnore // does a pattern exclude?
	negate *gitignore.GitIgnore // the same after "*": does a "!" pattern bring back?
}

func readRules(dir string) *ignoreRules {
	raw, err := os.ReadFile(filepath.Join(dir, ".gitignore"))
	if err != nil {
		return nil
	}
	lines := strings.Split(string(raw), "\n")
	return &ignoreRules{dir, gitignore.CompileIgnoreLines(lines...),
		gitignore.CompileIgnoreLines(append([]string{"*"}, lines...)...)}
}

// outerRules reads the .gitignore files above dir, up to the top of its repository;
// none when dir lies in no repository. One that excludes dir itself has no say: the
// user named the folder, and wants what is in it.
func outerRules(dir string) []*ignoreRules {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	var rules []*ignoreRules
	for d := abs; ; {
		if d != abs {
			if r := readRules(d); r != nil && !ignored([]*ignoreRules{r}, abs, true) {
				rules = append([]*ignoreRules{r}, rules...)
			}
		}
		if _, err := os.Stat(filepath.Join(d, ".git")); err == nil {
			return rules
		}
		up := filepath.Dir(d)
		if up == d {
			return nil
		}
		d = up
	}
}

// ignored asks the rules from the outermost folder inwards; the innermost that has a
// say decides, as in git.
func ignored(rules []*ignoreRules, p string, isDir bool) bool {
	out := false
	for _, r := range rules {
		rel, err := relative(r.dir, p)
		if err != nil {
			continue
		}
		if isDir {
			rel += "/"
		}
		if r.rules.MatchesPath(rel) {
			out = true
		} else if !r.negate.MatchesPath(rel) {
			out = false
		}
	}
	return out
}

func relative(dir, p string) (string, error) {
	if filepath.IsAbs(dir) && !filepath.IsAbs(p) {
		abs, err := filepath.Abs(p)
		if err != nil {
			return "", err
		}
		p = abs
	}
	rel, err := filepath.Rel(dir, p)
	return filepath.ToSlash(rel), err
}
