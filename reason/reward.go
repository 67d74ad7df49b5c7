package reason

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"unicode/utf8"

	"sonde/reason/task"
)

// RewardOptions say what a text is worth. With a the verifier's score in [0, 1], f in
// {0, 1} saying whether the text has the form <think>thought</think>answer, and n its
// length in tokens,
//
//	R = a * (1 + Format*f) - overlong(n)
//
// The form pays only together with the answer: a wrong answer is worth nothing in
// whatever form, so a model cannot live on form alone. A text that was cut off at the
// greatest length has no answer: a = 0.
type RewardOptions struct {
	// Partial pays for answers that are right in part; without it a is 1 where the
	// verifier is content and else 0.
	Partial bool
	// Format is what the form adds to a right answer, in [0, 1].
	Format float64
	// Overlong is the number of tokens before the greatest length L over which a
	// punishment grows (DAPO's soft overlong punishment, arXiv 2503.14476, eq. 13):
	// overlong(n) = 0 for n <= L-Overlong, then (n-(L-Overlong))/Overlong, at most 1.
	// It is multiplied by a where a text is right, so that a right one is never worth
	// less than a wrong one.
	Overlong int
}

// Check says whether the options can be meant.
func (o RewardOptions) Check(maxTokens int) error {
	switch {
	case !(o.Format >= 0 && o.Format <= 1):
		return fmt.Errorf("--format-reward is %v, must be between 0 and 1: form must not outweigh the answer", o.Format)
	case o.Overlong < 0 || o.Overlong > maxTokens:
		return fmt.Errorf("--overlong is %d, must be between 0 (off) and the longest answer, %d", o.Overlong, maxTokens)
	}
	return nil
}

// Judged is what a text is worth, and why.
type Judged struct {
	task.Verdict
	Reward   float64
	Format   bool   // the text has the form
	Thought  string // without its tags; "" where there is none
	Answer   string // the text after the thought
	Thinking bool   // there is a thought with something in it
}

// Text is a text to judge.
type Text struct {
	Problem *task.Problem
	Output  string // what the model wrote, tags of thoughts as they are spelled
	Opened  bool   // the prompt had opened the thought
	Tokens  int
	CutOff  bool // it was ended at the greatest length
}

// Judge scores one text. maxTokens is the greatest length.
func (o RewardOptions) Judge(ctx context.Context, x Text, maxTokens int) Judged {
	var j Judged
	j.Thought, j.Answer, j.Format = takeApart(x.Output, x.Opened)
	j.Thinking = strings.TrimSpace(j.Thought) != ""
	j.Format = j.Format && !x.CutOff
	switch {
	case x.CutOff:
		j.Verdict = task.Verdict{Reason: fmt.Sprintf("cut off after %d tokens", x.Tokens)}
	case !x.Opened && !opens(x.Output) && strings.Contains(x.Output, thinkClose):
		j.Verdict = task.Verdict{Reason: "a thought is closed that was never opened"}
	default:
		j.Verdict = x.Problem.ScoreContext(ctx, x.Output)
	}
	a := j.Score
	if !o.Partial && !j.Right() {
		a = 0
	}
	j.Reward = a
	if j.Format {
		j.Reward += a * o.Format
	}
	j.Reward -= o.overlong(x.Tokens, maxTokens, a)
	return j
}

// overlong is the punishment for length. A right answer of greatest length is worth what
// a wrong short one is.
func (o RewardOptions) overlong(n, maxTokens int, a float64) float64 {
	over := n - (maxTokens - o.Overlong)
	if o.Overlong == 0 || over <= 0 {
		return 0
	}
	p := math.Min(float64(over)/float64(o.Overlong), 1)
	if a > 0 {
		return p * a
	}
	return p
}

// opens says whether an output begins with a thought.
func opens(output string) bool {
	return strings.HasPrefix(strings.TrimLeft(output, " \n"), thinkOpen)
}

// takeApart splits an output into thought and answer. form says that it is a thought with
// something in it, closed once, and an answer with something in it and no tags.
func takeApart(output string, opened bool) (thought, answer string, form bool) {
	if !utf8.ValidString(output) {
		output = strings.ToValidUTF8(output, "\uFFFD")
	}
	rest := output
	if opens(output) && !opened {
		_, rest, _ = strings.Cut(output, thinkOpen)
		opened = true
	}
	if !opened {
		return "", output, false
	}
	thought, answer, closed := strings.Cut(rest, thinkClose)
	if !closed {
		return rest, "", false
	}
	tags := strings.Contains(thought, thinkOpen) || strings.Contains(answer, thinkOpen) || strings.Contains(answer, thinkClose)
	thought, answer = strings.TrimSpace(thought), strings.TrimSpace(answer)
	return thought, answer, thought != "" && answer != "" && !tags
}

// judges scores texts on goroutines of their own while others are still being written.
type judges struct {
	work chan func()
	wait sync.WaitGroup
}

// newJudges starts n of them.
func newJudges(n int) *judges {
	j := &judges{work: make(chan func(), 4096)}
	for range n {
		j.wait.Go(func() {
			for f := range j.work {
				f()
			}
		})
	}
	return j
}

// finish waits until all is judged and ends them.
func (j *judges) finish() {
	close(j.work)
	j.wait.Wait()
}
