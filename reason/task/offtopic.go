package task

import (
	"context"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// OffTopic returns the task of saying honestly and shortly what one can do, for prompts
// that are no problem of any family: greetings, questions about the world, requests for
// code, poems or advice, other languages, nonsense, nothing at all, and, at difficulty 2
// (the default) and above, prompts that look like a problem and are none. Difficulty 3
// (the hard one) has those alone, and longer texts.
//
// There is no thought: nothing is to be worked out. The verifier accepts every answer
// that says what its writer can do, claims nothing and is short. The task is not among
// All, since it has no problem to solve; ByName and ParseMix know it as "off-topic".
func OffTopic() Task {
	return Family{Info{"off-topic", "say shortly what one can do, where that is all there is to say", 2, 3}, makeOffTopic}
}

// offKind is a kind of prompt with answers that suit it.
type offKind struct {
	weight, low int // how often; from which difficulty on
	high        int // up to which
	prompt      func(rng *rand.Rand) string
	answers     []string // take the list of abilities
	polite      bool     // there is nothing to decline
}

func offKinds() []offKind {
	fill := func(from []string) func(*rand.Rand) string {
		return func(rng *rand.Rand) string { return fillIn(rng, choose(rng, from)) }
	}
	return []offKind{
		{8, 1, 2, fill(offGreetings), offWelcomes, true},
		{8, 1, 2, fill(offWho), offSelf, true},
		{18, 1, 2, fill(offFacts), offUnknown, false},
		{14, 1, 2, fill(offWishes), offRefusals, false},
		{8, 1, 2, fill(offTalk), offUnknown, false},
		{8, 1, 2, fill(offForeign), offEnglish, false},
		{8, 1, 2, offNoise, offUnclear, false},
		{4, 1, 2, func(rng *rand.Rand) string { return choose(rng, offNothing) }, offUnclear, false},
		{8, 1, 3, offSentence, offUnclear, false},
		{4, 1, 3, fill(offSnippets), offRefusals, false},
		{20, 2, 3, fill(offLookalikes), offUnknown, false},
		{6, 3, 3, offLong, offRefusals, false},
	}
}

func makeOffTopic(rng *rand.Rand, difficulty int) Problem {
	var kinds []offKind
	total := 0
	for _, k := range offKinds() {
		if k.low <= difficulty && min(difficulty, 3) <= k.high {
			kinds = append(kinds, k)
			total += k.weight
		}
	}
	at := rng.IntN(total)
	kind := kinds[0]
	for _, kind = range kinds {
		if at -= kind.weight; at < 0 {
			break
		}
	}
	prompt := kind.prompt(rng)
	return Problem{
		Canonical: offCanonical(prompt),
		Prompt:    offCasing(rng, prompt),
		Answer:    say(rng, kind.answers, choose(rng, offAbilities)),
		Check:     offVerifier(kind.polite),
		Read:      Final,
	}
}

// slotRE finds {things}, articleRE an article that a drawn word made wrong.
var (
	slotRE    = regexp.MustCompile(`\{[a-z]+\}`)
	articleRE = regexp.MustCompile(`\b([aA]) ([aeiou])`)
)

// fillIn replaces {things} in a phrasing by words drawn for them.
func fillIn(rng *rand.Rand, s string) string {
	s = slotRE.ReplaceAllStringFunc(s, func(slot string) string {
		switch name := slot[1 : len(slot)-1]; name {
		case "word":
			return choose(rng, words)
		case "name":
			return choose(rng, storyNames)
		case "number":
			return strconv.Itoa(between(rng, 2, 99))
		case "year":
			return strconv.Itoa(between(rng, 1200, 2030))
		default:
			return choose(rng, offSlots[name])
		}
	})
	return articleRE.ReplaceAllString(s, "${1}n $2")
}

// offCasing writes some prompts as people type: without capitals, without the mark at the
// end, in capitals, with a word before.
func offCasing(rng *rand.Rand, s string) string {
	if strings.TrimSpace(s) == "" {
		return s
	}
	switch rng.IntN(12) {
	case 0, 1:
		return strings.ToLower(s)
	case 2:
		return strings.ToLower(strings.TrimRight(s, ".!?"))
	case 3:
		return strings.TrimRight(s, ".!?")
	case 4:
		return s + choose(rng, []string{"!", "??", "...", " please", " :)", " thanks"})
	case 5:
		return choose(rng, []string{"please ", "Hey, ", "ok, ", "Hi! ", "so ", "And "}) + s
	case 6:
		if rng.IntN(4) == 0 {
			return strings.ToUpper(s)
		}
	}
	return s
}

// offCanonical is a prompt without its capitals and marks, unless marks are all it has.
func offCanonical(s string) string {
	fields := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r)
	})
	if len(fields) == 0 {
		return "marks: " + s
	}
	return "says: " + strings.Join(fields, " ")
}

// offNoise is what a cat on the keyboard types.
func offNoise(rng *rand.Rand) string {
	const letters, signs = "abcdefghijklmnopqrstuvwxyz", "#%&*+-=/?!.,;:()[]<>~^@"
	var b strings.Builder
	for i := range between(rng, 1, 5) {
		if i > 0 {
			b.WriteByte(' ')
		}
		from := letters
		switch rng.IntN(6) {
		case 0:
			from = signs
		case 1:
			from = letters + "0123456789"
		}
		for range between(rng, 2, 9) {
			b.WriteByte(from[rng.IntN(len(from))])
		}
	}
	return b.String()
}

// offSentence puts words together that make no question.
func offSentence(rng *rand.Rand) string {
	if rng.IntN(3) == 0 {
		out := make([]string, between(rng, 1, 6))
		for i := range out {
			out[i] = choose(rng, words)
		}
		return strings.Join(out, " ")
	}
	return fillIn(rng, choose(rng, offStatements))
}

// offLong is several things in a row.
func offLong(rng *rand.Rand) string {
	out := make([]string, between(rng, 2, 4))
	for i := range out {
		from := choose(rng, [][]string{offStatements, offTalk, offFacts, offWishes})
		out[i] = fillIn(rng, choose(rng, from))
	}
	return strings.Join(out, " ")
}

// Bounds of an honest answer.
const (
	offLongest   = 500 // bytes
	offAbilityOK = 3   // kinds of problems that are named
)

// offVerifier accepts a short text that names what its writer can do, gives no figure,
// code or list of its own, and, unless polite, says that it cannot do what was asked.
func offVerifier(polite bool) Verifier {
	return func(_ context.Context, answer string) Verdict {
		low := strings.ToLower(strings.ReplaceAll(answer, "’", "'"))
		switch {
		case len(answer) > offLongest:
			return wrong("%d bytes are not a short answer", len(answer))
		case strings.ContainsFunc(answer, unicode.IsDigit):
			return wrong("it gives a figure where there is none to give")
		case strings.ContainsAny(answer, "\n`{}=<>"):
			return wrong("more than a sentence or two")
		}
		if named := mentions(low, offAbilityWords); named < offAbilityOK {
			return wrong("it does not say what it can do: %d kinds of problems are named, %d is enough", named, offAbilityOK)
		}
		if mentions(low, offClaimWords) == 0 {
			return wrong("it does not say that these are what it can do")
		}
		if !polite && mentions(low, offDeclineWords) == 0 {
			return Verdict{0.5, "it says what it can do, not that it cannot do what was asked"}
		}
		return right()
	}
}

// mentions counts the groups of which a word is in the text.
func mentions(text string, groups [][]string) int {
	n := 0
	for _, g := range groups {
		for _, w := range g {
			if strings.Contains(text, w) {
				n++
				break
			}
		}
	}
	return n
}
