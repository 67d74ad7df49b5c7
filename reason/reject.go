package reason

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"sonde/compute"
	"sonde/engine"
	"sonde/reason/task"
	"sonde/text"
	"sonde/train"
)

// RejectConfig is what Reject needs.
type RejectConfig struct {
	RejectOptions
	Mix     task.Mix // tasks beside those that the options name, for tasks made in Go
	Resume  bool     // go on with the file in Out
	Backend compute.Backend
}

// RejectSummary is the outcome of a rejection sampling.
type RejectSummary struct {
	Problems int           `json:"problems"`
	Samples  int           `json:"samples"` // answers written
	Right    int           `json:"right"`
	Solved   int           `json:"solved"` // problems with a right answer
	Kept     int           `json:"kept"`
	Tokens   int64         `json:"tokens"` // written
	Seconds  float64       `json:"seconds"`
	Tasks    []RejectedOne `json:"tasks"` // in the order in which they first came
}

// RejectedOne is a task's part of a RejectSummary.
type RejectedOne struct {
	Task     string `json:"task"`
	Problems int    `json:"problems"`
	Samples  int    `json:"samples"`
	Right    int    `json:"right"`
	Kept     int    `json:"kept"`
}

// Kept is a line of the file that Reject writes: a conversation that SFT reads, and where
// it comes from.
type Kept struct {
	Messages []text.Message `json:"messages"`
	ID       string         `json:"id"`   // of the problem
	Task     string         `json:"task"` // its task
	Tokens   int            `json:"tokens"`
}

// rejecter is a sampling under way.
type rejecter struct {
	o    *RejectOptions
	mix  task.Mix
	own  []task.Problem // of files
	a    *answerer
	p    *train.Progress
	f    *os.File
	seen map[string]bool // answers in the file
	rejectState
}

// rejectState is what a sampling needs to go on, in a file beside its own.
type rejectState struct {
	Format  int           `json:"format"`
	Options RejectOptions `json:"options"`
	Next    int           `json:"next"`  // problem
	Bytes   int64         `json:"bytes"` // of the file, up to there
	Summary RejectSummary `json:"summary"`
}

const rejectFormat = 1

// rejectChunk is how many problems are asked between two places to go on from.
const rejectChunk = 64

// Reject samples answers to problems, keeps those that are right, and writes them as
// examples for SFT (rejection sampling: DeepSeek-R1, section 2.3.3, where a problem's
// answers were sampled several times and the right ones alone retained). Cancelling ctx
// leaves a file that Resume goes on with, to the same bytes.
func Reject(ctx context.Context, c RejectConfig, out io.Writer) (*RejectSummary, error) {
	if c.Out == "" {
		return nil, errors.New("where should the examples be kept? Name a file with --out")
	}
	if c.Backend == nil {
		return nil, errors.New("reject: RejectConfig.Backend is missing")
	}
	r := &rejecter{o: &c.RejectOptions, mix: c.Mix, p: train.NewProgress(out), seen: map[string]bool{}}
	defer r.p.Keep()
	if err := r.begin(c.Resume); err != nil {
		return nil, err
	}
	defer r.f.Close()
	m, err := r.open(c.Backend)
	if err == nil && !c.Resume {
		err = r.save() // so that it can be taken up again from its first moment on
	}
	if err != nil {
		if !c.Resume { // so that the corrected command is not refused
			os.Remove(r.o.Out)
		}
		return nil, err
	}
	defer m.Close()
	return r.run(ctx, m)
}

// open reads the problems, then the model.
func (r *rejecter) open(be compute.Backend) (*Model, error) {
	if err := r.gather(); err != nil {
		return nil, err
	}
	return Open(r.o.Model, be, OpenOptions{Compute: r.o.Compute})
}

// statePath is the file that says how far a sampling is.
func (r *rejecter) statePath() string { return r.o.Out + ".state.json" }

// begin opens the file, empty or as of the last place to go on from.
func (r *rejecter) begin(resume bool) error {
	raw, err := os.ReadFile(r.statePath())
	if resume {
		if err == nil {
			err = json.Unmarshal(raw, &r.rejectState)
		}
		if err == nil && (r.Format != rejectFormat || r.Next < 0 || r.Bytes < 0) {
			err = fmt.Errorf("it has format %d, this program knows %d", r.Format, rejectFormat)
		}
		if err != nil {
			return fmt.Errorf("%s holds no sampling to go on with (%w): leave --resume out to begin one", r.o.Out, err)
		}
		if r.o.Model != "" && r.o.Model != r.Options.Model {
			return fmt.Errorf("the sampling began with the model %s, not %s: leave it out, or begin another with another --out", r.Options.Model, r.o.Model)
		}
		if err := train.Conflicts(r.o, &r.Options); err != nil {
			return err
		}
		train.Fill(r.o, r.Options)
	} else if _, err := os.Stat(r.o.Out); err == nil {
		return fmt.Errorf("%s is there already: go on with it by --resume, or name another file with --out", r.o.Out)
	}
	if err := r.o.resolve(len(r.mix) > 0); err != nil {
		return err
	}
	if r.o.Model == "" {
		return errors.New("which model is to answer? Name its folder")
	}
	if r.f, err = os.OpenFile(r.o.Out, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return fmt.Errorf("the examples: %w", err)
	}
	return r.cut()
}

// cut leaves of the file what stood in it at the place to go on from.
func (r *rejecter) cut() error {
	err := r.f.Truncate(r.Bytes)
	if err == nil {
		_, err = r.f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("the examples: %w", err)
	}
	return eachLine(r.o.Out, func(line []byte, where string) error {
		var k Kept
		if err := json.Unmarshal(line, &k); err != nil {
			return fmt.Errorf("%s is damaged: %w", where, err)
		}
		r.seen[k.key()] = true
		return nil
	})
}

// key is what two equal examples have in common.
func (k *Kept) key() string {
	var b strings.Builder
	for _, m := range k.Messages {
		thought := ""
		if m.Reasoning != nil {
			thought = *m.Reasoning
		}
		b.WriteString(m.Role + "\x00" + thought + "\x00" + m.Content + "\x00")
	}
	return b.String()
}

// gather reads the files of tasks: their training problems are asked in order, before
// those that are drawn.
func (r *rejecter) gather() (err error) {
	for _, path := range r.o.TaskFiles {
		c, err := task.Load(path)
		if err != nil {
			return err
		}
		for _, p := range c.Problems() {
			if task.SplitOf(p) == task.Train {
				r.own = append(r.own, p)
			}
		}
	}
	r.mix, err = mixOf(r.o.Tasks, r.mix)
	return err
}

// total is the number of problems.
func (r *rejecter) total() int {
	if len(r.mix) == 0 {
		return len(r.own)
	}
	return len(r.own) + r.o.Problems
}

// problem is problem i.
func (r *rejecter) problem(i int) (toAsk, error) {
	x := toAsk{seed: mixSeeds(*r.o.Seed, seedAnswers, uint64(i))}
	if i < len(r.own) {
		x.problem = r.own[i]
		return x, nil
	}
	var err error
	x.problem, err = r.mix.Draw(task.NewRand(mixSeeds(*r.o.Seed, seedAsked, uint64(i-len(r.own)))), task.Train)
	return x, err
}

// run asks all problems.
func (r *rejecter) run(ctx context.Context, m *Model) (*RejectSummary, error) {
	if r.o.MaxTokens == 0 {
		r.o.MaxTokens = min(1024, m.Cfg.Context()-1)
	}
	r.a = newAnswerer(m, r.o.Think, engine.RollParams{Slots: r.o.Slots,
		Params: engine.Params{Temperature: r.o.Temperature, TopP: r.o.TopP, MaxTokens: r.o.MaxTokens}})
	defer r.a.close()
	begun, before, first := time.Now(), r.Summary.Seconds, r.Next
	for r.Next < r.total() {
		if err := r.chunk(ctx); err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("%w after %d of %d problems, all saved: go on with\n  sonde reject --out %s --resume", train.ErrInterrupted, r.Next, r.total(), train.ShellQuote(r.o.Out))
			}
			return nil, err
		}
		r.Summary.Seconds = before + time.Since(begun).Seconds()
		if err := r.save(); err != nil {
			return nil, err
		}
		left := time.Duration(float64(time.Since(begun)) / float64(r.Next-first) * float64(r.total()-r.Next))
		s := &r.Summary
		r.p.Show(fmt.Sprintf("problem %d/%d  %.0f %% right  %d kept  %s tok/s  %s left", r.Next, r.total(), percent(s.Right, s.Samples), s.Kept,
			train.Thousands(float64(s.Tokens)/max(s.Seconds, 1e-9)), train.Clock(left)), r.Next == r.total())
	}
	r.p.Keep()
	r.report()
	return &r.Summary, nil
}

func percent(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }

// chunk asks some problems and writes what is kept of the answers.
func (r *rejecter) chunk(ctx context.Context) error {
	var asked []toAsk
	for i := r.Next; i < min(r.Next+rejectChunk, r.total()); i++ {
		x, err := r.problem(i)
		if err != nil {
			return err
		}
		asked = append(asked, x)
	}
	answers, err := r.a.ask(ctx, asked, r.o.Samples)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for i := range asked {
		for _, k := range r.choose(&asked[i].problem, answers[i*r.o.Samples:(i+1)*r.o.Samples]) {
			if err := enc.Encode(k); err != nil {
				return fmt.Errorf("the examples: %w", err)
			}
		}
	}
	if _, err := r.f.WriteAt(b.Bytes(), r.Bytes); err != nil {
		return fmt.Errorf("writing the examples: %w", err)
	}
	r.Bytes += int64(b.Len())
	r.Next += len(asked)
	return nil
}

// choose counts a problem's answers and returns those that are kept.
func (r *rejecter) choose(p *task.Problem, answers []*answer) []Kept {
	one := r.one(p.Task)
	one.Problems++
	r.Summary.Problems++
	var right []*answer
	for _, a := range answers {
		if a == nil {
			continue
		}
		one.Samples++
		r.Summary.Samples++
		r.Summary.Tokens += int64(len(a.Tokens))
		if !a.Right() {
			continue
		}
		one.Right++
		r.Summary.Right++
		if r.wellFormed(a) {
			right = append(right, a)
		}
	}
	if len(right) == 0 {
		return nil
	}
	r.Summary.Solved++
	if r.o.Keep == KeepShortest {
		slices.SortStableFunc(right, func(a, b *answer) int { return len(a.Tokens) - len(b.Tokens) })
	}
	if r.o.Keep != KeepAll {
		right = right[:1]
	}
	var out []Kept
	for _, a := range right {
		k := a.kept()
		if key := k.key(); !r.seen[key] && (r.o.PerTask == 0 || one.Kept < r.o.PerTask) {
			r.seen[key] = true
			one.Kept++
			r.Summary.Kept++
			out = append(out, k)
		}
	}
	return out
}

// wellFormed says whether an answer may be learned from: it ended by itself, and its
// thought, if it has one, is closed once, with an answer behind it that holds no tags.
func (r *rejecter) wellFormed(a *answer) bool {
	if a.Finish != engine.FinishStop || strings.TrimSpace(a.Answer) == "" {
		return false
	}
	if a.Thinking {
		return a.Format
	}
	return !r.o.Thought && !strings.Contains(a.Answer, thinkOpen) && !strings.Contains(a.Answer, thinkClose)
}

// kept is the answer as an example.
func (a *answer) kept() Kept {
	m := text.Message{Role: "assistant", Content: strings.TrimSpace(a.Answer)}
	if a.Thinking {
		m.Reasoning = &a.Thought
	}
	return Kept{Messages: []text.Message{{Role: "user", Content: a.problem.Prompt}, m}, ID: a.problem.ID, Task: a.problem.Task, Tokens: len(a.Tokens)}
}

// one is a task's part of the summary.
func (r *rejecter) one(name string) *RejectedOne {
	for i := range r.Summary.Tasks {
		if r.Summary.Tasks[i].Task == name {
			return &r.Summary.Tasks[i]
		}
	}
	r.Summary.Tasks = append(r.Summary.Tasks, RejectedOne{Task: name})
	return &r.Summary.Tasks[len(r.Summary.Tasks)-1]
}

// save makes the place that was reached one to go on from.
func (r *rejecter) save() error {
	r.Format, r.Options = rejectFormat, *r.o
	if err := r.f.Sync(); err != nil {
		return fmt.Errorf("writing the examples: %w", err)
	}
	return train.WriteJSON(r.statePath(), r.rejectState)
}

// report says what was kept, task by task.
func (r *rejecter) report() {
	s := &r.Summary
	r.p.Note("%-20s %9s %9s %8s %8s", "task", "problems", "answers", "right", "kept")
	for _, t := range s.Tasks {
		r.p.Note("%-20s %9d %9d %6.1f %% %8d", t.Task, t.Problems, t.Samples, percent(t.Right, t.Samples), t.Kept)
	}
	r.p.Note("%d examples of %d problems in %s: %s\n\nWhat to type next:\n  sonde sft MODEL --data %s --out FOLDER", s.Kept, s.Problems,
		train.Clock(time.Duration(s.Seconds*float64(time.Second))), r.o.Out, train.ShellQuote(r.o.Out))
}
