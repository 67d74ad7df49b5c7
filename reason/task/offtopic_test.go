package task

import (
	"fmt"
	"strings"
	"testing"
)

func TestOffTopicAnswersItself(t *testing.T) {
	rng := NewRand(5)
	for d := 1; d <= 4; d++ {
		for range count() * 4 {
			p := OffTopic().Generate(rng, d)
			if v := p.Score(p.Answer); !v.Right() {
				t.Errorf("%q\n%q scores %v: %s", p.Prompt, p.Answer, v.Score, v.Reason)
			}
			if strings.ContainsAny(p.Prompt+p.Answer, "\x00") || len(p.Prompt) > 400 || slotRE.MatchString(p.Prompt) {
				t.Errorf("an odd prompt: %q", p.Prompt)
			}
			if p.Task != "off-topic" || p.Thought != "" {
				t.Errorf("%+v", p)
			}
		}
	}
}

// TestOffTopicSlots: every {thing} in a phrasing is one that fillIn knows.
func TestOffTopicSlots(t *testing.T) {
	known := map[string]bool{"word": true, "name": true, "number": true, "year": true}
	for s, from := range offSlots {
		known[s] = len(from) > 1
	}
	for _, list := range [][]string{offGreetings, offWho, offFacts, offWishes, offTalk, offForeign, offStatements, offSnippets, offLookalikes} {
		seen := map[string]bool{}
		for _, s := range list {
			if seen[s] {
				t.Errorf("%q stands there twice", s)
			}
			seen[s] = true
			for _, slot := range slotRE.FindAllString(s, -1) {
				if !known[slot[1:len(slot)-1]] {
					t.Errorf("%q: nothing stands for %s", s, slot)
				}
			}
		}
	}
}

// TestOffTopicIsNoProblem: no family makes a prompt that off-topic makes too.
func TestOffTopicIsNoProblem(t *testing.T) {
	rng := NewRand(6)
	seen := map[string]bool{}
	each(t, 100, func(t *testing.T, p Problem) { seen[offCanonical(p.Prompt)] = true })
	different := map[string]bool{}
	for range 5000 {
		p := OffTopic().Generate(rng, 2)
		if seen[p.Canonical] {
			t.Errorf("%q is a problem of a family", p.Prompt)
		}
		different[p.ID] = true
	}
	if len(different) < 2500 {
		t.Errorf("only %d different prompts among 5000", len(different))
	}
}

func TestOffTopicVerdicts(t *testing.T) {
	polite, asked := Problem{Check: offVerifier(true), Read: Final}, Problem{Check: offVerifier(false), Read: Final}
	for _, c := range []struct {
		p     Problem
		says  string
		score float64
		why   string
	}{
		{polite, "Hi, I can do sums, sorting and equations.", 1, ""},
		{polite, "<think>\nA greeting.\n</think>\n\nHello! Ask me for sums, logic or Countdown.", 1, ""},
		{asked, "I can’t do that, but I can help with addition, sorting and grid paths.", 1, ""},
		{asked, "I can do sums, sorting and equations.", 0.5, "cannot do"},
		{asked, "I cannot do that.", 0, "does not say what it can do"},
		{asked, "Paris.", 0, "does not say what it can do"},
		{asked, "The capital is Paris, a city of sums, sorting and equations.", 0, "what it can do"},
		{asked, "It is 7. I can only do sums, sorting and equations.", 0, "figure"},
		{asked, "Sorry.\nI can do sums, sorting and equations.", 0, "sentence"},
		{asked, "I cannot. I can do sums, sorting and equations. " + strings.Repeat("So ", 200), 0, "short"},
		{asked, "", 0, "no answer"},
		{asked, "<think>\nI can only do sums, sorting and equations.", 0, "does not end"},
	} {
		v := c.p.Score(c.says)
		if v.Score != c.score || !strings.Contains(v.Reason, c.why) {
			t.Errorf("%.60q scores %v (%s), want %v (%s)", c.says, v.Score, v.Reason, c.score, c.why)
		}
	}
}

func TestOffTopicByName(t *testing.T) {
	m, err := ParseMix("all, off-topic:3")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(All()); len(m) != n+1 || m[n].Task.Info().Name != "off-topic" || m[n].Weight != 3 || m[n].Low != 2 {
		t.Errorf("%+v", m)
	}
	if strings.Contains(fmt.Sprint(Names()), "off-topic") {
		t.Error("off-topic has no problem to solve and does not belong among All")
	}
	held, err := Set(OffTopic(), HeldOut, 1, 300, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range held {
		if SplitOf(p) != HeldOut {
			t.Errorf("%q is not held out", p.Prompt)
		}
	}
}
