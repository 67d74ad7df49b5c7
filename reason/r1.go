package reason

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sonde/compute"
	"sonde/model"
	"sonde/train"
)

// R1Options are the choices of a run of R1.
type R1Options struct {
	Out string `json:"-" help:"Folder of the run; each stage is a run below it." placeholder:"FOLDER"`

	Preset string  `json:"preset,omitempty" help:"Recipe: chain (two minutes, one task) or nano (the embedded model's, hours) (default: nano)." placeholder:"NAME"`
	Recipe string  `json:"-" help:"A recipe of one's own, a JSON file; --show prints one to begin with." placeholder:"FILE"`
	Seed   *uint64 `json:"seed" help:"Decides weights, problems and draws (default: 1)." placeholder:"N"`
	// DollarsPerHour is what the table's price is reckoned with.
	DollarsPerHour float64 `json:"dollars_per_hour" resume:"free" help:"What an hour of this machine costs, for the table (default: 0.10)." placeholder:"X"`
}

// DefaultRecipe is the recipe of the model that is built in.
const DefaultRecipe = "nano"

var r1Defaults = R1Options{Preset: DefaultRecipe, Seed: ptr[uint64](1), DollarsPerHour: 0.10}

// R1Config is what R1 needs: the options, and the machine to run on.
type R1Config struct {
	R1Options
	Resume  bool
	Backend compute.Backend
}

// r1Stored is what run.json keeps: the options, and the recipe as it was when the run
// began.
type r1Stored struct {
	R1Options
	Recipe *Recipe `json:"recipe"`
}

// kindR1 is the run's kind in run.json.
const kindR1 = "r1"

// r1Run is a run under way.
type r1Run struct {
	c      *R1Config
	o      *R1Options
	recipe *Recipe
	out    io.Writer
	p      *train.Progress
	stages []stageState
	cfg    model.Config // of the model that is taught
}

// stageState is a stage as stages.json and the final table have it.
type stageState struct {
	Name    string  `json:"name"`
	Kind    string  `json:"kind"`
	About   string  `json:"about,omitempty"`
	Folder  string  `json:"folder"`
	State   string  `json:"state"` // waiting, running, done
	Step    int     `json:"step"`
	Steps   int     `json:"steps"`
	Seconds float64 `json:"seconds"`
	Cost    *Cost   `json:"cost,omitempty"`
	// Exam is how the stage's model does on held-out problems; nil for stages without one.
	Exam *EvalReport `json:"exam,omitempty"`
}

// Cost is what a stage took.
type Cost struct {
	Learned int64   `json:"learned"` // tokens through forward and backward passes
	Read    int64   `json:"read"`    // tokens of prompts that rollouts read
	Written int64   `json:"written"` // tokens that they wrote
	FLOPs   float64 `json:"flops"`   // model FLOPs, nothing recomputed counted
	Seconds float64 `json:"seconds"` // evaluations included
	Dollars float64 `json:"dollars"`
}

// R1 takes a model from nothing to one that reasons, stage by stage as the recipe says, as
// DeepSeek-R1 was made (Nature s41586-025-09422-z, figure 2), and reports to out. After
// every stage the model is examined on held-out problems. A run that was interrupted goes
// on at the step where it was. Cancelling ctx saves and returns train.ErrInterrupted.
func R1(ctx context.Context, c R1Config, out io.Writer) (*R1Summary, error) {
	switch {
	case c.Out == "":
		return nil, errors.New("where should the run be kept? Name a folder with --out")
	case c.Backend == nil:
		return nil, errors.New("reason: R1Config.Backend is missing")
	}
	r := &r1Run{c: &c, o: &c.R1Options, out: out, p: train.NewProgress(out)}
	if err := r.settle(); err != nil { // before the folder is made
		return nil, err
	}
	lock, err := train.LockFolder(c.Out)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	defer r.p.Keep()
	return r.all(ctx)
}

// settle finds the recipe and the options: a new run's or those that are stored.
func (r *r1Run) settle() (err error) {
	stored, err := train.ReadRun[r1Stored](r.o.Out, kindR1)
	switch {
	case err == nil && !r.c.Resume:
		return fmt.Errorf("%w: %s. Go on with\n  sonde r1 --out %s --resume\nor begin another with another --out", train.ErrExists, r.o.Out, train.ShellQuote(r.o.Out))
	case err == nil:
		if r.o.Recipe != "" {
			return fmt.Errorf("the run in %s keeps the recipe that it began with: leave --recipe out", r.o.Out)
		}
		if err := train.Conflicts(r.o, &stored.Options.R1Options); err != nil {
			return err
		}
		train.Fill(r.o, stored.Options.R1Options)
		if r.recipe = stored.Options.Recipe; r.recipe == nil {
			return fmt.Errorf("%s/run.json is damaged (it holds no recipe): restore it, or begin another run with another --out", r.o.Out)
		}
		return r.recipe.check()
	case !errors.Is(err, os.ErrNotExist):
		return err
	case r.c.Resume:
		return fmt.Errorf("%s holds no run to go on with: check --out, or leave --resume out to begin one", r.o.Out)
	}
	if r.o.Recipe != "" && r.o.Preset != "" {
		return errors.New("--preset names a recipe that is built in, --recipe a file: give one of them")
	}
	if r.o.Recipe != "" {
		r.recipe, err = ReadRecipe(r.o.Recipe)
	} else {
		train.Fill(r.o, r1Defaults)
		r.recipe, err = RecipeByName(r.o.Preset)
	}
	train.Fill(r.o, R1Options{Seed: r1Defaults.Seed, DollarsPerHour: r1Defaults.DollarsPerHour})
	return err
}

// all runs the stages that are left, then draws the table.
func (r *r1Run) all(ctx context.Context) (*R1Summary, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	for i := range r.stages {
		if r.stages[i].State == "done" {
			continue
		}
		if err := r.stage(ctx, i); err != nil {
			return nil, err
		}
	}
	s := &R1Summary{Recipe: r.recipe.Name, Seed: *r.o.Seed, Stages: r.stages}
	if err := train.WriteJSON(train.SummaryPath(r.o.Out), s); err != nil {
		return nil, err
	}
	if err := train.WriteFile(filepath.Join(r.o.Out, "report.md"), []byte(s.Markdown())); err != nil {
		return nil, err
	}
	r.p.Keep()
	fmt.Fprintf(r.out, "\n%s\nThe table is in %s. Talk to the model with\n  sonde chat %s\n", s.Text(),
		filepath.Join(r.o.Out, "report.md"), train.ShellQuote(s.modelFolder(r.o.Out)))
	return s, nil
}

// open writes the run's description, or reads how far it has come.
func (r *r1Run) open() error {
	if r.c.Resume {
		if err := r.readStages(); err != nil {
			return err
		}
	} else {
		if err := train.MustBeFree(r.o.Out); err != nil {
			return err
		}
		file := &train.RunFile[r1Stored]{Kind: kindR1, Options: r1Stored{*r.o, r.recipe}, Model: r.recipe.Model, TotalSteps: len(r.recipe.Stages)}
		if err := file.Write(r.o.Out); err != nil {
			return err
		}
		for i := range r.recipe.Stages {
			s := &r.recipe.Stages[i]
			r.stages = append(r.stages, stageState{Name: s.Name, Kind: s.Kind(), About: s.About, Folder: fmt.Sprintf("%d-%s", i+1, s.Name), State: "waiting", Steps: s.steps()})
		}
		if err := r.writeStages(); err != nil {
			return err
		}
	}
	var err error
	if r.cfg, err = parseModel("model", r.recipe.Model); err != nil {
		return err
	}
	r.p.Note("recipe     %s: %s", r.recipe.Name, r.recipe.About)
	return nil
}

// stagesFile is stages.json.
type stagesFile struct {
	Stages []stageState `json:"stages"`
}

func (r *r1Run) stagesPath() string { return filepath.Join(r.o.Out, "stages.json") }

func (r *r1Run) writeStages() error {
	return train.WriteJSON(r.stagesPath(), stagesFile{r.stages})
}

func (r *r1Run) readStages() error {
	raw, err := os.ReadFile(r.stagesPath())
	if err != nil {
		return fmt.Errorf("how far the run has come: %w", err)
	}
	var f stagesFile
	if err := json.Unmarshal(raw, &f); err != nil || len(f.Stages) != len(r.recipe.Stages) {
		return fmt.Errorf("%s is damaged: it must list the recipe's %d stages; restore it, or begin another run with another --out", r.stagesPath(), len(r.recipe.Stages))
	}
	r.stages = f.Stages
	return nil
}

// steps is how many steps a stage has, 0 where its data decide.
func (s *Stage) steps() int {
	switch {
	case s.GRPO != nil && s.GRPO.Steps == 0:
		return grpoDefaults.Steps
	case s.GRPO != nil:
		return s.GRPO.Steps
	case s.Pretrain != nil:
		return s.Pretrain.Steps
	case s.SFT != nil:
		return s.SFT.Steps
	case s.Distill != nil:
		return s.Distill.Steps
	}
	return 0
}

// folder is a stage's folder.
func (r *r1Run) folder(i int) string { return filepath.Join(r.o.Out, r.stages[i].Folder) }

// stage runs stage i to its end and examines the model.
func (r *r1Run) stage(ctx context.Context, i int) error {
	s, began := &r.stages[i], time.Now()
	s.State = "running"
	if err := r.writeStages(); err != nil {
		return err
	}
	r.p.Note("\nstage %d/%d  %s (%s)%s", i+1, len(r.stages), s.Name, s.Kind, dash(s.About))
	cost, err := r.perform(ctx, i)
	s.Seconds += time.Since(began).Seconds()
	if err != nil {
		_ = r.writeStages() // the stage's own error is what matters
		return r.stopped(err)
	}
	if s.Kind != "reject" {
		began = time.Now()
		if s.Exam, err = r.exam(ctx, i); err != nil {
			_ = r.writeStages()
			return r.stopped(err)
		}
		s.Seconds += time.Since(began).Seconds()
		r.p.Note("exam       %s", examLine(s.Exam))
	}
	cost.Seconds = s.Seconds
	cost.Dollars = s.Seconds / 3600 * r.o.DollarsPerHour
	s.Cost, s.State, s.Step = cost, "done", s.Steps
	return r.writeStages()
}

func dash(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

// stopped says how an interrupted run goes on.
func (r *r1Run) stopped(err error) error {
	if errors.Is(err, train.ErrInterrupted) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w; go on with\n  sonde r1 --out %s --resume", train.ErrInterrupted, train.ShellQuote(r.o.Out))
	}
	return err
}

// perform does what the stage is for.
func (r *r1Run) perform(ctx context.Context, i int) (*Cost, error) {
	s := &r.recipe.Stages[i]
	switch s.Kind() {
	case "pretrain":
		return r.sftFresh(ctx, i, *s.Pretrain, r.cfg)
	case "sft":
		return r.sft(ctx, i, *s.SFT, nil)
	case "grpo":
		return r.grpo(ctx, i, *s.GRPO)
	case "reject":
		return r.reject(ctx, i, *s.Reject)
	}
	student, err := parseModel("student", r.recipe.Student)
	if err != nil {
		return nil, err
	}
	return r.sftFresh(ctx, i, *s.Distill, student)
}

// sftFresh begins with a model from nothing. All of them have the recipe's tokenizer.
func (r *r1Run) sftFresh(ctx context.Context, i int, o SFTOptions, cfg model.Config) (*Cost, error) {
	r.p.Show("tokenizer  learning it from the problems", true)
	tok, err := r.recipe.Tokenizer(ctx, *r.o.Seed)
	if err != nil {
		return nil, err
	}
	return r.sft(ctx, i, o, &Fresh{Cfg: cfg, Tok: tok})
}

// seed is a stage's own.
func (r *r1Run) seed(i int) *uint64 {
	s := mixSeeds(*r.o.Seed, seedStage, uint64(i)) >> 11 // JSON numbers keep 53 bits
	return &s
}

func (r *r1Run) sft(ctx context.Context, i int, o SFTOptions, fresh *Fresh) (*Cost, error) {
	s := &r.recipe.Stages[i]
	o.Out = r.folder(i)
	if o.Seed == nil {
		o.Seed = r.seed(i)
	}
	if fresh == nil {
		o.Model = r.folder(r.recipe.source(i))
	}
	if s.Samples != "" {
		o.Data = append(slices.Clone(o.Data), r.samples(r.recipe.find(s.Samples)))
	}
	kind := s.Kind()
	if kind == "pretrain" {
		kind = "sft"
	}
	sum, err := SFT(ctx, SFTConfig{SFTOptions: o, Kind: kind, Resume: runThere(o.Out), Backend: r.c.Backend, Fresh: fresh}, r.out)
	if err != nil {
		return nil, err
	}
	r.stages[i].Steps = sum.Steps
	return &Cost{Learned: sum.Tokens, FLOPs: sum.FLOPs}, nil
}

func (r *r1Run) grpo(ctx context.Context, i int, o GRPOOptions) (*Cost, error) {
	o.Out, o.Model = r.folder(i), r.folder(r.recipe.source(i))
	if o.Seed == nil {
		o.Seed = r.seed(i)
	}
	sum, err := GRPO(ctx, GRPOConfig{GRPOOptions: o, Resume: runThere(o.Out), Backend: r.c.Backend}, r.out)
	if err != nil {
		return nil, err
	}
	r.stages[i].Steps = sum.Steps
	return &Cost{Learned: sum.Learned, Read: sum.Read, Written: sum.Written, FLOPs: r.flops(sum.Learned, sum.Read+sum.Written)}, nil
}

// samples is the file of a stage that samples.
func (r *r1Run) samples(i int) string { return filepath.Join(r.folder(i), "right.jsonl") }

func (r *r1Run) reject(ctx context.Context, i int, o RejectOptions) (*Cost, error) {
	o.Out, o.Model = r.samples(i), r.folder(r.recipe.source(i))
	if o.Seed == nil {
		o.Seed = r.seed(i)
	}
	if err := os.MkdirAll(r.folder(i), 0o777); err != nil {
		return nil, err
	}
	_, err := os.Stat(o.Out)
	sum, err := Reject(ctx, RejectConfig{RejectOptions: o, Resume: err == nil, Backend: r.c.Backend}, r.out)
	if err != nil {
		return nil, err
	}
	return &Cost{Written: sum.Tokens, FLOPs: r.flops(0, sum.Tokens)}, nil
}

// flops are those of so many tokens learned, three forward passes' worth each, and of so
// many that went forward alone.
func (r *r1Run) flops(learned, forward int64) float64 {
	return r.cfg.FlopsPerToken(min(typicalLength, r.cfg.Context()), true) * (3*float64(learned) + float64(forward))
}

// typicalLength is the number of tokens at which attention's share of the operations is
// reckoned: problems with their thoughts.
const typicalLength = 128
