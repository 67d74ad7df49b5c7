package task

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// pythonHarness calls the answer's function; see there.
//
//go:embed harness/harness.py
var pythonHarness []byte

// python is an interpreter and the folders that it needs.
type python struct {
	path  string
	binds []string
}

// pythonMemory is the address space of a Python program, pythonCPU its seconds.
const (
	pythonMemory = 1 << 30
	pythonCPU    = 60
)

// findPython looks for an interpreter that runs in the sandbox, once.
var findPython = sync.OnceValues(func() (python, error) {
	var last error
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		// The name may be that of a script that chooses one of several interpreters.
		out, err := exec.Command(path, "-I", "-c", "import os, sys; print(os.path.realpath(sys.executable)); print(sys.base_prefix)").Output()
		real, prefix, ok := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if err != nil || !ok {
			continue
		}
		p := python{real, systemFolders}
		if !strings.HasPrefix(prefix+"/", "/usr/") {
			p.binds = append(p.binds[:len(p.binds):len(p.binds)], prefix)
		}
		if last = p.probe(); last == nil {
			return p, nil
		}
	}
	if last != nil {
		return python{}, last
	}
	return python{}, fmt.Errorf("%w: there is no python3 among the programs; install it", ErrNoSandbox)
})

// probe runs a program that does nothing, to see whether there is a sandbox.
func (p python) probe() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := runSandboxed(ctx, p.job("pass", ""), nil); err != nil {
		return fmt.Errorf("%w: python3 does not work in it: %w", ErrNoSandbox, err)
	}
	return nil
}

// job is a Python program: the given code, or the harness if there is none.
func (p python) job(code, harness string) sandboxJob {
	j := sandboxJob{
		Binds: p.binds, Memory: pythonMemory, CPU: pythonCPU,
		Env:  []string{"PATH=/usr/bin:/bin", "HOME=/box", "LANG=C.UTF-8", "PYTHONHASHSEED=0"},
		Args: []string{p.path, "-I", "-S", "-B"},
	}
	if code != "" {
		j.Args = append(j.Args, "-c", code)
		return j
	}
	j.Args = append(j.Args, "/box/"+harness)
	j.Files = map[string][]byte{harness: pythonHarness}
	return j
}

// run calls a function of the code and returns its replies.
func (p python) run(ctx context.Context, code, entry string, args []byte) ([]byte, error) {
	input, err := json.Marshal(map[string]any{"code": code, "entry": entry, "calls": json.RawMessage(args)})
	if err != nil {
		return nil, err
	}
	return runSandboxed(ctx, p.job("", "harness.py"), input)
}
