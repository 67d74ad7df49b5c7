package reason

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sonde/reason/task"
)

// The formats of files of problems.
const (
	FormatTasks     = "tasks"     // prompt, reference, verifier: see task.Load
	FormatGSM8K     = "gsm8k"     // question, answer, whose last line is "#### number"
	FormatMATH      = "math"      // problem, answer, level, subject, unique_id, as in MATH-500
	FormatAIME      = "aime"      // problem or question, answer
	FormatHumanEval = "humaneval" // task_id, prompt, test, entry_point
)

// EvalFormats lists the formats that ReadEvalFile knows.
func EvalFormats() []string {
	return []string{FormatTasks, FormatGSM8K, FormatMATH, FormatAIME, FormatHumanEval}
}

// What DeepSeek-R1 was evaluated with (arXiv 2501.12948, section 3): temperature 0.6,
// top-p 0.95, and, as its model card advises, this request after the question.
const (
	r1Temperature = 0.6
	r1TopP        = 0.95
	r1Request     = "\nPlease reason step by step, and put your final answer within \\boxed{}."
)

// Bounds of a file of problems.
const (
	maxEvalLine     = 4 << 20
	maxEvalFile     = 1 << 30 // unpacked
	maxEvalProblems = 1 << 20
)

// ReadEvalFile reads a file of problems, one JSON object a line, packed with gzip or not.
// format is one of EvalFormats, or "" to tell it by the fields of the first line. Problems
// of a file in the format "math" are grouped by level. Answers are drawn with R1's
// settings, those to tasks of one's own at temperature 1, as in training. With heldOut
// only the held-out problems are taken, those that training leaves alone. An error names
// the file, the line and the field.
func ReadEvalFile(path, format string, heldOut bool) ([]EvalSet, error) {
	if format != "" && !slices.Contains(EvalFormats(), format) {
		return nil, fmt.Errorf("the format %q is not known; there are: %s", format, strings.Join(EvalFormats(), ", "))
	}
	lines, err := evalLines(path)
	if err != nil {
		return nil, err
	}
	if format == "" {
		if format, err = detectFormat(lines[0]); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, lines[0].number, err)
		}
	}
	var sets []EvalSet
	if format == FormatTasks {
		sets, err = taskFileSet(path, lines)
	} else {
		sets, err = benchmarkSets(path, format, lines)
	}
	if err == nil && heldOut {
		sets, err = heldOutOf(sets, path)
	}
	return sets, err
}

// evalLine is an object of a file. Its fields' names are in lower case.
type evalLine struct {
	number int
	raw    []byte
	fields map[string]json.RawMessage
}

// evalLines reads the objects of a file.
func evalLines(path string) ([]evalLine, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	var r io.Reader = in
	if magic, _ := in.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		r = z
	}
	r = &io.LimitedReader{R: r, N: maxEvalFile}
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 0, 64<<10), maxEvalLine)
	var out []evalLine
	n := 0
	for scan.Scan() {
		n++
		raw := bytes.TrimSpace(bytes.TrimPrefix(scan.Bytes(), []byte("\xef\xbb\xbf")))
		if len(raw) == 0 {
			continue
		}
		l, err := parseEvalLine(n, raw)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		if out = append(out, l); len(out) > maxEvalProblems {
			return nil, fmt.Errorf("%s: more than %d problems; split the file", path, maxEvalProblems)
		}
	}
	switch err := scan.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("%s: line %d: longer than %d bytes", path, n+1, maxEvalLine)
	case err != nil:
		return nil, fmt.Errorf("%s: line %d: %w", path, n+1, err)
	case r.(*io.LimitedReader).N == 0:
		return nil, fmt.Errorf("%s: more than %d bytes; split the file", path, maxEvalFile)
	case len(out) == 0:
		return nil, fmt.Errorf("%s: there is no problem in it; it needs one JSON object a line", path)
	}
	return out, nil
}

func parseEvalLine(number int, raw []byte) (evalLine, error) {
	l := evalLine{number: number, raw: bytes.Clone(raw), fields: map[string]json.RawMessage{}}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		if raw[0] == '[' {
			return l, errors.New("a JSON array; put each problem on a line of its own, as jq -c '.[]' does")
		}
		return l, fmt.Errorf("not a JSON object: %w", err)
	}
	for name, v := range fields {
		if string(v) != "null" {
			l.fields[strings.ToLower(name)] = v
		}
	}
	return l, nil
}

// has says whether all fields of these names are there.
func (l evalLine) has(names ...string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return l.fields[n] == nil })
}

// text is the first of these fields that is there, a string or a number as it is written.
func (l evalLine) text(names ...string) (string, error) {
	for _, n := range names {
		raw, ok := l.fields[n]
		if !ok {
			continue
		}
		var s string
		if json.Unmarshal(raw, &s) == nil {
			if strings.TrimSpace(s) == "" {
				return "", fmt.Errorf("the field %q is empty", n)
			}
			return s, nil
		}
		var num json.Number
		if json.Unmarshal(raw, &num) == nil {
			return num.String(), nil
		}
		return "", fmt.Errorf("the field %q is neither a string nor a number", n)
	}
	return "", fmt.Errorf(`the field "%s" is missing`, strings.Join(names, `" or "`))
}

// detectFormat tells the format by a line's fields.
func detectFormat(l evalLine) (string, error) {
	answer, _ := l.text("answer")
	switch {
	case l.has("prompt", "test", "entry_point"):
		return FormatHumanEval, nil
	case l.has("prompt") && (l.has("verifier") || l.has("reference")):
		return FormatTasks, nil
	case l.has("question") && strings.Contains(answer, "####"):
		return FormatGSM8K, nil
	case l.has("problem") && (l.has("unique_id") || l.has("level") || l.has("subject")):
		return FormatMATH, nil
	case (l.has("problem") || l.has("question")) && (answer == "" && l.has("solution") || aimeRE.MatchString(strings.TrimSpace(answer))):
		return FormatAIME, nil
	case l.has("problem", "answer"):
		return FormatMATH, nil
	}
	var names []string
	for n := range l.fields {
		names = append(names, n)
	}
	slices.Sort(names)
	return "", fmt.Errorf("the format cannot be told by the fields %s; name it with --format: %s", strings.Join(names, ", "), strings.Join(EvalFormats(), ", "))
}

// taskFileSet is a file of task.Load.
func taskFileSet(path string, lines []evalLine) ([]EvalSet, error) {
	var all bytes.Buffer
	at := 1
	for _, l := range lines { // errors name the file's own lines
		all.WriteString(strings.Repeat("\n", l.number-at))
		all.Write(l.raw)
		at = l.number
	}
	c, err := task.Read(&all, path)
	if err != nil {
		return nil, err
	}
	return []EvalSet{{Task: baseName(path), Problems: c.Problems(), Temperature: 1, TopP: 1}}, nil
}

// baseName is a file's name without folder and ending.
func baseName(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), ".gz")
	return strings.TrimSuffix(name, filepath.Ext(name))
}

// benchmarkSets makes the sets of a benchmark's file, one for each difficulty.
func benchmarkSets(path, format string, lines []evalLine) ([]EvalSet, error) {
	levels := map[int][]task.Problem{}
	for _, l := range lines {
		p, err := benchmarkProblem(format, l)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, l.number, err)
		}
		p.Task = format
		if p.ID == "" {
			p.ID = fmt.Sprintf("%s/%d", format, l.number)
		}
		levels[p.Difficulty] = append(levels[p.Difficulty], p)
	}
	var sets []EvalSet
	for level, problems := range levels {
		sets = append(sets, EvalSet{Task: format, Difficulty: level, Problems: problems, Temperature: r1Temperature, TopP: r1TopP, NoVote: format == FormatHumanEval})
	}
	slices.SortFunc(sets, func(a, b EvalSet) int { return a.Difficulty - b.Difficulty })
	return sets, nil
}

// benchmarkProblem reads one line of a format other than FormatTasks.
func benchmarkProblem(format string, l evalLine) (p task.Problem, err error) {
	switch format {
	case FormatGSM8K:
		p, err = gsm8kProblem(l)
	case FormatMATH:
		p, err = mathProblem(l)
	case FormatAIME:
		p, err = aimeProblem(l)
	default:
		return humanEvalProblem(l)
	}
	p.Canonical, p.Read = p.Prompt, task.ExtractLast
	p.Prompt += r1Request
	return p, err
}

// gsm8kProblem is a question whose answer is a number after "####".
func gsm8kProblem(l evalLine) (p task.Problem, err error) {
	if p.Prompt, err = l.text("question"); err != nil {
		return p, err
	}
	answer, err := l.text("answer")
	if err != nil {
		return p, err
	}
	thought, result, ok := strings.Cut(answer, "####")
	if !ok {
		return p, errors.New(`the field "answer" has no "####" before the number that is the answer`)
	}
	p.Thought, p.Answer = strings.TrimSpace(thought), strings.TrimSpace(result)
	p.Check, err = numberCheck(p.Answer)
	return p, err
}

func numberCheck(answer string) (task.Verifier, error) {
	want, ok := task.ParseNumber(answer)
	if !ok {
		return nil, fmt.Errorf("the field %q: %.40q is not a number", "answer", answer)
	}
	return task.Number(want, 0, 0), nil
}

// levelRE finds the number in "Level 3".
var levelRE = regexp.MustCompile(`^(?:[Ll]evel\s*)?(\d{1,2})$`)

// mathProblem is a problem of MATH: the answer is an expression.
func mathProblem(l evalLine) (p task.Problem, err error) {
	if p.Prompt, err = l.text("problem", "question"); err != nil {
		return p, err
	}
	if p.Answer, err = answerOf(l); err != nil {
		return p, err
	}
	if l.has("unique_id") || l.has("id") {
		if p.ID, err = l.text("unique_id", "id"); err != nil {
			return p, err
		}
	}
	if l.has("level") {
		level, err := l.text("level")
		if err != nil {
			return p, err
		}
		if m := levelRE.FindStringSubmatch(strings.TrimSpace(level)); m != nil { // MATH has "Level ?" too
			p.Difficulty, _ = strconv.Atoi(m[1])
		}
	}
	p.Check = task.Math(p.Answer)
	return p, nil
}

// answerOf is the answer, or what is boxed in the solution where that is all there is.
func answerOf(l evalLine) (string, error) {
	if l.has("answer") || !l.has("solution") {
		return l.text("answer")
	}
	solution, err := l.text("solution")
	if err != nil {
		return "", err
	}
	if !strings.Contains(solution, `\boxed{`) {
		return "", errors.New(`the field "answer" is missing, and nothing is boxed in "solution"`)
	}
	answer, err := task.ExtractLast(solution)
	if err != nil {
		return "", fmt.Errorf("the field %q: %w", "solution", err)
	}
	return answer, nil
}

// aimeRE is an answer of AIME: a whole number from 0 to 999, of three digits at times.
var aimeRE = regexp.MustCompile(`^\d{1,3}$`)

// aimeProblem is a problem of AIME.
func aimeProblem(l evalLine) (p task.Problem, err error) {
	if p.Prompt, err = l.text("problem", "question"); err != nil {
		return p, err
	}
	if p.Answer, err = answerOf(l); err != nil {
		return p, err
	}
	if p.Answer = strings.TrimSpace(p.Answer); !aimeRE.MatchString(p.Answer) {
		return p, fmt.Errorf("the field %q: %.40q is not a whole number from 0 to 999, as answers of AIME are; for other answers use --format math", "answer", p.Answer)
	}
	if l.has("id") {
		if p.ID, err = l.text("id"); err != nil {
			return p, err
		}
	}
	n, _ := new(big.Int).SetString(p.Answer, 10)
	p.Check = task.Number(new(big.Rat).SetInt(n), 0, 0)
	return p, nil
}

// heldOutOf leaves the held-out problems.
func heldOutOf(sets []EvalSet, path string) ([]EvalSet, error) {
	var out []EvalSet
	for _, s := range sets {
		s.Problems = slices.DeleteFunc(slices.Clone(s.Problems), func(p task.Problem) bool { return task.SplitOf(p) != task.HeldOut })
		if len(s.Problems) > 0 {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: none of its problems is held out (one in eight is, by a hash); evaluate all of them instead", path)
	}
	return out, nil
}
