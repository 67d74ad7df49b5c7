package task

import (
	"context"
	"math/rand/v2"
	"strings"
)

// Logic returns the task of working out an expression of true and false with not, and,
// or, xor: three operations at the default difficulty, six at the hard one. Everything
// but not has brackets of its own, so that no precedence need be known. The thought works
// out one operation after another.
func Logic() Task {
	return Family{Info{"logic", "work out an expression of true and false", 2, 4}, makeLogic}
}

var logicPhrasings = []string{
	"Is this true or false: %[1]s?",
	"Evaluate the expression %[1]s.",
	"What is the value of %[1]s?",
	"Work out whether %[1]s is true or false.",
	"True or false? %[1]s",
}

func makeLogic(rng *rand.Rand, difficulty int) Problem {
	ops := difficulty + 1
	if difficulty > 3 {
		ops = difficulty + 2
	}
	c := randomClaim(rng, ops, difficulty > 1)
	answer := truth(c.value())
	return Problem{
		Canonical: c.String(),
		Prompt:    say(rng, logicPhrasings, c.String()),
		Answer:    answer,
		Thought:   c.steps(),
		Check:     truthVerifier(c.value()),
	}
}

// claim is an expression: a constant where op is "", not with left alone, or an operation
// on both sides.
type claim struct {
	op          string
	holds       bool
	left, right *claim
}

// randomClaim draws an expression with that many operations.
func randomClaim(rng *rand.Rand, ops int, xor bool) *claim {
	if ops == 0 {
		return &claim{holds: rng.IntN(2) == 0}
	}
	if rng.IntN(4) == 0 {
		return &claim{op: "not", left: randomClaim(rng, ops-1, xor)}
	}
	op := choose(rng, []string{"and", "or"})
	if xor && rng.IntN(5) == 0 {
		op = "xor"
	}
	left := rng.IntN(ops)
	return &claim{op: op, left: randomClaim(rng, left, xor), right: randomClaim(rng, ops-1-left, xor)}
}

// value works the expression out.
func (c *claim) value() bool {
	switch c.op {
	case "":
		return c.holds
	case "not":
		return !c.left.value()
	case "and":
		return c.left.value() && c.right.value()
	case "or":
		return c.left.value() || c.right.value()
	}
	return c.left.value() != c.right.value()
}

// truth is the word for a value.
func truth(v bool) string {
	if v {
		return "true"
	}
	return "false"
}

// String writes the expression, without brackets around the whole.
func (c *claim) String() string {
	switch c.op {
	case "":
		return truth(c.holds)
	case "not":
		return "not " + c.left.inner()
	}
	return c.left.inner() + " " + c.op + " " + c.right.inner()
}

// inner writes a side, in brackets if it is an operation other than not.
func (c *claim) inner() string {
	if c.op == "" || c.op == "not" {
		return c.String()
	}
	return "(" + c.String() + ")"
}

// steps writes the expression, and again after each operation, until a constant is left.
func (c *claim) steps() string {
	lines := []string{c.String()}
	for c.op != "" {
		c = c.reduce()
		lines = append(lines, c.String())
	}
	return strings.Join(lines, "\n= ")
}

// reduce works out the first operation that has constants alone on its sides.
func (c *claim) reduce() *claim {
	switch {
	case c.op == "":
		return c
	case c.left.op != "":
		return &claim{op: c.op, left: c.left.reduce(), right: c.right}
	case c.right != nil && c.right.op != "":
		return &claim{op: c.op, left: c.left, right: c.right.reduce()}
	}
	return &claim{holds: c.value()}
}

// truthWords are the words for true and for false.
var truthWords = map[string]bool{
	"true": true, "t": true, "yes": true, "1": true,
	"false": false, "f": false, "no": false, "0": false,
}

// truthVerifier accepts any word for the value; in a sentence, the only one of true and
// false in it.
func truthVerifier(want bool) Verifier {
	return func(_ context.Context, answer string) Verdict {
		s := strings.ToLower(clean(answer))
		if i := strings.LastIndexByte(s, '='); i >= 0 {
			s = strings.TrimSpace(s[i+1:])
		}
		s = strings.TrimSuffix(strings.TrimPrefix(s, `\text{`), "}")
		if strings.Contains(answer, "\n") {
			return wrong("%.40q is more than one line", answer)
		}
		got, ok := truthWords[s]
		if !ok {
			hasTrue, hasFalse, negated := wordsOfTruth(s)
			if hasTrue == hasFalse || negated {
				return wrong("%.40q is neither true nor false", answer)
			}
			got = hasTrue
		}
		if got != want {
			return wrong("it is %s", truth(want))
		}
		return right()
	}
}

// wordsOfTruth looks for true and false in a sentence, and for what could turn it round.
func wordsOfTruth(s string) (hasTrue, hasFalse, negated bool) {
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r < 'a' || r > 'z' }) {
		switch w {
		case "true":
			hasTrue = true
		case "false":
			hasFalse = true
		case "not", "isn", "and", "or", "xor", "never", "neither":
			negated = true
		}
	}
	return hasTrue, hasFalse, negated
}
