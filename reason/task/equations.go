package task

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
)

// Equations returns the task of solving a linear equation in one unknown: ax+b=c at the
// default difficulty; at the hard one the unknown is on both sides, once in a bracket, and
// the solution may be a fraction. The thought brings the equation to x= line by line.
func Equations() Task {
	return Family{Info{"equations", "solve a linear equation", 2, 4}, makeEquation}
}

var equationPhrasings = []string{
	"Solve for %[2]s: %[1]s",
	"Solve the equation %[1]s.",
	"Find %[2]s if %[1]s.",
	"What is %[2]s in the equation %[1]s?",
	"For which %[2]s is %[1]s?",
	"If %[1]s, what is %[2]s?",
}

func makeEquation(rng *rand.Rand, difficulty int) Problem {
	name := choose(rng, []string{"x", "x", "y", "n", "t"})
	var text, thought string
	var solution *big.Rat
	switch {
	case difficulty == 1:
		text, thought, solution = equation1(rng, name)
	case difficulty == 2:
		text, thought, solution = equation2(rng, name)
	case difficulty == 3:
		text, thought, solution = equation3(rng, name)
	default:
		text, thought, solution = equation4(rng, name, 10*difficulty-30)
	}
	return Problem{
		Canonical: strings.ReplaceAll(text, name, "x"),
		Prompt:    say(rng, equationPhrasings, text, name),
		Answer:    solution.RatString(),
		Thought:   thought,
		Check:     solved(name, solution),
	}
}

// equation1 is x+b=c or ax=c.
func equation1(rng *rand.Rand, name string) (text, thought string, solution *big.Rat) {
	x := between(rng, 1, 20)
	if rng.IntN(2) == 0 {
		b := between(rng, 1, 20)
		text = fmt.Sprintf("%s+%d=%d", name, b, x+b)
		return text, fmt.Sprintf("%s=%d-%d=%d", name, x+b, b, x), big.NewRat(int64(x), 1)
	}
	a := between(rng, 2, 10)
	text = fmt.Sprintf("%d%s=%d", a, name, a*x)
	return text, fmt.Sprintf("%s=%d/%d=%d", name, a*x, a, x), big.NewRat(int64(x), 1)
}

// equation2 is ax+b=c.
func equation2(rng *rand.Rand, name string) (text, thought string, solution *big.Rat) {
	x, a, b := between(rng, -12, 20), between(rng, 2, 12), nonZero(rng, 20)
	c := a*x + b
	text = fmt.Sprintf("%s=%d", linear(a, b, name), c)
	return text, solveLast(a, b, c, name), big.NewRat(int64(x), 1)
}

// equation3 is ax+b=cx+d.
func equation3(rng *rand.Rand, name string) (text, thought string, solution *big.Rat) {
	x, c := between(rng, -12, 20), between(rng, 1, 9)
	a, b := c+between(rng, 2, 9), nonZero(rng, 20)
	d := (a-c)*x + b
	text = fmt.Sprintf("%s=%s", linear(a, b, name), linear(c, d, name))
	thought = fmt.Sprintf("%s=%d\n%s", linear(a-c, b, name), d, solveLast(a-c, b, d, name))
	return text, thought, big.NewRat(int64(x), 1)
}

// equation4 is k(ax+b)=cx+d, with numbers up to 10+size and any solution.
func equation4(rng *rand.Rand, name string, size int) (text, thought string, solution *big.Rat) {
	k, a, b := between(rng, 2, 9), between(rng, 2, 9), nonZero(rng, 10+size)
	c, d := between(rng, 1, 9), nonZero(rng, 20+size)
	for c == k*a || c == k*a-1 {
		c = between(rng, 1, 9)
	}
	left := k*a - c
	text = fmt.Sprintf("%d(%s)=%s", k, linear(a, b, name), linear(c, d, name))
	thought = fmt.Sprintf("%s=%s\n", linear(k*a, k*b, name), linear(c, d, name))
	if left < 0 {
		// Rather than a negative factor: both sides change places.
		thought += fmt.Sprintf("%s=%d\n%s", linear(-left, d, name), k*b, solveLast(-left, d, k*b, name))
	} else {
		thought += fmt.Sprintf("%s=%d\n%s", linear(left, k*b, name), d, solveLast(left, k*b, d, name))
	}
	return text, thought, big.NewRat(int64(d-k*b), int64(left))
}

// nonZero draws from -size to size without 0.
func nonZero(rng *rand.Rand, size int) int {
	n := between(rng, 1, size)
	if rng.IntN(2) == 0 {
		return -n
	}
	return n
}

// linear writes ax+b.
func linear(a, b int, name string) string {
	s := name
	if a != 1 {
		s = fmt.Sprintf("%d%s", a, name)
	}
	if b == 0 {
		return s
	}
	return fmt.Sprintf("%s%+d", s, b)
}

// solveLast writes the solution of ax+b=c, a at least 1.
func solveLast(a, b, c int, name string) string {
	r := big.NewRat(int64(c-b), int64(a)).RatString()
	if a == 1 {
		return fmt.Sprintf("%s=%d%+d=%s", name, c, -b, r)
	}
	return fmt.Sprintf("%d%s=%d%+d=%d\n%s=%d/%d=%s", a, name, c, -b, c-b, name, c-b, a, r)
}

// solved accepts every way of writing the solution, with or without "x=".
func solved(name string, solution *big.Rat) Verifier {
	return func(_ context.Context, answer string) Verdict {
		s := clean(answer)
		if a, b, ok := strings.Cut(s, "="); ok {
			// "3x+1=7" names a number and is no solution; "so x = 6/3 = 2" is one.
			left := strings.Fields(a)
			if len(left) == 0 || !strings.EqualFold(strings.TrimLeft(left[len(left)-1], "$("), name) {
				return wrong("%.40q does not give %s", answer, name)
			}
			s = b
		}
		got, written, err := readNumber(s)
		if err != nil {
			return wrong("%v", err)
		}
		if got.Cmp(solution) != 0 {
			return wrong("%.40s does not solve the equation", written)
		}
		return right()
	}
}
