package task

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Addition returns the task of adding numbers of several digits. The default has three
// of up to three digits, the hard one five of five. The thought adds column by column
// from the right.
func Addition() Task {
	return Family{Info{"addition", "add several numbers of several digits", 3, 5}, makeAddition}
}

var additionPhrasings = []string{
	"What is %[1]s?",
	"Compute %[1]s.",
	"Add these numbers: %[2]s",
	"What is the sum of %[2]s?",
	"Add up %[2]s.",
	"Work out the total of %[2]s.",
}

func makeAddition(rng *rand.Rand, difficulty int) Problem {
	count, digits := max(2, difficulty), difficulty
	if difficulty == 2 {
		digits = 3
	}
	terms := make([]int, count)
	total := 0
	for i := range terms {
		low := power(10, max(digits-2, 0))
		if difficulty > 3 {
			low = power(10, digits-1)
		}
		terms[i] = between(rng, low, power(10, digits)-1)
		total += terms[i]
	}
	sorted := slices.Sorted(slices.Values(terms))
	return Problem{
		Canonical: joinInts(sorted, "+"),
		Prompt:    say(rng, additionPhrasings, joinInts(terms, " + "), joinInts(terms, ", ")),
		Answer:    strconv.Itoa(total),
		Thought:   columns(terms, total),
		Check:     computedInt(total),
	}
}

// columns writes the addition out: a line for each column from the right, "7+8+5=20, 0
// carry 2", the carried number last in the sum, and the total at the end.
func columns(terms []int, total int) string {
	var b strings.Builder
	rest := slices.Clone(terms)
	carry := 0
	for slices.Max(rest) > 0 {
		var column []int
		for i, t := range rest {
			column = append(column, t%10)
			rest[i] = t / 10
		}
		if carry > 0 {
			column = append(column, carry)
		}
		sum := 0
		for _, c := range column {
			sum += c
		}
		carry = sum / 10
		fmt.Fprintf(&b, "%s=%d, %d carry %d\n", joinInts(column, "+"), sum, sum%10, carry)
	}
	fmt.Fprintf(&b, "so %d", total)
	return b.String()
}
