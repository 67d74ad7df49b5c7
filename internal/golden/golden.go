// Package golden finds the goldens (results of the original implementations that
// tests compare with) and the tokenizers of others, and reads tensors into Go slices.
// It is for tests alone, and imports nothing of the project, so that every room's
// tests can use it.
package golden

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Case is one folder of a kind of goldens.
type Case struct {
	Name string // the folder's name, such as "deepseek_v3"
	Dir  string // its path
}

// Path joins elem to the case's folder.
func (c Case) Path(elem ...string) string {
	return filepath.Join(append([]string{c.Dir}, elem...)...)
}

// Dir is the folder of goldens: SONDE_GOLDENS, by default shared/goldens beside the
// repository's root. The test is skipped, with a message, where it is missing.
func Dir(t testing.TB) string {
	t.Helper()
	return locate(t, "SONDE_GOLDENS", "goldens")
}

// Tokenizers is the folder with one folder per tokenizer (tokenizer.json,
// tokenizer_config.json): SONDE_TOKENIZERS, by default shared/tokenizers beside the
// repository's root. The test is skipped, with a message, where it is missing.
func Tokenizers(t testing.TB) string {
	t.Helper()
	return locate(t, "SONDE_TOKENIZERS", "tokenizers")
}

// Cases lists the folders under Dir/kind in the order of their names. The test is
// skipped where there are none.
func Cases(t testing.TB, kind string) []Case {
	t.Helper()
	return folders(t, filepath.Join(Dir(t), kind))
}

// TokenizerCases lists the folders under Tokenizers in the order of their names.
func TokenizerCases(t testing.TB) []Case {
	t.Helper()
	return folders(t, Tokenizers(t))
}

// Root is the repository's root: the nearest folder with a go.mod, from the working
// folder up.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above the working folder")
		}
		dir = up
	}
}

func locate(t testing.TB, env, name string) string {
	t.Helper()
	dir := os.Getenv(env)
	if dir == "" {
		root, err := Root()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(filepath.Dir(root), "shared", name)
	} else if _, err := os.Stat(dir); err != nil {
		t.Fatalf("%s names a folder that cannot be read: %v", env, err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no %s at %s: set %s to the folder that holds them", name, dir, env)
	}
	return dir
}

func folders(t testing.TB, dir string) []Case {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var cases []Case
	for _, e := range entries {
		if e.IsDir() {
			cases = append(cases, Case{e.Name(), filepath.Join(dir, e.Name())})
		}
	}
	slices.SortFunc(cases, func(a, b Case) int { return strings.Compare(a.Name, b.Name) })
	if len(cases) == 0 {
		t.Skipf("no cases in %s", dir)
	}
	return cases
}
