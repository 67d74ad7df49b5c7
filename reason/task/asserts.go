package task

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// The two programs of a check by asserts, and what both contain; see there.
var (
	//go:embed harness/tester.py
	testerHarness string
	//go:embed harness/candidate.py
	candidateHarness string
	//go:embed harness/packing.py
	packing string
)

// AssertTests is the reference of a task whose answer is a Python program that asserts
// test, as in HumanEval (Chen et al., arXiv 2107.03374).
type AssertTests struct {
	// Entry names the function that is tested.
	Entry string `json:"entry"`
	// Test is Python that defines check(candidate), which calls the function and asserts.
	Test string `json:"test"`
	// Prompt is Python that defines what the tests use beside the function; it may define
	// the function too, without its body. "" for nothing.
	Prompt string `json:"prompt"`
}

// Bounds of a conversation between tests and a program. Time on the processor is short,
// so that the time on the clock can be long: it passes on a busy machine too.
const (
	assertsCPU          = 10       // seconds of each
	maxConversationLine = 1 << 20  // bytes of a call or a reply
	maxConversation     = 16 << 20 // of all of them
)

// PythonAsserts verifies a Python program by asserts that another program makes. The two
// run in sandboxes of their own, like those of PythonTests: the tests in one, the answer in
// the other. A call of the function crosses over as plain data, and so does its result:
// numbers, strings, bytes, None, and lists, tuples, sets and dictionaries of them. The
// answer never sees the tests, and what it returns is compared where none of its code
// runs: it cannot end the tests, catch an assert, or give a value that is equal to
// everything. What the function changes in its arguments stays with it.
//
// The score is 1 if all asserts hold, and else 0. The error wraps ErrNoSandbox where
// this system cannot run code safely, or lacks Python.
func PythonAsserts(tests AssertTests, limit time.Duration) (Verifier, error) {
	switch {
	case !nameRE.MatchString(tests.Entry):
		return nil, fmt.Errorf("%.40q (entry) is not a function's name", tests.Entry)
	case !strings.Contains(tests.Test, "check"):
		return nil, errors.New("the test does not define check(candidate)")
	case len(tests.Test)+len(tests.Prompt) > maxConversationLine/2:
		return nil, fmt.Errorf("test and prompt have more than %d bytes", maxConversationLine/2)
	}
	python, err := findPython()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, code string) Verdict {
		if limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		return python.converse(ctx, tests, code)
	}, nil
}

// program is one in a sandbox that is talked to line by line.
type program struct {
	in    *os.File
	lines *bufio.Scanner
	out   *os.File
	done  chan error
}

// box starts a harness in a sandbox and gives it its first line.
func (p python) box(ctx context.Context, harness string, first any) (*program, error) {
	job := p.job("", "harness.py")
	job.CPU = assertsCPU
	job.Files = map[string][]byte{"harness.py": []byte(strings.Replace(harness, "PACKING", packing, 1))}
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		inRead.Close()
		inWrite.Close()
		return nil, err
	}
	b := &program{in: inWrite, out: outRead, lines: bufio.NewScanner(outRead), done: make(chan error, 1)}
	b.lines.Buffer(nil, maxConversationLine)
	go func() {
		err := inSandbox(ctx, job, inRead, outWrite)
		inRead.Close()
		outWrite.Close()
		b.done <- err
	}()
	return b, b.say(first)
}

// say writes a value as a line. A program that has ended does not hear it; listen tells.
func (b *program) say(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b.write(line)
	return nil
}

func (b *program) write(line []byte) { _, _ = b.in.Write(append(line, '\n')) }

// listen reads a line, valid until the next call; false says that none will come.
func (b *program) listen() ([]byte, bool) {
	if !b.lines.Scan() {
		return nil, false
	}
	return b.lines.Bytes(), true
}

// end waits for the program, whose context is done or which has nothing left to read, and
// says why it ended, nil where it did so in peace.
func (b *program) end() error {
	b.in.Close()
	b.out.Close()
	return <-b.done
}

// converse runs the tests in one sandbox and the answer in another.
func (p python) converse(ctx context.Context, tests AssertTests, code string) Verdict {
	sandboxes <- struct{}{} // one place for both
	defer func() { <-sandboxes }()
	ctx, cancel := context.WithCancel(ctx)
	tester, err := p.box(ctx, testerHarness, map[string]string{"prompt": tests.Prompt, "test": tests.Test, "entry": tests.Entry})
	if err != nil {
		cancel()
		return wrong("%v", err)
	}
	answer, err := p.box(ctx, candidateHarness, map[string]string{"code": code, "entry": tests.Entry})
	if err != nil {
		cancel()
		_ = tester.end()
		return wrong("%v", err)
	}
	verdict := mediate(tester, answer)
	late := ctx.Err() != nil
	if verdict.Reason == answerEnded && !late {
		answer.in.Close()
		if err := <-answer.done; err != nil {
			verdict = wrong("%v", err)
		}
		answer.done <- nil
	}
	cancel()
	errTests := tester.end()
	_ = answer.end()
	switch {
	case verdict.Right():
		return verdict
	case late:
		return wrong("it did not end in time")
	case errors.Is(errTests, ErrNoSandbox):
		return wrong("%v", errTests)
	}
	return verdict
}

// answerEnded is mediate's reason where the answer's program has ended.
const answerEnded = "it ended before the tests did"

// says is what the tests say; see the harness.
type says struct {
	Call   json.RawMessage `json:"call"`
	Passed bool            `json:"passed"`
	Failed string          `json:"failed"`
	Broken string          `json:"broken"`
}

// mediate carries calls from the tests to the answer and results back, until the tests
// know what they think. Nothing but the tests' own last word counts.
func mediate(tester, answer *program) Verdict {
	for total := 0; total < maxConversation; {
		line, ok := tester.listen()
		var s says
		if !ok || json.Unmarshal(line, &s) != nil {
			return wrong("the tests ended without a verdict")
		}
		switch {
		case s.Passed:
			return right()
		case s.Failed != "":
			return wrong("a test fails: %.200s", s.Failed)
		case s.Broken != "":
			return wrong("the tests do not run: %.200s", s.Broken)
		}
		answer.write(s.Call)
		reply, ok := answer.listen()
		if !ok {
			if errors.Is(answer.lines.Err(), bufio.ErrTooLong) {
				return wrong("a result of more than %d bytes", maxConversationLine)
			}
			return wrong(answerEnded)
		}
		tester.write(reply)
		total += len(line) + len(reply)
	}
	return wrong("calls and results of more than %d bytes", maxConversation)
}
