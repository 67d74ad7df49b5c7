package reason

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"sonde/reason/task"
)

// humanEvalLimit is the longest time that one program may be tested, whatever else the
// machine does. What computes without end is over sooner, by its time on the processor.
const humanEvalLimit = time.Minute

// humanEvalProblem is a problem of HumanEval: a function to complete, judged by asserts.
func humanEvalProblem(l evalLine) (p task.Problem, err error) {
	field := func(name string) (s string) {
		if err == nil {
			s, err = l.text(name)
		}
		return s
	}
	p.ID = field("task_id")
	tests := task.AssertTests{Prompt: field("prompt"), Test: field("test"), Entry: field("entry_point")}
	if err != nil {
		return p, err
	}
	p.Canonical = tests.Prompt
	p.Prompt = "Complete this Python function. Give the whole function, with what it imports, in one block of code.\n\n```python\n" + strings.TrimRight(tests.Prompt, "\n") + "\n```"
	p.Limit = humanEvalLimit
	p.Read = func(output string) (string, error) { return completedProgram(output, tests.Prompt, tests.Entry) }
	if p.Check, err = task.PythonAsserts(tests, humanEvalLimit-humanEvalLimit/10); err != nil {
		return p, err
	}
	if l.has("canonical_solution") {
		solution, err := l.text("canonical_solution")
		if err != nil {
			return p, err
		}
		p.Answer = tests.Prompt + solution
	}
	return p, nil
}

// codeBlockRE finds fenced blocks, the last one perhaps cut off by the end.
var codeBlockRE = regexp.MustCompile("(?ms)^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```[ \t]*$|\\z)")

// completedProgram is the program that an output makes of a prompt that ends with the
// head of the function entry. The output may be a conversation's answer, with code in a
// fenced block, or bare code; the code may be the whole function or its body alone. Of
// several blocks the last one with the function counts, and else the first one. A whole
// function comes after what precedes it in the prompt: imports and helpers.
func completedProgram(output, prompt, entry string) (string, error) {
	rest, err := task.Final(output)
	if err != nil {
		return "", err
	}
	head := regexp.MustCompile(`(?m)^(?:async\s+)?def\s+` + regexp.QuoteMeta(entry) + `\s*\(`)
	code := rest
	if blocks := codeBlockRE.FindAllStringSubmatch(rest, 100); len(blocks) > 0 {
		code = blocks[0][1]
		for _, b := range slices.Backward(blocks) {
			if head.MatchString(dedent(b[1])) {
				code = b[1]
				break
			}
		}
	} else {
		code = bareCode(bodyOf(output), head)
	}
	if strings.TrimSpace(code) == "" {
		return "", task.ErrNoAnswer
	}
	if whole := dedent(code); head.MatchString(whole) {
		return preamble(prompt, head) + whole + "\n", nil
	}
	return strings.TrimRight(prompt, "\n") + "\n" + indented(code) + "\n", nil
}

// bodyOf is what follows the thought, with the space in front of it, which means
// something in Python. task.Final has found nothing wrong with the output.
func bodyOf(output string) string {
	if i := strings.LastIndex(output, thoughtEnds); i >= 0 {
		output = output[i+len(thoughtEnds):]
	}
	return strings.TrimLeft(output, "\r\n")
}

// endOfBodyRE finds where a body that is continued without fences goes on to something
// else: the stop words of Chen et al., section 2.3.
var endOfBodyRE = regexp.MustCompile(`(?m)^(?:class|def|if|print|assert|#|@)\b?`)

// startOfCodeRE finds where code begins after an introduction in words.
var startOfCodeRE = regexp.MustCompile(`(?m)^(?:from\s+\S+\s+import|import\s|def\s|async\s+def\s|class\s|@)`)

// bareCode is the code of an output without fences.
func bareCode(s string, head *regexp.Regexp) string {
	if head.MatchString(s) {
		return s[startOfCodeRE.FindStringIndex(s)[0]:]
	}
	if i := endOfBodyRE.FindStringIndex(s); i != nil {
		s = s[:i[0]]
	}
	return s
}

// preamble is what stands before the function's head in the prompt.
func preamble(prompt string, head *regexp.Regexp) string {
	all := head.FindAllStringIndex(prompt, -1)
	if len(all) == 0 {
		return prompt + "\n"
	}
	return prompt[:all[len(all)-1][0]]
}

// dedent takes off the white space that all lines begin with.
func dedent(code string) string {
	lines := strings.Split(strings.ReplaceAll(code, "\r\n", "\n"), "\n")
	margin, found := "", false
	for _, l := range lines {
		if strings.TrimSpace(l) == "" {
			continue
		}
		own := l[:len(l)-len(strings.TrimLeft(l, " \t"))]
		if !found {
			margin, found = own, true
		}
		for !strings.HasPrefix(own, margin) {
			margin = margin[:len(margin)-1]
		}
	}
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], margin)
	}
	return strings.Join(lines, "\n")
}

// indented is a function's body with an indent, whatever its own; a first line that has
// lost its own, as where a prompt ended with it, gets it back.
func indented(body string) string {
	lines := strings.Split(strings.Trim(body, "\r\n"), "\n")
	if rest := dedent(strings.Join(lines[1:], "\n")); len(lines) > 1 && !strings.HasPrefix(lines[0], " ") && strings.HasPrefix(lines[1], "    ") &&
		!strings.HasSuffix(strings.TrimSpace(lines[0]), ":") {
		lines = append(lines[:1], strings.Split(rest, "\n")...)
	} else {
		lines = strings.Split(dedent(strings.Join(lines, "\n")), "\n")
	}
	return fmt.Sprintf("    %s", strings.Join(lines, "\n    "))
}
