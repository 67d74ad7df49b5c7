package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sonde/internal/tiny"
)

var update = flag.Bool("update", false, "rewrite docs/cli.md from the commands")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sonde": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"tinymodel": tinyModel, "corrupt": corrupt, "freeport": freePort, "occupy": occupy, "fetch": fetch,
		},
	})
}

// tinyModel DIR writes a model with random weights.
func tinyModel(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(tiny.Write(ts.MkAbs(args[0])))
}

// corrupt FILE OFFSET flips a byte, counted from the end where OFFSET is negative.
func corrupt(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	raw, err := os.ReadFile(path)
	ts.Check(err)
	var at int
	_, err = fmt.Sscan(args[1], &at)
	ts.Check(err)
	if at < 0 {
		at += len(raw)
	}
	raw[at] ^= 0xff
	ts.Check(os.WriteFile(path, raw, 0o644))
}

// freePort VAR finds a port that nobody listens on now.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ts.Setenv(args[0], port)
}

// occupy VAR listens on a port until the script ends.
func occupy(ts *testscript.TestScript, _ bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ts.Setenv(args[0], port)
}

// fetch URL OUT [BODY] writes the answer to a GET, or a POST of BODY, to the file OUT,
// trying for a while.
func fetch(ts *testscript.TestScript, _ bool, args []string) {
	var resp *http.Response
	var err error
	for range 200 {
		if len(args) > 2 {
			resp, err = http.Post(args[0], "application/json", strings.NewReader(args[2]))
		} else {
			resp, err = http.Get(args[0])
		}
		if err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Check(err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), raw, 0o644))
}

// help is what "sonde ARGS --help" prints.
func help(t *testing.T, args ...string) string {
	t.Helper()
	var c cli
	var out bytes.Buffer
	type exited struct{}
	parser, err := newParser(&c, streams{os.Stdin, &out, &out}, func(int) { panic(exited{}) })
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if _, ok := recover().(exited); !ok {
				t.Errorf("%v: --help did not end the program", args)
			}
		}()
		_, _ = parser.Parse(append(args, "--help"))
	}()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// output is what a command prints.
func output(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := execute(t.Context(), args, streams{os.Stdin, &out, &errs}); code != 0 {
		t.Fatalf("sonde %v: exit code %d, %s", args, code, errs.String())
	}
	return out.String()
}

// TestDocs keeps docs/cli.md equal to what the commands say of themselves.
func TestDocs(t *testing.T) {
	var b strings.Builder
	b.WriteString("# The command line\n\nWritten by `go generate ./cmd/sonde` from the commands' own help; do not edit.\n\n")
	fmt.Fprintf(&b, "```\n%s\n```\n", help(t))
	for _, verb := range verbs() {
		text := help(t, verb)
		if !strings.Contains(text, "Examples:") || !strings.Contains(text, "    sonde "+verb) {
			t.Errorf("the help of %s has no examples", verb)
		}
		fmt.Fprintf(&b, "\n## sonde %s\n\n```\n%s\n```\n", verb, text)
		if verb == "plan" {
			fmt.Fprintf(&b, "\n`sonde plan v3` prints\n\n```\n%s```\n", output(t, "plan", "v3"))
		}
	}
	path := filepath.Join("..", "..", "docs", "cli.md")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != b.String() {
		t.Errorf("docs/cli.md is stale (%v); run: go generate ./cmd/sonde", err)
	}
}
