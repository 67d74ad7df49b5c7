package task

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine.jsonl")
	file := `{"prompt": "2+2?", "reference": "4", "verifier": "number"}

{"prompt": "pi?", "reference": 3.14, "verifier": "number", "tolerance": 0.01, "thought": "known"}
{"prompt": "half?", "reference": "\\frac{1}{2}", "verifier": "math"}
{"prompt": "say hi", "reference": "hi", "verifier": "exact", "answer": "hi"}
{"prompt": "three a", "reference": "a{3}|b", "verifier": "regex"}
{"prompt": "a person", "reference": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}, "verifier": "json-schema"}
`
	if err := os.WriteFile(path, []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct{ right, wrong []string }{
		{[]string{"4", "Answer: 4.0", "<think>2+2</think>8/2"}, []string{"5", "four", "4 or 5"}},
		{[]string{"3.14159", "3.14"}, []string{"3.2", "NaN", "1e999999999"}},
		{[]string{"0.5", "50%", "2/4"}, []string{"0.51"}},
		{[]string{"hi"}, []string{"Hi", "hi there"}},
		{[]string{"aaa", "b"}, []string{"aaaa", "ab", "aaab"}},
		{[]string{"```json\n{\"name\": \"Ada\"}\n```", `{"name": "x", "age": 3}`}, []string{`{"name": 3}`, `{}`, "Ada", strings.Repeat("[", 5000), `{"name": "x"} {}`}},
	}
	problems := c.Problems()
	if len(problems) != len(cases) {
		t.Fatalf("%d problems", len(problems))
	}
	for i, p := range problems {
		for _, a := range cases[i].right {
			if v := p.Score(a); v.Score != 1 {
				t.Errorf("%s %q: %v, %s", p.Prompt, a, v.Score, v.Reason)
			}
		}
		for _, a := range cases[i].wrong {
			if v := p.Score(a); v.Score != 0 || v.Reason == "" {
				t.Errorf("%s %q: %v, %s", p.Prompt, a, v.Score, v.Reason)
			}
		}
	}
	if problems[1].Thought != "known" || problems[1].Answer != "3.14" || problems[1].ID == "" {
		t.Errorf("%+v", problems[1])
	}
	if p, err := Sample(c, Train, NewRand(1), 1); err != nil || SplitOf(p) != Train {
		t.Errorf("%v, %v", p, err)
	}
}

func TestBadFilesAreRefused(t *testing.T) {
	good := `{"prompt": "p", "reference": "1", "verifier": "exact"}` + "\n"
	for line, want := range map[string]string{
		`{"prompt": "p", "verifier": "exact"}`:                                                          `line 2: the field "reference" is missing`,
		`{"reference": "1", "verifier": "exact"}`:                                                       `line 2: the field "prompt" is missing`,
		`{"prompt": "", "reference": "1", "verifier": "exact"}`:                                         `the field "prompt" is missing or empty`,
		`{"prompt": "p", "reference": "1"}`:                                                             `line 2: the field "verifier" is missing`,
		`{"prompt": "p", "reference": "1", "verifier": "best"}`:                                         `the verifier "best" is unknown; there are: exact`,
		`{"prompt": "p", "reference": "x", "verifier": "number"}`:                                       `"reference": "x" is not a number`,
		`{"prompt": "p", "reference": "1e999999999", "verifier": "number"}`:                             `is not a number`,
		`{"prompt": "p", "reference": ["1"], "verifier": "exact"}`:                                      `must be a string or a number`,
		`{"prompt": "p", "reference": "(a", "verifier": "regex"}`:                                       `RE2`,
		`{"prompt": "p", "reference": "a)|(b", "verifier": "regex"}`:                                    `RE2`,
		`{"prompt": "p", "reference": "(?=a)", "verifier": "regex"}`:                                    `RE2`,
		`{"prompt": "p", "reference": {"type": 3}, "verifier": "json-schema"}`:                          `the schema is not usable`,
		`{"prompt": "p", "reference": {"$ref": "file:///etc/passwd"}, "verifier": "json-schema"}`:       `not usable`,
		`{"prompt": "p", "reference": {"$ref": "https://example.com/a"}, "verifier": "json-schema"}`:    `only references within`,
		`{"prompt": 3, "reference": "1", "verifier": "exact"}`:                                          `the field "prompt" is a number`,
		`{"prompt": "p", "reference": "1", "verifier": "exact", "tolerence": 1}`:                        `"tolerence" is unknown`,
		`{"prompt": "p", "reference": "1", "verifier": "number", "tolerance": -1}`:                      `below 0`,
		`{"prompt": "p", "reference": {"entry": "f"}, "verifier": "python-tests"}`:                      `there are no cases`,
		`{"prompt": "p", "reference": {"entry": "f()", "cases": []}, "verifier": "go-tests"}`:           `function's name`,
		`{"prompt": "p", "reference": {"entry": "f", "cases": [{"args": []}]}, "verifier": "go-tests"}`: `want is missing`,
		`{"prompt": "p", "reference": {"entry": "f", "case": []}, "verifier": "go-tests"}`:              `unknown field`,
		`[1]`:      `line 2: not a JSON object`,
		`{"prompt`: `line 2: not a JSON object`,
	} {
		_, err := Read(strings.NewReader(good+line), "mine.jsonl")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "mine.jsonl") {
			t.Errorf("%s\n%v, want something of %q", line, err, want)
		}
	}
	if _, err := Read(strings.NewReader("\n\n"), "empty.jsonl"); err == nil {
		t.Error("an empty file is read")
	}
	if _, err := Read(strings.NewReader(good+strings.Repeat("x", maxLine+1)), "long.jsonl"); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a line too long: %v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// TestVerifiersCannotHarm: crash, hang, NaN and scores outside [0, 1] are zeros.
func TestVerifiersCannotHarm(t *testing.T) {
	for want, check := range map[string]Verifier{
		"crashed":    func(context.Context, string) Verdict { panic("boom") },
		"index":      func(context.Context, string) Verdict { var v []Verdict; return v[3] },
		"no verdict": func(ctx context.Context, _ string) Verdict { <-ctx.Done(); time.Sleep(time.Second); return right() },
		"NaN":        func(context.Context, string) Verdict { return Verdict{math.NaN(), ""} },
		"Inf":        func(context.Context, string) Verdict { return Verdict{math.Inf(1), ""} },
		"-1":         func(context.Context, string) Verdict { return Verdict{-1, ""} },
		"2":          func(context.Context, string) Verdict { return Verdict{2, ""} },
	} {
		p := Problem{Check: check, Limit: 50 * time.Millisecond}
		if v := p.Score("5"); v.Score != 0 || !strings.Contains(v.Reason, want) {
			t.Errorf("%v, %q; want 0 and something of %q", v.Score, v.Reason, want)
		}
	}
}

func TestSchemasThatLoop(t *testing.T) {
	for _, schema := range []string{
		`{"$ref": "#"}`,
		`{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}`,
		strings.Repeat(`{"not": `, 5000) + "{}" + strings.Repeat("}", 5000),
		`{"pattern": "(a+)+$"}`,
		`{"multipleOf": 1e999999999}`,
	} {
		check, err := JSONSchema([]byte(schema))
		if err != nil {
			continue
		}
		start := time.Now()
		Problem{Check: check, Limit: 5 * time.Second}.Verify(`"` + strings.Repeat("a", 2000) + `!"`)
		Problem{Check: check, Limit: 5 * time.Second}.Verify("1e999999999")
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("%.40s took %v", schema, d)
		}
	}
}

// TestSplitOfFiles: the split of a problem does not depend on the file's name or place.
func TestSplitOfFiles(t *testing.T) {
	held := 0
	for i := range 100 {
		line := fmt.Sprintf(`{"prompt": "What is %d+1?", "reference": "%d", "verifier": "number"}`, i, i+1)
		var splits []Split
		for _, name := range []string{"a.jsonl", "./a.jsonl", "elsewhere/b.jsonl"} {
			c, err := Read(strings.NewReader(line), name)
			if err != nil {
				t.Fatal(err)
			}
			splits = append(splits, SplitOf(c.Problems()[0]))
		}
		if splits[0] != splits[1] || splits[0] != splits[2] {
			t.Fatalf("%s: %v", line, splits)
		}
		if splits[0] == HeldOut {
			held++
		}
	}
	if held == 0 || held > 40 {
		t.Errorf("%d of 100 held out", held)
	}
}
