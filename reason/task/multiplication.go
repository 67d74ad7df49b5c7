package task

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Multiplication returns the task of multiplying two numbers: of two digits each at the
// default difficulty, of three at the hard one. The thought adds up the products of the
// digits' values.
func Multiplication() Task {
	return Family{Info{"multiplication", "multiply two numbers of several digits", 3, 5}, makeMultiplication}
}

var multiplicationPhrasings = []string{
	"What is %[1]d * %[2]d?",
	"What is %[1]d × %[2]d?",
	"Compute %[1]d times %[2]d.",
	"Multiply %[1]d by %[2]d.",
	"What is the product of %[1]d and %[2]d?",
	"How much is %[1]d multiplied by %[2]d?",
}

func makeMultiplication(rng *rand.Rand, difficulty int) Problem {
	digitsA, digitsB := (difficulty+2)/2, (difficulty+1)/2
	a := between(rng, max(2, power(10, digitsA-1)), power(10, digitsA)-1)
	b := between(rng, max(2, power(10, digitsB-1)), power(10, digitsB)-1)
	if rng.IntN(2) == 0 {
		a, b = b, a
	}
	return Problem{
		Canonical: fmt.Sprintf("%d*%d", min(a, b), max(a, b)),
		Prompt:    say(rng, multiplicationPhrasings, a, b),
		Answer:    strconv.Itoa(a * b),
		Thought:   products(a, b),
		Check:     computedInt(a * b),
	}
}

// places splits a number into the values of its digits, zeros left out: 305 is 300, 5.
func places(n int) []int {
	var out []int
	for unit := power(10, len(strconv.Itoa(n))-1); unit > 0; unit /= 10 {
		if v := n / unit % 10 * unit; v > 0 {
			out = append(out, v)
		}
	}
	return out
}

// products writes the multiplication out: the products of the places, then their sum
// step by step.
func products(a, b int) string {
	var lines []string
	var parts []int
	for _, x := range places(a) {
		for _, y := range places(b) {
			parts = append(parts, x*y)
			lines = append(lines, fmt.Sprintf("%d*%d=%d", x, y, x*y))
		}
	}
	sum := parts[0]
	for _, p := range parts[1:] {
		lines = append(lines, fmt.Sprintf("%d+%d=%d", sum, p, sum+p))
		sum += p
	}
	return strings.Join(lines, "\n") + fmt.Sprintf("\nso %d", sum)
}
