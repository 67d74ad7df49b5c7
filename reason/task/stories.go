package task

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// WordProblems returns the task of word problems in which an amount changes step by
// step: three steps at the default difficulty, five at the hard one. The thought is one
// sum for each step.
func WordProblems() Task {
	return Family{Info{"word-problems", "solve a word problem of several steps", 2, 4}, makeStory}
}

var (
	storyNames  = strings.Fields("Ada Ben Clara David Emma Felix Grace Hugo Ines Jonas Kira Leo Mia Noah Olga Paul Rosa Sam Tara Yusuf")
	storyThings = strings.Fields("apples marbles stickers coins books cards shells pencils stamps beads cookies flowers")
)

// storyStep is a way for an amount to change; tell takes the name (1), the number (2),
// the thing (3) and another name (4).
type storyStep struct {
	op   byte
	tell []string
}

var storySteps = []storyStep{
	{'+', []string{"Then %[1]s buys %[2]d more.", "%[1]s finds %[2]d more %[3]s.", "%[4]s gives %[1]s %[2]d %[3]s.", "The next day %[1]s gets another %[2]d."}},
	{'-', []string{"Then %[1]s gives %[2]d to %[4]s.", "%[1]s loses %[2]d of them.", "%[1]s sells %[2]d %[3]s.", "After that, %[2]d %[3]s are taken away by %[4]s."}},
	{'*', []string{"Then the number of %[3]s becomes %[2]d times as large.", "After a while %[1]s has %[2]d times as many %[3]s.", "%[1]s keeps collecting until there are %[2]d times as many."}},
	{'/', []string{"%[1]s shares them equally among %[2]d people and keeps one share.", "%[1]s puts them into %[2]d equal piles and keeps one pile.", "Then %[1]s keeps only one of %[2]d equal parts."}},
}

var storyStarts = []string{"%[1]s has %[2]d %[3]s.", "At first %[1]s has %[2]d %[3]s.", "There are %[2]d %[3]s in %[1]s's box.", "%[1]s starts with %[2]d %[3]s."}

var storyPacks = []string{"%[1]s buys %[2]d bags of %[4]d %[3]s each.", "%[1]s has %[2]d boxes with %[4]d %[3]s in each.", "%[1]s fills %[2]d shelves with %[4]d %[3]s each."}

var storyEnds = []string{"How many %[2]s does %[1]s have now?", "How many %[2]s does %[1]s have in the end?", "How many %[2]s are left for %[1]s?", "What number of %[2]s does %[1]s have at last?"}

// storyLimit bounds the amounts in a story.
const storyLimit = 500

func makeStory(rng *rand.Rand, difficulty int) Problem {
	name, thing := choose(rng, storyNames), choose(rng, storyThings)
	other := choose(rng, storyNames)
	for other == name {
		other = choose(rng, storyNames)
	}
	steps := difficulty + 1
	n := between(rng, 3, 40)
	text, canonical := say(rng, storyStarts, name, n, thing), strconv.Itoa(n)
	var lines []string
	if rng.IntN(3) == 0 {
		a, b := between(rng, 2, 9), between(rng, 2, 12)
		n = a * b
		text, canonical = say(rng, storyPacks, name, a, thing, b), fmt.Sprintf("%d*%d", a, b)
		lines = append(lines, fmt.Sprintf("%d*%d=%d", a, b, n))
	}
	for len(lines) < steps {
		op, k := storyChange(rng, n)
		after, _ := apply(op, n, k)
		lines = append(lines, fmt.Sprintf("%d%c%d=%d", n, op, k, after))
		canonical += fmt.Sprintf(" %c%d", op, k)
		text += " " + tellStep(rng, op, name, k, thing, other)
		n = after
	}
	return Problem{
		Canonical: canonical,
		Prompt:    text + " " + say(rng, storyEnds, name, thing),
		Answer:    strconv.Itoa(n),
		Thought:   strings.Join(lines, "\n") + fmt.Sprintf("\nso %d", n),
		Check:     computedInt(n),
	}
}

// storyChange draws a change that leaves between 1 and storyLimit.
func storyChange(rng *rand.Rand, n int) (op byte, k int) {
	for {
		op = storySteps[rng.IntN(len(storySteps))].op
		k = between(rng, 2, 40)
		if op == '*' || op == '/' {
			k = between(rng, 2, 5)
		}
		if after, even := apply(op, n, k); even && after >= 1 && after <= storyLimit {
			return op, k
		}
	}
}

// tellStep puts a change into words.
func tellStep(rng *rand.Rand, op byte, name string, k int, thing, other string) string {
	for _, s := range storySteps {
		if s.op == op {
			return say(rng, s.tell, name, k, thing, other)
		}
	}
	return ""
}
