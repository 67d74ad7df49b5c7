package reason

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sonde/checkpoint"
	"sonde/engine"
	"sonde/model/lora"
	"sonde/reason/task"
	"sonde/train"
)

// TestVariants: every objective with every option it may be given learns something, on a
// mixture of experts, several updates and epochs a step.
func TestVariants(t *testing.T) {
	for _, name := range Objectives() {
		c := short(t, "deepseek", filepath.Join(t.TempDir(), "run"))
		c.Objective, c.Steps, c.Updates, c.Epochs, c.KL, c.UnbiasedKL, c.RefEvery = name, 4, 2, 2, 0.01, true, 3
		c.KeepMask, c.KeepRouting, c.TopP, c.MinP, c.Temperature = true, true, 0.95, 0.001, 1.1
		c.OffPolicy, c.FormatReward, c.Overlong, c.Partial = 0.5, 0.1, 8, true
		c.Gamma, c.Alpha, c.Decay, c.Warmup, c.LREnd = 0.001, 1e-4, 0.01, 1, ptr(0.5)
		if _, err := GRPO(context.Background(), c, io.Discard); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		recs, err := train.ReadJournal(c.Out)
		if err != nil || len(recs) != 4 {
			t.Fatalf("%s: %d steps, %v", name, len(recs), err)
		}
		moved := false
		for _, r := range recs {
			for _, want := range []string{"loss", "kl", "entropy", "grad_norm", "clip_share", "masked", "load_max_mean"} {
				if _, ok := r.Get(want); !ok {
					t.Errorf("%s, step %d: no %s", name, r.Step, want)
				}
			}
			if ratio, _ := r.Get("ratio_max"); ratio != 1 {
				t.Errorf("%s, step %d: the ratio of the first mini-batch is %v", name, r.Step, ratio)
			}
			ratio, _ := r.Get("ratio_moved")
			kl, _ := r.Get("kl")
			moved = moved || ratio > 1 && kl > 0
		}
		if !moved {
			t.Errorf("%s: no ratio moved and no divergence grew in updates after the first", name)
		}
	}
}

// begun is a run that has been opened, before its first step.
func begun(t *testing.T, c GRPOConfig) *grpo {
	t.Helper()
	r := &grpo{c: &c, o: &c.GRPOOptions, be: c.Backend, p: train.NewProgress(io.Discard), saved: -1}
	if err := os.MkdirAll(c.Out, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := r.beginOrResume(); err != nil {
		t.Fatal(err)
	}
	if err := r.allocate(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

// gradients are all of them.
func gradients(r *grpo) []float32 {
	var out []float32
	for _, b := range r.opt.Grads().Blocks() {
		v := make([]float32, b.T.Len())
		r.be.DownloadF32(v, b.T)
		out = append(out, v...)
	}
	return out
}

// TestIdleSamplesAreLeftOut: the gradient without the samples that have none is, to the
// last bit, the gradient with them.
func TestIdleSamplesAreLeftOut(t *testing.T) {
	for _, arch := range []string{"llama", "deepseek"} {
		r := begun(t, short(t, arch, filepath.Join(t.TempDir(), "run")))
		b, err := r.rollOut(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range b.samples { // some groups are alike, whatever chance brought
			if s.group%2 == 0 {
				s.advantage = 0
			} else {
				s.advantage = float64(i%3) - 1
			}
		}
		n := Whole{Samples: len(b.samples), Tokens: b.tokens}
		var busy []*sample
		for _, s := range b.samples {
			if !r.objective.Idle(s.advantage) {
				busy = append(busy, s)
			}
		}
		if len(busy) == 0 || len(busy) == len(b.samples) {
			t.Fatalf("%s: %d of %d samples are busy", arch, len(busy), len(b.samples))
		}
		pass := func(samples []*sample) []float32 {
			r.opt.ZeroGrads()
			for _, k := range r.pack(samples) {
				r.pass(k, n, true, 1, &learned{})
			}
			return gradients(r)
		}
		with, without := pass(b.samples), pass(busy)
		for i := range with {
			if with[i] != without[i] {
				t.Fatalf("%s: gradient %d is %v with the idle samples and %v without", arch, i, with[i], without[i])
			}
		}
	}
}

// TestEqualRewardsMoveNothing: a step whose groups are all alike leaves the weights as they
// are, to the last bit.
func TestEqualRewardsMoveNothing(t *testing.T) {
	c := short(t, "deepseek", filepath.Join(t.TempDir(), "run"))
	sevens := c.Mix[0].Task.(task.Family)
	c.Mix = sevensMix()
	c.Mix[0].Task = task.Family{About: task.Info{Name: "never", Default: 1, Hard: 1}, Make: func(rng *rand.Rand, d int) task.Problem {
		p := sevens.Make(rng, d)
		p.Answer = "nobody says this"
		return p
	}}
	c.Steps, c.EvalProblems = 2, -1
	if _, err := GRPO(context.Background(), c, io.Discard); err != nil {
		t.Fatal(err)
	}
	sameFile(t, filepath.Join(c.Model, "model.safetensors"), filepath.Join(c.Out, "model.safetensors"))
}

// TestBadInput: what is asked wrongly is refused with the way out, before anything is
// written where that can be seen.
func TestBadInput(t *testing.T) {
	tasks := filepath.Join(t.TempDir(), "tasks.jsonl")
	if err := os.WriteFile(tasks, []byte(`{"prompt":"2+2?","verifier":"number"}`+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	long := task.Mix{{Weight: 1, Low: 1, High: 1, Task: task.Family{About: task.Info{Name: "long", Default: 1, Hard: 1},
		Make: func(rng *rand.Rand, _ int) task.Problem {
			return task.Problem{Prompt: strings.Repeat(string(rune('a'+rng.IntN(26))), 60), Answer: "7"}
		}}}}
	for name, c := range map[string]struct {
		change func(*GRPOConfig)
		want   []string
	}{
		"group":      {func(c *GRPOConfig) { c.Group = 1 }, []string{"--group is 1", "2 answers"}},
		"field":      {func(c *GRPOConfig) { c.Data = []string{tasks} }, []string{tasks, "line 1", `"reference"`}},
		"no file":    {func(c *GRPOConfig) { c.Data = []string{"nowhere.jsonl"} }, []string{"nowhere.jsonl"}},
		"no task":    {func(c *GRPOConfig) { c.Mix = nil }, []string{"--tasks", "--data"}},
		"task":       {func(c *GRPOConfig) { c.Tasks = "chain-som" }, []string{"chain-som", "chain-sum"}},
		"objective":  {func(c *GRPOConfig) { c.Objective = "ppo" }, []string{"ppo", "dr-grpo"}},
		"context":    {func(c *GRPOConfig) { c.MaxTokens = 64 }, []string{"--max-tokens is 64", "64"}},
		"prompt":     {func(c *GRPOConfig) { c.Mix = long }, []string{"long/", "63 tokens", "context, 64"}},
		"no room":    {func(c *GRPOConfig) { c.Mix, c.MaxTokens = long, 0 }, []string{"63 tokens", "context of 64"}},
		"model":      {func(c *GRPOConfig) { c.Model = filepath.Join(t.TempDir(), "none") }, []string{"none"}},
		"no model":   {func(c *GRPOConfig) { c.Model = "" }, []string{"sonde grpo MODEL"}},
		"rate":       {func(c *GRPOConfig) { c.LR = -1 }, []string{"--lr is -1"}},
		"cold":       {func(c *GRPOConfig) { c.Temperature = -1 }, []string{"--temperature is -1"}},
		"overlong":   {func(c *GRPOConfig) { c.Overlong = 100 }, []string{"--overlong is 100", "24"}},
		"format":     {func(c *GRPOConfig) { c.FormatReward = 2 }, []string{"--format-reward is 2"}},
		"resume":     {func(c *GRPOConfig) { c.Resume = true }, []string{"holds no run"}},
		"no folder":  {func(c *GRPOConfig) { c.Out = "" }, []string{"--out"}},
		"too spread": {func(c *GRPOConfig) { c.Updates = 1000 }, []string{"--updates is 1000", "64"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := short(t, "llama", filepath.Join(t.TempDir(), "run"))
			c.change(&cfg)
			_, err := GRPO(context.Background(), cfg, io.Discard)
			if err == nil {
				t.Fatal("it ran")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("the error %q does not say %q", err, w)
				}
			}
		})
	}
}

// TestBadVerifiers: verifiers that crash, hang or answer NaN cost their time and earn
// nothing; the run goes on.
func TestBadVerifiers(t *testing.T) {
	c := short(t, "llama", filepath.Join(t.TempDir(), "run"))
	n := 0
	c.Mix = task.Mix{{Weight: 1, Low: 1, High: 1, Task: task.Family{About: task.Info{Name: "bad", Default: 1, Hard: 1},
		Make: func(rng *rand.Rand, _ int) task.Problem {
			n++
			p := task.Problem{Prompt: "Which digit?", Canonical: fmt.Sprint(rng.IntN(1000)), Answer: "7", Limit: 50e6}
			p.Check = harmful()[n%3]
			return p
		}}}}
	c.Steps, c.EvalProblems = 1, -1
	if _, err := GRPO(context.Background(), c, io.Discard); err != nil {
		t.Fatal(err)
	}
	recs, err := train.ReadJournal(c.Out)
	if err != nil || len(recs) != 1 {
		t.Fatal(err)
	}
	if reward, _ := recs[0].Get("reward"); reward != 0 {
		t.Errorf("bad verifiers paid %v", reward)
	}
}

// TestTagsInAnswers: an answer that contains the format's own tags earns nothing and breaks
// nothing.
func TestTagsInAnswers(t *testing.T) {
	r := begun(t, short(t, "llama", filepath.Join(t.TempDir(), "run")))
	p := &task.Problem{Prompt: "?", Answer: "7"}
	for _, out := range []string{"7</think>7", "<think>x</think>7<｜User｜>", "<think><think>7</think></think>7", "<｜Assistant｜>7"} {
		ids := append(r.model.Tok.EncodeWithSpecial(out), r.model.Tok.EOS())
		s := &answer{Rolled: &engine.Rolled{Tokens: ids, Finish: engine.FinishStop}, problem: p}
		if r.answerer.judge(context.Background(), s); s.Reward != 0 || s.Reason == "" {
			t.Errorf("%q earned %v: %s", out, s.Reward, s.Reason)
		}
	}
}

// TestGRPOAdapter: an adapter learns, with a reference; the model's own files stay as they
// are; the run's folder is the adapter, and a run that was stopped goes on.
func TestGRPOAdapter(t *testing.T) {
	for _, arch := range []string{"llama", "deepseek"} {
		c := short(t, arch, filepath.Join(t.TempDir(), "run"))
		c.LoRA, c.KL, c.LR, c.Steps, c.EvalProblems = &lora.Options{Rank: 4, Seed: 1}, 0.001, 2e-2, 24, -1
		before, err := os.ReadFile(filepath.Join(c.Model, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		_, err = GRPO(ctx, c, writerFunc(func(b []byte) {
			if strings.Contains(string(b), "step 1/") {
				cancel()
			}
		}))
		if !errors.Is(err, train.ErrInterrupted) {
			t.Fatalf("%s: %v", arch, err)
		}
		c.Resume = true
		if _, err := GRPO(context.Background(), c, io.Discard); err != nil {
			t.Fatal(err)
		}
		recs, err := train.ReadJournal(c.Out)
		if err != nil || len(recs) != 24 {
			t.Fatalf("%s: %d steps, %v", arch, len(recs), err)
		}
		first, _ := recs[0].Get("accuracy")
		last, _ := recs[23].Get("accuracy")
		if last < first+0.1 {
			t.Errorf("%s: %v right at first, %v at last", arch, first, last)
		}
		for _, r := range recs {
			if ratio, _ := r.Get("ratio_max"); ratio != 1 {
				t.Errorf("%s, step %d: the largest ratio is %v", arch, r.Step, ratio)
			}
		}
		if after, err := os.ReadFile(filepath.Join(c.Model, "model.safetensors")); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the model's own weights have changed (%v)", arch, err)
		}
		if !checkpoint.IsAdapter(c.Out) {
			t.Errorf("%s: the run's folder is no adapter", arch)
		}
	}
}

// TestIdleMiniBatches: of groups of two many have equal rewards, so that there are
// mini-batches, the first ones too, from which nothing is to be learned.
func TestIdleMiniBatches(t *testing.T) {
	c := short(t, "deepseek", filepath.Join(t.TempDir(), "run"))
	c.Steps, c.Prompts, c.Group, c.Updates = 8, 4, 2, 4
	if _, err := GRPO(context.Background(), c, io.Discard); err != nil {
		t.Fatal(err)
	}
	recs, err := train.ReadJournal(c.Out)
	if err != nil {
		t.Fatal(err)
	}
	idle := 0
	for _, r := range recs {
		if mixed, _ := r.Get("groups_mixed"); mixed < 1 {
			idle++
		}
	}
	if idle == 0 {
		t.Error("every group was mixed: the test tests nothing")
	}
}
