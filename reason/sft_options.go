package reason

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"sonde/model"
	"sonde/model/lora"
	"sonde/train"
)

// SFTOptions is everything that decides what a run of supervised fine-tuning computes. A
// field left at its zero value takes its default; where 0 is a choice the field is a
// pointer. The values in force are stored in run.json. Fields marked resume:"free" may
// differ when a run goes on.
type SFTOptions struct {
	Model string `json:"from" kong:"-"` // the checkpoint that the run begins with
	Out   string `json:"-" help:"Folder of the run." placeholder:"FOLDER"`

	Data         []string `json:"data" sep:"none" help:"A file of examples, JSONL with messages, or with prompt and completion; may be repeated." placeholder:"FILE"`
	Tasks        string   `json:"tasks" help:"Tasks to draw problems from, such as \"chain-sum@4\" or \"all, countdown@2-3:2\": names, after @ difficulties, after : weights." placeholder:"LIST"`
	TaskFiles    []string `json:"task_file" name:"task-file" sep:"none" help:"A file of tasks of one's own whose lines have an answer (and a thought); may be repeated." placeholder:"FILE"`
	TaskExamples int64    `json:"task_examples" help:"Problems drawn from --tasks, all in all (default: without end; beside files as many as their examples)." placeholder:"N"`
	Thoughts     *float64 `json:"thoughts" help:"Share of the tasks' answers that are written with their thought (default: 1)." placeholder:"X"`
	Heldout      *float64 `json:"heldout" help:"Share of the files' lines, by hash, that is never learned from (default: 0.02)." placeholder:"X"`

	Learn        string  `json:"learn" enum:",answers,last,all" default:"" help:"What is learned: all that assistants say (answers), the last answer alone (last), or every token (all) (default: answers)." placeholder:"WHAT"`
	PromptWeight float64 `json:"prompt_weight" help:"Weight of tokens that are not an assistant's." placeholder:"X"`
	MaxLen       int     `json:"max_len" help:"Tokens of an example at most (default: the model's context)." placeholder:"N"`
	Long         string  `json:"long" enum:",drop,cut,refuse" default:"" help:"What becomes of longer examples in files: drop, cut or refuse (default: drop)." placeholder:"HOW"`

	Epochs int     `json:"epochs" help:"Times that files are learned from (default: 2)." placeholder:"N"`
	Steps  int     `json:"steps" help:"Learn for this many steps instead." placeholder:"N"`
	Seed   *uint64 `json:"seed" help:"Decides the order, and the problems of tasks (default: 1)." placeholder:"N"`

	Batch    int      `json:"batch" help:"Tokens of a step, in whole examples (default: 8192)." placeholder:"N"`
	Micro    int      `json:"micro" help:"Tokens of one pass, in whole examples (default: 2048)." placeholder:"N"`
	LR       float64  `json:"lr" name:"lr" help:"Highest learning rate (default: 5e-6 for V3's size, and the higher the smaller the model; with --lora ten times that)." placeholder:"X"`
	LREnd    *float64 `json:"lr_end" name:"lr-end" help:"Last learning rate, as a share of the highest (default: 0.2)." placeholder:"X"`
	Warmup   *int     `json:"warmup" help:"Steps over which the learning rate rises (default: a thirtieth of the run)." placeholder:"N"`
	Constant *float64 `json:"constant" help:"Share of the steps after which the learning rate falls along a cosine (default: 0)." placeholder:"X"`
	Decay    *float64 `json:"decay" help:"Weight decay of matrices (default: 0)." placeholder:"X"`
	Clip     *float64 `json:"clip" help:"Norm that gradients are clipped to (default: 1)." placeholder:"X"`
	Gamma    float64  `json:"gamma" help:"Step of the routers' selection bias." placeholder:"X"`
	Alpha    float64  `json:"alpha" help:"Weight of the sequence-wise balance loss." placeholder:"X"`

	Compute   string        `json:"compute" enum:",f32,bf16" default:"" help:"Format of matrices in products: f32, or bf16 with f32 master weights (default: f32)." placeholder:"FORMAT"`
	Recompute bool          `json:"recompute" resume:"free" help:"Keep less of the forward pass and compute it again in the backward pass."`
	LoRA      *lora.Options `json:"lora,omitempty" kong:"-"`

	SaveEvery   int `json:"save_every" resume:"free" help:"Steps between checkpoints (default: a twentieth of the run)." placeholder:"N"`
	Keep        int `json:"keep" resume:"free" help:"Checkpoints kept (default: 2)." placeholder:"N"`
	EvalEvery   int `json:"eval_every" resume:"free" help:"Steps between looks at the held-out examples (default: a tenth of the run)." placeholder:"N"`
	SampleEvery int `json:"sample_every" resume:"free" help:"Steps between answers shown; negative: none (default: a fifth of the run)." placeholder:"N"`
}

// sftDefaults are those that the model does not decide.
var sftDefaults = SFTOptions{Thoughts: ptr(1.0), Heldout: ptr(0.02), Learn: LearnAnswers, Long: LongDrop, Epochs: 2, Seed: ptr[uint64](1),
	Batch: 8192, Micro: 2048, LREnd: ptr(0.2), Constant: ptr(0.0), Decay: ptr(0.0), Clip: ptr(1.0), Compute: "f32", Keep: 2}

// V3 was fine-tuned at 5e-6 with 37e9 active parameters (V3 report, section 5.1); smaller
// models bear, and need, more: by the root of the ratio, up to highestRate.
const (
	rateOfV3    = 5e-6
	activeOfV3  = 37e9
	highestRate = 2e-3
)

func defaultRate(active int64, adapter bool) float64 {
	lr := rateOfV3 * math.Sqrt(activeOfV3/float64(max(active, 1)))
	if adapter {
		lr *= 10
	}
	digits := math.Pow(10, math.Floor(math.Log10(lr))-1) // two digits are enough
	return min(math.Round(lr/digits)*digits, highestRate)
}

// resolve fills in the defaults and checks the result against the model; adapter says that
// one is trained.
func (o *SFTOptions) resolve(cfg model.Config, adapter bool) error {
	train.Fill(o, sftDefaults)
	if o.MaxLen == 0 {
		o.MaxLen = cfg.Context()
	}
	if o.LR == 0 {
		o.LR = defaultRate(cfg.ActiveParams(), adapter)
	}
	if o.MaxLen < 2 || o.MaxLen > cfg.Context() {
		return fmt.Errorf("--max-len is %d, must be between 2 and the model's context, %d", o.MaxLen, cfg.Context())
	}
	if adapter && o.Gamma != 0 {
		return errors.New("--gamma moves the routers' biases, which an adapter leaves as they are")
	}
	return o.checkNumbers()
}

func (o *SFTOptions) checkNumbers() error {
	var bad []string
	check := func(ok bool, flag string, value any, want string) {
		if !ok {
			bad = append(bad, fmt.Sprintf("--%s is %v, must be %s", flag, value, want))
		}
	}
	share := func(v float64) bool { return v >= 0 && v <= 1 }
	check(share(*o.Thoughts), "thoughts", *o.Thoughts, "between 0 and 1")
	check(*o.Heldout >= 0 && *o.Heldout < 1, "heldout", *o.Heldout, "at least 0 and below 1")
	check(share(o.PromptWeight), "prompt-weight", o.PromptWeight, "between 0 and 1")
	check(o.TaskExamples >= 0, "task-examples", o.TaskExamples, "positive")
	check(o.Epochs >= 1 && o.Epochs <= 1e6, "epochs", o.Epochs, "between 1 and a million")
	check(o.Steps >= 0 && o.Steps <= 1<<28, "steps", o.Steps, "positive")
	check(o.Batch > 0, "batch", o.Batch, "positive")
	check(o.Micro > 0, "micro", o.Micro, "positive")
	check(o.LR > 0 && o.LR < 10, "lr", o.LR, "between 0 and 10")
	check(share(*o.LREnd), "lr-end", *o.LREnd, "between 0 and 1")
	check(o.Warmup == nil || *o.Warmup >= 0, "warmup", o.Warmup, "0 or more")
	check(share(*o.Constant), "constant", *o.Constant, "between 0 and 1")
	check(*o.Decay >= 0 && *o.Decay*o.LR < 1, "decay", *o.Decay, "0 or more, and below 1/lr")
	check(*o.Clip > 0, "clip", *o.Clip, "positive")
	check(share(o.Gamma), "gamma", o.Gamma, "between 0 and 1")
	check(o.Alpha >= 0 && o.Alpha <= 10, "alpha", o.Alpha, "between 0 and 10")
	check(o.Keep > 0, "keep", o.Keep, "positive")
	check(o.SaveEvery >= 0, "save-every", o.SaveEvery, "positive")
	check(o.EvalEvery >= 0, "eval-every", o.EvalEvery, "positive")
	if bad != nil {
		return errors.New(strings.Join(bad, "\n"))
	}
	return nil
}
