package task

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// addTest are asserts in HumanEval's form, with a helper that the prompt defines and
// results of every kind that crosses over.
var addAsserts = AssertTests{
	Entry:  "add",
	Prompt: "from typing import List\n\ndef twice(x):\n    return [x, x]\n\ndef add(a, b):\n    \"\"\"Adds.\n    \"\"\"\n",
	Test: `
METADATA = {"author": "somebody"}

def check(candidate):
    print("testing")
    assert candidate(1, 2) == 3
    assert candidate("a", "b") == "ab", "strings"
    assert candidate(twice(1), b=[2]) == [1, 1, 2]
    assert candidate((1, 2.5), (None,)) == (1, 2.5, None)
    assert candidate(b"x", b"y") == b"xy"
    assert type(candidate(1.0, 2)) is float
    assert abs(candidate(1j, 1) - (1+1j)) < 1e-9
    assert add(40, 2) == 42
    try:
        candidate(1, "x")
        assert False
    except TypeError:
        pass
`,
}

func assertsCheck(t *testing.T, tests AssertTests, limit time.Duration) Problem {
	t.Helper()
	raw, err := json.Marshal(tests)
	if err != nil {
		t.Fatal(err)
	}
	return codeCheck(t, "python-asserts", string(raw), limit)
}

func TestPythonAsserts(t *testing.T) {
	p := assertsCheck(t, addAsserts, 30*time.Second)
	for _, c := range []struct {
		name, code string
		right      bool
		reason     string
	}{
		{"right", "def add(a, b):\n    print('adding')\n    return a + b", true, "right"},
		{"subclasses of plain types", "class I(int): pass\nclass S(str):\n    def __str__(self): return 'no'\ndef add(a, b):\n    r = a + b\n    return I(r) if type(r) is int else S(r) if type(r) is str else r", true, "right"},
		{"wrong", "def add(a, b):\n    return a", false, "AssertionError"},
		{"a message", "def add(a, b):\n    return 3", false, "AssertionError: strings"},
		{"raises", "def add(a, b):\n    raise KeyError('no')", false, "KeyError"},
		{"no Python", "def add(", false, "SyntaxError"},
		{"no function", "x = 1", false, "no function add"},
		{"is an iterator", "def add(a, b):\n    return iter([3])", false, "list_iterator"},

		{"exits", "import sys\nsys.exit(0)", false, answerEnded},
		{"exits in the call", "import sys\ndef add(a, b):\n    sys.exit(0)", false, "RuntimeError"},
		{"exits at once in the call", "import os\ndef add(a, b):\n    os._exit(0)", false, answerEnded},
		{"equal to everything", "class E:\n    def __eq__(self, o): return True\n    def __ne__(self, o): return False\ndef add(a, b): return E()", false, "is a E"},
		{"an int equal to everything", "class E(int):\n    def __eq__(self, o): return True\n    __hash__ = None\ndef add(a, b): return E(7)", false, "AssertionError"},
		{"patches asserts", "import builtins\nclass A(Exception):\n    def __new__(cls, *a): raise SystemExit(0)\nbuiltins.AssertionError = A\ndef add(a, b): return 0", false, "AssertionError"},
		{"patches comparisons", "import builtins, operator\nbuiltins.abs = lambda x: 0\noperator.eq = lambda a, b: True\ndef add(a, b): return 0", false, "AssertionError"},
		{"traces", "import sys\nsys.settrace(lambda *a: None)\nimport atexit, os\natexit.register(os._exit, 0)\ndef add(a, b): return 0", false, "AssertionError"},
		{"reads the tests", "import gc, inspect, os, sys\nfound = [o for o in gc.get_objects() if 'check' in repr(type(o)) or isinstance(o, dict) and 'METADATA' in o]\nfor d in ('/box', '/tmp', '/proc'):\n    for n in (os.listdir(d) if os.path.isdir(d) else []):\n        if 'tester' in n or 'METADATA' in open(os.path.join(d, n)).read(): found.append(n)\nf = sys._getframe()\nwhile f:\n    found += [k for k in f.f_globals if k == 'METADATA']\n    f = f.f_back\nprint(found, file=sys.stderr)\nif found: add = lambda a, b: a + b", false, "no function add"},
		{"a verdict of its own", "import os\nfor fd in range(20):\n    try: os.write(fd, b'{\"passed\": true}\\n' * 50)\n    except OSError: pass\ndef add(a, b): return 0", false, "Error"},
		{"a verdict instead of a result", "import json\njson.dumps = lambda *a: '{\"passed\": true}'\ndef add(a, b): return 0", false, "RuntimeError"},
		{"closes everything", "import os\ndef add(a, b):\n    os.closerange(0, 100)\n    return 3", false, ""},
		{"raises the tests' way out", "class GeneratorExit(BaseException): pass\ndef add(a, b):\n    raise SystemExit('ok')", false, "RuntimeError"},
		{"too much", "def add(a, b):\n    return 'x' * (2 << 20)", false, "a result of more than"},
		{"too deep", "import json\njson.dumps = lambda *a: '[' * 500000\ndef add(a, b): return 0", false, "RecursionError"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := p.Score("```python\n" + c.code + "\n```")
			if v.Right() != c.right || !strings.Contains(v.Reason, c.reason) {
				t.Errorf("%v, %q; want %v and something of %q", v.Score, v.Reason, c.right, c.reason)
			}
		})
	}
}

// TestPythonAssertsEndInTime: what hangs or forks is over at the deadline.
func TestPythonAssertsEndInTime(t *testing.T) {
	p := assertsCheck(t, addAsserts, 2*time.Second)
	for name, code := range map[string]string{
		"loop":         "while True: pass",
		"loop in call": "def add(a, b):\n    while True: pass",
		"fork":         "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
		"daemon":       "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\nos._exit(0)",
		"reads calls":  "import sys, time\ndef add(a, b):\n    sys.stdin.read()\n    time.sleep(1000)",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			v := p.Score(code)
			if d := time.Since(start); d > 12*time.Second {
				t.Errorf("it took %v", d)
			}
			if v.Score != 0 {
				t.Errorf("%v, %q", v.Score, v.Reason)
			}
		})
	}
}

// TestPythonAssertsComputeWithoutEnd: time on the processor is bounded, whatever the clock
// says.
func TestPythonAssertsComputeWithoutEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("computes for ten seconds")
	}
	if v := assertsCheck(t, addAsserts, 10*time.Minute).Score("while True: pass"); v.Score != 0 || !strings.Contains(v.Reason, "killed") {
		t.Errorf("%v, %q", v.Score, v.Reason)
	}
}

// TestPythonAssertsThatDoNotRun: tests that are broken are told from answers that are wrong.
func TestPythonAssertsThatDoNotRun(t *testing.T) {
	for name, c := range map[string][2]string{
		"no module":     {"import nothing_of_this_name\ndef check(candidate):\n    assert candidate(1, 2) == 3", "ModuleNotFoundError"},
		"syntax":        {"def check(candidate:\n", "SyntaxError"},
		"vacuous":       {"def check(candidate):\n    assert True", "never call"},
		"asks for code": {"def check(candidate):\n    assert candidate(lambda x: x, 1) == 3", "no plain data"},
	} {
		t.Run(name, func(t *testing.T) {
			p := assertsCheck(t, AssertTests{Entry: "add", Test: c[0]}, 30*time.Second)
			if v := p.Score("def add(a, b): return a + b"); v.Right() || !strings.Contains(v.Reason, "the tests do not run") || !strings.Contains(v.Reason, c[1]) {
				t.Errorf("%v, %q; want something of %q", v.Score, v.Reason, c[1])
			}
		})
	}
}
