package task

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Bounds of a file of tasks.
const (
	maxLine     = 4 << 20 // bytes of a line
	maxProblems = 1 << 20
)

// entry is a line of a file of tasks.
type entry struct {
	Prompt    string          `json:"prompt"`
	Reference json.RawMessage `json:"reference"`
	Verifier  string          `json:"verifier"`
	// Answer and Thought serve supervised training; both may be missing.
	Answer  string `json:"answer"`
	Thought string `json:"thought"`
	// Tolerance and RelativeTolerance belong to the verifier "number".
	Tolerance         float64 `json:"tolerance"`
	RelativeTolerance float64 `json:"relative_tolerance"`
	// Seconds is the longest time a check may take.
	Seconds float64 `json:"seconds"`
}

// entryFields are the names of an entry's fields.
var entryFields = []string{"prompt", "reference", "verifier", "answer", "thought", "tolerance", "relative_tolerance", "seconds", "id"}

// Verifiers lists the names that a file of tasks may use.
func Verifiers() []string {
	return []string{"exact", "number", "math", "regex", "json-schema", "python-tests", "python-asserts", "go-tests"}
}

// Load reads a file of tasks, one JSON object a line:
//
//	{"prompt": "What is 2+2?", "reference": "4", "verifier": "number"}
//
// The verifiers and their references are
//
//	exact         the answer itself, letter for letter
//	number        a number; "tolerance" and "relative_tolerance" widen it
//	math          an expression, plain or LaTeX; see Math
//	regex         a regular expression (RE2) that must match the whole answer
//	json-schema   a schema that the answer, a JSON value, must satisfy
//	python-tests  {"entry": "f", "cases": [{"args": [1], "want": 2}]}; see PythonTests
//	python-asserts {"entry": "f", "test": "def check(candidate): ..."}; see PythonAsserts
//	go-tests      as python-tests, for Go; see GoTests
//
// "answer" and "thought" are texts to train on, "seconds" bounds a check. An error names
// the file, the line and the field.
func Load(path string) (*Collection, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("task: %w", err)
	}
	defer f.Close()
	return Read(f, path)
}

// Read is Load from a reader; name stands for it in errors and is the task's name in its
// problems.
func Read(r io.Reader, name string) (*Collection, error) {
	c := &Collection{name: name}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if len(line) == 0 {
			continue
		}
		p, err := parseEntry(line)
		if err != nil {
			return nil, fmt.Errorf("task: %s: line %d: %w", name, n, err)
		}
		if len(c.problems) == maxProblems {
			return nil, fmt.Errorf("task: %s: more than %d problems; split the file", name, maxProblems)
		}
		p.Task, p.Difficulty = name, 1
		c.add(p)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("task: %s: line %d: longer than %d bytes", name, n+1, maxLine)
	case err != nil:
		return nil, fmt.Errorf("task: %s: line %d: %w", name, n+1, err)
	case len(c.problems) == 0:
		return nil, fmt.Errorf("task: %s: there is no problem in it; it needs one JSON object a line with prompt, reference and verifier", name)
	}
	return c, nil
}

// parseEntry reads one line.
func parseEntry(line []byte) (Problem, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return Problem{}, fmt.Errorf("not a JSON object: %w", err)
	}
	for f := range fields {
		if !slices.Contains(entryFields, f) {
			return Problem{}, fmt.Errorf("the field %q is unknown; there are: %s", f, strings.Join(entryFields, ", "))
		}
	}
	var e entry
	if err := json.Unmarshal(line, &e); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return Problem{}, fmt.Errorf("the field %q is a %s, it must be a %s", kind.Field, kind.Value, kind.Type)
		}
		return Problem{}, err
	}
	for _, f := range []string{"prompt", "reference", "verifier"} {
		if v, ok := fields[f]; !ok || string(v) == "null" || string(v) == `""` {
			return Problem{}, fmt.Errorf("the field %q is missing or empty", f)
		}
	}
	if !(e.Tolerance >= 0 && e.RelativeTolerance >= 0 && e.Seconds >= 0) || e.Seconds > 3600 {
		return Problem{}, fmt.Errorf("tolerance, relative_tolerance and seconds must not be below 0, and seconds not above 3600")
	}
	return e.problem()
}

// problem makes the problem of an entry.
func (e entry) problem() (Problem, error) {
	p := Problem{
		Prompt: e.Prompt, Answer: e.Answer, Thought: e.Thought,
		Canonical: e.Prompt, Limit: time.Duration(e.Seconds * float64(time.Second)),
	}
	text, isText := e.text()
	if p.Answer == "" && isText && e.Verifier != "regex" {
		p.Answer = text
	}
	var err error
	switch e.Verifier {
	case "exact", "number", "math", "regex":
		if !isText {
			return p, fmt.Errorf("the field %q must be a string or a number for the verifier %q", "reference", e.Verifier)
		}
		p.Check, err = e.textVerifier(text)
	case "json-schema":
		p.Read, p.Answer = ExtractCode, e.Answer
		p.Check, err = JSONSchema(e.Reference)
	case "python-tests", "python-asserts", "go-tests":
		p.Read, p.Answer = ExtractCode, e.Answer
		if p.Limit == 0 {
			p.Limit = codeLimit
		}
		p.Check, err = codeVerifier(e.Verifier, e.Reference, p.Limit)
	default:
		return p, fmt.Errorf("the verifier %q is unknown; there are: %s", e.Verifier, strings.Join(Verifiers(), ", "))
	}
	if err != nil {
		return p, fmt.Errorf("the field %q: %w", "reference", err)
	}
	return p, nil
}

// text is the reference as text: a string's content, a number as it is written.
func (e entry) text() (string, bool) {
	var s string
	if json.Unmarshal(e.Reference, &s) == nil {
		return s, true
	}
	var n json.Number
	if json.Unmarshal(e.Reference, &n) == nil {
		return n.String(), true
	}
	return "", false
}

// textVerifier makes a verifier whose reference is text.
func (e entry) textVerifier(text string) (Verifier, error) {
	switch e.Verifier {
	case "number":
		want, ok := ParseNumber(text)
		if !ok {
			return nil, fmt.Errorf("%.40q is not a number", text)
		}
		return Number(want, e.Tolerance, e.RelativeTolerance), nil
	case "math":
		return Math(text), nil
	case "regex":
		return Regex(text)
	}
	return Exact(text), nil
}

// Collection is a task whose problems come from a file. Which of them are held out is
// decided as everywhere, by a hash: see SplitOf.
type Collection struct {
	name     string
	problems []Problem
}

// fileOrigin stands for the task's name in hashes of problems read from files.
const fileOrigin = "\x00file"

// add puts a problem in.
func (c *Collection) add(p Problem) {
	p.origin = fileOrigin
	f := Family{About: Info{Name: c.name}, Make: func(*rand.Rand, int) Problem { return p }}
	c.problems = append(c.problems, f.Generate(nil, 1))
}

// Info describes the collection; all its problems have difficulty 1.
func (c *Collection) Info() Info {
	return Info{c.name, fmt.Sprintf("%d problems of %s", len(c.problems), c.name), 1, 1}
}

// Generate draws one of the problems.
func (c *Collection) Generate(rng *rand.Rand, _ int) Problem { return choose(rng, c.problems) }

// Problems returns all problems, in the file's order. The slice is the collection's own.
func (c *Collection) Problems() []Problem { return c.problems }

// Regex verifies that a regular expression in RE2's syntax, which takes time linear in
// the answer, matches the whole answer.
func Regex(pattern string) (Verifier, error) {
	if len(pattern) > MaxAnswer {
		return nil, fmt.Errorf("the expression has %d bytes, at most %d are read", len(pattern), MaxAnswer)
	}
	if _, err := regexp.Compile(pattern); err != nil { // on its own: "a)|(b" must not end the group
		return nil, fmt.Errorf("%.60q is not an expression in RE2's syntax: %w", pattern, err)
	}
	re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("%.60q is not an expression in RE2's syntax: %w", pattern, err)
	}
	return func(_ context.Context, answer string) Verdict {
		if !re.MatchString(answer) {
			return wrong("%.40q does not match %.60q", answer, pattern)
		}
		return right()
	}, nil
}
