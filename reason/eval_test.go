package reason

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonde/checkpoint"
	"sonde/engine"
	"sonde/model"
	"sonde/reason/task"
	"sonde/text"
	"sonde/train"
)

// oracle is a model that answers by a table. Of several answers to a question it writes
// each with equal probability, and greedily the first one.
type oracle struct {
	tok     *text.Tokenizer
	context int
	answers map[string][]string // by question
	weight  float32             // changes nothing but what it thinks of other tokens
	passes  atomic.Int64
}

type oracleSequence struct{ ids []int32 }

func (s *oracleSequence) Len() int       { return len(s.ids) }
func (s *oracleSequence) Max() int       { return 1 << 20 }
func (s *oracleSequence) Truncate(n int) { s.ids = s.ids[:n] }
func (s *oracleSequence) Close()         {}

func (o *oracle) NewSequence(int) model.Sequence { return &oracleSequence{} }
func (o *oracle) Context() int                   { return o.context }
func (o *oracle) Vocab() int                     { return o.tok.VocabSize() }
func (o *oracle) NewDecoder() engine.Decoder     { return o.tok.NewStream() }
func (o *oracle) DecodeBytes(ids []int32) []byte { return o.tok.DecodeBytes(ids) }
func (o *oracle) EOS() int32                     { return o.tok.EOS() }

func (o *oracle) Forward(parts []model.Part) error {
	o.passes.Add(1)
	for i := range parts {
		p := &parts[i]
		s := p.Sequence.(*oracleSequence)
		p.Logits = p.Logits[:0]
		for _, id := range p.IDs {
			s.ids = append(s.ids, id)
			if p.Want == model.WantAll {
				p.Logits = append(p.Logits, o.logits(s.ids)...)
			}
		}
		if p.Want == model.WantLast {
			p.Logits = append(p.Logits, o.logits(s.ids)...)
		}
	}
	return nil
}

// logits are equal for what all answers to the question that are still possible go on
// with, but for a hair.
func (o *oracle) logits(ids []int32) []float32 {
	out := make([]float32, o.Vocab())
	for i := range out {
		out[i] = -1e4
	}
	turn, _ := o.tok.ID("<｜Assistant｜>")
	at := len(ids) - 1
	for at > 0 && ids[at] != turn {
		at--
	}
	question, written := o.tok.Decode(ids[:at]), ids[at+1:]
	if _, after, ok := strings.Cut(question, text.UserToken); ok {
		question = after
	}
	answers := o.answers[question]
	if answers == nil {
		answers = []string{""}
	}
	out[len(out)-1] += o.weight
	rank := float32(0)
	for _, a := range answers {
		all := append(o.tok.EncodeWithSpecial(a), o.tok.EOS())
		if len(all) > len(written) && fmt.Sprint(all[:len(written)]) == fmt.Sprint(written) {
			id := all[len(written)]
			out[id] = max(out[id], rank)
			rank -= 1e-4
		}
	}
	return out
}

// newOracle is an oracle ready to be examined.
func newOracle(t *testing.T, context int, answers map[string][]string) (*oracle, Examinee) {
	t.Helper()
	docs := func(yield func([]byte) bool) { yield([]byte("no merges are needed")) }
	tok, err := text.TrainBPE(t.Context(), docs, text.TrainOptions{VocabSize: text.MinVocab, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	o := &oracle{tok: tok, context: context, answers: answers}
	return o, NewExaminee(engine.Of(o, o, engine.Limits{Slots: 8}), tok, text.NewChatConfig(tok, context))
}

// sums is a set of three problems.
func sums() EvalSet {
	s := EvalSet{Task: "sums", Difficulty: 2, Temperature: 1, TopP: 1}
	for i, p := range []struct{ question, answer string }{{"1+1?", "2"}, {"1+2?", "3"}, {"2+2?", "4"}} {
		s.Problems = append(s.Problems, task.Problem{ID: fmt.Sprint("sums/", i), Prompt: p.question, Answer: p.answer})
	}
	return s
}

var sumAnswers = map[string][]string{
	"1+1?": {"<think>one</think>2"},
	"1+2?": {"<think>hm</think>4", "3"},
	"2+2?": {"5", "<think>four", "</think></think>4"},
}

func TestEvaluate(t *testing.T) {
	_, e := newOracle(t, 64, sumAnswers)
	s := EvalSettings{Seed: 3, Samples: 40, Ks: []int{2, 1, 40, 99}}
	r, err := Evaluate(t.Context(), e, []EvalSet{sums()}, s)
	if err != nil {
		t.Fatal(err)
	}
	got := r.Tasks[0]
	if got.Task != "sums" || got.Difficulty != 2 || got.N != 3 || got.Samples != 40 || got.Answers != 3*41 || got.Hard != nil || got.Difficulties != nil {
		t.Errorf("%+v", got)
	}
	if math.Abs(*got.Greedy-1.0/3) > 1e-12 {
		t.Errorf("greedy %v, want a third", *got.Greedy)
	}
	// The second is right in half of the samples, the third never.
	if *got.Sampled < 0.4 || *got.Sampled > 0.6 || got.SampledInterval[0] > *got.Sampled || got.SampledInterval[1] < *got.Sampled {
		t.Errorf("sampled %v in %v", *got.Sampled, *got.SampledInterval)
	}
	if p := got.Pass[40].Value; math.Abs(p-2.0/3) > 1e-12 {
		t.Errorf("pass@40 is %v", p)
	}
	if len(got.Pass) != 2 || got.Pass[2].Value <= *got.Sampled {
		t.Errorf("pass@k: %v", got.Pass)
	}
	// One of the third's three has no end of its thought, another two of them.
	if got.Unread < 20 || got.Unread > 36 || got.TooLong != 0 {
		t.Errorf("%d unread, %d too long", got.Unread, got.TooLong)
	}
	if got.ThoughtTokens < 1 || got.ThoughtTokens > 3 || got.Tokens <= got.ThoughtTokens {
		t.Errorf("lengths: %v, %v", got.ThoughtTokens, got.Tokens)
	}
}

// TestEvaluateIsTheSame: however many are under way, and whatever else is asked for.
func TestEvaluateIsTheSame(t *testing.T) {
	_, e := newOracle(t, 64, sumAnswers)
	var want map[evalKey]EvalSample
	for _, s := range []EvalSettings{
		{Seed: 9, Samples: 6, Parallel: 1}, {Seed: 9, Samples: 6, Parallel: 30}, {Seed: 9, Samples: 4, NoGreedy: true}, {Seed: 9},
	} {
		got := map[evalKey]EvalSample{}
		s.Each = func(a EvalSample) error { got[a.key()] = a; return nil }
		if _, err := Evaluate(t.Context(), e, []EvalSet{sums()}, s); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
			continue
		}
		for k, a := range got {
			if diff := cmp.Diff(want[k], a); diff != "" {
				t.Errorf("%+v: %s", s, diff)
			}
		}
	}
	other := map[string]bool{}
	s := EvalSettings{Seed: 10, Samples: 6, Each: func(a EvalSample) error { other[fmt.Sprint(a.key(), a.Text)] = true; return nil }}
	if _, err := Evaluate(t.Context(), e, []EvalSet{sums()}, s); err != nil {
		t.Fatal(err)
	}
	same := 0
	for k, a := range want {
		if other[fmt.Sprint(k, a.Text)] {
			same++
		}
	}
	if same == len(want) {
		t.Error("another seed draws the same")
	}
}

// TestEvaluateBadInput: what is wrong with one problem is counted, and the others go on.
func TestEvaluateBadInput(t *testing.T) {
	_, e := newOracle(t, 40, map[string][]string{"1+1?": {"2"}, "hangs": {"1"}, "crashes": {"1"}, "NaN": {"1"}, "tags": {"<answer>1</answer>"}, "long": {strings.Repeat("1", 100)}})
	set := EvalSet{Task: "bad", Temperature: 1}
	verdict := func(v func(context.Context) task.Verdict) task.Verifier {
		return func(ctx context.Context, _ string) task.Verdict { return v(ctx) }
	}
	set.Problems = []task.Problem{
		{Prompt: "1+1?", Answer: "2"},
		{Prompt: strings.Repeat("too long ", 20), Answer: "1"},
		{Prompt: "hangs", Limit: 10 * time.Millisecond, Check: verdict(func(context.Context) task.Verdict { time.Sleep(time.Second); return task.Verdict{Score: 1} })},
		{Prompt: "crashes", Check: verdict(func(context.Context) task.Verdict { panic("no") })},
		{Prompt: "NaN", Check: verdict(func(context.Context) task.Verdict { return task.Verdict{Score: math.NaN()} })},
		{Prompt: "tags", Answer: "1"},
		{Prompt: "long", Answer: "1"},
	}
	reasons := map[int]string{}
	r, err := Evaluate(t.Context(), e, []EvalSet{set}, EvalSettings{Each: func(a EvalSample) error { reasons[a.Problem] = a.Reason; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	got := r.Tasks[0]
	if *got.Greedy != 1.0/7 || got.Sampled != nil || got.TooLong != 1 || got.CutShort != 1 || got.Unread != 1 {
		t.Errorf("%+v, greedy %v", got, *got.Greedy)
	}
	for i, want := range []string{"right", "the prompt is too long", "no verdict within", "crashed: no", "NaN", "tags of the format", "is not"} {
		if !strings.Contains(reasons[i], want) {
			t.Errorf("problem %d: %q, want something of %q", i, reasons[i], want)
		}
	}
	var md bytes.Buffer
	if err := r.WriteMarkdown(&md); err != nil || !strings.Contains(md.String(), "bad: 1 of 7 answers had a prompt that does not fit") {
		t.Errorf("%v\n%s", err, md.String())
	}
}

func TestThoughtTokens(t *testing.T) {
	o, _ := newOracle(t, 64, nil)
	for _, c := range []struct {
		output string
		open   bool
		want   int
	}{
		{"", false, 0}, {"12", false, 0}, {"<think>ab</think>12", false, 2}, {"<think>ab", false, 2}, {"ab</think>1", true, 2}, {"ab", true, 2},
		{"ab</think>1", false, 0}, {"<think></think>1", false, 0}, {"\n<think>é</think>", false, 2}, {"<think>ab</think>1", true, 2},
	} {
		// Once with the tags as tokens, once letter by letter.
		for _, ids := range [][]int32{o.tok.EncodeWithSpecial(c.output), o.tok.Encode(c.output)} {
			if got := thoughtTokens(o.tok, ids, c.open); got != c.want {
				t.Errorf("%q, open %v, in %d tokens: %d, want %d", c.output, c.open, len(ids), got, c.want)
			}
		}
	}
}

// TestEvalReport pins the two forms down.
func TestEvalReport(t *testing.T) {
	_, e := newOracle(t, 64, map[string][]string{"1+1?": {"2"}, "1+2?": {"3"}, "2+2?": {"<think>no</think>5"}})
	hard := sums()
	hard.Difficulty, hard.Hard = 4, true
	r, err := Evaluate(t.Context(), e, []EvalSet{sums(), hard}, EvalSettings{Samples: 2})
	if err != nil {
		t.Fatal(err)
	}
	var md, js bytes.Buffer
	if err := errors.Join(r.WriteMarkdown(&md), r.WriteJSON(&js)); err != nil {
		t.Fatal(err)
	}
	const want = `| task | difficulty | problems | greedy           | sampled          | pass@2           | maj@2            | thought | output |
|------|------------|----------|------------------|------------------|------------------|------------------|---------|--------|
| sums | 2          | 3        | 66.7 (20.8–93.9) | 66.7 (20.8–93.9) | 66.7 (20.8–93.9) | 66.7 (20.8–93.9) | 0.7     | 2.3    |
|      | 4 (hard)   | 3        | 66.7 (20.8–93.9) | 66.7 (20.8–93.9) | 66.7 (20.8–93.9) | 66.7 (20.8–93.9) | 0.7     | 2.3    |
`
	if !strings.HasPrefix(md.String(), want) {
		t.Errorf("%s\nwant\n%s", md.String(), want)
	}
	var got map[string][]map[string]any
	if err := json.Unmarshal(js.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{"task": "sums", "n": 3.0, "greedy": 2.0 / 3, "sampled": 2.0 / 3, "thought_tokens": 2.0 / 3, "difficulty": 2.0} {
		if len(got) != 1 || len(got["tasks"]) != 1 || got["tasks"][0][name] != v {
			t.Errorf("%s is %v, want %v, in %s", name, got["tasks"][0][name], v, js.String())
		}
	}
	if h, _ := got["tasks"][0]["hard"].(map[string]any); h["n"] != 3.0 || h["difficulty"] != 4.0 {
		t.Errorf("hard: %v", h)
	}
}

func TestHeldOutSets(t *testing.T) {
	sets, err := HeldOutSets("letters, chain-sum@1-2", 5, 4)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range sets {
		got = append(got, fmt.Sprintf("%s/%d/%v/%d", s.Task, s.Difficulty, s.Hard, len(s.Problems)))
		for _, p := range s.Problems {
			if task.SplitOf(p) != task.HeldOut || p.Difficulty != s.Difficulty {
				t.Errorf("%s of difficulty %d is %v", p.ID, p.Difficulty, task.SplitOf(p))
			}
		}
	}
	if want := "[letters/2/false/4 letters/4/true/4 chain-sum/1/false/4 chain-sum/2/false/4]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	for list, want := range map[string]string{"no-such": "no-such", "letters:2": "weights", "letters,letters@2": "twice", "": "no task"} {
		if _, err := HeldOutSets(list, 1, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something of %q", list, err, want)
		}
	}
}

// runFiles evaluates into a folder and gives the content of its files.
func runFiles(t *testing.T, e Examinee, o EvalOptions, resume bool) map[string]string {
	t.Helper()
	if _, err := RunEval(t.Context(), e, EvalModel{Name: "oracle"}, o, resume, nil); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	entries, err := os.ReadDir(o.Out)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range entries {
		if strings.HasPrefix(f.Name(), ".") {
			continue // the lock
		}
		raw, err := os.ReadFile(filepath.Join(o.Out, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[f.Name()] = string(raw)
	}
	return out
}

// evalOptions are those of an evaluation of a file of three questions.
func evalOptions(t *testing.T, out string) EvalOptions {
	t.Helper()
	data := filepath.Join(t.TempDir(), "sums.jsonl")
	lines := ""
	for _, p := range sums().Problems {
		lines += fmt.Sprintf(`{"prompt": %q, "reference": %q, "verifier": "number"}`+"\n", p.Prompt, p.Answer)
	}
	if err := os.WriteFile(data, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	return EvalOptions{Data: []string{data}, Samples: new(5), Out: out}
}

// TestEvalResumes: wherever an evaluation was killed, even within a line, it ends with the same
// files.
func TestEvalResumes(t *testing.T) {
	o, e := newOracle(t, 64, sumAnswers)
	opts := evalOptions(t, t.TempDir())
	want := runFiles(t, e, opts, false)
	if len(want) != 4 || !strings.Contains(want["report.md"], "maj@5") || strings.Count(want["samples.jsonl"], "\n") != 18 {
		t.Fatalf("%v", want)
	}
	all := []byte(want["samples.jsonl"])
	for cut := 0; cut <= len(all); cut += 97 {
		if err := os.WriteFile(filepath.Join(opts.Out, "samples.jsonl"), all[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, runFiles(t, e, opts, true)); diff != "" {
			t.Fatalf("cut after %d bytes: %s", cut, diff)
		}
	}
	before := o.passes.Load()
	runFiles(t, e, opts, true)
	if n := o.passes.Load() - before; n > 1 { // one of them for the fingerprint
		t.Errorf("%d passes although all was done", n)
	}
}

func TestEvalInterrupted(t *testing.T) {
	o, e := newOracle(t, 64, sumAnswers)
	opts := evalOptions(t, t.TempDir())
	want := runFiles(t, e, opts, false)
	opts.Out = t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := RunEval(ctx, e, EvalModel{Name: "oracle"}, opts, false, func(p EvalProgress) {
		if p.All != 18 {
			t.Errorf("%d answers in all", p.All)
		}
		if p.Done == 4 {
			cancel()
		}
	})
	if !errors.Is(err, train.ErrInterrupted) || !strings.Contains(err.Error(), "--resume") {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(filepath.Join(opts.Out, "samples.jsonl"))
	if err != nil || bytes.Count(lines, []byte("\n")) < 4 {
		t.Fatalf("%v, %q", err, lines)
	}
	kept, settled, err := ResumeEval(EvalModel{}, EvalOptions{Out: opts.Out})
	if err != nil || kept.Name != "oracle" || *settled.Samples != 5 {
		t.Fatalf("%v, %+v, %+v", err, kept, settled)
	}
	if diff := cmp.Diff(want, runFiles(t, e, settled, true)); diff != "" {
		t.Error(diff)
	}

	for name, c := range map[string]struct {
		m    EvalModel
		o    EvalOptions
		want string
	}{
		"no folder":     {EvalModel{}, EvalOptions{}, "needs --out"},
		"nothing there": {EvalModel{}, EvalOptions{Out: t.TempDir()}, "no evaluation"},
		"another model": {EvalModel{Name: "x"}, EvalOptions{Out: opts.Out}, `of the model "oracle"`},
		"another seed":  {EvalModel{}, EvalOptions{Out: opts.Out, Seed: new(uint64(7))}, "--seed differs"},
		"more samples":  {EvalModel{}, EvalOptions{Out: opts.Out, Samples: new(7)}, "--samples differs"},
		"temperature":   {EvalModel{}, EvalOptions{Out: opts.Out, Temp: new(0.5)}, "--temp differs"},
	} {
		if _, _, err := ResumeEval(c.m, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something of %q", name, err, c.want)
		}
	}
	if _, err := RunEval(t.Context(), e, EvalModel{}, opts, false, nil); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second evaluation in the folder: %v", err)
	}
	lock, err := checkpoint.LockRun(opts.Out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := RunEval(t.Context(), e, EvalModel{}, settled, true, nil); !errors.Is(err, checkpoint.ErrLocked) {
		t.Errorf("two at a time: %v", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	o.weight = 9999
	if _, err := RunEval(t.Context(), e, EvalModel{}, settled, true, nil); err == nil || !strings.Contains(err.Error(), "other weights") {
		t.Errorf("other weights: %v", err)
	}
	o.weight = 0
	if err := os.WriteFile(opts.Data[0], []byte(`{"prompt": "other?", "reference": "2", "verifier": "number"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := RunEval(t.Context(), e, EvalModel{}, settled, true, nil); err == nil || !strings.Contains(err.Error(), "other problems") {
		t.Errorf("another file: %v", err)
	}
}

// TestOptionsThatMakeNoSense are refused before anything is asked.
func TestOptionsThatMakeNoSense(t *testing.T) {
	for want, o := range map[string]EvalOptions{
		"--n":                 {N: -1},
		"--samples is -1":     {Samples: new(-1)},
		"nothing to ask":      {Samples: new(0), NoGreedy: true},
		"--temp 0":            {Temp: new(0.0)},
		"--max-tokens":        {MaxTokens: -2},
		"--parallel":          {Parallel: -1},
		"--k is 4":            {Samples: new(3), K: []int{4}},
		"about --data":        {Format: "aime"},
		"held-out are about ": {HeldOut: true},
	} {
		if _, err := o.Settled(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want something of %q", o, err, want)
		}
	}
}
