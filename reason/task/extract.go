package task

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Limits on what a model writes. What is longer is refused rather than cut: the answer
// would be a matter of where the cut falls.
const (
	// MaxOutput is the longest output that is read, in bytes.
	MaxOutput = 1 << 20
	// MaxAnswer is the longest answer, in bytes.
	MaxAnswer = 4096
	// MaxCode is the longest program or JSON value, in bytes.
	MaxCode = 64 << 10
)

// The ways in which an output has no answer; test for them with errors.Is.
var (
	// ErrTooLong: the output or the answer is longer than allowed.
	ErrTooLong = errors.New("too long")
	// ErrUnfinished: the thought never ends, so there is no answer.
	ErrUnfinished = errors.New("the thought does not end")
	// ErrTags: tags of the format stand where they have no business.
	ErrTags = errors.New("tags of the format in the wrong place")
	// ErrSeveral: more than one answer is given.
	ErrSeveral = errors.New("several answers")
	// ErrNoAnswer: there is nothing to judge.
	ErrNoAnswer = errors.New("no answer")
)

// tagRE finds what templates use as marks: <think>, <answer>, <|im_end|>, <｜User｜>.
// None of them has a place in an answer.
var tagRE = regexp.MustCompile(`(?i)</?\s*(?:think|thinking|answer|reasoning|tool_call|s)\s*>|<[|｜]|[|｜]>`)

// thinkRE finds the tags around the thought.
var thinkRE = regexp.MustCompile(`(?i)<(/?)\s*think\s*>`)

// Extract reads the answer out of what a model wrote: what follows the thought, and in
// it the content of \boxed{}, else what follows "Answer:" or "the answer is", else the
// last line. The opening <think> may be missing, as where the prompt ends with it.
//
// Whatever could make one output stand for several answers is refused: a second thought,
// tags within the answer, boxes or "Answer:" lines that differ, anything too long. The
// error is one of the package's sentinels, wrapped.
func Extract(output string) (string, error) {
	rest, err := afterThought(output)
	if err != nil {
		return "", err
	}
	return pick(rest)
}

// Final returns what follows the thought, without the space around it, and refuses what
// Extract refuses up to there. It suits answers of free form.
func Final(output string) (string, error) {
	rest, err := afterThought(output)
	if err != nil {
		return "", err
	}
	if len(rest) > MaxCode {
		return "", fmt.Errorf("%w: the answer has %d bytes, at most %d are read", ErrTooLong, len(rest), MaxCode)
	}
	return rest, nil
}

// afterThought returns what follows the thought, trimmed.
func afterThought(output string) (string, error) {
	if len(output) > MaxOutput {
		return "", fmt.Errorf("%w: the output has %d bytes, at most %d are read", ErrTooLong, len(output), MaxOutput)
	}
	if !utf8.ValidString(output) {
		output = strings.ToValidUTF8(output, "\uFFFD")
	}
	rest := output
	if tags := thinkRE.FindAllStringSubmatchIndex(output, 3); len(tags) > 0 {
		last := tags[len(tags)-1]
		switch {
		case len(tags) > 2 || (len(tags) == 2 && closing(output, tags[0]) == closing(output, tags[1])):
			return "", fmt.Errorf("%w: there is more than one thought", ErrTags)
		case !closing(output, last) && len(tags) == 2:
			return "", fmt.Errorf("%w: a thought begins after the answer", ErrTags)
		case !closing(output, last):
			return "", ErrUnfinished
		case len(tags) == 2 && strings.TrimSpace(output[:tags[0][0]]) != "":
			return "", fmt.Errorf("%w: there is text before the thought", ErrTags)
		}
		rest = output[last[1]:]
	}
	if tag := tagRE.FindString(rest); tag != "" {
		return "", fmt.Errorf("%w: %q in the answer", ErrTags, tag)
	}
	rest = strings.TrimSpace(rest)
	if rest == "" {
		return "", ErrNoAnswer
	}
	return rest, nil
}

// closing says whether a match of thinkRE is the closing tag.
func closing(s string, match []int) bool { return s[match[2]:match[3]] == "/" }

// markRE finds the marks of an answer, and what follows on their line.
var markRE = regexp.MustCompile(`(?im)(?:^|[\s*_#>.])(?:final\s+)?answer(?:\s*\*\*)?(?:\s+is\b\s*:?|\s*[:=])([^\n]*)`)

// maxFound is how often an answer may be repeated: a bound on the time that reading takes.
const maxFound = 20

// pick reads the answer out of the text after the thought.
func pick(rest string) (string, error) {
	boxes, err := boxed(rest)
	if err != nil {
		return "", err
	}
	found := boxes
	if len(boxes) == 0 {
		for _, m := range markRE.FindAllStringSubmatch(rest, maxFound+1) {
			found = append(found, m[1])
		}
	}
	if len(found) == 0 {
		found = []string{lastLine(rest)}
	}
	if len(found) > maxFound {
		return "", fmt.Errorf("%w: more than %d", ErrSeveral, maxFound)
	}
	for i, f := range found {
		if len(f) > MaxAnswer {
			return "", fmt.Errorf("%w: the answer has %d bytes, at most %d are read", ErrTooLong, len(f), MaxAnswer)
		}
		if found[i] = clean(f); found[i] != found[0] {
			return "", fmt.Errorf("%w: %.40q and %.40q", ErrSeveral, found[0], found[i])
		}
	}
	return nonEmpty(found[0])
}

// ExtractLast is Extract for benchmarks, whose models may think aloud in the answer too:
// of several boxes, or "Answer:" lines, the last one counts. It is no reader for rewards,
// which an output that tries several answers should not earn.
func ExtractLast(output string) (string, error) {
	rest, err := afterThought(output)
	if err != nil {
		return "", err
	}
	found := lastLine(rest)
	if at := max(strings.LastIndex(rest, `\boxed{`), strings.LastIndex(rest, `\fbox{`)); at >= 0 {
		open := at + strings.IndexByte(rest[at:], '{')
		end := closingBrace(rest, open)
		if end < 0 {
			return "", fmt.Errorf("%w: a \\boxed{ is not closed", ErrUnfinished)
		}
		found = rest[open+1 : end]
	} else if marks := markRE.FindAllStringSubmatch(rest, -1); marks != nil {
		found = marks[len(marks)-1][1]
	}
	if len(found) > MaxAnswer {
		return "", fmt.Errorf("%w: the answer has %d bytes, at most %d are read", ErrTooLong, len(found), MaxAnswer)
	}
	return nonEmpty(clean(found))
}

// nonEmpty refuses an empty answer.
func nonEmpty(s string) (string, error) {
	if s == "" {
		return "", ErrNoAnswer
	}
	return s, nil
}

// lastLine is the last line with anything on it but the end of a fenced block.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	line := s[strings.LastIndexByte(s, '\n')+1:]
	if rest := strings.TrimSpace(s[:len(s)-len(line)]); line == "```" && rest != "" {
		line = rest[strings.LastIndexByte(rest, '\n')+1:]
	}
	return line
}

// boxed returns the contents of every \boxed{} and \fbox{}, braces balanced.
func boxed(s string) ([]string, error) {
	var out []string
	for {
		at, open := nextBox(s)
		if at < 0 || len(out) > maxFound {
			return out, nil
		}
		end := closingBrace(s, open)
		if end < 0 {
			return nil, fmt.Errorf("%w: a \\boxed{ is not closed", ErrUnfinished)
		}
		out = append(out, s[open+1:end])
		s = s[end+1:]
	}
}

// nextBox finds the next box: where it starts and its opening brace; -1 if there is none.
func nextBox(s string) (at, open int) {
	at = -1
	for _, name := range []string{`\boxed{`, `\fbox{`} {
		if i := strings.Index(s, name); i >= 0 && (at < 0 || i < at) {
			at, open = i, i+len(name)-1
		}
	}
	return at, open
}

// closingBrace finds the brace that closes the one at open, or -1.
func closingBrace(s string, open int) int {
	depth := 0
	for i := open; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// clean takes off what people put around an answer: spaces, emphasis, quotes of code,
// dollars and \text{} of mathematics, a full stop at the end.
func clean(s string) string {
	for {
		t := strings.TrimSpace(s)
		t = strings.TrimSuffix(t, ".")
		t = strings.TrimSuffix(strings.TrimPrefix(t, "**"), "**")
		t = trimPair(t, "`", "`")
		t = trimPair(t, "$", "$")
		t = trimPair(t, `\(`, `\)`)
		t = trimPair(t, `\[`, `\]`)
		t = trimPair(t, `\text{`, "}")
		if t == s {
			return t
		}
		s = t
	}
}

// trimPair takes off open and shut if s has both and nothing of them between.
func trimPair(s, open, shut string) string {
	if len(s) < len(open)+len(shut) || !strings.HasPrefix(s, open) || !strings.HasSuffix(s, shut) {
		return s
	}
	inner := s[len(open) : len(s)-len(shut)]
	if strings.Contains(inner, open) || strings.Contains(inner, shut) {
		return s
	}
	return inner
}

// fenceRE finds fenced blocks.
var fenceRE = regexp.MustCompile("(?ms)^[ \t]*```[^\n]*\n(.*?)^[ \t]*```[ \t]*$")

// ExtractCode reads a program or a JSON value out of what a model wrote: the one fenced
// block after the thought, or all of it if there is none. Several blocks are refused.
func ExtractCode(output string) (string, error) {
	rest, err := Final(output)
	if err != nil {
		return "", err
	}
	blocks := fenceRE.FindAllStringSubmatch(rest, 2)
	switch {
	case len(blocks) > 1:
		return "", fmt.Errorf("%w: more than one fenced block", ErrSeveral)
	case len(blocks) == 1:
		return nonEmpty(strings.TrimSpace(blocks[0][1]))
	case strings.Contains(rest, "```"):
		return "", fmt.Errorf("%w: a fenced block is not closed", ErrUnfinished)
	}
	return rest, nil
}
