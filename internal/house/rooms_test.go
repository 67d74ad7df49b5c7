// Package house keeps the order of the project's rooms: who may import whom, where
// shared libraries may be opened, what is documented, what is linked. It holds tests
// alone.
package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sonde/internal/golden"
)

// module is the path in go.mod, and so the root package's import path.
const module = "sonde"

// floors lists the rooms, ground floor first; a room imports only rooms of lower
// floors. Folders on one line share a floor and do not import each other. A pattern
// is path.Match's; "." is the root package.
var floors = [][]string{
	{"num"},
	{"compute"},
	{"compute/cpu"},
	{"compute/ptx"},
	{"compute/ascend"},
	{"comm"},
	{"nn"},
	{"text/jinja"},
	{"text"},
	{"model"},
	{"model/deepseek", "model/llama"},
	{"model/auto"},
	{"model/lora"},
	{"plan"},
	{"checkpoint"},
	{"checkpoint/hub"},
	{"engine"},
	{"train"},
	{"reason/task"},
	{"reason"},
	{"."},
	{"serve/web"},
	{"serve"},
	{"cmd/sonde"},
	{"examples", "examples/*"},
}

// openers are the rooms that may open shared libraries.
var openers = []string{"compute/ptx", "compute/ascend", "comm"}

// source is one parsed Go file.
type source struct {
	folder string // slash-separated, relative to the root; "." is the root
	file   string
	test   bool
	ast    *ast.File
}

// imports are the import paths of the file.
func (s source) imports() []string {
	var out []string
	for _, i := range s.ast.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err == nil {
			out = append(out, p)
		}
	}
	return out
}

// floor is the place of a folder in floors, or -1.
func floor(folder string) int {
	return slices.IndexFunc(floors, func(f []string) bool {
		return slices.ContainsFunc(f, func(pattern string) bool {
			ok, _ := path.Match(pattern, folder)
			return ok
		})
	})
}

// checkRooms returns a line for every file that breaks the order.
func checkRooms(files []source) []string {
	var bad []string
	for _, s := range files {
		here := floor(s.folder)
		helper := strings.HasPrefix(s.folder, "internal/")
		if here < 0 && !helper {
			bad = append(bad, fmt.Sprintf("%s: the folder %s is not a room; name it in floors (internal/house) or move the code", s.file, s.folder))
			continue
		}
		for _, p := range s.imports() {
			if why := checkImport(s, here, helper, p); why != "" {
				bad = append(bad, s.file+": "+why)
			}
		}
	}
	return bad
}

// checkImport says why s, on floor here, may not import p, or "".
func checkImport(s source, here int, helper bool, p string) string {
	if why := checkOpener(s.folder, p); why != "" {
		return why
	}
	to, inside := strings.CutPrefix(p, module+"/")
	if p == module {
		to, inside = ".", true
	}
	if !inside || to == s.folder {
		return "" // another module, the standard library, or an external test of this package
	}
	if strings.HasPrefix(to, "internal/") {
		if !s.test && !helper {
			return fmt.Sprintf("imports %s, but internal/ holds helpers of tests", p)
		}
		return ""
	}
	there := floor(to)
	switch {
	case there < 0:
		return fmt.Sprintf("imports %s, which is no room", p)
	case !helper && there >= here:
		return fmt.Sprintf("imports %s, which is not on a lower floor than %s", p, s.folder)
	}
	return ""
}

// checkOpener says why a folder may not import p for its foreign code, or "".
func checkOpener(folder, p string) string {
	switch {
	case p == "C":
		return "uses cgo; the project builds without it"
	case p == "plugin", strings.HasPrefix(p, "github.com/ebitengine/purego"):
		if !slices.Contains(openers, folder) {
			return fmt.Sprintf("imports %s; shared libraries are opened in %s alone", p, strings.Join(openers, ", "))
		}
	}
	return ""
}

// opening are the calls and directives that open a shared library by hand.
var opening = []string{"LoadDLL", "MustLoadDLL", "NewLazyDLL", "NewLazySystemDLL", "LoadLibrary", "LoadLibraryEx", "Dlopen"}

// checkCalls returns a line for every call or directive that opens a shared library
// outside the rooms for that.
func checkCalls(files []source) []string {
	var bad []string
	for _, s := range files {
		if slices.Contains(openers, s.folder) {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains(opening, sel.Sel.Name) {
				bad = append(bad, fmt.Sprintf("%s: uses %s; shared libraries are opened in %s alone", s.file, sel.Sel.Name, strings.Join(openers, ", ")))
			}
			return true
		})
		for _, g := range s.ast.Comments {
			for _, c := range g.List {
				if strings.HasPrefix(c.Text, "//go:cgo_import_dynamic") {
					bad = append(bad, s.file+": imports a symbol of a shared library")
				}
			}
		}
	}
	return bad
}

// sources parses every Go file of the module; folders of nested modules (generators,
// conformance tests), of test data and hidden ones are passed over.
func sources(t *testing.T) []source {
	t.Helper()
	root, err := golden.Root()
	if err != nil {
		t.Fatal(err)
	}
	var out []source
	fset := token.NewFileSet()
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			return enter(root, p, name)
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		out = append(out, source{path.Dir(rel), rel, strings.HasSuffix(name, "_test.go"), f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// enter decides whether a folder belongs to the module.
func enter(root, p, name string) error {
	if p == root {
		return nil
	}
	if name == "testdata" || name == "runs" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return filepath.SkipDir
	}
	if nested, _ := filepath.Glob(filepath.Join(p, "go.mod")); len(nested) > 0 {
		return filepath.SkipDir
	}
	return nil
}

func TestRoomsImportLowerFloorsAlone(t *testing.T) {
	for _, line := range checkRooms(sources(t)) {
		t.Error(line)
	}
}

func TestSharedLibrariesAreOpenedInTheirRooms(t *testing.T) {
	for _, line := range checkCalls(sources(t)) {
		t.Error(line)
	}
}

// TestTheRuleBites feeds the checks files that break the order in each way.
func TestTheRuleBites(t *testing.T) {
	cases := []struct {
		name, folder, file, code string
		bad                      bool
	}{
		{"a lower floor", "nn", "a.go", `import "sonde/compute"`, false},
		{"a higher floor", "compute", "a.go", `import "sonde/nn"`, true},
		{"a neighbour on the same floor", "model/deepseek", "a.go", `import "sonde/model/llama"`, true},
		{"a test looks up too", "num", "a_test.go", `import "sonde/compute"`, true},
		{"a test's helper in a test", "nn", "a_test.go", `import "sonde/internal/golden"`, false},
		{"a test's helper in the program", "nn", "a.go", `import "sonde/internal/golden"`, true},
		{"a helper looks anywhere", "internal/x", "a.go", `import "sonde/train"`, false},
		{"the root from the command", "cmd/sonde", "a.go", `import "sonde"`, false},
		{"the root from a room", "engine", "a.go", `import "sonde"`, true},
		{"an external test of the package itself", "train", "a_test.go", `import "sonde/train"`, false},
		{"a folder without a name", "util", "a.go", `import "fmt"`, true},
		{"a folder below a room", "compute/cpu/more", "a.go", `import "fmt"`, true},
		{"cgo", "compute/ptx", "a.go", `import "C"`, true},
		{"a shared library in its room", "compute/ptx", "a.go", `import "github.com/ebitengine/purego"`, false},
		{"a shared library elsewhere", "nn", "a.go", `import "github.com/ebitengine/purego"`, true},
		{"a library by hand", "compute/cpu", "a.go", `import "syscall"; var x = syscall.NewLazyDLL`, true},
		{"a dynamic import", "compute", "a.go", "//go:cgo_import_dynamic x y \"z\"\n", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			code := "package p\n" + strings.Replace(c.code, `"sonde`, `"`+module, 1)
			f, err := parser.ParseFile(token.NewFileSet(), c.file, code, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files := []source{{c.folder, c.file, strings.HasSuffix(c.file, "_test.go"), f}}
			got := append(checkRooms(files), checkCalls(files)...)
			if (len(got) > 0) != c.bad {
				t.Errorf("found %q, want a complaint: %v", got, c.bad)
			}
		})
	}
}
