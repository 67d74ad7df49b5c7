package reason

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"sonde/engine"
	"sonde/train"
)

// The values of Keep: which of a problem's right answers are kept.
const (
	KeepShortest = "shortest" // the one of fewest tokens
	KeepOne      = "one"      // the first that was written
	KeepAll      = "all"      // all that differ
)

// RejectOptions say how answers are sampled and which of them are kept. A field left at
// its zero value takes its default.
type RejectOptions struct {
	Model string `json:"from" kong:"-"` // the checkpoint that answers
	Out   string `json:"-" help:"File to write, JSONL that sonde sft reads." placeholder:"FILE"`

	Tasks     string   `json:"tasks" help:"Tasks to draw problems from, such as \"all, countdown@2-3:2\"." placeholder:"LIST"`
	TaskFiles []string `json:"task_file" name:"task-file" sep:"none" help:"A file of tasks of one's own, all of whose training problems are asked; may be repeated." placeholder:"FILE"`
	Problems  int      `json:"problems" help:"Problems drawn from --tasks (default: 1000)." placeholder:"N"`
	Samples   int      `json:"samples" help:"Answers to each problem (default: 8)." placeholder:"N"`
	Seed      *uint64  `json:"seed" help:"Decides problems and draws (default: 1)." placeholder:"N"`

	Keep    string `json:"keep" enum:",shortest,one,all" default:"" help:"Right answers that are kept of a problem: the shortest, the first one, or all that differ (default: shortest)." placeholder:"WHICH"`
	PerTask int    `json:"per_task" help:"Answers kept of one task at most, so that easy tasks do not outweigh the others." placeholder:"N"`
	Thought bool   `json:"thought" help:"Keep only answers with a thought before them."`

	Think       Think   `json:"think" enum:",auto,force,never" default:"" help:"Whether the prompt opens a thought (force), leaves it to the model (auto), or closes it at once (never) (default: auto)." placeholder:"HOW"`
	MaxTokens   int     `json:"max_tokens" help:"Longest answer in tokens, thought included (default: what the context has room for, at most 1024)." placeholder:"N"`
	Temperature float64 `json:"temperature" help:"Temperature of the draws (default: 1)." placeholder:"T"`
	TopP        float64 `json:"top_p" help:"Draw from the most probable tokens that together reach this probability (default: 1, off)." placeholder:"P"`

	Compute string `json:"compute" enum:",f32,bf16" default:"" help:"Format of matrices in products: f32 or bf16 (default: f32)." placeholder:"FORMAT"`
	Slots   int    `json:"-" help:"Texts written side by side (default: 256)." placeholder:"N"`
}

var rejectDefaults = RejectOptions{Problems: 1000, Samples: 8, Seed: ptr[uint64](1), Keep: KeepShortest, Think: ThinkAuto, Temperature: 1, TopP: 1, Compute: "f32", Slots: engine.DefaultSlots}

// resolve fills in the defaults and checks the result; own says that there are tasks made
// in Go.
func (o *RejectOptions) resolve(own bool) error {
	train.Fill(o, rejectDefaults)
	if o.Tasks == "" && len(o.TaskFiles) == 0 && !own {
		return errors.New("which problems are to be answered? Name tasks with --tasks (such as chain-sum), or a file of your own with --task-file")
	}
	var bad []string
	check := func(ok bool, flag string, value any, want string) {
		if !ok {
			bad = append(bad, fmt.Sprintf("--%s is %v, must be %s", flag, value, want))
		}
	}
	check(o.Problems > 0, "problems", o.Problems, "positive")
	check(o.Samples > 0 && o.Samples <= 1<<16, "samples", o.Samples, "between 1 and 65536")
	check(o.PerTask >= 0, "per-task", o.PerTask, "positive")
	check(o.MaxTokens >= 0, "max-tokens", o.MaxTokens, "positive")
	check(o.Temperature >= 0 && !math.IsInf(o.Temperature, 0), "temperature", o.Temperature, "0 or more")
	check(o.TopP > 0 && o.TopP <= 1, "top-p", o.TopP, "above 0 and at most 1")
	check(o.Slots > 0, "slots", o.Slots, "positive")
	if bad != nil {
		return errors.New(strings.Join(bad, "\n"))
	}
	return nil
}
