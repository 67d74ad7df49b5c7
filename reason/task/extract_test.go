package task

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestExtract(t *testing.T) {
	for output, want := range map[string]string{
		"42":                                    "42",
		"Here:\n```\n42\n```":                   "42",
		"```\n```":                              "```",
		`\boxed{\text{RRD}}`:                    "RRD",
		`\text{1} or \text{2}`:                  `\text{1} or \text{2}`,
		"<think>6*7</think>42":                  "42",
		"6*7\n</think>\n\n42.":                  "42",
		"<think>\n\\boxed{1}\n</think>\n42":     "42",
		"The sum is\n\n42":                      "42",
		"Answer: 42":                            "42",
		"**Answer:** 42":                        "42",
		"**Final answer**: `42`":                "42",
		"So the answer is 42.\nThat was easy.":  "42",
		"\\boxed{\\frac{1}{2}}":                 "\\frac{1}{2}",
		"Thus $x = \\boxed{5}$ and \\boxed{5}.": "5",
		"Answer: 7\n\nAnswer: 7":                "7",
		"a < b, so 3":                           "a < b, so 3",
		"the first\nthe last\n\n":               "the last",
		"<THINK>x</THINK> 1":                    "1",
	} {
		if got, err := Extract(output); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", output, got, err, want)
		}
	}
	for output, want := range map[string]error{
		"":                                   ErrNoAnswer,
		"<think>42":                          ErrUnfinished,
		"<think>42</think>":                  ErrNoAnswer,
		"<think>a</think>1<think>b</think>2": ErrTags,
		"a</think>1</think>2":                ErrTags,
		"42<think>":                          ErrUnfinished,
		"1</think>2<think>":                  ErrTags,
		"3 <think>x</think> 4":               ErrTags,
		"x</think><answer>4</answer>":        ErrTags,
		"x</think>4<|im_end|>":               ErrTags,
		"x</think>4<｜User｜>again":            ErrTags,
		"\\boxed{1} or \\boxed{2}":           ErrSeveral,
		"Answer: 1\nAnswer: 2":               ErrSeveral,
		"\\boxed{1":                          ErrUnfinished,
		"\\boxed{}":                          ErrNoAnswer,
		strings.Repeat("7", MaxOutput+1):     ErrTooLong,
		strings.Repeat("7", MaxAnswer+1):     ErrTooLong,
	} {
		if got, err := Extract(output); !errors.Is(err, want) {
			t.Errorf("%.60q: %.60q, %v; want %v", output, got, err, want)
		}
	}
}

// TestExtractEndsSoon reads outputs made to take long.
func TestExtractEndsSoon(t *testing.T) {
	for _, part := range []string{"*", "`", "$", ".", "<", "<think>", "\\boxed{", "\\boxed{1}", "Answer: 1\n", "answer is ", "{", "\n", "```\n", "\xff", "answer:"} {
		bomb := strings.Repeat(part, MaxOutput/len(part))
		start := time.Now()
		Extract(bomb)
		Extract("\\boxed{" + bomb[:MaxOutput-20] + "}")
		ExtractCode(bomb)
		if d := time.Since(start); d > time.Minute { // seconds on a busy machine; what grows with the square takes far longer
			t.Errorf("%q took %v", part, d)
		}
	}
}

func TestExtractCode(t *testing.T) {
	for output, want := range map[string]string{
		"x = 1":                               "x = 1",
		"Here:\n```python\nx = 1\n```\nDone.": "x = 1",
		"<think>```\ny\n```</think>\n```go\nx := 1\n```": "x := 1",
	} {
		if got, err := ExtractCode(output); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", output, got, err, want)
		}
	}
	for output, want := range map[string]error{
		"```\na\n```\n```\nb\n```":     ErrSeveral,
		"```\na":                       ErrUnfinished,
		"```\n```":                     ErrNoAnswer,
		strings.Repeat("x", MaxCode+1): ErrTooLong,
	} {
		if got, err := ExtractCode(output); !errors.Is(err, want) {
			t.Errorf("%.60q: %.60q, %v; want %v", output, got, err, want)
		}
	}
}

// TestCountdownAcceptsEveryWay tries expressions other than the stored one.
func TestCountdownAcceptsEveryWay(t *testing.T) {
	p := Problem{Check: countdownVerifier([]int{3, 5, 8, 8}, 64)}
	for answer, want := range map[string]float64{
		"8*8": 1, "(3+5)*8": 1, "8 × (5 + 3)": 1, "8*8*(5-3)/(5-3)": 0, "= 8*8": 0, "8*8 = 64": 1, "64 = 8*8": 1, `8 \times 8`: 1, "((8))*((8))": 1,
		"64": 0, "8*8*8/8": 0, "8*8+3": rightRules, "8+8": rightRules, "88-24": 0, "8^2": 0, "-(-8*8)": 0, "8*8/(5-5)": 0, "8/(3-3)": 0, "": 0, "8*": 0,
		"8*8 or 8+8": 0, "8*8; 8+8": 0, "8*8 # 64": 0, "(8*8": 0, "8 8": 0, "8*8=65": 1, "[8*8]": 1, "8/(5/5)": 0,
	} {
		if v := p.Verify(answer); v.Score != want {
			t.Errorf("%q: %v, %s; want %v", answer, v.Score, v.Reason, want)
		}
	}
}

// TestVerifiersAcceptEveryWriting tries other ways of writing right answers.
func TestVerifiersAcceptEveryWriting(t *testing.T) {
	third, _ := ParseNumber("7/2")
	grid := grid{size: 3, wall: make([]bool, 9), start: 0, goal: 4}
	for _, c := range []struct {
		check Verifier
		text  string
		score float64
	}{
		{computedInt(1234), "1,234", 1}, {computedInt(1234), "1234.00", 1}, {computedInt(1234), "The sum is 1234.", 1}, {computedInt(1234), "1000+234 = 1234", 1},
		{computedInt(12), "24/2", 0}, {computedInt(12), "12 13", 0}, {computedInt(12), "12!", 0}, {computedInt(-5), "−5", 1},
		{inBase(255, 16), "0xff", 1}, {inBase(255, 16), "FF", 1}, {inBase(5, 2), "0b101", 1}, {inBase(5, 2), "101_2", 1}, {inBase(5, 2), "0000 0101", 1}, {inBase(5, 2), "5", 0}, {inBase(5, 2), "-101", 0},
		{solved("x", third), "x = 3.5", 1}, {solved("x", third), `\frac{7}{2}`, 1}, {solved("x", third), "3 1/2", 1}, {solved("x", third), "y = 3.5", 0}, {solved("x", third), "2x = 3.5", 0}, {solved("x", third), "so x = 7/2 = 3.5", 1},
		{solved("x", third), "X=3.5", 1},
		{inUnit(third, ladders[0][1]), "3.5 cm", 1}, {inUnit(third, ladders[0][1]), "3.50 centimeters", 1}, {inUnit(third, ladders[0][1]), "3.5 m", 0}, {inUnit(third, ladders[0][1]), "7/2", 1},
		{sortedVerifier([]string{"1", "2", "3"}), "[1, 2, 3]", 1}, {sortedVerifier([]string{"1", "2", "3"}), "1 2 and 3", 1}, {sortedVerifier([]string{"1", "2", "3"}), "1, 3, 2", 0.5 / 3},
		{sortedVerifier([]string{"1", "2", "3"}), "1, 2", 0}, {truthVerifier(true), "Yes", 1}, {truthVerifier(true), "It is true", 1}, {truthVerifier(true), "true or false", 0}, {truthVerifier(true), "not true", 0},
		{grid.verifier(2), "RD", 1}, {grid.verifier(2), "down, right", 1}, {grid.verifier(2), "→↓", 1}, {grid.verifier(2), "RRDL", reachesGoal}, {grid.verifier(2), "R", 0}, {grid.verifier(2), "UU", 0}, {grid.verifier(2), "go", 0},
	} {
		if v := (Problem{Check: c.check}).Verify(c.text); math32(v.Score) != math32(c.score) {
			t.Errorf("%q: %v, %s; want %v", c.text, v.Score, v.Reason, c.score)
		}
	}
}

// math32 rounds, for comparing.
func math32(f float64) float32 { return float32(f) }

func TestExtractLast(t *testing.T) {
	for _, c := range []struct{ output, want string }{
		{`First \boxed{1}, no: \boxed{\frac{1}{2}}.`, `\frac{1}{2}`},
		{`<think>\boxed{7}</think>It is \boxed{\boxed{3}}`, "3"},
		{"The answer is 4.\nNo, the answer is **5**.", "5"},
		{"5\n\n 6 \n", "6"},
		{`\fbox{8}`, "8"},
	} {
		if got, err := ExtractLast(c.output); got != c.want || err != nil {
			t.Errorf("%q: %q, %v; want %q", c.output, got, err, c.want)
		}
	}
	for output, want := range map[string]error{
		`\boxed{1} \boxed{2`: ErrUnfinished, "<think>1": ErrUnfinished, "": ErrNoAnswer, "</think></think>1": ErrTags,
		"1</answer>": ErrTags, `\boxed{` + strings.Repeat("1", MaxAnswer+1) + "}": ErrTooLong,
	} {
		if got, err := ExtractLast(output); !errors.Is(err, want) {
			t.Errorf("%.40q: %q, %v; want %v", output, got, err, want)
		}
	}
}
