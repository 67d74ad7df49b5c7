package train

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"sonde/model"
	"sonde/model/auto"
	"sonde/model/deepseek"
	"sonde/text"
)

// Options is everything that decides what a run computes, and what it says on the way.
// A field left at its zero value takes the preset's default (where 0 is a choice, the
// field is a pointer); the values in force are stored in run.json. Fields marked
// resume:"free" may differ when a run goes on.
type Options struct {
	Out string `json:"-" help:"Folder of the run." placeholder:"FOLDER"`

	Preset    string   `json:"preset,omitempty" help:"Model and defaults: nano, mini or small (default: nano)." placeholder:"NAME"`
	ModelFile string   `json:"model_config,omitempty" name:"model-config" help:"A config.json (DeepSeek or Llama) to train instead of the preset's model." placeholder:"FILE"`
	Data      []string `json:"data" sep:"none" help:"Files, folders, globs (** crosses folders), .jsonl or .parquet files; may be repeated." placeholder:"PATH"`

	TextField    string   `json:"text_field" help:"Field of a JSONL line or column of a parquet file that holds the text (default: text)." placeholder:"NAME"`
	Piece        int      `json:"piece" help:"Bytes beyond which a document is cut at a line's end into documents of its own (default: 2097152)." placeholder:"N"`
	Heldout      *float64 `json:"heldout" help:"Share of the documents, by hash, that is never learned from (default: 0.03)." placeholder:"X"`
	HeldoutBytes int64    `json:"heldout_bytes" help:"Bytes held out at most." placeholder:"N"`
	Vocab        int      `json:"vocab" help:"Tokens of the vocabulary (default: the model's)." placeholder:"N"`

	Minutes float64 `json:"minutes,omitempty" help:"Train about this long: the number of steps is fixed once, after a short measurement." placeholder:"X"`
	Steps   int     `json:"steps,omitempty" help:"Train this many steps." placeholder:"N"`
	Tokens  int64   `json:"tokens,omitempty" help:"Train on at least this many tokens." placeholder:"N"`
	Seed    *uint64 `json:"seed" help:"Decides initial weights and the order of the data (default: 1)." placeholder:"N"`

	SeqLen     int      `json:"seq_len" help:"Tokens of a sequence." placeholder:"N"`
	Batch      int      `json:"batch" help:"Tokens of a step, once the ramp is over." placeholder:"N"`
	BatchStart int      `json:"batch_start" help:"Tokens of the first step." placeholder:"N"`
	Ramp       *float64 `json:"ramp" help:"Share of the steps over which the batch grows (default: 0.03, nano: 0.6)." placeholder:"X"`
	Micro      int      `json:"micro" help:"Tokens of one pass; a step accumulates the gradients of several." placeholder:"N"`
	LR         float64  `json:"lr" name:"lr" help:"Highest learning rate." placeholder:"X"`
	LREnd      *float64 `json:"lr_end" name:"lr-end" help:"Last learning rate, as a share of the highest (default: 0.05)." placeholder:"X"`
	Warmup     *int     `json:"warmup" help:"Steps over which the learning rate rises." placeholder:"N"`
	Constant   *float64 `json:"constant" help:"Share of the steps after which the learning rate falls along a cosine." placeholder:"X"`
	Decay      *float64 `json:"decay" help:"Weight decay of matrices (default: 0.1)." placeholder:"X"`
	Clip       *float64 `json:"clip" help:"Norm that gradients are clipped to (default: 1)." placeholder:"X"`

	MTPLambda *float64 `json:"mtp_lambda" name:"mtp-lambda" help:"Weight of multi-token prediction, a third of it once the learning rate falls; 0 trains without the modules (default: 0.3, nano: 0)." placeholder:"X"`
	Gamma     *float64 `json:"gamma" help:"Step of the routers' selection bias (balancing without auxiliary loss), less once the learning rate falls; 0 switches it off." placeholder:"X"`
	Alpha     *float64 `json:"alpha" help:"Weight of the sequence-wise balance loss; 0 switches it off (default: 0.0001)." placeholder:"X"`

	Compute   string `json:"compute" enum:",f32,bf16" default:"" help:"Format of matrices in products: f32, or bf16 with f32 master weights (default: f32)." placeholder:"FORMAT"`
	Recompute bool   `json:"recompute" resume:"free" help:"Keep less of the forward pass and compute it again in the backward pass."`

	SaveEvery   int `json:"save_every" resume:"free" help:"Steps between checkpoints (default: a twentieth of the run)." placeholder:"N"`
	Keep        int `json:"keep" resume:"free" help:"Checkpoints kept (default: 2)." placeholder:"N"`
	EvalEvery   int `json:"eval_every" resume:"free" help:"Steps between looks at the held-out text (default: a tenth of the run)." placeholder:"N"`
	SampleEvery int `json:"sample_every" resume:"free" help:"Steps between samples of text (default: a fifth of the run)." placeholder:"N"`

	threadCount int
}

func (o *Options) threads() int { return max(o.threadCount, 1) }

// presetDefaults are the settings that depend on the model's size.
var presetDefaults = map[string]Options{
	"nano":  {SeqLen: 256, Batch: 4096, BatchStart: 2048, Ramp: ptr(0.6), Micro: 2048, LR: 3e-3, Warmup: ptr(50), Constant: ptr(0.4), HeldoutBytes: 1 << 20, Gamma: ptr(0.01), MTPLambda: ptr(0.0)},
	"mini":  {SeqLen: 512, Batch: 8192, BatchStart: 4096, Micro: 2048, LR: 1.5e-3, Warmup: ptr(100), Constant: ptr(0.5), HeldoutBytes: 1 << 20, Gamma: ptr(0.005)},
	"small": {SeqLen: 1024, Batch: 65536, BatchStart: 16384, Micro: 4096, LR: 6e-4, Warmup: ptr(300), Constant: ptr(0.6), HeldoutBytes: 512 << 10, Gamma: ptr(0.001)},
}

func ptr[T any](v T) *T { return &v }

// commonDefaults are the settings that do not.
var commonDefaults = Options{TextField: "text", Piece: 2 << 20, Heldout: ptr(0.03), Seed: ptr[uint64](1), Ramp: ptr(0.03), LREnd: ptr(0.05),
	Decay: ptr(0.1), Clip: ptr(1.0), MTPLambda: ptr(0.3), Alpha: ptr(1e-4), Compute: "f32", Keep: 2}

// model gives the config to train: the preset's or the file's.
func (o *Options) model() (model.Config, []string, error) {
	if o.ModelFile == "" {
		cfg, err := deepseek.Preset(o.Preset)
		if err != nil {
			return nil, nil, err
		}
		return cfg, nil, nil
	}
	raw, err := os.ReadFile(o.ModelFile)
	if err != nil {
		return nil, nil, fmt.Errorf("the model's config: %w", err)
	}
	cfg, warnings, err := auto.ParseConfig(raw)
	if err != nil {
		return nil, warnings, fmt.Errorf("%s: %w", o.ModelFile, err)
	}
	return cfg, warnings, nil
}

// resolve fills in the defaults and checks the result against the model.
func (o *Options) resolve(cfg model.Config) error {
	defaults, ok := presetDefaults[o.Preset]
	if !ok {
		return fmt.Errorf("preset %q has no training defaults: choose nano, mini or small (v3 is for `sonde plan`)", o.Preset)
	}
	Fill(o, defaults)
	Fill(o, commonDefaults)
	if o.Vocab == 0 {
		o.Vocab = cfg.Vocab()
	}
	if *o.MTPLambda == 0 {
		auto.DropMTP(cfg)
	}
	if auto.MTPDepth(cfg) == 0 {
		o.MTPLambda = ptr(0.0)
	}
	return errors.Join(o.checkEnd(), o.checkNumbers(), o.checkShapes(cfg))
}

func (o *Options) checkEnd() error {
	n := 0
	for _, set := range []bool{o.Minutes != 0, o.Steps != 0, o.Tokens != 0} {
		if set {
			n++
		}
	}
	switch {
	case n == 0:
		return errors.New("when does the run end? Give one of --minutes, --steps or --tokens")
	case n > 1:
		return errors.New("give only one of --minutes, --steps and --tokens")
	case o.Minutes < 0 || o.Steps < 0 || o.Tokens < 0 || math.IsNaN(o.Minutes) || o.Minutes > 1e7:
		return errors.New("--minutes, --steps and --tokens must be positive numbers (minutes at most 10 million)")
	case o.Steps > maxSteps/2:
		return fmt.Errorf("--steps %d is more than can be planned, at most %d", o.Steps, maxSteps/2)
	}
	return nil
}

func (o *Options) checkNumbers() error {
	var bad []string
	check := func(ok bool, flag string, value any, want string) {
		if !ok {
			bad = append(bad, fmt.Sprintf("--%s is %v, must be %s", flag, value, want))
		}
	}
	share := func(v float64) bool { return v >= 0 && v <= 1 }
	check(o.LR > 0 && o.LR < 10, "lr", o.LR, "between 0 and 10")
	check(share(*o.LREnd), "lr-end", *o.LREnd, "between 0 and 1")
	check(share(*o.Constant), "constant", *o.Constant, "between 0 and 1")
	check(share(*o.Ramp), "ramp", *o.Ramp, "between 0 and 1")
	check(*o.Heldout > 0 && *o.Heldout < 1, "heldout", *o.Heldout, "between 0 and 1")
	check(o.HeldoutBytes > 0, "heldout-bytes", o.HeldoutBytes, "positive")
	check(*o.Warmup >= 0, "warmup", *o.Warmup, "0 or more")
	check(*o.Decay >= 0 && *o.Decay*o.LR < 1, "decay", *o.Decay, "0 or more, and below 1/lr")
	check(*o.Clip > 0, "clip", *o.Clip, "positive")
	check(*o.MTPLambda >= 0 && *o.MTPLambda <= 10, "mtp-lambda", *o.MTPLambda, "between 0 and 10")
	check(*o.Gamma >= 0 && *o.Gamma <= 1, "gamma", *o.Gamma, "between 0 and 1")
	check(*o.Alpha >= 0 && *o.Alpha <= 10, "alpha", *o.Alpha, "between 0 and 10")
	check(o.Piece >= 256 && o.Piece <= 64<<20, "piece", o.Piece, "between 256 and 67108864 bytes")
	check(o.SaveEvery >= 0, "save-every", o.SaveEvery, "positive")
	check(o.EvalEvery >= 0, "eval-every", o.EvalEvery, "positive")
	check(o.SampleEvery >= 0, "sample-every", o.SampleEvery, "positive")
	check(o.Keep > 0, "keep", o.Keep, "positive")
	check(o.Compute == "f32" || o.Compute == "bf16", "compute", o.Compute, "f32 or bf16")
	check(o.Vocab >= text.MinVocab && o.Vocab <= text.MaxVocab, "vocab", o.Vocab, fmt.Sprintf("between %d and %d", text.MinVocab, text.MaxVocab))
	if bad != nil {
		return errors.New(strings.Join(bad, "\n"))
	}
	return nil
}

func (o *Options) checkShapes(cfg model.Config) error {
	switch {
	case o.SeqLen < 2 || o.SeqLen > cfg.Context():
		return fmt.Errorf("--seq-len is %d, must be between 2 and the model's max_position_embeddings, %d", o.SeqLen, cfg.Context())
	case o.Micro < o.SeqLen || o.Micro%o.SeqLen != 0:
		return fmt.Errorf("--micro is %d, must be a multiple of --seq-len, %d", o.Micro, o.SeqLen)
	case o.Batch < o.Micro || o.Batch%o.Micro != 0:
		return fmt.Errorf("--batch is %d, must be a multiple of --micro, %d", o.Batch, o.Micro)
	case o.BatchStart < o.Micro || o.BatchStart%o.Micro != 0 || o.BatchStart > o.Batch:
		return fmt.Errorf("--batch-start is %d, must be a multiple of --micro, %d, and at most --batch, %d", o.BatchStart, o.Micro, o.Batch)
	}
	return nil
}
