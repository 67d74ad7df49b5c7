package reason

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"runtime"
	"strings"
	"sync"

	"sonde/engine"
	"sonde/reason/task"
	"sonde/text"
)

// Examinee is a model that can be evaluated. A *sonde.Model is one, NewExaminee makes one
// of a model in memory.
type Examinee interface {
	// ChatPrompt renders a conversation up to where the answer begins.
	ChatPrompt(messages []text.Message, o text.RenderOptions) (*text.ChatPrompt, error)
	// Engine generates; as many answers are written together as its Limits.Slots say.
	Engine() *engine.Engine
	Tokenizer() *text.Tokenizer
}

// NewExaminee is a model in memory, such as one in training, as an Examinee.
func NewExaminee(e *engine.Engine, t *text.Tokenizer, c *text.TokenizerConfig) Examinee {
	return examinee{e, t, c}
}

type examinee struct {
	engine *engine.Engine
	tok    *text.Tokenizer
	cfg    *text.TokenizerConfig
}

func (e examinee) Engine() *engine.Engine     { return e.engine }
func (e examinee) Tokenizer() *text.Tokenizer { return e.tok }

func (e examinee) ChatPrompt(messages []text.Message, o text.RenderOptions) (*text.ChatPrompt, error) {
	return e.tok.ChatPrompt(e.cfg, messages, o)
}

// EvalSet is problems of one task and one difficulty.
type EvalSet struct {
	// Task is the task's name.
	Task string
	// Difficulty is that of all its problems; 0 where the task has none.
	Difficulty int
	// Hard marks problems beyond those that the task is trained at.
	Hard     bool
	Problems []task.Problem
	// Temperature and TopP are what answers to these problems are drawn with.
	Temperature, TopP float64
	// NoVote says that answers cannot be compared with each other, as programs cannot, so
	// that there is no maj@k.
	NoVote bool
}

// EvalSettings say how a model is evaluated. The zero value takes the most probable
// answer to every problem and draws none.
type EvalSettings struct {
	// Seed decides every draw: a sample's own seed comes from it and the sample's place,
	// so that it does not depend on which other answers are asked for.
	Seed uint64
	// Samples is how many answers are drawn for each problem.
	Samples int
	// NoGreedy leaves out the answer of temperature 0.
	NoGreedy bool
	// Ks are the k of pass@k and maj@k; those above Samples are left out. nil takes
	// Samples alone, where that is above 1.
	Ks []int
	// Temperature and TopP, where not nil, count instead of the sets' own.
	Temperature, TopP *float64
	// MaxTokens bounds an answer; 0 goes on to the context's end.
	MaxTokens int
	// Parallel is how many answers are under way together; 0 means EvalParallel. The
	// engine's slots and queue must have room for them.
	Parallel int
	// Thinking switches thoughts on or off where the template has a switch.
	Thinking *bool
	// Done are answers of an earlier, interrupted evaluation of the same: they are not
	// asked for again.
	Done []EvalSample
	// Each, where not nil, is given every new answer, in any order, one at a time.
	Each func(EvalSample) error
}

// EvalParallel is how many answers are under way together where nothing else is asked.
const EvalParallel = 32

// EvalSample is one answer and what the verifier says of it.
type EvalSample struct {
	Task       string `json:"task"`
	Difficulty int    `json:"difficulty"`
	Problem    int    `json:"problem"` // its place in the set, from 0
	Sample     int    `json:"sample"`  // 0 is the greedy answer, drawn ones begin at 1
	ID         string `json:"id"`
	// Text is the whole output, Answer what was read out of it, "" where nothing could be.
	Text   string  `json:"text"`
	Answer string  `json:"answer"`
	Right  bool    `json:"right"`
	Score  float64 `json:"score"`
	Reason string  `json:"reason"`
	// Tokens is the length of the output, ThoughtTokens that of the thought in it.
	Tokens        int `json:"tokens"`
	ThoughtTokens int `json:"thought_tokens"`
	// Finish is "stop", "length" where the output was cut short, or "too long" for a
	// prompt that leaves no room in the context, which counts as a wrong answer.
	Finish string `json:"finish"`
}

// finishTooLong is EvalSample.Finish of a prompt that does not fit.
const finishTooLong = "too long"

// evalKey is a sample's place.
type evalKey struct {
	task                        string
	difficulty, problem, sample int
}

func (s *EvalSample) key() evalKey { return evalKey{s.Task, s.Difficulty, s.Problem, s.Sample} }

// Evaluate has a model answer the problems of sets and judges the answers. What it gives
// depends on the model, the problems and the settings' Seed alone, not on how many
// answers are under way together nor on what was Done before.
func Evaluate(ctx context.Context, e Examinee, sets []EvalSet, s EvalSettings) (*EvalReport, error) {
	prompts, err := evalPrompts(e, sets, s.Thinking)
	if err != nil {
		return nil, err
	}
	return evaluate(ctx, e, sets, prompts, s)
}

// evalPrompts are the tokens of every problem of every set.
func evalPrompts(e Examinee, sets []EvalSet, thinking *bool) ([][]*text.ChatPrompt, error) {
	out := make([][]*text.ChatPrompt, len(sets))
	for i, set := range sets {
		for _, p := range set.Problems {
			c, err := e.ChatPrompt([]text.Message{{Role: "user", Content: p.Prompt}}, text.RenderOptions{Thinking: thinking})
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", set.Task, p.ID, err)
			}
			out[i] = append(out[i], c)
		}
	}
	return out, nil
}

// evalJob is an answer to ask for.
type evalJob struct {
	set     *EvalSet
	problem int
	sample  int
	prompt  *text.ChatPrompt
}

func evaluate(ctx context.Context, e Examinee, sets []EvalSet, prompts [][]*text.ChatPrompt, s EvalSettings) (*EvalReport, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v := &evaluation{e: e, s: s, all: map[evalKey]EvalSample{}, fail: cancel}
	for _, d := range s.Done {
		v.all[d.key()] = d
	}
	jobs := make(chan evalJob)
	var workers sync.WaitGroup
	// Some more than write at a time, so that others write while verifiers are at work.
	for range cmpOr(s.Parallel, EvalParallel) + runtime.NumCPU() {
		workers.Go(func() {
			for j := range jobs {
				v.answer(ctx, j)
			}
		})
	}
	v.ask(ctx, sets, prompts, jobs)
	close(jobs)
	workers.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return newEvalReport(sets, v.all, s), nil
}

// cmpOr is n, or def where n is not above 0.
func cmpOr(n, def int) int {
	if n > 0 {
		return n
	}
	return def
}

// evaluation is a call of Evaluate under way.
type evaluation struct {
	e    Examinee
	s    EvalSettings
	fail context.CancelCauseFunc

	mu  sync.Mutex
	all map[evalKey]EvalSample
}

// ask sends what is not done yet, the samples of a problem one after another.
func (v *evaluation) ask(ctx context.Context, sets []EvalSet, prompts [][]*text.ChatPrompt, jobs chan<- evalJob) {
	first := 0
	if v.s.NoGreedy {
		first = 1
	}
	for i := range sets {
		for p := range sets[i].Problems {
			for k := first; k <= v.s.Samples; k++ {
				if v.has(evalKey{sets[i].Task, sets[i].Difficulty, p, k}) {
					continue
				}
				select {
				case jobs <- evalJob{&sets[i], p, k, prompts[i][p]}:
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

func (v *evaluation) has(k evalKey) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.all[k]
	return ok
}

// answer does one job.
func (v *evaluation) answer(ctx context.Context, j evalJob) {
	p := &j.set.Problems[j.problem]
	out := EvalSample{Task: j.set.Task, Difficulty: j.set.Difficulty, Problem: j.problem, Sample: j.sample, ID: p.ID}
	r, err := v.e.Engine().Generate(ctx, j.prompt.IDs, v.params(j), nil)
	switch {
	case errors.Is(err, engine.ErrContext):
		out.Finish, out.Reason = finishTooLong, err.Error()
	case err != nil:
		v.fail(fmt.Errorf("%s, %s: %w", j.set.Task, p.ID, err))
		return
	default:
		out.Text, out.Finish, out.Tokens = r.Text, string(r.Finish), r.CompletionTokens
		out.ThoughtTokens = thoughtTokens(v.e.Tokenizer(), r.Tokens, j.prompt.Thought == text.ThoughtOpen)
		out.judge(ctx, p)
	}
	if ctx.Err() != nil { // the verdict may be that there was no time
		return
	}
	v.keep(out)
}

func (v *evaluation) keep(s EvalSample) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.all[s.key()] = s
	if v.s.Each != nil {
		if err := v.s.Each(s); err != nil {
			v.fail(err)
		}
	}
}

// params are how a job's answer is drawn.
func (v *evaluation) params(j evalJob) engine.Params {
	p := engine.Params{MaxTokens: v.s.MaxTokens, StopTokens: j.prompt.Stops}
	if j.sample == 0 {
		return p
	}
	p.Temperature, p.TopP = j.set.Temperature, j.set.TopP
	if v.s.Temperature != nil {
		p.Temperature = *v.s.Temperature
	}
	if v.s.TopP != nil {
		p.TopP = *v.s.TopP
	}
	p.Seed = evalSeed(v.s.Seed, j.set, j.problem, j.sample)
	return p
}

// evalSeed is a sample's own seed.
func evalSeed(seed uint64, set *EvalSet, problem, sample int) uint64 {
	h := fnv.New64a()
	h.Write([]byte(set.Task))
	var b []byte
	for _, n := range []uint64{seed, uint64(set.Difficulty), uint64(problem), uint64(sample)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	h.Write(b)
	return h.Sum64()
}

// judge reads the answer out of the output and has it verified.
func (s *EvalSample) judge(ctx context.Context, p *task.Problem) {
	read := p.Read
	if read == nil {
		read = task.Extract
	}
	answer, err := read(s.Text)
	if err != nil {
		s.Reason = err.Error()
		return
	}
	s.Answer = answer
	v := p.VerifyContext(ctx, answer)
	s.Score, s.Right, s.Reason = v.Score, v.Right(), v.Reason
}

// The tags around a thought.
const (
	thoughtBegins = "<think>"
	thoughtEnds   = "</think>"
)

// thoughtTokens counts the tokens of an output that are a thought's: those after <think>,
// or after the beginning where open says that the prompt ends with it, and before
// </think>, or the end where that is missing.
func thoughtTokens(t *text.Tokenizer, ids []int32, open bool) int {
	var out strings.Builder
	starts := make([]int, len(ids)) // of each token, in the text
	stream := t.NewStream()
	for i, id := range ids {
		starts[i] = out.Len()
		out.WriteString(stream.Next(id))
	}
	begin, end := strings.Index(out.String(), thoughtBegins), strings.Index(out.String(), thoughtEnds)
	if begin >= 0 {
		begin += len(thoughtBegins)
	} else if open {
		begin = 0
	}
	if end < 0 {
		end = out.Len() + 1
	}
	n := 0
	for _, at := range starts {
		if begin >= 0 && at >= begin && at < end {
			n++
		}
	}
	return n
}
