package task

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzExtract looks for outputs that crash the reading, or get through it with what it
// refuses.
func FuzzExtract(f *testing.F) {
	for _, s := range []string{"<think>a</think>\\boxed{1}", "Answer: 3", "```\nx\n```", "\\boxed{{}", "**Answer:** `$3$`.", "<|x|>", "</think>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, output string) {
		answer, err := Extract(output)
		if err == nil {
			if answer == "" || len(answer) > MaxAnswer || tagRE.MatchString(answer) || !utf8.ValidString(answer) {
				t.Errorf("%q gives %q", output, answer)
			}
			if again, err := Extract("<think>x</think>\\boxed{" + answer + "}"); err == nil && strings.Count(answer, "\\") == 0 && !strings.ContainsAny(answer, "{}") && again != answer {
				t.Errorf("%q in a box gives %q", answer, again)
			}
		}
		if code, err := ExtractCode(output); err == nil && code == "" {
			t.Errorf("%q gives no code and no error", output)
		}
	})
}

// FuzzMath looks for texts that crash or stop the comparison, or that are not equal to
// themselves.
func FuzzMath(f *testing.F) {
	for _, s := range []string{`\frac12`, `x^2+1`, `\{1,2\}`, `(1,2]`, `\sqrt[3]{8}`, `1\pm2`, `|x|`, `50\%`, `5!`, `(-\infty,1)\cup[2,3)`, `\log_2 8`, `2^{-x}`} {
		f.Add(s, "1")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		ab, _ := sameMath(a, b)
		if same, why := sameMath(a, a); !same && clean(a) != "" && len(clean(a)) <= maxMath {
			t.Errorf("%q is not itself: %s", a, why)
		}
		ParseNumber(a)
		evaluate(a)
		_ = ab
	})
}

// FuzzRead looks for files of tasks that crash the reader or a verifier made from it.
func FuzzRead(f *testing.F) {
	f.Add(`{"prompt": "p", "reference": "1", "verifier": "number"}`)
	f.Add(`{"prompt": "p", "reference": "a*", "verifier": "regex"}`)
	f.Add(`{"prompt": "p", "reference": {"type": "object"}, "verifier": "json-schema"}`)
	f.Add(`{"prompt": "p", "reference": {"entry": "f", "cases": []}, "verifier": "go-tests"}`)
	f.Fuzz(func(t *testing.T, file string) {
		if strings.Contains(file, "-tests") && strings.Contains(file, "want") {
			return // that would run programs
		}
		c, err := Read(strings.NewReader(file), "fuzz")
		if err != nil {
			return
		}
		for _, p := range c.Problems() {
			if v := p.Score("<think></think>1"); !(v.Score >= 0 && v.Score <= 1) || strings.Contains(v.Reason, "crashed") {
				t.Errorf("%s: %+v", file, v)
			}
		}
	})
}
