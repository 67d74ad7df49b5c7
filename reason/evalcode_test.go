package reason

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"sonde/reason/task"
)

// humanEvalPrompt is one in HumanEval's form: imports, a helper, the function's head.
const humanEvalPrompt = `from typing import List


def twice(x: int) -> int:
    return 2 * x


def doubled(numbers: List[int]) -> List[int]:
    """ Double every number.
    >>> doubled([1, 2])
    [2, 4]
    """
`

const humanEvalTest = `

METADATA = {'author': 'nobody'}


def check(candidate):
    assert candidate([]) == []
    assert candidate([1, 2]) == [2, 4]
    assert candidate([twice(3)]) == [12]
    assert candidate([5]) == doubled([5])
`

func humanEvalSet(t *testing.T) EvalSet {
	t.Helper()
	line, err := json.Marshal(map[string]string{"task_id": "Test/0", "prompt": humanEvalPrompt, "entry_point": "doubled", "test": humanEvalTest,
		"canonical_solution": "    return [2 * n for n in numbers]\n"})
	if err != nil {
		t.Fatal(err)
	}
	sets, err := ReadEvalFile(problemFile(t, "he.jsonl", string(line)), "", false)
	if errors.Is(err, task.ErrNoSandbox) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return sets[0]
}

func TestHumanEval(t *testing.T) {
	set := humanEvalSet(t)
	p := set.Problems[0]
	if p.ID != "Test/0" || !set.NoVote || !strings.Contains(p.Prompt, "```python\n"+humanEvalPrompt[:20]) {
		t.Errorf("%+v", p)
	}
	for _, c := range []struct {
		name, output string
		right        bool
		reason       string
	}{
		{"the whole function", "<think>easy</think>Here it is:\n\n```python\ndef doubled(numbers: List[int]):\n    return [twice(n) for n in numbers]\n```\nIt doubles.", true, ""},
		{"a body", "```python\n    return [2 * n for n in numbers]\n```", true, ""},
		{"a body without indent", "```\nout = []\nfor n in numbers:\n    out.append(2 * n)\nreturn out\n```", true, ""},
		{"bare continuation", "    out = [2 * n for n in numbers]\n    return out\n\ndef main():\n    print(doubled(", true, ""},
		{"bare function", "Sure.\n\nimport math\ndef doubled(numbers):\n    return [2 * n for n in numbers]", true, ""},
		{"the last block with the function", "```python\ndef doubled(numbers):\n    return 1\n```\nBetter:\n```python\ndef doubled(n):\n    return [2 * x for x in n]\n```\nUse it:\n```python\nprint(doubled([1]))\n```", true, ""},
		{"within a list", "1. Do this:\n   ```python\n   def doubled(numbers):\n       return [2 * n for n in numbers]\n   ```", true, ""},
		{"cut short", "```python\ndef doubled(numbers):\n    return [2 * n for n in num", false, "SyntaxError"},
		{"wrong", "```python\ndef doubled(numbers):\n    return numbers\n```", false, "AssertionError"},
		{"nothing", "<think>x</think>", false, "no answer"},
		{"a thought without end", "<think>```python\ndef doubled(n):\n    return [2 * x for x in n]\n```", false, "does not end"},

		{"exits", "```python\nimport sys\nsys.exit(0)\ndef doubled(n): pass\n```", false, "ended"},
		{"asserts overridden", "```python\nimport builtins\nclass Calm(BaseException):\n    def __init__(self, *a): import os; os._exit(0)\nbuiltins.AssertionError = Calm\ndef doubled(n): return n\n```", false, "AssertionError"},
		{"an answer that equals everything", "```python\nclass E(list):\n    def __eq__(self, o): return True\ndef doubled(n): return E()\n```", false, "AssertionError"},
		{"the tests redefined", "```python\nimport sys\nfor m in list(sys.modules.values()):\n    setattr(m, 'check', lambda c: None)\ndef check(c): pass\ndef doubled(n): return n\n```", false, "AssertionError"},
		{"the tests looked for", "```python\nimport glob, sys\ndef doubled(n):\n    for f in glob.glob('/[bpt][ormx][xop]*/**', recursive=True):\n        try:\n            if 'METADATA' in open(f).read(): return [2 * x for x in n]\n        except Exception: pass\n    f = sys._getframe()\n    while f:\n        if 'METADATA' in f.f_globals: return [2 * x for x in n]\n        f = f.f_back\n    return None\n```", false, "AssertionError"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := p.Score(c.output)
			if v.Right() != c.right || !strings.Contains(v.Reason, c.reason) {
				program, err := p.Read(c.output)
				t.Errorf("%v, %q, want %v and something of %q\n%v\n%s", v.Score, v.Reason, c.right, c.reason, err, program)
			}
		})
	}
	if v := p.Verify(p.Answer); !v.Right() {
		t.Errorf("the file's own solution: %s", v.Reason)
	}
}

// TestHumanEvalEnds: what does not end is over in time, with what it started.
func TestHumanEvalEnds(t *testing.T) {
	p := humanEvalSet(t).Problems[0]
	var err error
	if p.Check, err = task.PythonAsserts(task.AssertTests{Entry: "doubled", Test: humanEvalTest, Prompt: humanEvalPrompt}, 2e9); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"loop": "    while True: pass", "fork": "    import os\n    while True:\n        try: os.fork()\n        except OSError: pass",
	} {
		if v := p.Score("```python\n" + body + "\n```"); v.Right() || !strings.Contains(v.Reason, "in time") {
			t.Errorf("%s: %v, %q", name, v.Score, v.Reason)
		}
	}
}

func TestCompletedProgram(t *testing.T) {
	const prompt = "import math\n\ndef f(x):\n    \"\"\"F.\"\"\"\n"
	for output, want := range map[string]string{
		"return x\n":                              "import math\n\ndef f(x):\n    \"\"\"F.\"\"\"\n    return x\n",
		"y = x\n    return y":                     "import math\n\ndef f(x):\n    \"\"\"F.\"\"\"\n    y = x\n    return y\n",
		"if x:\n    return 1\nreturn 2":           "", // the stop words end it at once
		"```\nif x:\n    return 1\nreturn 2\n```": "import math\n\ndef f(x):\n    \"\"\"F.\"\"\"\n    if x:\n        return 1\n    return 2\n",
		"    a = 1\n    return a\n# and so on":    "import math\n\ndef f(x):\n    \"\"\"F.\"\"\"\n    a = 1\n    return a\n",
		"def f(x): return 3":                      "import math\n\ndef f(x): return 3\n",
		"</think>\n\n    return 4":                "import math\n\ndef f(x):\n    \"\"\"F.\"\"\"\n    return 4\n",
	} {
		got, err := completedProgram(output, prompt, "f")
		if want == "" {
			if !errors.Is(err, task.ErrNoAnswer) {
				t.Errorf("%q: %q, %v", output, got, err)
			}
			continue
		}
		if strings.TrimRight(got, "\n") != strings.TrimRight(want, "\n") || err != nil {
			t.Errorf("%q:\n%s\nwant\n%s%v", output, got, want, err)
		}
	}
}
