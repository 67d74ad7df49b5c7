package reason

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sonde/reason/task"
)

// problemFile writes a file of these lines.
func problemFile(t *testing.T, name string, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// evalFormatFiles has a few lines in each format, made up for this test.
var evalFormatFiles = map[string][]string{
	FormatTasks: {
		`{"prompt": "What is 2+2?", "reference": "4", "verifier": "number"}`, "",
		`{"prompt": "Which colour has snow?", "reference": "white|White", "verifier": "regex", "seconds": 3}`,
	},
	FormatGSM8K: {
		`{"question": "A box holds 1,200 nails. How many do 2 boxes hold?", "answer": "Two boxes hold 2*1200=<<2*1200=2400>>2400 nails.\n#### 2,400"}`,
		`{"question": "Ann owes 5 and pays 8. What does she owe?", "answer": "#### -3"}`,
	},
	FormatMATH: {
		`{"problem": "What is $\\frac12+\\frac14$?", "solution": "It is $\\boxed{\\frac{3}{4}}$.", "answer": "\\frac{3}{4}", "subject": "Prealgebra", "level": 2, "unique_id": "test/prealgebra/1.json"}`,
		`{"problem": "Solve $x^2=2$, $x>0$.", "solution": "So $\\boxed{\\sqrt{2}}$.", "answer": "\\sqrt{2}", "subject": "Algebra", "level": 5, "unique_id": "test/algebra/7.json"}`,
		`{"problem": "What is $1+1$?", "solution": "First \\boxed{1}, then \\boxed{2}.", "level": "Level 2", "type": "Algebra"}`,
	},
	FormatAIME: {
		`{"ID": "2024-II-4", "Problem": "Find the number.", "Solution": "It is \\boxed{33}.", "Answer": 33}`,
		`{"id": 60, "problem": "Find another number.", "answer": "025", "url": "https://example.org", "year": "2024"}`,
		`{"question": "Find a third.", "answer": "204"}`,
		`{"problem": "Find a fourth.", "solution": "So \\boxed{7}."}`,
	},
}

func TestEvalFormats(t *testing.T) {
	for format, c := range map[string]struct {
		right, wrong []string // an answer to each problem, in the sets' order
		levels       []int
		temperature  float64
	}{
		FormatTasks: {[]string{"It is 4.", "white"}, []string{"5", "black"}, []int{0}, 1},
		FormatGSM8K: {[]string{`so \boxed{2400}`, "The answer is -3 dollars."}, []string{`\boxed{1200}`, "3"}, []int{0}, 0.6},
		FormatMATH: {[]string{`\boxed{0.75}`, `$\boxed{\frac{2}{2}}$, no, \boxed{2}`, `\boxed{\sqrt2}`}, []string{`\boxed{\frac43}`, `\boxed{1}`, `\boxed{\pm\sqrt2}`},
			[]int{2, 5}, 0.6},
		FormatAIME: {[]string{`\boxed{033}`, `\boxed{25}`, `\boxed{204}`, `\boxed{7}`}, []string{`\boxed{34}`, `\boxed{250}`, `\boxed{24}`, `\boxed{0.7}`}, []int{0}, 0.6},
	} {
		t.Run(format, func(t *testing.T) {
			path := problemFile(t, "some.jsonl", evalFormatFiles[format]...)
			for _, name := range []string{"", format} {
				sets, err := ReadEvalFile(path, name, false)
				if err != nil {
					t.Fatal(err)
				}
				i, levels := 0, []int{}
				for _, s := range sets {
					levels = append(levels, s.Difficulty)
					if s.Temperature != c.temperature {
						t.Errorf("temperature %v", s.Temperature)
					}
					for _, p := range s.Problems {
						if v := p.Score("<think>hm</think>\n" + c.right[i]); !v.Right() {
							t.Errorf("%s: %q is right: %s", p.ID, c.right[i], v.Reason)
						}
						if v := p.Score(c.wrong[i]); v.Right() {
							t.Errorf("%s: %q is wrong", p.ID, c.wrong[i])
						}
						if boxed := strings.HasSuffix(p.Prompt, r1Request); boxed != (format != FormatTasks) {
							t.Errorf("the prompt is %q", p.Prompt)
						}
						i++
					}
				}
				if i != len(c.right) || fmt.Sprint(levels) != fmt.Sprint(c.levels) {
					t.Errorf("%d problems at %v, want %d at %v", i, levels, len(c.right), c.levels)
				}
			}
		})
	}
}

func TestEvalFilePacked(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(evalFormatFiles[FormatGSM8K][0]))
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	path := problemFile(t, "gsm.jsonl.gz", b.String())
	sets, err := ReadEvalFile(path, "", false)
	if err != nil || len(sets[0].Problems) != 1 {
		t.Fatalf("%v, %v", sets, err)
	}
	if _, err := ReadEvalFile(problemFile(t, "cut.gz", b.String()[:b.Len()/2]), "", false); err == nil {
		t.Error("a file cut short is read")
	}
}

func TestEvalFileBadInput(t *testing.T) {
	good := evalFormatFiles
	for _, c := range []struct {
		name, format string
		lines        []string
		want         []string
	}{
		{"no file", "", nil, []string{"no problem in it"}},
		{"no JSON", "", []string{good[FormatGSM8K][0], "question,answer"}, []string{"line 2", "not a JSON object"}},
		{"an array", "", []string{`[{"question": "a"}]`}, []string{"line 1", "array"}},
		{"nothing known", "", []string{`{"text": "a", "label": 1}`}, []string{"line 1", "label, text", "--format", "gsm8k"}},
		{"no answer", "", []string{good[FormatGSM8K][0], "", `{"question": "a"}`}, []string{"line 3", `"answer" is missing`}},
		{"null", FormatAIME, []string{`{"problem": "a", "answer": null}`}, []string{"line 1", `"answer" is missing`}},
		{"no question", FormatAIME, []string{`{"answer": "1"}`}, []string{`"problem" or "question" is missing`}},
		{"no ####", "", []string{good[FormatGSM8K][0], `{"question": "a", "answer": "5"}`}, []string{"line 2", "####"}},
		{"no number", FormatGSM8K, []string{`{"question": "a", "answer": "#### five"}`}, []string{"line 1", "not a number"}},
		{"not AIME's", FormatAIME, []string{`{"problem": "a", "answer": "1000"}`}, []string{"line 1", "0 to 999"}},
		{"a list", FormatMATH, []string{`{"problem": "a", "answer": ["1"]}`}, []string{"line 1", `"answer" is neither`}},
		{"empty", FormatMATH, []string{`{"problem": " ", "answer": "1"}`}, []string{"line 1", `"problem" is empty`}},
		{"nothing boxed", FormatMATH, []string{`{"problem": "a", "solution": "1"}`}, []string{"line 1", "boxed"}},
		{"a task's verifier", "", []string{good[FormatTasks][0], "", `{"prompt": "a", "reference": "b", "verifier": "luck"}`}, []string{"line 3", "luck"}},
		{"a task's field", "", []string{`{"prompt": "a", "verifier": "exact"}`}, []string{"line 1", `"reference" is missing`}},
		{"no entry point", FormatHumanEval, []string{`{"task_id": "a", "prompt": "def f():\n", "test": "def check(c): pass"}`}, []string{"line 1", `"entry_point" is missing`}},
		{"format", "arc", []string{good[FormatGSM8K][0]}, []string{`"arc" is not known`, "gsm8k"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadEvalFile(problemFile(t, "bad.jsonl", c.lines...), c.format, false)
			if err == nil {
				t.Fatal("it is read")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v; want something of %q", err, w)
				}
			}
		})
	}
	if _, err := ReadEvalFile(filepath.Join(t.TempDir(), "none.jsonl"), "", false); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestEvalFileHeldOut takes what training leaves alone.
func TestEvalFileHeldOut(t *testing.T) {
	var lines []string
	for i := range 200 {
		lines = append(lines, fmt.Sprintf(`{"prompt": "What is %d+1?", "reference": "%d", "verifier": "number"}`, i, i+1))
	}
	sets, err := ReadEvalFile(problemFile(t, "many.jsonl", lines...), "", true)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(sets[0].Problems); n < 10 || n > 45 {
		t.Errorf("%d of 200 are held out, about one in eight is meant", n)
	}
	for _, p := range sets[0].Problems {
		if task.SplitOf(p) != task.HeldOut {
			t.Errorf("%s is for training", p.ID)
		}
	}
	if _, err := ReadEvalFile(problemFile(t, "one.jsonl", `{"question": "1?", "answer": "#### 1"}`), "", true); err == nil || !strings.Contains(err.Error(), "held out") {
		t.Error(err)
	}
}
