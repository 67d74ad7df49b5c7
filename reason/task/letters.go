package task

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Letters returns the task of counting a letter in a word, at the hard difficulty in
// three words. The thought spells, with the count after each letter.
func Letters() Task {
	return Family{Info{"letters", "count how often a letter is in a word", 2, 4}, makeLetters}
}

var letterPhrasings = []string{
	"How many times does the letter %[2]s occur in \"%[1]s\"?",
	"How many %[2]s's are in \"%[1]s\"?",
	"Count the letter %[2]s in \"%[1]s\".",
	"How often is there a letter %[2]s in \"%[1]s\"?",
	"In \"%[1]s\", how many letters are %[2]s?",
}

func makeLetters(rng *rand.Rand, difficulty int) Problem {
	low, high, count := 3, 5, 1
	switch {
	case difficulty == 2:
		low, high = 4, 10
	case difficulty > 2:
		low, high, count = 4, 10, difficulty-1
	}
	var parts []string
	for range count {
		parts = append(parts, letterWord(rng, low, high))
	}
	text := strings.Join(parts, " ")
	letter := string(rune('a' + rng.IntN(26)))
	if rng.IntN(6) > 0 {
		letter = string(choose(rng, []byte(strings.ReplaceAll(text, " ", ""))))
	}
	var b strings.Builder
	n := 0
	for _, c := range strings.ReplaceAll(text, " ", "") {
		if string(c) == letter {
			n++
		}
		fmt.Fprintf(&b, "%c%d ", c, n)
	}
	return Problem{
		Canonical: letter + " in " + text,
		Prompt:    say(rng, letterPhrasings, text, letter),
		Answer:    strconv.Itoa(n),
		Thought:   b.String() + "so " + strconv.Itoa(n),
		Check:     computedInt(n),
	}
}

// letterWord draws a word of a length, real or made of syllables: a model that only knows
// the real ones has not learnt to count.
func letterWord(rng *rand.Rand, low, high int) string {
	for {
		w := choose(rng, words)
		if rng.IntN(2) == 0 {
			w = syllables(rng, low, high)
		}
		if len(w) >= low && len(w) <= high {
			return w
		}
	}
}

// syllables makes a word up.
func syllables(rng *rand.Rand, low, high int) string {
	var b strings.Builder
	length := between(rng, low, high)
	for b.Len() < length {
		b.WriteByte("bcdfghjklmnpqrstvwxz"[rng.IntN(20)])
		b.WriteByte("aeiouy"[rng.IntN(6)])
		if rng.IntN(3) == 0 {
			b.WriteByte("lmnrst"[rng.IntN(6)])
		}
	}
	return b.String()[:length]
}
