// Package hub fetches models from the Hugging Face Hub, or from a mirror that speaks
// its API, into the cache that Hugging Face's own tools use: what one has fetched, the
// other finds.
package hub

import (
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// Name is a model on the hub: ORG/NAME, and where one is meant, a file of it or the
// quantisation in a file's name.
type Name struct {
	Repo     string // "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
	Revision string // branch, tag or commit; "main" by default
	Choice   string // a file ("x-q4_k_m.gguf") or a quantisation ("Q4_K_M"), "" for none
}

var (
	repoPattern     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}$`)
	revisionPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/-]{0,127}$`)
	choicePattern   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/ +-]{0,200}$`)
)

// ParseName reads ORG/NAME[@REVISION][:CHOICE]. It does not say whether there is such a
// model.
func ParseName(s string) (Name, error) {
	rest, choice, chosen := strings.Cut(s, ":")
	repo, rev, revised := strings.Cut(rest, "@")
	n := Name{Repo: repo, Revision: "main", Choice: choice}
	if revised {
		n.Revision = rev
	}
	switch {
	case !repoPattern.MatchString(repo) || strings.Contains(repo, "..") || strings.Contains(repo, "--"):
		return n, fmt.Errorf("%q is no name of a model on the hub: write ORG/NAME, such as deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", s)
	case revised && (!revisionPattern.MatchString(rev) || strings.Contains(rev, "..")):
		return n, fmt.Errorf("%q is no name of a revision: after the @ stands a branch, a tag or a commit", rev)
	case chosen && (!choicePattern.MatchString(choice) || !safeFile(choice)):
		return n, fmt.Errorf("%q is neither a file nor a quantisation: after the colon stands one such as model.gguf or Q4_K_M", choice)
	}
	return n, nil
}

// String is the name as it is typed.
func (n Name) String() string {
	s := n.Repo
	if n.Revision != "main" && n.Revision != "" {
		s += "@" + n.Revision
	}
	if n.Choice != "" {
		s += ":" + n.Choice
	}
	return s
}

// folder is the repository's folder in the cache.
func (n Name) folder() string { return "models--" + strings.ReplaceAll(n.Repo, "/", "--") }

// safeFile reports whether a file's name, as a server gives it, stays within the folder
// that it is put in, on every system.
func safeFile(name string) bool {
	if name == "" || len(name) > 512 || strings.ContainsAny(name, "\\:\x00*?\"<>|") || !filepath.IsLocal(filepath.FromSlash(name)) {
		return false
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f {
			return false
		}
	}
	for _, part := range strings.Split(name, "/") {
		if part == "" || part == "." || part == ".." || strings.HasSuffix(part, ".") || strings.HasSuffix(part, " ") || runtime.GOOS == "windows" && !filepath.IsLocal(part) {
			return false
		}
	}
	return true
}
