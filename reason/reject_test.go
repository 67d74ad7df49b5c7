package reason

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sonde/reason/task"
	"sonde/train"
)

// sayMix asks to repeat a letter: what a tiny model learns in moments. There are enough
// wordings for held-out ones.
func sayMix() task.Mix {
	f := task.Family{About: task.Info{Name: "say", Description: "repeats", Default: 1, Hard: 2}, Make: func(rng *rand.Rand, _ int) task.Problem {
		c := string(rune('a' + rng.IntN(4)))
		return task.Problem{Prompt: fmt.Sprintf("%d%s", rng.IntN(50), c), Answer: c, Thought: "it is " + c}
	}}
	return task.Mix{{Task: f, Weight: 1, Low: 1, High: 1}}
}

// TestOfATaughtModel gives some tests one model that repeats letters most of the time,
// with a thought in half of its answers.
func TestOfATaughtModel(t *testing.T) {
	c := tinySFT(t, filepath.Join(t.TempDir(), "taught"), 150)
	c.Tasks, c.Mix, c.Thoughts, c.Batch = "", sayMix(), ptr(0.5), 600
	c.LR, c.SampleEvery = 8e-3, -1
	s, _ := mustSFT(t, c)
	t.Logf("taught to a held-out loss of %.3f", *s.HeldoutLoss)
	for name, f := range map[string]func(*testing.T, string, SFTConfig){"RejectKeepsRightAnswers": rejectKeepsRightAnswers, "RejectGoesOn": rejectGoesOn,
		"Distill": distillTeaches, "OnPolicy": onPolicyTeaches, "Oneself": onPolicyOfOneself} {
		t.Run(name, func(t *testing.T) { f(t, c.Out, c) })
	}
}

func rejectKeepsRightAnswers(t *testing.T, base string, c SFTConfig) {
	r := RejectConfig{Backend: c.Backend, Mix: sayMix(), RejectOptions: RejectOptions{Model: base, Out: filepath.Join(t.TempDir(), "right.jsonl"), Problems: 150, Samples: 4, Keep: KeepAll, MaxTokens: 40}}
	var out bytes.Buffer
	s, err := Reject(t.Context(), r, &out)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", s)
	if s.Problems != 150 || s.Samples != 600 || s.Right < 60 || s.Kept == 0 || s.Kept > s.Right || s.Solved > 150 || !strings.Contains(out.String(), "kept") {
		t.Fatalf("the summary is %+v\n%s", s, out.String())
	}
	seen, thoughts, n := map[string]bool{}, 0, 0
	err = eachLine(r.Out, func(line []byte, _ string) error {
		var k Kept
		if err := json.Unmarshal(line, &k); err != nil {
			return err
		}
		prompt, answer := k.Messages[0].Content, k.Messages[1]
		if answer.Content != prompt[len(prompt)-1:] {
			t.Errorf("%s is kept as an answer to %q", answer.Content, prompt)
		}
		if answer.Reasoning != nil {
			thoughts++
		}
		if seen[k.key()] {
			t.Errorf("%s stands there twice", line)
		}
		seen[k.key()] = true
		n++
		return nil
	})
	if err != nil || n != s.Kept || thoughts == 0 || thoughts == n {
		t.Errorf("the file has %d lines, %d with a thought, %v", n, thoughts, err)
	}
	// What was kept is what SFT reads.
	again := SFTConfig{Backend: c.Backend, SFTOptions: SFTOptions{Model: base, Out: filepath.Join(t.TempDir(), "again"), Data: []string{r.Out}, Epochs: 1}}
	if sum, _ := mustSFT(t, again); sum.Examples < int64(s.Kept)*9/10 || sum.Examples > int64(s.Kept) {
		t.Errorf("of %d examples %d were learned from", s.Kept, sum.Examples)
	}
	// One of each problem, the shortest, and no more than asked for of a task.
	r.Out, r.Keep, r.PerTask, r.Thought = filepath.Join(t.TempDir(), "some.jsonl"), KeepShortest, 20, true
	s, err = Reject(t.Context(), r, t.Output())
	if err != nil || s.Kept != 20 || s.Tasks[0].Kept != 20 {
		t.Errorf("the summary is %+v, %v", s, err)
	}
}

// A sampling that was stopped, and its file cut in the middle of a line, goes on to the
// bytes of one that was not.
func rejectGoesOn(t *testing.T, base string, c SFTConfig) {
	r := RejectConfig{Backend: c.Backend, Mix: sayMix(), RejectOptions: RejectOptions{Model: base, Out: filepath.Join(t.TempDir(), "a.jsonl"), Problems: 200, Samples: 2, MaxTokens: 30}}
	whole, err := Reject(t.Context(), r, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(r.Out)
	r.Out = filepath.Join(t.TempDir(), "b.jsonl")
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Reject(ctx, r, &stopAt{"problem 64/", cancel})
	cancel()
	if !errors.Is(err, train.ErrInterrupted) {
		t.Fatalf("a cancelled sampling: %v", err)
	}
	f, err := os.OpenFile(r.Out, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"messages":[{"ro`) // a kill in the middle of a write
	f.Close()
	if _, err := Reject(t.Context(), r, t.Output()); err == nil || !strings.Contains(err.Error(), "--resume") {
		t.Errorf("a file that is there: %v", err)
	}
	s, err := Reject(t.Context(), RejectConfig{Backend: cpuBackend(t, 2), Mix: sayMix(), Resume: true, RejectOptions: RejectOptions{Out: r.Out, Slots: 7}}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(r.Out)
	if !bytes.Equal(got, want) || len(want) == 0 || s.Kept != whole.Kept || s.Right != whole.Right {
		t.Errorf("with a stop %d bytes and %+v, without %d and %+v", len(got), s, len(want), whole)
	}
}
