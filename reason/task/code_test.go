package task

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// addCases are those of a function add(a, b).
const addCases = `{"entry": "add", "cases": [{"args": [1, 2], "want": 3}, {"args": [-1, 1], "want": 0}]}`

// codeCheck makes a verifier, or skips the test where code cannot be run.
func codeCheck(t *testing.T, name, reference string, limit time.Duration) Problem {
	t.Helper()
	check, err := codeVerifier(name, []byte(reference), limit)
	if errors.Is(err, ErrNoSandbox) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return Problem{Check: check, Read: ExtractCode, Limit: limit}
}

func TestPython(t *testing.T) {
	p := codeCheck(t, "python-tests", addCases, 30*time.Second)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("3"), 0o666); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, code string
		score      float64
		reason     string
	}{
		{"right", "def add(a, b):\n    print('adding')\n    return a + b", 1, "right"},
		{"in a block", "<think>easy</think>\n```python\ndef add(a, b):\n    return a + b\n```", 1, "right"},
		{"half", "def add(a, b):\n    return 3", 0.25, "1 of 2"},
		{"raises", "def add(a, b):\n    raise ValueError('no')", 0, "ValueError: no"},
		{"no function", "x = 1", 0, "no function"},
		{"no Python", "def add(", 0, "SyntaxError"},
		{"exit 0", "import os\nos._exit(0)", 0, "no reply"},
		{"exit in the call", "import sys\ndef add(a, b):\n    sys.exit(0)", 0, "SystemExit"},
		{"equal to everything", "class E:\n    def __eq__(self, o): return True\ndef add(a, b): return E()", 0, "the result is a E"},
		{"a subclass of int", "class I(int):\n    def __eq__(self, o): return True\ndef add(a, b): return I(9)", 0, "the result is a I"},
		{"replies of its own", "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'{\"ok\": 3}\\n{\"ok\": 0}\\n')\n    except OSError: pass\ndef add(a, b): return 7", 0, "4 replies"},
		{"verdicts of its own", "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'{\"score\": 1}\\n')\n    except OSError: pass\nos._exit(0)", 0, "no result"},
		{"a patched json", "import json\njson.dumps = lambda *a, **k: '{\"score\": 1, \"right\": true}'\ndef add(a, b): return 1", 0, "no result"},
		{"true is not 1", "def add(a, b): return bool(a + b)", 0, "true"},
		{"network", "import socket\ntry:\n    s = socket.create_connection(('127.0.0.1', 22), 2)\nexcept OSError as e:\n    raise SystemExit('no network: ' + str(e))\ndef add(a, b): return a + b", 0, "no network"},
		{"the host's files", "print(open('" + secret + "').read())\ndef add(a, b): return a + b", 0, "FileNotFoundError"},
		{"the users", "open('/etc/passwd')\ndef add(a, b): return a + b", 0, "FileNotFoundError"},
		{"write outside", "open('/usr/mark', 'w')\ndef add(a, b): return a + b", 0, "Error"},
		{"a file too large", "f = open('/box/x', 'wb')\nfor i in range(64): f.write(b'0' * (1 << 20))\ndef add(a, b): return a + b", 0, ""},
		{"memory", "x = bytearray(4 << 30)\ndef add(a, b): return a + b", 0, "MemoryError"},
		{"too much output", "import os, sys\nwhile True: os.write(3, b'x' * 65536) if False else [os.write(fd, b'x' * 65536) for fd in (3, 4)]", 0, ""},
		{"is nobody here", "import os\ndef add(a, b): return a + b if (os.getuid() == 0 or os.getuid() >= 2000000000) and len(os.listdir('/')) < 9 and os.getpid() == 1 else None", 1, "right"},
		{"privileges", "import ctypes\nlibc = ctypes.CDLL(None)\ndef add(a, b): return a + b if libc.mount(b'a', b'/box', b'tmpfs', 0, 0) == -1 and libc.sethostname(b'x', 1) == -1 and libc.chroot(b'/tmp') == -1 else None", 1, "right"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := p.Score(c.code)
			if v.Score != c.score || !strings.Contains(v.Reason, c.reason) {
				t.Errorf("%v, %q; want %v and something of %q", v.Score, v.Reason, c.score, c.reason)
			}
		})
	}
}

// TestPythonEndsInTime: what hangs, forks or hides is over at the deadline.
func TestPythonEndsInTime(t *testing.T) {
	p := codeCheck(t, "python-tests", addCases, 4*time.Second)
	for name, code := range map[string]string{
		"loop":          "while True: pass",
		"fork":          "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
		"own session":   "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\ntime.sleep(1000)",
		"ignores":       "import signal, time\nfor s in range(1, 32):\n    try: signal.signal(s, signal.SIG_IGN)\n    except OSError: pass\ntime.sleep(1000)",
		"stays on call": "import time\ndef add(a, b): time.sleep(1000)",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			v := p.Score(code)
			if d := time.Since(start); d > 15*time.Second {
				t.Errorf("it took %v", d)
			}
			if v.Score != 0 {
				t.Errorf("%v, %q", v.Score, v.Reason)
			}
		})
	}
}

func TestGo(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles programs")
	}
	p := codeCheck(t, "go-tests", addCases, 2*time.Minute)
	for _, c := range []struct {
		name, code string
		score      float64
		reason     string
	}{
		{"right", "package main\n\nimport \"fmt\"\n\nfunc add(a, b int) int { fmt.Println(a); return a + b }\n\nfunc main() {}", 1, "right"},
		{"no package", "func add(a, b int) (int, error) { return a + b, nil }", 1, "right"},
		{"wrong", "func add(a, b int) int { return a - b }", 0, "case 1: -1, want 3"},
		{"does not compile", "func add(a, b int) int { return c }", 0, "undefined: c"},
		{"exit", "import \"os\"\nfunc init() { os.Exit(0) }\nfunc add(a, b int) int { return 0 }", 0, "no reply"},
		{"cgo", "import \"C\"\nfunc add(a, b int) int { return a + b }", 0, "standard library"},
		{"a module", "import \"example.com/x\"\nfunc add(a, b int) int { return x.Add(a, b) }", 0, "standard library"},
		{"files", "import \"os\"\nfunc add(a, b int) int { if _, err := os.Stat(\"/etc\"); err == nil { return -99 }; return a + b }", 1, "right"},
		{"fills the disk", "var x = [1 << 28]int{1<<28 - 1: 1}\nfunc add(a, b int) int { return a + b + x[a] }", 0, "does not compile"},
		{"fills the compiler's memory", "var x = [1 << 32]int{1<<32 - 1: 1}\nfunc add(a, b int) int { return a + b + x[a] }", 0, "does not compile"},
		{"panics", "func add(a, b int) int { panic(\"no\") }", 0, "panic: no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := p.Score(c.code)
			if v.Score != c.score || !strings.Contains(v.Reason, c.reason) {
				t.Errorf("%v, %q; want %v and something of %q", v.Score, v.Reason, c.score, c.reason)
			}
		})
	}
}

func TestResultsAreComparedAsJSON(t *testing.T) {
	for _, c := range []struct {
		got, want string
		same      bool
	}{
		{"3", "3.0", true}, {"0.30000000000000004", "0.3", true}, {"0.31", "0.3", false}, {"true", "1", false}, {"[1, 2]", "[1,2]", true},
		{"[1]", "[1,2]", false}, {`{"a": 1}`, `{"a": 1.0}`, true}, {`{"a": 1}`, `{"b": 1}`, false}, {`{"a":1,"b":2}`, `{"a":1}`, false},
		{"null", "null", true}, {"null", "0", false}, {`"3"`, "3", false}, {"9007199254740993", "9007199254740992", false}, {"[]", "{}", false},
	} {
		tests := CodeTests{"f", []Case{{Want: []byte(c.want)}}}
		if v := tests.compare([]byte(`{"ok": `+c.got+"}\n"), nil); v.Right() != c.same {
			t.Errorf("%s and %s: %v, %s", c.got, c.want, v.Score, v.Reason)
		}
	}
}
