package task

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// goHarness calls the answer's function; see there.
//
//go:embed harness/harness.go.txt
var goHarness []byte

// goMemory is the address space of a Go program, goCPU its seconds; goBinary is the
// largest executable that is run.
const (
	goMemory = 2 << 30
	goCPU    = 60
	goBinary = 32 << 20
)

// findGo looks for the toolchain and tries it and the sandbox, once. That also compiles
// what every program needs of the standard library, so that no check has to wait for it.
var findGo = sync.OnceValue(func() error {
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("%w: there is no go command among the programs; install Go", ErrNoSandbox)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	output, err := runGo(ctx, "func f() int { return 1 }", "f", []byte("[[]]"))
	switch {
	case errors.Is(err, ErrNoSandbox):
		return err
	case err != nil:
		return fmt.Errorf("%w: the go command does not work: %w", ErrNoSandbox, err)
	case strings.TrimSpace(string(output)) != `{"ok":1}`:
		return fmt.Errorf("%w: a program that returns 1 replied %q", ErrNoSandbox, output)
	}
	return nil
})

// runGo compiles an answer and calls its function in the sandbox.
func runGo(ctx context.Context, code, entry string, args []byte) ([]byte, error) {
	// A name that the answer cannot have by chance leads to its function.
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	door := "Entry" + hex.EncodeToString(nonce[:])
	code, err := inPackage(code)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sonde-go-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	files := map[string]string{
		"go.mod":           "module job\n\ngo 1.22\n",
		"main.go":          strings.ReplaceAll(string(goHarness), "ENTRY", door),
		"answer/answer.go": code,
		"answer/door.go":   fmt.Sprintf("package answer\n\nfunc %s() any { return %s }\n", door, entry),
	}
	if err := os.Mkdir(filepath.Join(dir, "answer"), 0o700); err != nil {
		return nil, err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	binary, err := build(ctx, dir)
	if err != nil {
		return nil, err
	}
	return runSandboxed(ctx, sandboxJob{
		Files: map[string][]byte{"answer": binary}, Args: []string{"/box/answer"}, Memory: goMemory, CPU: goCPU,
		Env: []string{"HOME=/box", "GOMAXPROCS=2", "GOMEMLIMIT=512MiB", "GOTRACEBACK=none"},
	}, args)
}

// inPackage puts an answer into package answer, whatever package it names, if any.
func inPackage(code string) (string, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "answer.go", code, parser.ImportsOnly)
	if err != nil {
		code = "package answer\n" + code
		if f, err = parser.ParseFile(fset, "answer.go", code, parser.ImportsOnly); err != nil {
			return "", fmt.Errorf("it does not compile: %.200v", err)
		}
	}
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil || path == "C" || strings.ContainsAny(strings.SplitN(path, "/", 2)[0], ".") || strings.HasPrefix(path, "job") {
			return "", fmt.Errorf("it imports %s; only the standard library may be imported", i.Path.Value)
		}
	}
	start := fset.Position(f.Name.Pos()).Offset
	return code[:start] + "answer" + code[start+len(f.Name.Name):], nil
}

// build compiles the module in dir, offline and without cgo. Nothing of it is run.
func build(ctx context.Context, dir string) ([]byte, error) {
	out := filepath.Join(dir, "job.bin")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	cmd.Dir = dir
	cmd.WaitDelay = 2 * time.Second
	for _, name := range []string{"PATH", "HOME", "GOCACHE", "TMPDIR", "XDG_CACHE_HOME", "GOROOT"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	cmd.Env = append(cmd.Env, "CGO_ENABLED=0", "GOENV=off", "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off", "GOTOOLCHAIN=local", "GO111MODULE=on", "GOVCS=*:off")
	messages := &capped{left: sandboxErrors}
	cmd.Stdout, cmd.Stderr = messages, messages
	killGroup(cmd)
	if err := runLimited(cmd); err != nil {
		if ctx.Err() != nil {
			return nil, errors.New("it was not compiled in time")
		}
		return nil, fmt.Errorf("it does not compile: %.300s", compileError(messages.Bytes()))
	}
	info, err := os.Stat(out)
	if err != nil {
		return nil, err
	}
	if info.Size() > goBinary {
		return nil, fmt.Errorf("its executable has %d bytes, at most %d are run", info.Size(), goBinary)
	}
	return os.ReadFile(out)
}

// Bounds of what compiles an answer, each of its processes: a small program can ask for
// an array that fills the memory of the compiler, or the disk.
const (
	buildMemory = 3 << 30
	buildFile   = 4 * goBinary
)

// runLimited runs the go command within bounds. It needs some milliseconds to start the
// first compiler, which inherits what is set by then.
func runLimited(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := limitProcess(cmd.Process.Pid, buildMemory, buildFile); err != nil {
		_ = cmd.Cancel()
		_ = cmd.Wait()
		return err
	}
	return cmd.Wait()
}

// compileError is the compiler's first message.
func compileError(messages []byte) string {
	for line := range bytes.Lines(messages) {
		if !bytes.HasPrefix(line, []byte("#")) {
			return string(bytes.TrimSpace(line))
		}
	}
	return "no message"
}
