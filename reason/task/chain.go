package task

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// ChainSum returns the task of adding up a chain of numbers below mod and giving the sum
// modulo mod, which is at least 2 (less counts as 2). At the default difficulty a chain
// has 12 to 16 terms, at the hard one 21 to 24. The thought is the running sum.
func ChainSum(mod int) Task {
	mod = max(mod, 2)
	name, about := "chain-sum", "add up a chain of digits and give the last digit of the sum"
	if mod != 10 {
		name = fmt.Sprintf("chain-sum-%d", mod)
		about = fmt.Sprintf("add up a chain of numbers modulo %d", mod)
	}
	return Family{Info{name, about, 4, 6}, func(rng *rand.Rand, difficulty int) Problem {
		return chainProblem(rng, drawTerms(rng, difficulty, mod), mod)
	}}
}

// drawTerms draws as many terms below mod as the difficulty asks for.
func drawTerms(rng *rand.Rand, difficulty, mod int) []int {
	low, high := chainTerms(difficulty)
	terms := make([]int, between(rng, low, high))
	for i := range terms {
		terms[i] = rng.IntN(mod)
	}
	return terms
}

// BareChainSum is ChainSum for experiments: the prompt is the terms alone, below mod each,
// and the thought the running sums, without a word or a space between them where mod is
// at most 10. The prompts of a difficulty are filled up with "_" to the same length, so that
// the term that a running sum needs stands the same number of tokens before it whatever
// the number of terms: a model of a few hundred thousand weights learns it within
// minutes, and what reinforcement does can be watched and compared. ByName finds it as
// "chain-sum-bare"; All leaves it out, for its prompt is not English.
func BareChainSum(mod int) Task {
	mod = max(mod, 2)
	name, separator := "chain-sum-bare", ""
	if mod != 10 {
		name = fmt.Sprintf("chain-sum-bare-%d", mod)
	}
	if mod > 10 {
		separator = " "
	}
	return Family{Info{name, fmt.Sprintf("add up bare numbers modulo %d", mod), 4, 6}, func(rng *rand.Rand, difficulty int) Problem {
		terms := drawTerms(rng, difficulty, mod)
		p := chainProblem(rng, terms, mod)
		_, longest := chainTerms(difficulty)
		p.Prompt = joinInts(terms, separator) + strings.Repeat(separator+"_", longest-len(terms))
		p.Thought = strings.ReplaceAll(p.Thought, " ", separator)
		return p
	}}
}

// chainTerms is the range of lengths at a difficulty.
func chainTerms(difficulty int) (low, high int) {
	switch difficulty {
	case 1:
		return 2, 4
	case 2:
		return 5, 8
	case 3:
		return 9, 11
	case 4:
		return 12, 16
	}
	return 4*difficulty - 3, 4 * difficulty
}

// chainPhrasings take the sum (1), the modulus (2), the terms with spaces (3).
var chainPhrasings = []string{
	"What is %[1]s modulo %[2]d?",
	"Compute (%[1]s) mod %[2]d.",
	"Add up %[3]s and give the sum modulo %[2]d.",
	"What remains when %[1]s is divided by %[2]d?",
	"Sum these numbers modulo %[2]d: %[3]s",
	"Find the remainder of %[1]s after division by %[2]d.",
}

// digitPhrasings are those for modulus 10 alone.
var digitPhrasings = []string{
	"What is the last digit of %[1]s?",
	"Add up %[3]s. What is the last digit of the sum?",
}

func chainProblem(rng *rand.Rand, terms []int, mod int) Problem {
	phrasings := chainPhrasings
	if mod == 10 && rng.IntN(4) == 0 {
		phrasings = digitPhrasings
	}
	prompt := say(rng, phrasings, joinInts(terms, " + "), mod, joinInts(terms, " "))
	sum := 0
	running := make([]int, len(terms))
	for i, t := range terms {
		sum = (sum + t) % mod
		running[i] = sum
	}
	sorted := slices.Sorted(slices.Values(terms))
	return Problem{
		Canonical: fmt.Sprintf("%s mod %d", joinInts(sorted, "+"), mod),
		Prompt:    prompt,
		Answer:    strconv.Itoa(sum),
		Thought:   joinInts(running, " "),
		Check:     computedInt(sum),
	}
}
