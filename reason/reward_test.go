package reason

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sonde/reason/task"
)

var sevens = task.Problem{Answer: "7"}

func judged(o RewardOptions, output string, tokens int, cut bool) Judged {
	return o.Judge(context.Background(), Text{Problem: &sevens, Output: output, Tokens: tokens, CutOff: cut}, 100)
}

// TestRewards: what each kind of output is worth with all options on.
func TestRewards(t *testing.T) {
	o := RewardOptions{Format: 0.5, Overlong: 20}
	for _, c := range []struct {
		output string
		tokens int
		cut    bool
		want   float64
		form   bool
	}{
		{"<think>\n3 7\n</think>\n\n7", 10, false, 1.5, true},
		{"7", 10, false, 1, false},
		{"<think>\n3 8\n</think>\n\n8", 10, false, 0, true}, // perfect form, wrong answer
		{"8", 10, false, 0, false},
		{"", 1, false, 0, false},
		{"<think></think>7", 10, false, 1, false},            // no thought in it
		{"<think>3 7</think>7</think>", 10, false, 0, false}, // tags in the answer
		{"<think>3<think>7</think>7", 10, false, 0, false},   // two thoughts
		{"<think>so 7", 10, false, 0, false},                 // never ends
		{"<think>3 7</think>7 <think>", 10, false, 0, false}, // begins another
		{"7 <think>3</think>", 10, false, 0, false},          // answer before the thought
		{"<think>a</think>7", 90, false, 1.5 - 0.5, true},    // half of the punishment
		{"<think>a</think>8", 90, false, -0.5, true},
		{"<think>a</think>7", 100, true, -1, false}, // cut off: no answer
		{"7", 100, false, 0, false},                 // right and as long as can be
		{"<think>a</think>" + strings.Repeat("7\n", 40), 10, false, 1.5, true},
	} {
		j := judged(o, c.output, c.tokens, c.cut)
		if math.Abs(j.Reward-c.want) > 1e-12 || j.Format != c.form {
			t.Errorf("%q of %d tokens is worth %v (form %v), want %v (%v): %s", c.output, c.tokens, j.Reward, j.Format, c.want, c.form, j.Reason)
		}
	}
	opened := o.Judge(context.Background(), Text{Problem: &sevens, Output: "3 7\n</think>\n\n7", Opened: true, Tokens: 5}, 100)
	if opened.Reward != 1.5 || opened.Thought != "3 7" || opened.Answer != "7" {
		t.Errorf("a thought that the prompt opened: %+v", opened)
	}
}

// TestFormAloneNeverPays: no right answer is worth less than any wrong one, and no wrong
// one is worth more than nothing, whatever the options, forms and lengths.
func TestFormAloneNeverPays(t *testing.T) {
	forms := []string{"%s", "<think>a</think>%s", "<think>\na b\n</think>\n\nAnswer: %s", "\\boxed{%s}", "<think></think>%s"}
	rapid.Check(t, func(t *rapid.T) {
		o := RewardOptions{Partial: rapid.Bool().Draw(t, "partial"), Format: rapid.Float64Range(0, 1).Draw(t, "format"), Overlong: rapid.IntRange(0, 100).Draw(t, "overlong")}
		if err := o.Check(100); err != nil {
			t.Fatal(err)
		}
		one := func(answer string) Judged {
			return judged(o, fmt.Sprintf(rapid.SampledFrom(forms).Draw(t, "form"), answer), rapid.IntRange(1, 100).Draw(t, "tokens"), false)
		}
		right, wrong := one("7"), one("8")
		if !right.Right() || wrong.Right() || right.Reward < 0 || wrong.Reward > 0 {
			t.Fatalf("%+v: right %+v, wrong %+v", o, right, wrong)
		}
	})
}

// harmful are verifiers that crash, hang and answer NaN.
func harmful() []task.Verifier {
	return []task.Verifier{
		func(context.Context, string) task.Verdict { panic("no") },
		func(context.Context, string) task.Verdict { <-make(chan int); return task.Verdict{} },
		func(context.Context, string) task.Verdict { return task.Verdict{Score: math.NaN()} },
	}
}

// TestHarmfulVerifiers: what crashes, hangs or answers NaN is worth nothing, with a reason.
func TestHarmfulVerifiers(t *testing.T) {
	for i, why := range []string{"crashed", "no verdict", "NaN"} {
		p := task.Problem{Answer: "7", Check: harmful()[i], Limit: 20 * time.Millisecond}
		j := RewardOptions{Partial: true, Format: 1}.Judge(context.Background(), Text{Problem: &p, Output: "<think>a</think>7", Tokens: 3}, 100)
		if j.Reward != 0 || !strings.Contains(j.Reason, why) {
			t.Errorf("a verifier that %s: %+v", why, j)
		}
	}
}
