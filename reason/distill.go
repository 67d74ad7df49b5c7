package reason

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/engine"
	"sonde/model/auto"
	"sonde/model/llama"
	"sonde/reason/task"
	"sonde/text"
	"sonde/train"
)

// DistillOptions say how a student learns from a teacher. A field left at its zero value
// takes its default. The learning's own options are SFT's.
type DistillOptions struct {
	Teacher string `json:"teacher" kong:"-"` // the checkpoint that is learned from

	Preset        string `json:"preset" help:"Student to make from nothing: r1-dense (default: r1-dense)." placeholder:"NAME"`
	StudentConfig string `json:"student_config" name:"student-config" help:"A config.json of the student to make from nothing." placeholder:"FILE"`
	Student       string `json:"student" help:"A folder with the student to begin with, of the teacher's tokenizer." placeholder:"FOLDER"`

	OnPolicy    bool   `json:"on_policy" help:"Learn from the student's own answers how likely the teacher finds each token, instead of from the teacher's answers."`
	Problems    int    `json:"problems" help:"Problems that the teacher answers (default: 1000)." placeholder:"N"`
	Prompts     int    `json:"prompts" help:"Problems of a step, on policy (default: 32)." placeholder:"N"`
	Samples     int    `json:"samples" help:"Answers to each problem (default: 4, on policy 1)." placeholder:"N"`
	KeepAnswers string `json:"keep_answers" enum:",shortest,one,all" default:"" help:"Right answers of the teacher that are kept of a problem: the shortest, the first one, or all that differ (default: all)." placeholder:"WHICH"`
	PerTask     int    `json:"per_task" help:"Answers kept of one task at most." placeholder:"N"`

	Think       Think   `json:"think" enum:",auto,force,never" default:"" help:"Whether prompts open a thought (force), leave it to the model (auto), or close it at once (never) (default: auto)." placeholder:"HOW"`
	MaxTokens   int     `json:"max_tokens" help:"Longest answer in tokens, thought included (default: what the contexts have room for, at most 1024)." placeholder:"N"`
	Temperature float64 `json:"temperature" help:"Temperature of the draws (default: 1)." placeholder:"T"`
	Slots       int     `json:"slots" resume:"free" help:"Texts written side by side (default: 256)." placeholder:"N"`
}

var distillDefaults = DistillOptions{Problems: 1000, Prompts: 32, KeepAnswers: KeepAll, Think: ThinkAuto, Temperature: 1, Slots: engine.DefaultSlots}

// DistillConfig is what Distill needs. Of SFTOptions Tasks and TaskFiles name the problems
// that are answered, and Data are examples to learn from beside the answers.
type DistillConfig struct {
	SFTOptions
	DistillOptions
	Mix     task.Mix // tasks beside those that the options name, for tasks made in Go
	Resume  bool
	Backend compute.Backend
}

// distillFile is distill.json: what stands beside run.json.
type distillFile struct {
	Format  int            `json:"format"`
	Options DistillOptions `json:"options"`
	SFT     SFTOptions     `json:"sft"`
}

const distillFormat = 1

// Distill teaches a smaller model what a teacher knows, as DeepSeek-R1 was distilled: the
// teacher answers problems, answers that are right are kept, thoughts included, and the
// student is fine-tuned on them (SFT alone). With OnPolicy the student answers and the
// teacher says how likely it finds each token. Out becomes the student; samples.jsonl in
// it are the teacher's answers.
func Distill(ctx context.Context, c DistillConfig, out io.Writer) (*SFTSummary, error) {
	if c.Out == "" {
		return nil, errors.New("where should the run be kept? Name a folder with --out")
	}
	if c.Backend == nil {
		return nil, errors.New("distill: DistillConfig.Backend is missing")
	}
	if err := c.begin(); err != nil {
		return nil, err
	}
	s := SFTConfig{SFTOptions: c.SFTOptions, Kind: "distill", Resume: c.Resume && runThere(c.Out), Backend: c.Backend, begun: true}
	if err := c.student(&s); err != nil {
		return nil, err
	}
	if c.OnPolicy {
		return c.onPolicy(ctx, s, out)
	}
	samples := filepath.Join(c.Out, "samples.jsonl")
	if err := c.sample(ctx, samples, out); err != nil {
		return nil, err
	}
	s.Data, s.Tasks, s.TaskFiles = append([]string{samples}, c.Data...), "", nil
	return SFT(ctx, s, out)
}

func runThere(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, "run.json"))
	return err == nil
}

// begin writes distill.json or takes up what it says.
func (c *DistillConfig) begin() error {
	name := filepath.Join(c.Out, "distill.json")
	raw, err := os.ReadFile(name)
	switch {
	case err == nil && !c.Resume:
		return fmt.Errorf("%w: %s. Go on with\n  sonde distill --out %s --resume\nor begin another with another --out", train.ErrExists, c.Out, train.ShellQuote(c.Out))
	case err == nil:
		var f distillFile
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&f); err != nil || f.Format != distillFormat {
			return fmt.Errorf("%s is damaged or of another version (format %d, this program knows %d): begin another run with another --out: %w", name, f.Format, distillFormat, err)
		}
		if err := errors.Join(train.Conflicts(&c.DistillOptions, &f.Options), train.Conflicts(&c.SFTOptions, &f.SFT)); err != nil {
			return err
		}
		train.Fill(&c.DistillOptions, f.Options)
		train.Fill(&c.SFTOptions, f.SFT)
		return nil
	case c.Resume:
		return fmt.Errorf("%s holds no run to go on with: check --out, or leave --resume out to begin one", c.Out)
	}
	if err := c.check(); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o777); err != nil {
		return fmt.Errorf("the run's folder: %w", err)
	}
	if err := train.MustBeFree(c.Out); err != nil {
		return err
	}
	return train.WriteJSON(name, distillFile{distillFormat, c.DistillOptions, c.SFTOptions})
}

// check fills in the defaults and refuses what cannot be meant.
func (c *DistillConfig) check() error {
	o := &c.DistillOptions
	if o.Samples == 0 && o.OnPolicy {
		o.Samples = 1
	}
	train.Fill(o, distillDefaults)
	train.Fill(o, DistillOptions{Samples: 4})
	n := 0
	for _, s := range []string{o.Preset, o.StudentConfig, o.Student} {
		if s != "" {
			n++
		}
	}
	if n == 0 {
		o.Preset = llama.PresetNames()[0]
	}
	switch {
	case o.Teacher == "":
		return errors.New("whom is to be learned from? Name the teacher's folder")
	case n > 1:
		return errors.New("give only one of --preset, --student-config and --student")
	case c.Tasks == "" && len(c.TaskFiles) == 0 && len(c.Mix) == 0:
		return errors.New("which problems are to be answered? Name tasks with --tasks (such as chain-sum), or a file of your own with --task-file")
	case c.TaskExamples != 0 || c.Thoughts != nil:
		return errors.New("--task-examples and --thoughts are of written-out answers to tasks: here the teacher writes them (--problems)")
	case o.OnPolicy && len(c.Data) > 0:
		return errors.New("on policy the student's own answers are learned from: leave out --data")
	case o.OnPolicy && c.Steps == 0:
		return errors.New("on policy there is no end of examples: say for how many --steps")
	case o.OnPolicy && len(c.Mix) == 0 && c.Tasks == "":
		return errors.New("on policy problems are drawn from --tasks: name some")
	case o.Problems < 1 || o.Prompts < 1 || o.Samples < 1 || o.MaxTokens < 0 || o.PerTask < 0 || o.Slots < 1:
		return errors.New("--problems, --prompts, --samples, --max-tokens, --per-task and --slots must be positive")
	case !(o.Temperature > 0):
		return fmt.Errorf("--temperature is %v, must be above 0", o.Temperature)
	}
	return nil
}

// student sets the model that learns.
func (c *DistillConfig) student(s *SFTConfig) error {
	tok, cfg, err := tokenizerOf(c.Teacher)
	if err != nil {
		return fmt.Errorf("the teacher: %w", err)
	}
	if c.Student != "" {
		own, _, err := tokenizerOf(c.Student)
		if err != nil {
			return fmt.Errorf("the student: %w", err)
		}
		if !sameTokens(tok, own) {
			return fmt.Errorf("%s and %s have different tokenizers, of %d and %d tokens: a student must read as its teacher does, so take one of the same family, or make one from nothing with --preset",
				c.Teacher, c.Student, tok.VocabSize(), own.VocabSize())
		}
		s.Model = c.Student
		return nil
	}
	f := &Fresh{Tok: tok, TokCfg: cfg}
	if c.StudentConfig == "" {
		f.Cfg, err = llama.Preset(c.Preset)
	} else {
		var raw []byte
		if raw, err = os.ReadFile(c.StudentConfig); err == nil {
			f.Cfg, _, err = auto.ParseConfig(raw)
		}
	}
	s.Fresh = f
	if err != nil {
		return fmt.Errorf("the student: %w", err)
	}
	return nil
}

// tokenizerOf reads a model's tokenizer and leaves its weights alone.
func tokenizerOf(path string) (*text.Tokenizer, *text.TokenizerConfig, error) {
	src, err := checkpoint.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer src.Close()
	m := &Model{}
	if err := m.read(src); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return m.Tok, m.TokCfg, nil
}

// sameTokens says whether two tokenizers have the same ids for the same tokens.
func sameTokens(a, b *text.Tokenizer) bool {
	if a.VocabSize() != b.VocabSize() {
		return false
	}
	for id := range int32(a.VocabSize()) {
		if a.Token(id) != b.Token(id) {
			return false
		}
	}
	return true
}

// sample has the teacher answer, unless it has.
func (c *DistillConfig) sample(ctx context.Context, file string, out io.Writer) error {
	if runThere(c.Out) {
		return nil // the student is learning already
	}
	_, err := os.Stat(file)
	r := RejectConfig{Mix: c.Mix, Resume: err == nil, Backend: c.Backend, RejectOptions: RejectOptions{Model: c.Teacher, Out: file,
		Tasks: c.Tasks, TaskFiles: c.TaskFiles, Problems: c.Problems, Samples: c.Samples, Seed: c.Seed, Keep: c.KeepAnswers, PerTask: c.PerTask,
		Think: c.Think, MaxTokens: c.MaxTokens, Temperature: c.Temperature, Compute: c.Compute, Slots: c.Slots}}
	s, err := Reject(ctx, r, out)
	if errors.Is(err, train.ErrInterrupted) {
		return fmt.Errorf("%w while the teacher answered, all saved: go on with\n  sonde distill --out %s --resume", train.ErrInterrupted, train.ShellQuote(c.Out))
	}
	if err == nil && s.Kept == 0 {
		err = fmt.Errorf("the teacher answered none of %d problems right: there is nothing to learn", s.Problems)
	}
	return err
}

// onPolicy has the student answer.
func (c *DistillConfig) onPolicy(ctx context.Context, s SFTConfig, out io.Writer) (*SFTSummary, error) {
	teacher, err := Open(c.Teacher, c.Backend, OpenOptions{Compute: c.Compute})
	if err != nil {
		return nil, fmt.Errorf("the teacher: %w", err)
	}
	defer teacher.Close()
	p := &onPolicy{teacher: teacher, o: &c.DistillOptions, seed: 1}
	if c.Seed != nil {
		p.seed = *c.Seed
	}
	if p.mix, err = mixOf(c.Tasks, c.Mix); err != nil {
		return nil, err
	}
	p.name = mixName(p.mix) + " " + names(c.TaskFiles)
	for _, path := range c.TaskFiles {
		l, err := task.Load(path)
		if err != nil {
			return nil, err
		}
		for _, x := range l.Problems() {
			if task.SplitOf(x) == task.Train {
				p.own = append(p.own, x)
			}
		}
	}
	if c.MaxTokens == 0 {
		c.MaxTokens = min(1024, teacher.Cfg.Context()-1)
	}
	s.policy = p
	return SFT(ctx, s, out)
}
