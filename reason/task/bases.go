package task

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Bases returns the task of writing a number in another base, from or to base 10. At the
// default difficulty numbers are below 256, at the hard one below 4096. The thought
// divides again and again, or adds digit by digit.
func Bases() Task {
	return Family{Info{"bases", "write a number in another base", 3, 5}, makeBases}
}

var toBasePhrasings = []string{
	"Write %[1]s in base %[2]d.",
	"Convert the decimal number %[1]s to base %[2]d.",
	"What is %[1]s (base 10) in base %[2]d?",
	"How is %[1]s written in base %[2]d?",
	"Express %[1]s in base %[2]d.",
}

var fromBasePhrasings = []string{
	"Write %[1]s, a number in base %[2]d, in base 10.",
	"Convert %[1]s from base %[2]d to decimal.",
	"What is the base-%[2]d number %[1]s in base 10?",
	"What decimal number is %[1]s in base %[2]d?",
	"The number %[1]s is in base %[2]d. Give its decimal value.",
}

func makeBases(rng *rand.Rand, difficulty int) Problem {
	base := choose(rng, []int{2, 2, 3, 4, 5, 8, 16, 16})
	low := 4
	if difficulty > 3 {
		low = power(4, difficulty)
	}
	n := between(rng, low, power(4, difficulty+1)-1)
	text := strings.ToUpper(strconv.FormatInt(int64(n), base))
	if rng.IntN(2) == 0 {
		return Problem{
			Canonical: fmt.Sprintf("%d:10>%d", n, base),
			Prompt:    say(rng, toBasePhrasings, strconv.Itoa(n), base),
			Answer:    text,
			Thought:   divisions(n, base) + "\nso " + text,
			Check:     inBase(n, base),
		}
	}
	return Problem{
		Canonical: fmt.Sprintf("%d:%d>10", n, base),
		Prompt:    say(rng, fromBasePhrasings, text, base),
		Answer:    strconv.Itoa(n),
		Thought:   horner(text, base) + fmt.Sprintf("\nso %d", n),
		Check:     computedInt(n),
	}
}

// divisions writes repeated division by base: "45=22*2+1", the last digit first; a digit
// above 9 is named at the end of its line.
func divisions(n, base int) string {
	var lines []string
	for n > 0 {
		line := fmt.Sprintf("%d=%d*%d+%d", n, n/base, base, n%base)
		if n%base > 9 {
			line += fmt.Sprintf(" %c", 'A'+n%base-10)
		}
		lines = append(lines, line)
		n /= base
	}
	return strings.Join(lines, "\n")
}

// horner writes the value of digits step by step: "5*2+1=11".
func horner(text string, base int) string {
	var lines []string
	v := 0
	for _, c := range text {
		d, _ := strconv.ParseInt(string(c), base, 64)
		line := fmt.Sprintf("%d*%d+%d=%d", v, base, d, v*base+int(d))
		if d > 9 {
			line = string(c) + " " + line
		}
		lines = append(lines, line)
		v = v*base + int(d)
	}
	return strings.Join(lines, "\n")
}

// prefixes that announce a base.
var prefixes = map[int][]string{2: {"0b"}, 8: {"0o"}, 16: {"0x", "#"}}

// baseMarks takes out spaces and LaTeX around a subscript.
var baseMarks = strings.NewReplacer(" ", "", "_{", "_", "}", "", "{", "", `\text`, "")

// inBase verifies n written in base: capitals or not, with or without a prefix, a
// subscript, leading zeros, digits in groups.
func inBase(n, base int) Verifier {
	return func(_ context.Context, answer string) Verdict {
		s := strings.ToLower(clean(answer))
		if i := strings.LastIndexByte(s, '='); i >= 0 {
			s = s[i+1:]
		}
		s = baseMarks.Replace(s)
		s = strings.TrimSuffix(s, fmt.Sprintf("(base%d)", base))
		s = strings.TrimSuffix(s, fmt.Sprintf("inbase%d", base))
		s = strings.TrimSuffix(s, fmt.Sprintf("_%d", base))
		if i := slices.IndexFunc(prefixes[base], func(p string) bool { return strings.HasPrefix(s, p) }); i >= 0 {
			s = s[len(prefixes[base][i]):]
		}
		s = strings.ReplaceAll(s, "_", "")
		if len(s) > 100 || strings.ContainsAny(s, "+-") {
			return wrong("%.40q is not a number in base %d", answer, base)
		}
		got, err := strconv.ParseInt(s, base, 64)
		if err != nil {
			return wrong("%.40q is not a number in base %d", answer, base)
		}
		if got != int64(n) {
			return wrong("%.40s in base %d is %d, not %d", s, base, got, n)
		}
		return right()
	}
}
