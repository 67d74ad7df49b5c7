package reason

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"sonde/model/lora"
	"sonde/train"
)

// GRPOOptions is everything that decides what a run of reinforcement learning computes. A
// field left at its zero value takes its default, which for some depends on the
// objective; where 0 is a choice the field is a pointer. The values in force are stored
// in run.json. Fields marked resume:"free" may differ when a run goes on.
type GRPOOptions struct {
	Model string `json:"from" kong:"-"` // the checkpoint that the run begins with
	Out   string `json:"-" help:"Folder of the run." placeholder:"FOLDER"`

	Tasks string   `json:"tasks" help:"Tasks to learn from, such as \"chain-sum@4\" or \"all, countdown@2-3:2\": names, after @ difficulties, after : weights." placeholder:"LIST"`
	Data  []string `json:"data" sep:"none" help:"A file of tasks of one's own, JSONL with prompt, reference and verifier; may be repeated." placeholder:"FILE"`
	Think Think    `json:"think" enum:",auto,force,never" default:"" help:"Whether the prompt opens a thought (force), leaves it to the model (auto), or closes it at once (never) (default: auto)." placeholder:"HOW"`

	Steps   int     `json:"steps" help:"Steps to learn (default: 100)." placeholder:"N"`
	Prompts int     `json:"prompts" help:"Problems of a step (default: 32)." placeholder:"N"`
	Group   int     `json:"group" help:"Answers to each problem, which are compared with each other (default: 16)." placeholder:"N"`
	Seed    *uint64 `json:"seed" help:"Decides problems and draws (default: 1)." placeholder:"N"`

	MaxTokens   int     `json:"max_tokens" help:"Longest answer in tokens, thought included (default: what the context has room for, at most 512)." placeholder:"N"`
	Temperature float64 `json:"temperature" help:"Temperature of the draws (default: 1)." placeholder:"T"`
	TopP        float64 `json:"top_p" help:"Draw from the most probable tokens that together reach this probability (default: 1, off)." placeholder:"P"`
	TopK        int     `json:"top_k" help:"Draw from the K most probable tokens." placeholder:"K"`
	MinP        float64 `json:"min_p" help:"Leave out tokens less probable than this share of the most probable one." placeholder:"P"`

	Objective  string   `json:"objective" enum:",grpo,dapo,dr-grpo,gspo,cispo" default:"" help:"Objective: grpo (R1's), dapo, dr-grpo, gspo or cispo (default: grpo). The flags below change its parts." placeholder:"NAME"`
	ClipLow    *float64 `json:"clip_low" help:"The ratio's lower bound is 1 less this." placeholder:"X"`
	ClipHigh   *float64 `json:"clip_high" help:"The ratio's upper bound is 1 and this." placeholder:"X"`
	Std        *bool    `json:"std" negatable:"" help:"Divide advantages by the group's standard deviation."`
	Weighting  string   `json:"weighting" enum:",sequences,tokens,constant" default:"" help:"What counts the same: sequences, tokens, or tokens over a constant length." placeholder:"WHAT"`
	KL         float64  `json:"kl" name:"kl" help:"Weight of the divergence from the reference model (R1-Zero: 0.001; default: 0, no reference)." placeholder:"X"`
	UnbiasedKL bool     `json:"unbiased_kl" name:"unbiased-kl" help:"V3.2's estimate of the divergence, multiplied by the ratio."`
	RefEvery   int      `json:"ref_every" help:"Steps after which the model becomes its own reference (default: 400)." placeholder:"N"`
	OffPolicy  float64  `json:"off_policy" help:"Leave out samples of negative advantage whose mean of log(old/new) exceeds this (V3.2's off-policy sequence masking)." placeholder:"X"`
	Dynamic    bool     `json:"dynamic" help:"Leave out groups with equal rewards and draw problems until enough groups differ (DAPO's dynamic sampling; with --objective dapo always)."`
	Updates    int      `json:"updates" help:"Mini-batches that a step's samples are split into, one update each (default: 1)." placeholder:"N"`
	Epochs     int      `json:"epochs" help:"Times that a step's samples are learned from (default: 1)." placeholder:"N"`

	KeepRouting bool `json:"keep_routing" help:"Learn with the experts that the rollout chose (V3.2's keep routing)."`
	KeepMask    bool `json:"keep_mask" name:"keep-sampling-mask" help:"Learn with the tokens that top-k, top-p and min-p left to draw from (V3.2's keep sampling mask)."`

	Partial       bool    `json:"partial" help:"Pay for answers that are right in part."`
	FormatReward  float64 `json:"format_reward" help:"What the form of thought and answer adds to a right answer." placeholder:"X"`
	Overlong      int     `json:"overlong" help:"Tokens before the longest answer over which a punishment for length grows (DAPO's soft overlong punishment)." placeholder:"N"`
	RandomRewards bool    `json:"random_rewards" hidden:"" help:"Reward by chance: a control that must not learn."`

	LR     float64  `json:"lr" name:"lr" help:"Learning rate (default: 1e-4)." placeholder:"X"`
	Warmup int      `json:"warmup" help:"Steps over which the learning rate rises." placeholder:"N"`
	LREnd  *float64 `json:"lr_end" name:"lr-end" help:"Last learning rate as a share of the highest, reached along half a cosine (default: 1, constant)." placeholder:"X"`
	Decay  float64  `json:"decay" help:"Weight decay of matrices." placeholder:"X"`
	Clip   float64  `json:"clip" help:"Norm that gradients are clipped to (default: 1)." placeholder:"X"`
	Gamma  float64  `json:"gamma" help:"Step of the routers' selection bias." placeholder:"X"`
	Alpha  float64  `json:"alpha" help:"Weight of the sequence-wise balance loss." placeholder:"X"`

	Compute   string        `json:"compute" enum:",f32,bf16" default:"" help:"Format of matrices in products: f32, or bf16 with f32 master weights (default: f32)." placeholder:"FORMAT"`
	Micro     int           `json:"micro" resume:"free" help:"Tokens that learn in one pass (default: 8192)." placeholder:"N"`
	Recompute bool          `json:"recompute" resume:"free" help:"Keep less of the forward pass and compute it again in the backward pass."`
	Slots     int           `json:"slots" resume:"free" help:"Texts written side by side (default: all of a step, or as many as an eighth of the memory holds)." placeholder:"N"`
	LoRA      *lora.Options `json:"lora,omitempty" kong:"-"`

	SaveEvery    int `json:"save_every" resume:"free" help:"Steps between checkpoints (default: a twentieth of the run)." placeholder:"N"`
	Keep         int `json:"keep" resume:"free" help:"Checkpoints kept (default: 2)." placeholder:"N"`
	EvalEvery    int `json:"eval_every" resume:"free" help:"Steps between evaluations on held-out problems (default: a tenth of the run)." placeholder:"N"`
	EvalProblems int `json:"eval_problems" help:"Held-out problems of each task; negative: no evaluation (default: 128)." placeholder:"N"`
	KeepRollouts int `json:"rollouts_every" name:"rollouts-every" resume:"free" help:"Steps between those whose rollouts are stored; negative: none (default: 1)." placeholder:"N"`
}

func ptr[T any](v T) *T { return &v }

// grpoDefaults are those that neither the objective nor the model decides.
var grpoDefaults = GRPOOptions{Think: ThinkAuto, Steps: 100, Prompts: 32, Group: 16, Seed: ptr[uint64](1), Temperature: 1, TopP: 1, Objective: "grpo",
	RefEvery: 400, Updates: 1, Epochs: 1, LR: 1e-4, LREnd: ptr(1.0), Clip: 1, Compute: "f32", Micro: 8192, Keep: 2, EvalProblems: 128, KeepRollouts: 1}

// weightings are the names of Weighting.
var weightings = map[string]Weighting{"sequences": WeighSequences, "tokens": WeighTokens, "constant": WeighConstant}

// resolve fills in the defaults and returns the objective.
func (o *GRPOOptions) resolve() (Objective, error) {
	train.Fill(o, grpoDefaults)
	b, err := ObjectiveByName(o.Objective)
	if err != nil {
		return b, err
	}
	o.Dynamic = o.Dynamic || o.Objective == "dapo"
	for name, w := range weightings {
		if o.Weighting == "" && w == b.Weighting {
			o.Weighting = name
		}
	}
	train.Fill(o, GRPOOptions{ClipLow: &b.ClipLow, ClipHigh: &b.ClipHigh, Std: &b.Std})
	b.ClipLow, b.ClipHigh, b.Std, b.Weighting = *o.ClipLow, *o.ClipHigh, *o.Std, weightings[o.Weighting]
	b.KL, b.UnbiasedKL, b.OffPolicy = o.KL, o.UnbiasedKL, o.OffPolicy
	return b, errors.Join(o.checkSizes(), o.checkNumbers())
}

// checkSizes refuses what no run can be made of.
func (o *GRPOOptions) checkSizes() error {
	switch {
	case o.Group < 2:
		return fmt.Errorf("--group is %d: a group needs 2 answers at least, since each is compared with the others to the same problem", o.Group)
	case o.Steps < 1 || o.Steps > 1<<24:
		return fmt.Errorf("--steps is %d, must be between 1 and %d", o.Steps, 1<<24)
	case o.Prompts < 1 || o.Prompts > 1<<16 || o.Group > 1<<16 || o.Prompts*o.Group > 1<<20:
		return fmt.Errorf("--prompts %d and --group %d make %d answers a step, which must be between 2 and %d", o.Prompts, o.Group, o.Prompts*o.Group, 1<<20)
	case o.Updates < 1 || o.Updates > o.Prompts*o.Group:
		return fmt.Errorf("--updates is %d, must be between 1 and the %d samples of a step", o.Updates, o.Prompts*o.Group)
	case o.Epochs < 1 || o.Epochs > 100:
		return fmt.Errorf("--epochs is %d, must be between 1 and 100", o.Epochs)
	case o.Dynamic && o.RandomRewards:
		return errors.New("--random-rewards and --dynamic do not go together")
	case o.LoRA != nil && o.Gamma != 0:
		return errors.New("--gamma moves the routers' biases, which an adapter leaves as they are")
	}
	return nil
}

func (o *GRPOOptions) checkNumbers() error {
	var bad []string
	check := func(ok bool, flag string, value any, want string) {
		if !ok {
			bad = append(bad, fmt.Sprintf("--%s is %v, must be %s", flag, value, want))
		}
	}
	known := func(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
	check(o.LR > 0 && o.LR < 10, "lr", o.LR, "between 0 and 10")
	check(*o.LREnd >= 0 && *o.LREnd <= 1, "lr-end", *o.LREnd, "between 0 and 1")
	check(o.Warmup >= 0, "warmup", o.Warmup, "0 or more")
	check(o.Decay >= 0 && o.Decay*o.LR < 1, "decay", o.Decay, "0 or more, and below 1/lr")
	check(o.Clip > 0, "clip", o.Clip, "positive")
	check(o.Gamma >= 0 && o.Gamma <= 1, "gamma", o.Gamma, "between 0 and 1")
	check(o.Alpha >= 0 && o.Alpha <= 10, "alpha", o.Alpha, "between 0 and 10")
	check(o.KL >= 0 && known(o.KL), "kl", o.KL, "0 or more")
	check(o.OffPolicy >= 0 && known(o.OffPolicy), "off-policy", o.OffPolicy, "0 (off) or more")
	check(*o.ClipLow > 0 && *o.ClipLow <= 1, "clip-low", *o.ClipLow, "above 0 and at most 1")
	check(*o.ClipHigh > 0 && known(*o.ClipHigh), "clip-high", *o.ClipHigh, "above 0")
	check(o.Temperature > 0 && known(o.Temperature), "temperature", o.Temperature, "above 0: answers must differ to be compared")
	check(o.TopP > 0 && o.TopP <= 1, "top-p", o.TopP, "above 0 and at most 1")
	check(o.MinP >= 0 && o.MinP < 1, "min-p", o.MinP, "at least 0 and below 1")
	check(o.TopK >= 0, "top-k", o.TopK, "0 (off) or more")
	check(o.MaxTokens >= 0, "max-tokens", o.MaxTokens, "positive")
	check(o.RefEvery > 0, "ref-every", o.RefEvery, "positive")
	check(o.Micro > 0, "micro", o.Micro, "positive")
	check(o.Slots >= 0, "slots", o.Slots, "positive")
	check(o.Keep > 0, "keep", o.Keep, "positive")
	check(o.SaveEvery >= 0, "save-every", o.SaveEvery, "positive")
	check(o.EvalEvery >= 0, "eval-every", o.EvalEvery, "positive")
	if bad != nil {
		return errors.New(strings.Join(bad, "\n"))
	}
	return nil
}

// rate is the learning rate's curve.
func (o *GRPOOptions) rate() train.Rate {
	return train.NewRate(o.Steps, o.Warmup, 0, o.LR, o.LR**o.LREnd)
}

// every is how often something happens that happens every n steps, or, where that is 0, so
// many times in a run.
func every(n, times, steps int) int {
	if n > 0 {
		return n
	}
	return max(steps/times, 1)
}
