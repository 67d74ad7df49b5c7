package reason

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"sonde/model"
	"sonde/model/auto"
	"sonde/reason/task"
	"sonde/text"
)

// Recipe is the road from nothing to a model that reasons: an architecture, the tasks, and
// the stages in their order. It is a JSON file; `sonde r1 --recipe` takes one's own.
type Recipe struct {
	// Format is 1.
	Format int    `json:"format"`
	Name   string `json:"name"`
	// About is a line for people.
	About string `json:"about"`
	// Model is a config.json of DeepSeek-V3's architecture, Student one of Llama's for the
	// stage that distils; vocab_size is replaced by the tokenizer's.
	Model   json.RawMessage `json:"model"`
	Student json.RawMessage `json:"student,omitempty"`
	// Vocab is the size of the tokenizer, which is learned from problems of Tasks.
	Vocab int `json:"vocab"`
	// Tasks are what the model is examined on after every stage, see task.ParseMix;
	// Problems of each (default 100), at their default difficulty where none is named.
	Tasks    string  `json:"tasks"`
	Problems int     `json:"problems,omitempty"`
	Stages   []Stage `json:"stages"`
}

// Stage is a stage of a Recipe. Exactly one of the options is there, which says what is
// done; their Model and Out are filled in.
type Stage struct {
	// Name is the name of the stage's folder.
	Name string `json:"name"`
	// About says what the stage is in R1's own road.
	About string `json:"about,omitempty"`
	// From is the stage whose model this one begins with; "" is the newest model before it.
	From string `json:"from,omitempty"`
	// Samples is the stage (of Reject) whose answers are learned from beside SFT's own data.
	Samples string `json:"samples,omitempty"`

	// Pretrain begins with a new model, SFT with an earlier stage's.
	Pretrain *SFTOptions    `json:"pretrain,omitempty"`
	SFT      *SFTOptions    `json:"sft,omitempty"`
	GRPO     *GRPOOptions   `json:"grpo,omitempty"`
	Reject   *RejectOptions `json:"reject,omitempty"`
	// Distill begins with a new student.
	Distill *SFTOptions `json:"distill,omitempty"`
}

const recipeFormat = 1

//go:embed recipes/*.json
var recipes embed.FS

// RecipeNames lists the recipes that are built in.
func RecipeNames() []string {
	files, err := fs.Glob(recipes, "recipes/*.json")
	if err != nil {
		panic(err) // a constant pattern
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".json")
	}
	return files
}

// RecipeByName returns a recipe that is built in.
func RecipeByName(name string) (*Recipe, error) {
	if !slices.Contains(RecipeNames(), name) {
		return nil, fmt.Errorf("no recipe is named %q; there are %s", name, strings.Join(RecipeNames(), ", "))
	}
	raw, err := recipes.ReadFile("recipes/" + name + ".json")
	if err != nil {
		return nil, err
	}
	return ParseRecipe(raw)
}

// ReadRecipe reads a recipe's file.
func ReadRecipe(file string) (*Recipe, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the recipe: %w", err)
	}
	r, err := ParseRecipe(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// ParseRecipe reads a recipe and checks what can be checked before it runs. Fields that
// it does not know are refused: a misspelt one would be a silent default.
func ParseRecipe(raw []byte) (*Recipe, error) {
	r := &Recipe{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(r); err != nil {
		return nil, fmt.Errorf("the recipe: %w", err)
	}
	if r.Problems == 0 {
		r.Problems = 100
	}
	return r, r.check()
}

func (r *Recipe) check() error {
	switch {
	case r.Format != recipeFormat:
		return fmt.Errorf("the recipe has format %d, this program knows %d", r.Format, recipeFormat)
	case r.Vocab < text.MinVocab || r.Vocab > text.MaxVocab:
		return fmt.Errorf("the recipe's vocab is %d, must be between %d and %d", r.Vocab, text.MinVocab, text.MaxVocab)
	case r.Problems < 1 || r.Problems > 1e6:
		return fmt.Errorf("the recipe's problems is %d, must be between 1 and a million", r.Problems)
	case len(r.Stages) == 0:
		return errors.New("the recipe has no stages")
	}
	if _, err := task.ParseMix(r.Tasks); err != nil {
		return fmt.Errorf("the recipe's tasks: %w", err)
	}
	if _, err := parseModel("model", r.Model); err != nil {
		return err
	}
	for i := range r.Stages {
		if err := r.checkStage(i); err != nil {
			return fmt.Errorf("the recipe's stage %d (%s): %w", i+1, r.Stages[i].Name, err)
		}
	}
	return nil
}

func parseModel(field string, raw json.RawMessage) (model.Config, error) {
	if len(raw) == 0 {
		return nil, fmt.Errorf("the recipe's %s is missing: it is a config.json", field)
	}
	cfg, _, err := auto.ParseConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("the recipe's %s: %w", field, err)
	}
	return cfg, nil
}

func (r *Recipe) checkStage(i int) error {
	s := &r.Stages[i]
	if s.Name == "" || strings.ContainsAny(s.Name, `/\:`) || strings.HasPrefix(s.Name, ".") {
		return errors.New("the name must be one of a folder, without / and no dot in front")
	}
	kinds := 0
	for _, there := range []bool{s.Pretrain != nil, s.SFT != nil, s.GRPO != nil, s.Reject != nil, s.Distill != nil} {
		if there {
			kinds++
		}
	}
	if kinds != 1 {
		return fmt.Errorf("it has %d of pretrain, sft, grpo, reject and distill; exactly one says what is done", kinds)
	}
	if slices.ContainsFunc(r.Stages[:i], func(o Stage) bool { return o.Name == s.Name }) {
		return errors.New("an earlier stage has the same name")
	}
	if s.From != "" {
		if j := r.find(s.From); j < 0 || j >= i || r.Stages[j].Reject != nil {
			return fmt.Errorf("from is %q, which is no earlier stage that makes a model", s.From)
		}
	} else if s.Pretrain == nil && s.Distill == nil && r.newest(i) < 0 {
		return errors.New("no earlier stage makes a model to begin with: the first is a pretrain")
	}
	if j := r.find(s.Samples); s.Samples != "" && (j < 0 || j >= i || r.Stages[j].Reject == nil) {
		return fmt.Errorf("samples is %q, which is no earlier stage of the kind reject", s.Samples)
	}
	if s.Samples != "" && s.SFT == nil && s.Distill == nil {
		return errors.New("samples are for the kinds sft and distill")
	}
	if s.Distill != nil {
		_, err := parseModel("student", r.Student)
		return err
	}
	return nil
}

// find is the place of a stage by name, -1 for none.
func (r *Recipe) find(name string) int {
	return slices.IndexFunc(r.Stages, func(s Stage) bool { return s.Name == name })
}

// newest is the last stage before i that makes a model of the recipe's architecture, -1
// for none.
func (r *Recipe) newest(i int) int {
	for i--; i >= 0; i-- {
		if r.Stages[i].Reject == nil && r.Stages[i].Distill == nil {
			return i
		}
	}
	return -1
}

// source is the stage that stage i begins with.
func (r *Recipe) source(i int) int {
	if from := r.Stages[i].From; from != "" {
		return r.find(from)
	}
	return r.newest(i)
}

// Kind says what a stage does, in the words of run.json.
func (s *Stage) Kind() string {
	switch {
	case s.Pretrain != nil:
		return "pretrain"
	case s.SFT != nil:
		return "sft"
	case s.GRPO != nil:
		return "grpo"
	case s.Reject != nil:
		return "reject"
	}
	return "distill"
}

// tokenizerProblems is how many problems of each task the tokenizer is learned from.
const tokenizerProblems = 2000

// Tokenizer learns the recipe's tokenizer: digits one by one, from problems and thoughts
// of the training side at all difficulties up to the mix's.
func (r *Recipe) Tokenizer(ctx context.Context, seed uint64) (*text.Tokenizer, error) {
	mix, err := task.ParseMix(r.Tasks)
	if err != nil {
		return nil, err
	}
	var failed error
	docs := func(yield func([]byte) bool) {
		for i, part := range mix {
			rng := task.NewRand(mixSeeds(seed, seedTokenizer, uint64(i)))
			for range tokenizerProblems {
				p, err := task.Sample(part.Task, task.Train, rng, 1+rng.IntN(part.High))
				if err != nil {
					failed = err
					return
				}
				if !yield([]byte(p.Prompt + "\n" + p.Thought + "\n\n" + p.Answer)) {
					return
				}
			}
		}
	}
	tok, err := text.TrainBPE(ctx, docs, text.TrainOptions{VocabSize: r.Vocab, SingleDigits: true})
	if failed != nil {
		return nil, failed
	}
	return tok, err
}
