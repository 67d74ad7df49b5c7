package house

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sonde/internal/golden"
)

var update = flag.Bool("update", false, "rewrite docs/dependencies.txt from what is there")

// platforms are the systems a release is built for.
var platforms = []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64"}

// TestDependencies compares the modules that go.mod requires, and the packages from
// outside the standard library that are linked into the program, with
// docs/dependencies.txt. A new dependency is a decision: it is written down there,
// and its reason in RATIONALE.md.
func TestDependencies(t *testing.T) {
	root, err := golden.Root()
	if err != nil {
		t.Fatal(err)
	}
	// Read every source, so that the cached result of this test falls with them.
	sources(t)
	got := describe(requirements(t, root), linked(t, root))
	file := filepath.Join(root, "docs", "dependencies.txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range differences(string(want), got) {
		t.Error(line)
	}
	if t.Failed() {
		t.Log("if it is meant: go test ./internal/house -update")
	}
}

// TestNoticeNamesWhatIsLinked wants every module that is linked into the program in
// NOTICE, with its version.
func TestNoticeNamesWhatIsLinked(t *testing.T) {
	root, err := golden.Root()
	if err != nil {
		t.Fatal(err)
	}
	sources(t) // as in TestDependencies
	notice, err := os.ReadFile(filepath.Join(root, "NOTICE"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range platforms {
		for _, m := range strings.Split(listDeps(t, root, p, "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}"), "\n") {
			if !strings.Contains(string(notice), m) {
				t.Errorf("NOTICE does not name %s: run scripts/make_notice.py", m)
			}
		}
	}
}

// requirements are go.mod's modules as "path version" and, with it, whether the
// module is needed only by other modules.
func requirements(t *testing.T, root string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), "module "+module+"\n") {
		t.Fatalf("go.mod does not call the module %q; change the constant in internal/house with it", module)
	}
	var mod struct {
		Require []struct {
			Path, Version string
			Indirect      bool
		}
	}
	if err := json.Unmarshal([]byte(goTool(t, root, nil, "mod", "edit", "-json")), &mod); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range mod.Require {
		line := r.Path + " " + r.Version
		if r.Indirect {
			line += " (indirect)"
		}
		out = append(out, line)
	}
	return out
}

// linked are the packages of other modules in the program, over all platforms; one
// that is not linked everywhere is followed by the platforms that have it.
func linked(t *testing.T, root string) []string {
	t.Helper()
	where := map[string][]string{}
	for _, p := range platforms {
		for _, pkg := range strings.Fields(listDeps(t, root, p, "{{if not .Standard}}{{.ImportPath}}{{end}}")) {
			if pkg != module && !strings.HasPrefix(pkg, module+"/") {
				where[pkg] = append(where[pkg], p)
			}
		}
	}
	var out []string
	for pkg, on := range where {
		if len(on) < len(platforms) {
			pkg += " (" + strings.Join(on, ", ") + ")"
		}
		out = append(out, pkg)
	}
	slices.Sort(out)
	return out
}

// listDeps runs go list on everything that the program is made of, on a platform.
func listDeps(t *testing.T, root, platform, format string) string {
	t.Helper()
	goos, goarch, _ := strings.Cut(platform, "/")
	env := []string{"CGO_ENABLED=0", "GOOS=" + goos, "GOARCH=" + goarch}
	return goTool(t, root, env, "list", "-deps", "-f", format, "./cmd/sonde")
}

// goTool runs the go command in root and gives its output.
func goTool(t *testing.T, root string, env []string, args ...string) string {
	t.Helper()
	c := exec.Command("go", args...)
	c.Dir, c.Env = root, append(os.Environ(), env...)
	out, err := c.Output()
	if err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, e.Stderr)
		}
		t.Fatal(err)
	}
	return string(out)
}

func describe(required, linked []string) string {
	return fmt.Sprintf("# Modules that go.mod requires\n%s\n\n# Packages of other modules in cmd/sonde, over %s\n%s\n",
		strings.Join(required, "\n"), strings.Join(platforms, ", "), strings.Join(linked, "\n"))
}

// differences lists the lines that only one of two texts has.
func differences(want, got string) []string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var out []string
	for _, l := range g {
		if !slices.Contains(w, l) {
			out = append(out, "new, not in docs/dependencies.txt: "+l)
		}
	}
	for _, l := range w {
		if !slices.Contains(g, l) {
			out = append(out, "gone, still in docs/dependencies.txt: "+l)
		}
	}
	return out
}
