package task

import (
	"math/rand/v2"
	"strconv"
	"strings"
)

// Arithmetic returns the task of working out an expression with + - * / and brackets
// over whole numbers: three operations at the default difficulty, five at the hard one.
// Every division comes out even. The thought works out one operation after another.
func Arithmetic() Task {
	return Family{Info{"arithmetic", "work out an expression with brackets", 2, 4}, makeArithmetic}
}

var arithmeticPhrasings = []string{
	"What is %[1]s?",
	"Compute %[1]s.",
	"Work out %[1]s.",
	"Evaluate %[1]s.",
	"Calculate the value of %[1]s.",
	"How much is %[1]s?",
}

// largestStep bounds what any operation in an expression gives.
const largestStep = 999

func makeArithmetic(rng *rand.Rand, difficulty int) Problem {
	largest := 9
	if difficulty > 2 {
		largest = 20
	}
	var t *tree
	for {
		t = randomTree(rng, difficulty+1, largest)
		if small(t) {
			break
		}
	}
	answer, _ := t.value()
	text := t.String()
	return Problem{
		Canonical: text,
		Prompt:    say(rng, arithmeticPhrasings, text),
		Answer:    strconv.Itoa(answer),
		Thought:   t.steps(),
		Check:     computedInt(answer),
	}
}

// small says whether every operation comes out even and within largestStep, and none but
// the last below zero.
func small(t *tree) bool {
	if t.op == 0 {
		return true
	}
	for _, side := range []*tree{t.left, t.right} {
		if v, ok := side.value(); !ok || v < 0 || !small(side) {
			return false
		}
	}
	v, ok := t.value()
	return ok && v <= largestStep && v >= -largestStep
}

// tree is an expression over whole numbers: a number where op is 0, else two sides.
type tree struct {
	op          byte
	n           int
	left, right *tree
}

// randomTree draws an expression with that many operations.
func randomTree(rng *rand.Rand, ops, largest int) *tree {
	if ops == 0 {
		return &tree{n: between(rng, 1, largest)}
	}
	left := rng.IntN(ops)
	return &tree{
		op:    "++--**/"[rng.IntN(7)],
		left:  randomTree(rng, left, largest),
		right: randomTree(rng, ops-1-left, largest),
	}
}

// value works the expression out; false if a division does not come out even.
func (t *tree) value() (int, bool) {
	if t.op == 0 {
		return t.n, true
	}
	a, okA := t.left.value()
	b, okB := t.right.value()
	if !okA || !okB {
		return 0, false
	}
	return apply(t.op, a, b)
}

// apply works one operation out; false if a division does not come out even, or a
// product is beyond anything that is used here.
func apply(op byte, a, b int) (int, bool) {
	switch op {
	case '+':
		return a + b, true
	case '-':
		return a - b, true
	case '*':
		const far = 1 << 31
		return a * b, a < far && a > -far && b < far && b > -far
	}
	if b == 0 || a%b != 0 {
		return 0, false
	}
	return a / b, true
}

// rank is how strongly an operation binds.
func rank(op byte) int {
	switch op {
	case '+', '-':
		return 1
	case '*', '/':
		return 2
	}
	return 3
}

// String writes the expression with as few brackets as it needs.
func (t *tree) String() string {
	if t.op == 0 {
		return strconv.Itoa(t.n)
	}
	return bracket(t.left, rank(t.left.op) < rank(t.op)) + string(t.op) +
		bracket(t.right, rank(t.right.op) <= rank(t.op))
}

// bracket writes a side, in brackets where it needs them.
func bracket(t *tree, needed bool) string {
	if needed {
		return "(" + t.String() + ")"
	}
	return t.String()
}

// steps writes the expression, and again after each operation, until a number is left.
func (t *tree) steps() string {
	lines := []string{t.String()}
	for t.op != 0 {
		t = t.reduce()
		lines = append(lines, t.String())
	}
	return strings.Join(lines, "\n=")
}

// reduce works out the first operation that has numbers on both sides.
func (t *tree) reduce() *tree {
	switch {
	case t.op == 0:
		return t
	case t.left.op != 0:
		return &tree{op: t.op, left: t.left.reduce(), right: t.right}
	case t.right.op != 0:
		return &tree{op: t.op, left: t.left, right: t.right.reduce()}
	}
	v, _ := t.value()
	return &tree{n: v}
}
