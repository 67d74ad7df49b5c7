package task

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
)

// Countdown returns the task of reaching a target from given numbers with + - * /, each
// number used at most once. The default difficulty gives three numbers, the hard one
// four. The thought is a search: first moves that lead nowhere, then one that does.
// Every expression that obeys the rules and gives the target is right; one that obeys the
// rules and gives something else scores 0.1.
func Countdown() Task {
	return Family{Info{"countdown", "reach a target from given numbers, each used at most once", 2, 3}, makeCountdown}
}

var countdownPhrasings = []string{
	"Use the numbers %[1]s, each at most once, with + - * / and brackets to make %[2]d.",
	"Make %[2]d from the numbers %[1]s. You may use + - * / and brackets, and each number at most once.",
	"Find an expression that equals %[2]d. It may use each of %[1]s at most once, with + - * / and brackets.",
	"How can you reach %[2]d with the numbers %[1]s, each used at most once, and the operations + - * /?",
	"Countdown: the numbers are %[1]s and the target is %[2]d. Use each number at most once, with + - * / and brackets.",
}

func makeCountdown(rng *rand.Rand, difficulty int) Problem {
	count := max(3, difficulty+1)
	largest := []int{9, 15, 20}[min(difficulty-1, 2)]
	for {
		numbers := make([]int, count)
		items := make([]*tree, count)
		for i := range numbers {
			numbers[i] = between(rng, 1, largest)
			items[i] = &tree{n: numbers[i]}
		}
		found := randomMoves(rng, items)
		target := found.must()
		if target < 2 || target > 100*max(1, difficulty-1) || slices.Contains(numbers, target) {
			continue
		}
		trace, solution := searchTrace(rng, items, found, target)
		return Problem{
			Canonical: fmt.Sprintf("%s>%d", joinInts(slices.Sorted(slices.Values(numbers)), " "), target),
			Prompt:    say(rng, countdownPhrasings, joinInts(numbers, ", "), target),
			Answer:    solution.String(),
			Thought:   trace,
			Check:     countdownVerifier(numbers, target),
		}
	}
}

// must is the value of an expression known to come out even.
func (t *tree) must() int {
	v, _ := t.value()
	return v
}

// move is one step of Countdown: two of the items joined.
type move struct {
	i, j int // the places of the left and the right side among the items
	op   byte
}

// moves lists the sensible moves on items: none gives less than 1, divides unevenly, or
// multiplies or divides by 1.
func moves(items []*tree) []move {
	var out []move
	for i := range items {
		for j := range items {
			if i == j {
				continue
			}
			a, b := items[i].must(), items[j].must()
			if i < j {
				out = append(out, move{i, j, '+'})
				if a > 1 && b > 1 {
					out = append(out, move{i, j, '*'})
				}
			}
			if a > b {
				out = append(out, move{i, j, '-'})
			}
			if b > 1 && a%b == 0 && (a > b || i < j) {
				out = append(out, move{i, j, '/'})
			}
		}
	}
	return out
}

// do makes a move: the joined expression, and the items after it, in which it is the last.
func (m move) do(items []*tree) (joined *tree, rest []*tree) {
	joined = &tree{op: m.op, left: items[m.i], right: items[m.j]}
	for k, t := range items {
		if k != m.i && k != m.j {
			rest = append(rest, t)
		}
	}
	return joined, append(rest, joined)
}

// randomMoves joins items until one expression is left.
func randomMoves(rng *rand.Rand, items []*tree) *tree {
	for len(items) > 1 {
		_, items = choose(rng, moves(items)).do(items)
	}
	return items[0]
}

// searchTrace writes a search for the target, which found shows to exist, and what it
// finds. It says what is wanted first. While there are more than three items it makes the
// moves of found; of four, half of the time after another one, under which all is tried in
// vain.
func searchTrace(rng *rand.Rand, items []*tree, found *tree, target int) (trace string, solution *tree) {
	var b strings.Builder
	fmt.Fprintf(&b, "%d from %s\n", target, values(items))
	for len(items) > 3 {
		if len(items) == 4 && rng.IntN(2) == 0 {
			failure(&b, rng, items, target)
		}
		joined := nextJoin(items, found)
		items = slices.DeleteFunc(slices.Clone(items), func(t *tree) bool { return t == joined.left || t == joined.right })
		items = append(items, joined)
		writeMove(&b, joined, items)
	}
	solution = tryThree(&b, rng, items, target)
	fmt.Fprintf(&b, "so %s", solution)
	return b.String(), solution
}

// writeMove writes a move and the items after it.
func writeMove(b *strings.Builder, joined *tree, rest []*tree) {
	fmt.Fprintf(b, "%s, left %s\n", equation(joined), values(rest))
}

// failure writes a move on four items from which the target cannot be reached, if one is
// found among a few, and all that was tried after it.
func failure(b *strings.Builder, rng *rand.Rand, items []*tree, target int) {
	for range 4 {
		var vain strings.Builder
		joined, rest := choose(rng, moves(items)).do(items)
		writeMove(&vain, joined, rest)
		if tryThree(&vain, rng, rest, target) == nil {
			b.WriteString(vain.String())
			return
		}
	}
}

// tryThree writes one move on three items after the other, in random order, so that how
// many have failed says nothing about the next, until the target is reached. It returns
// nil where that cannot be.
func tryThree(b *strings.Builder, rng *rand.Rand, items []*tree, target int) *tree {
	all := moves(items)
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, m := range all {
		joined, rest := m.do(items)
		writeMove(b, joined, rest)
		if solution := tryBoth(b, rest, target); solution != nil {
			return solution
		}
	}
	return nil
}

// tryBoth writes the moves on the last two items until one gives the target, which it
// returns, or "no".
func tryBoth(b *strings.Builder, items []*tree, target int) *tree {
	for _, m := range moves(items) {
		joined, _ := m.do(items)
		b.WriteString(equation(joined))
		if joined.must() == target {
			b.WriteString(" yes\n")
			return joined
		}
		b.WriteByte(' ')
	}
	b.WriteString("no\n")
	return nil
}

// nextJoin finds the move that found makes on items: the pair of them joined in it that
// lies deepest to the left.
func nextJoin(items []*tree, found *tree) *tree {
	switch {
	case !slices.Contains(items, found.left):
		return nextJoin(items, found.left)
	case !slices.Contains(items, found.right):
		return nextJoin(items, found.right)
	}
	return found
}

// equation writes one move with the values of its sides: "3+5=8".
func equation(t *tree) string {
	return fmt.Sprintf("%d%c%d=%d", t.left.must(), t.op, t.right.must(), t.must())
}

// values writes the values of items with spaces between them.
func values(items []*tree) string {
	v := make([]int, len(items))
	for i, t := range items {
		v[i] = t.must()
	}
	return joinInts(v, " ")
}

// rightRules is the score of an expression that obeys the rules and misses the target.
const rightRules = 0.1

// countdownVerifier accepts every expression of the numbers that gives the target.
func countdownVerifier(numbers []int, target int) Verifier {
	return func(_ context.Context, answer string) Verdict {
		value, used, err := evaluate(countdownText(answer))
		if err != nil {
			return wrong("%v", err)
		}
		left := slices.Clone(numbers)
		for _, n := range used {
			i := slices.IndexFunc(left, func(x int) bool { return n.IsInt64() && n.Int64() == int64(x) })
			if i < 0 {
				return wrong("%s is not given, or is used too often", n)
			}
			left = slices.Delete(left, i, i+1)
		}
		if value.Cmp(big.NewRat(int64(target), 1)) != 0 {
			return Verdict{rightRules, fmt.Sprintf("it gives %s, not %d", decimal(value), target)}
		}
		return right()
	}
}

// countdownText takes "= 24" off an expression, at either end.
func countdownText(answer string) string {
	answer = clean(answer)
	a, b, ok := strings.Cut(answer, "=")
	if !ok {
		return answer
	}
	if _, number := ParseNumber(b); number {
		return a
	}
	if _, number := ParseNumber(a); number {
		return b
	}
	return answer
}
