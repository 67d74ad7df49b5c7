package task

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
)

// Units returns the task of converting lengths, masses, volumes and times. The default
// difficulty takes up to two steps between neighbouring units, the hard one two to three
// and larger amounts. The thought makes one step after another. Where the answer names
// its unit, it must be the one asked for.
func Units() Task {
	return Family{Info{"units", "convert a length, a mass, a volume or a time", 2, 4}, makeUnits}
}

// unit is a unit by its short and its full name, and how many of it make the next one.
type unit struct {
	short, full string
	perNext     int
}

// ladders are units from small to large; each is exactly so many of the one before.
var ladders = [][]unit{
	{{"mm", "millimetres", 10}, {"cm", "centimetres", 100}, {"m", "metres", 1000}, {"km", "kilometres", 0}},
	{{"mg", "milligrams", 1000}, {"g", "grams", 1000}, {"kg", "kilograms", 1000}, {"t", "tonnes", 0}},
	{{"ml", "millilitres", 10}, {"cl", "centilitres", 100}, {"l", "litres", 0}},
	{{"s", "seconds", 60}, {"min", "minutes", 60}, {"h", "hours", 24}, {"d", "days", 7}, {"wk", "weeks", 0}},
	{{"in", "inches", 12}, {"ft", "feet", 3}, {"yd", "yards", 1760}, {"mi", "miles", 0}},
}

// unitWords are other ways of writing a unit, by its short name.
var unitWords = map[string]string{
	"mm": "millimetre millimeter millimeters", "cm": "centimetre centimeter centimeters", "m": "metre meter meters",
	"km": "kilometre kilometer kilometers", "mg": "milligram", "g": "gram gramme grammes", "kg": "kilogram kilo kilos",
	"t": "tonne ton tons", "ml": "millilitre milliliter milliliters", "cl": "centilitre centiliter centiliters",
	"l": "litre liter liters", "s": "second sec secs", "min": "minute mins", "h": "hour hr hrs", "d": "day", "wk": "week",
	"in": "inch", "ft": "foot", "yd": "yard", "mi": "mile",
}

var unitPhrasings = []string{
	"Convert %[1]s %[2]s to %[3]s.",
	"How many %[3]s are %[1]s %[2]s?",
	"What is %[1]s %[2]s in %[3]s?",
	"Write %[1]s %[2]s in %[3]s.",
	"%[1]s %[2]s is how many %[3]s?",
	"Express %[1]s %[2]s in %[3]s.",
}

func makeUnits(rng *rand.Rand, difficulty int) Problem {
	ladder := choose(rng, ladders)
	low, high := 1, min(max(1, difficulty), 3)
	if difficulty > 3 {
		low = 2
	}
	steps := between(rng, min(low, len(ladder)-1), min(high, len(ladder)-1))
	from := rng.IntN(len(ladder) - steps)
	to := from + steps
	amount := big.NewRat(int64(unitAmount(rng, difficulty)), 1)
	// The amount is whole in the larger unit, or at difficulty 3 and above in tenths
	// where the units go by tens.
	if difficulty >= 3 && ladder[from].perNext%10 == 0 && rng.IntN(3) == 0 {
		amount.Quo(amount, big.NewRat(10, 1))
	}
	if rng.IntN(2) == 0 {
		return unitProblem(rng, amount, ladder, to, from)
	}
	for _, u := range ladder[from:to] {
		amount.Mul(amount, big.NewRat(int64(u.perNext), 1))
	}
	return unitProblem(rng, amount, ladder, from, to)
}

// unitAmount draws an amount of the larger unit.
func unitAmount(rng *rand.Rand, difficulty int) int {
	switch {
	case difficulty == 1:
		return between(rng, 2, 20)
	case difficulty > 3:
		return between(rng, 100, 999)
	}
	return between(rng, 2, 99)
}

// unitProblem asks for an amount of ladder[from] in ladder[to].
func unitProblem(rng *rand.Rand, amount *big.Rat, ladder []unit, from, to int) Problem {
	a, b := ladder[from], ladder[to]
	x := new(big.Rat).Set(amount)
	var lines []string
	for at := from; at != to; {
		op, next, factor := "/", at+1, ladder[at].perNext
		if to < from {
			op, next, factor = "*", at-1, ladder[at-1].perNext
		}
		y := new(big.Rat).Mul(x, big.NewRat(int64(factor), 1))
		if op == "/" {
			y.Quo(x, big.NewRat(int64(factor), 1))
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s%s%d=%s", ladder[at].short, ladder[next].short, decimal(x), op, factor, decimal(y)))
		x, at = y, next
	}
	nameA, nameB := a.full, b.full
	if rng.IntN(3) == 0 {
		nameA, nameB = a.short, b.short
	}
	return Problem{
		Canonical: fmt.Sprintf("%s %s>%s", decimal(amount), a.short, b.short),
		Prompt:    say(rng, unitPhrasings, decimal(amount), nameA, nameB),
		Answer:    decimal(x),
		Thought:   strings.Join(lines, "\n") + "\nso " + decimal(x),
		Check:     inUnit(x, b),
	}
}

// unitMarks takes LaTeX off a unit.
var unitMarks = strings.NewReplacer(`\text{`, " ", `\mathrm{`, " ", "}", "", `\ `, " ", `\,`, " ")

// inUnit verifies an amount; a unit may follow it if it is the right one.
func inUnit(want *big.Rat, u unit) Verifier {
	number := computed(want)
	names := append(strings.Fields(unitWords[u.short]), u.short, u.full)
	return func(ctx context.Context, answer string) Verdict {
		s := clean(answer)
		if i := strings.LastIndexByte(s, '='); i >= 0 {
			s = clean(s[i+1:])
		}
		s = unitMarks.Replace(s)
		end := strings.LastIndexFunc(s, func(r rune) bool { return r >= '0' && r <= '9' }) + 1
		if tail := strings.TrimSpace(s[end:]); tail != "" && end > 0 {
			if !named(tail, names) {
				return wrong("%.20q is not the unit asked for, %s", tail, u.full)
			}
			s = s[:end]
		}
		return number(ctx, s)
	}
}

// named says whether word is one of names, capitals aside.
func named(word string, names []string) bool {
	for _, n := range names {
		if strings.EqualFold(word, n) {
			return true
		}
	}
	return false
}
