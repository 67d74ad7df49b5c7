package task

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Sorting returns the task of putting numbers or words in order: five at the default
// difficulty, nine at the hard one. The thought takes one item after another out of what
// is left. An answer of the right items in the wrong order scores half the share of
// those in their place.
func Sorting() Task {
	return Family{Info{"sorting", "put numbers or words in order", 3, 5}, makeSorting}
}

var sortingPhrasings = []string{
	"Sort these %[2]s %[3]s: %[1]s",
	"Put these %[2]s in order, %[4]s: %[1]s",
	"Arrange the %[2]s %[1]s %[3]s.",
	"List the %[2]s %[1]s %[3]s.",
	"Order these %[2]s %[4]s: %[1]s",
}

// sortingKind is one way of sorting.
type sortingKind struct {
	items, order, first string
}

var (
	ascending  = sortingKind{"numbers", "in ascending order", "smallest first"}
	descending = sortingKind{"numbers", "in descending order", "largest first"}
	alphabetic = sortingKind{"words", "in alphabetical order", "from a to z"}
)

func makeSorting(rng *rand.Rand, difficulty int) Problem {
	count := difficulty + 2
	if difficulty > 3 {
		count = 2*difficulty - 1
	}
	kind := choose(rng, []sortingKind{ascending, ascending, descending, alphabetic})
	var items []string
	if kind == alphabetic {
		items = someWords(rng, count)
	} else {
		items = someNumbers(rng, count)
	}
	sorted := slices.Clone(items)
	slices.SortFunc(sorted, kind.compare)
	answer := strings.Join(sorted, ", ")
	return Problem{
		Canonical: kind.first + ": " + strings.Join(sorted, " "),
		Prompt:    say(rng, sortingPhrasings, strings.Join(items, ", "), kind.items, kind.order, kind.first),
		Answer:    answer,
		Thought:   takeOut(items, sorted) + "so " + answer,
		Check:     sortedVerifier(sorted),
	}
}

// compare orders two items.
func (k sortingKind) compare(a, b string) int {
	if k == alphabetic {
		return strings.Compare(a, b)
	}
	x, _ := strconv.Atoi(a)
	y, _ := strconv.Atoi(b)
	if k == descending {
		x, y = y, x
	}
	return x - y
}

// someWords draws different words.
func someWords(rng *rand.Rand, count int) []string {
	var out []string
	for _, i := range rng.Perm(len(words))[:count] {
		out = append(out, words[i])
	}
	return out
}

// someNumbers draws different numbers below 100.
func someNumbers(rng *rand.Rand, count int) []string {
	var out []string
	for _, n := range rng.Perm(100)[:count] {
		out = append(out, strconv.Itoa(n))
	}
	return out
}

// takeOut writes the selection: each line an item in its turn, and what is left.
func takeOut(items, sorted []string) string {
	var b strings.Builder
	left := slices.Clone(items)
	for _, s := range sorted {
		i := slices.Index(left, s)
		left = slices.Delete(left, i, i+1)
		if len(left) > 0 {
			fmt.Fprintf(&b, "%s, left %s\n", s, strings.Join(left, " "))
		} else {
			fmt.Fprintf(&b, "%s\n", s)
		}
	}
	return b.String()
}

// sortedVerifier compares item by item; commas, spaces, brackets and quotes between the
// items are all one.
func sortedVerifier(sorted []string) Verifier {
	return func(_ context.Context, answer string) Verdict {
		got := strings.FieldsFunc(strings.ToLower(answer), func(r rune) bool {
			return strings.ContainsRune(" ,;[](){}<>\"'`\n\t→", r)
		})
		got = slices.DeleteFunc(got, func(s string) bool { return s == "and" && !slices.Contains(sorted, "and") })
		if len(got) != len(sorted) {
			return wrong("%d items, where %d were given", len(got), len(sorted))
		}
		for i, s := range got {
			if r, ok := ParseNumber(s); ok {
				got[i] = decimal(r)
			}
		}
		if slices.Equal(got, sorted) {
			return right()
		}
		if !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(sorted))) {
			return wrong("not the %d items that were given", len(sorted))
		}
		inPlace := 0
		for i := range got {
			if got[i] == sorted[i] {
				inPlace++
			}
		}
		return Verdict{0.5 * float64(inPlace) / float64(len(sorted)), fmt.Sprintf("%d of %d in their place", inPlace, len(sorted))}
	}
}
