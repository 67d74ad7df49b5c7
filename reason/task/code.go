package task

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Case is one call of a function in a test of code, and what it must return.
type Case struct {
	// Args are the arguments, each a JSON value.
	Args []json.RawMessage `json:"args"`
	// Want is the result, a JSON value; several results are an array.
	Want json.RawMessage `json:"want"`
}

// CodeTests is the reference of a task whose answer is a program.
type CodeTests struct {
	// Entry names the function that is called.
	Entry string `json:"entry"`
	// Cases are the calls. Their Want never enters the sandbox.
	Cases []Case `json:"cases"`
}

// maxCases bounds the calls of one check.
const maxCases = 1000

// nameRE is a function's name, in Go as in Python.
var nameRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,60}$`)

// PythonTests verifies a Python program by calling one of its functions. The program runs
// in a sandbox: a process without network or rights, in namespaces of its own, with
// nothing but Python's own files to read and limits on time, memory, processes and
// output. It receives arguments and returns results; whether they are right is decided
// outside, by values that the sandbox never sees. So a program that takes over its whole
// process gains nothing: it can still only answer.
//
// All cases right score 1; otherwise half the share of those that are. Results are
// compared as JSON: numbers by value (within 1e-9 where one has decimals), tuples and sets
// as arrays, sets in order.
//
// The error wraps ErrNoSandbox where this system cannot run code safely, or lacks Python.
func PythonTests(tests CodeTests, limit time.Duration) (Verifier, error) {
	if err := tests.check(); err != nil {
		return nil, err
	}
	python, err := findPython()
	if err != nil {
		return nil, err
	}
	return tests.verifier(limit, func(ctx context.Context, code string, args []byte) ([]byte, error) {
		return python.run(ctx, code, tests.Entry, args)
	}), nil
}

// GoTests verifies a Go program, one file that imports the standard library alone, as
// PythonTests does Python. The file is compiled outside of the sandbox, which runs none of
// it, with cgo off and no modules but the standard library; the executable runs inside.
// A function that returns an error beside its value must return nil there.
func GoTests(tests CodeTests, limit time.Duration) (Verifier, error) {
	if err := tests.check(); err != nil {
		return nil, err
	}
	if err := findGo(); err != nil {
		return nil, err
	}
	return tests.verifier(limit, func(ctx context.Context, code string, args []byte) ([]byte, error) {
		return runGo(ctx, code, tests.Entry, args)
	}), nil
}

// codeVerifier makes a verifier from a reference in JSON.
func codeVerifier(name string, reference []byte, limit time.Duration) (Verifier, error) {
	// The verifier's own deadline comes before the guard's, so that its reason is told.
	limit -= limit / 10
	d := json.NewDecoder(bytes.NewReader(reference))
	d.DisallowUnknownFields()
	if name == "python-asserts" {
		var tests AssertTests
		if err := d.Decode(&tests); err != nil {
			return nil, fmt.Errorf(`it must be like {"entry": "f", "test": "def check(candidate): ...", "prompt": "import math"}: %w`, err)
		}
		return PythonAsserts(tests, limit)
	}
	var tests CodeTests
	if err := d.Decode(&tests); err != nil {
		return nil, fmt.Errorf(`it must be like {"entry": "f", "cases": [{"args": [1], "want": 2}]}: %w`, err)
	}
	if name == "go-tests" {
		return GoTests(tests, limit)
	}
	return PythonTests(tests, limit)
}

// check says what is wrong with the tests.
func (t CodeTests) check() error {
	switch {
	case !nameRE.MatchString(t.Entry):
		return fmt.Errorf("%.40q (entry) is not a function's name", t.Entry)
	case len(t.Cases) == 0:
		return errors.New("there are no cases")
	case len(t.Cases) > maxCases:
		return fmt.Errorf("%d cases, at most %d are run", len(t.Cases), maxCases)
	}
	for i, c := range t.Cases {
		if len(c.Want) == 0 {
			return fmt.Errorf("case %d: want is missing", i+1)
		}
	}
	return nil
}

// verifier runs a program on the arguments of all cases and compares what it returns.
func (t CodeTests) verifier(limit time.Duration, run func(ctx context.Context, code string, args []byte) ([]byte, error)) Verifier {
	calls := make([][]json.RawMessage, len(t.Cases))
	for i, c := range t.Cases {
		if calls[i] = c.Args; calls[i] == nil {
			calls[i] = []json.RawMessage{}
		}
	}
	args, err := json.Marshal(calls)
	return func(ctx context.Context, code string) Verdict {
		if err != nil {
			return wrong("%v", err)
		}
		if limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		output, err := run(ctx, code, args)
		if err != nil && len(output) == 0 {
			return wrong("%v", err)
		}
		return t.compare(output, err)
	}
}

// reply is what a program says of one call.
type reply struct {
	OK    json.RawMessage `json:"ok"`
	Error string          `json:"error"`
}

// compare judges the replies, one JSON object a line.
func (t CodeTests) compare(output []byte, ended error) Verdict {
	lines := strings.FieldsFunc(string(output), func(r rune) bool { return r == '\n' })
	if len(lines) > len(t.Cases) {
		return wrong("%d replies to %d calls", len(lines), len(t.Cases))
	}
	good, why := 0, ""
	for i, c := range t.Cases {
		ok, problem := false, "no reply"
		switch {
		case i < len(lines):
			ok, problem = c.judge(lines[i])
		case ended != nil:
			problem = ended.Error()
		}
		if ok {
			good++
		} else if why == "" {
			why = fmt.Sprintf("case %d: %s", i+1, problem)
		}
	}
	if good == len(t.Cases) {
		return right()
	}
	return Verdict{0.5 * float64(good) / float64(len(t.Cases)), fmt.Sprintf("%d of %d cases: %s", good, len(t.Cases), why)}
}

// judge says whether a reply has the wanted result, and if not, why.
func (c Case) judge(line string) (ok bool, why string) {
	var r reply
	if err := checkNesting(line); err != nil {
		return false, err.Error()
	}
	if json.Unmarshal([]byte(line), &r) != nil {
		return false, "a reply that is not JSON"
	}
	if r.Error != "" || r.OK == nil {
		return false, fmt.Sprintf("no result: %.200s", r.Error)
	}
	got, errGot := decodeJSON(r.OK)
	want, errWant := decodeJSON(c.Want)
	if errGot != nil || errWant != nil || !sameJSON(got, want) {
		return false, fmt.Sprintf("%.100s, want %.100s", r.OK, c.Want)
	}
	return true, ""
}

// decodeJSON decodes with numbers as they are written.
func decodeJSON(b []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return v, d.Decode(&v)
}

// sameJSON compares two values from decodeJSON.
func sameJSON(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		n, ok := b.(json.Number)
		return ok && sameNumber(string(a), string(n))
	case []any:
		l, ok := b.([]any)
		return ok && slices.EqualFunc(a, l, sameJSON)
	case map[string]any:
		m, ok := b.(map[string]any)
		if !ok || len(m) != len(a) {
			return false
		}
		for k, v := range a {
			if w, there := m[k]; !there || !sameJSON(v, w) {
				return false
			}
		}
		return true
	}
	return a == b
}

// sameNumber compares two numbers: whole ones exactly, others within 1e-9.
func sameNumber(a, b string) bool {
	x, okX := new(big.Int).SetString(a, 10)
	y, okY := new(big.Int).SetString(b, 10)
	if okX && okY {
		return x.Cmp(y) == 0
	}
	f, errF := json.Number(a).Float64()
	g, errG := json.Number(b).Float64()
	return errF == nil && errG == nil && (f == g || math.Abs(f-g) <= 1e-9*math.Max(math.Abs(f), math.Abs(g)))
}

// systemFolders are where a system's programs and libraries lie.
var systemFolders = []string{"/usr", "/bin", "/lib", "/lib32", "/lib64"}
