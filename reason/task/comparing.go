package task

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
)

// Comparing returns the task of naming the largest or the smallest of some numbers with
// decimals, such as 9.9 and 9.11: two or three at the default difficulty, five or six at
// the hard one. The thought writes them with equally many decimals and keeps the best so
// far.
func Comparing() Task {
	return Family{Info{"comparing", "name the largest or the smallest of some numbers", 2, 4}, makeComparing}
}

var comparingPhrasings = []string{
	"Which number is the %[1]s: %[2]s?",
	"Which of %[2]s is the %[1]s?",
	"What is the %[1]s of these numbers: %[2]s?",
	"Name the %[1]s of %[2]s.",
	"Of the numbers %[2]s, give the %[1]s one.",
}

func makeComparing(rng *rand.Rand, difficulty int) Problem {
	low, high := difficulty, difficulty+1
	if difficulty < 3 {
		low, high = 2, 1+difficulty
	} else if difficulty > 3 {
		low, high = difficulty+1, difficulty+2
	}
	texts, numbers := someDecimals(rng, between(rng, low, high), difficulty)
	largest := rng.IntN(2) == 0
	name := "smallest"
	if largest {
		name = "largest"
	}
	thought, best := compareInTurn(numbers, largest)
	answer := texts[best]
	order := slices.Clone(texts)
	slices.Sort(order)
	return Problem{
		Canonical: name + " of " + strings.Join(order, " "),
		Prompt:    say(rng, comparingPhrasings, name, strings.Join(texts, ", ")),
		Answer:    answer,
		Thought:   thought + "so " + answer,
		Check:     comparedVerifier(numbers, best),
	}
}

// someDecimals draws different numbers, close to each other and with unlike numbers of
// decimals.
func someDecimals(rng *rand.Rand, count, difficulty int) (texts []string, numbers []*big.Rat) {
	whole := between(rng, 0, 20)
	for len(texts) < count {
		decimals := 0
		n := between(rng, 1, 99)
		if difficulty > 1 {
			decimals = between(rng, 0, min(difficulty, 3))
			n = between(rng, whole, whole+1)*power(10, decimals) + rng.IntN(power(10, decimals))
		}
		if difficulty > 2 && rng.IntN(4) == 0 {
			n = -n
		}
		r := big.NewRat(int64(n), int64(power(10, decimals)))
		text := r.FloatString(decimals)
		if slices.ContainsFunc(numbers, func(o *big.Rat) bool { return o.Cmp(r) == 0 }) {
			if difficulty == 2 || count > 3 {
				whole = between(rng, 0, 20) // few numbers are left here
			}
			continue
		}
		texts, numbers = append(texts, text), append(numbers, r)
	}
	return texts, numbers
}

// compareInTurn compares the best so far with each number in turn, all with equally many
// decimals, and returns the best one's place.
func compareInTurn(numbers []*big.Rat, largest bool) (thought string, best int) {
	decimals := 0
	for _, n := range numbers {
		digits, _ := n.FloatPrec()
		decimals = max(decimals, digits)
	}
	var b strings.Builder
	for i, n := range numbers[1:] {
		sign := "<"
		if numbers[best].Cmp(n) > 0 {
			sign = ">"
		}
		fmt.Fprintf(&b, "%s%s%s\n", numbers[best].FloatString(decimals), sign, n.FloatString(decimals))
		if (sign == "<") == largest {
			best = i + 1
		}
	}
	return b.String(), best
}

// comparedVerifier accepts the number that was asked for, however it is written.
func comparedVerifier(numbers []*big.Rat, best int) Verifier {
	return func(_ context.Context, answer string) Verdict {
		got, written, err := readNumber(answer)
		if err != nil {
			return wrong("%v", err)
		}
		if got.Cmp(numbers[best]) == 0 {
			return right()
		}
		for _, n := range numbers {
			if got.Cmp(n) == 0 {
				return wrong("%.40s is another of the numbers", written)
			}
		}
		return wrong("%.40s is none of the numbers", written)
	}
}
