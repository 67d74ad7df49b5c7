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
	"slices"
	"strings"
	"testing"

	"sonde/compute/cpu"
	"sonde/model"
	"sonde/model/deepseek"
	"sonde/model/llama"
	"sonde/text"
	"sonde/train"
)

// tinyTokenizer has a token a byte, and those of turns.
func tinyTokenizer(t testing.TB) *text.Tokenizer {
	t.Helper()
	tok, err := text.TrainBPE(t.Context(), func(yield func([]byte) bool) { yield([]byte("the sum of 1 2 3 4 5 6 7 8 9 0 and the sum")) },
		text.TrainOptions{VocabSize: 272, SingleDigits: true})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func cpuBackend(t testing.TB, threads int) *cpu.Backend {
	t.Helper()
	be, err := cpu.New(cpu.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(be.Close)
	return be
}

// tinyMoE is a DeepSeek model that learns in moments.
func tinyMoE(t testing.TB) *deepseek.Config {
	t.Helper()
	cfg, err := deepseek.Preset("nano")
	if err != nil {
		t.Fatal(err)
	}
	cfg.HiddenSize, cfg.IntermediateSize, cfg.MoEIntermediateSize = 32, 64, 16
	cfg.NumHiddenLayers, cfg.FirstKDenseReplace, cfg.NumNextnPredict = 2, 1, 0
	cfg.NumAttentionHeads, cfg.NumKeyValueHeads = 2, 2
	cfg.NRoutedExperts, cfg.NumExpertsPerTok, cfg.NGroup, cfg.TopKGroup = 4, 2, 2, 1
	cfg.QLoraRank, cfg.KVLoraRank, cfg.QKNopeHeadDim, cfg.QKRopeHeadDim, cfg.VHeadDim = 16, 16, 16, 16, 16
	cfg.MaxPositionEmbedding = 256
	return cfg
}

// tinyDense is a Llama.
func tinyDense(t testing.TB) *llama.Config {
	t.Helper()
	cfg, _, err := llama.ParseConfig([]byte(`{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":272,"hidden_size":32,"intermediate_size":64,
		"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":256,"rms_norm_eps":1e-6,"hidden_act":"silu","tie_word_embeddings":true}`))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// tinySFT is a run of a few seconds on sums.
func tinySFT(t testing.TB, out string, steps int) SFTConfig {
	return SFTConfig{Backend: cpuBackend(t, 1), Fresh: &Fresh{Cfg: tinyMoE(t), Tok: tinyTokenizer(t)},
		SFTOptions: SFTOptions{Out: out, Tasks: "chain-sum@1", Steps: steps, Batch: 512, Micro: 256, LR: 3e-3, Gamma: 0.01, Alpha: 1e-4, MaxLen: 200}}
}

func mustSFT(t testing.TB, c SFTConfig) (*SFTSummary, string) {
	t.Helper()
	var out bytes.Buffer
	s, err := SFT(context.Background(), c, &out)
	if err != nil {
		t.Fatalf("SFT: %v\n%s", err, out.String())
	}
	return s, out.String()
}

// losses are every step's numbers that the clock does not decide.
func losses(t testing.TB, run string) []string {
	t.Helper()
	steps, err := train.ReadJournal(run)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range steps {
		s.Numbers = slices.DeleteFunc(s.Numbers, func(n train.Number) bool { return n.Name == "tokens_per_s" })
		out = append(out, fmt.Sprintf("%d %v %v", s.Step, s.Numbers, s.Loads))
	}
	return out
}

func TestSFTLearnsAndLeavesAModel(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	c := tinySFT(t, out, 60)
	s, printed := mustSFT(t, c)
	steps, err := train.ReadJournal(out)
	if err != nil || len(steps) != 60 {
		t.Fatalf("%d steps, %v", len(steps), err)
	}
	first, _ := steps[0].Get("loss")
	if !(s.Loss < first-2) || s.HeldoutLoss == nil || math.Abs(*s.HeldoutLoss-s.Loss) > 1 {
		t.Errorf("the loss went from %.3f to %.3f, held out %v", first, s.Loss, *s.HeldoutLoss)
	}
	if held, ok := steps[59].Get("heldout_loss"); !ok || held != *s.HeldoutLoss {
		t.Errorf("the journal's last held-out loss is %v, the summary's %v", held, *s.HeldoutLoss)
	}
	for _, want := range []string{"memory", "plan       60 steps", "answer at step", "sonde chat", "held out"} {
		if !strings.Contains(printed, want) {
			t.Errorf("the output does not say %q:\n%s", want, printed)
		}
	}
	m, err := Open(out, c.Backend, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if name, _ := m.TokCfg.Template(); name != "sonde-r1" || len(m.Ends()) != 2 {
		t.Errorf("the folder's template is %q, its ends %v", name, m.Ends())
	}
	if s, printed := mustSFT(t, SFTConfig{SFTOptions: SFTOptions{Out: out}, Fresh: c.Fresh, Backend: c.Backend, Resume: true}); s.Steps != 60 || !strings.Contains(printed, "is finished") {
		t.Errorf("a finished run goes on: %s", printed)
	}
}

// stopAt cancels a run once its output says something.
type stopAt struct {
	what   string
	cancel func()
}

func (s *stopAt) Write(b []byte) (int, error) {
	if strings.Contains(string(b), s.what) {
		s.cancel()
	}
	return len(b), nil
}

func TestInterruptedSFTGoesOnBitForBit(t *testing.T) {
	for _, format := range []string{"f32", "bf16"} {
		c := tinySFT(t, filepath.Join(t.TempDir(), "whole"), 9)
		c.Compute, c.EvalEvery = format, 1
		mustSFT(t, c)
		want := losses(t, c.Out)
		c.Out = filepath.Join(t.TempDir(), "pieces")
		for threads, stop := range []string{"step 2/", "step 5/"} {
			ctx, cancel := context.WithCancel(context.Background())
			_, err := SFT(ctx, c, &stopAt{stop, cancel})
			cancel()
			if !errors.Is(err, train.ErrInterrupted) || !strings.Contains(err.Error(), "--resume") {
				t.Fatalf("stopped at %s: %v", stop, err)
			}
			c.Backend = cpuBackend(t, 2+threads)
			c.Resume = true
			c.SFTOptions = SFTOptions{Out: c.Out, EvalEvery: 1}
		}
		mustSFT(t, c)
		if got := losses(t, c.Out); !slices.Equal(got, want) {
			t.Errorf("%s: with stops\n%s\nwithout\n%s", format, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		c.Resume = false
		if _, err := SFT(t.Context(), c, t.Output()); !errors.Is(err, train.ErrExists) {
			t.Errorf("the folder is taken: %v", err)
		}
	}
}

// An example's log-probabilities are the same bits alone and packed beside others, in any
// order, for both architectures: no sample sees another.
func TestPackingNeverMixesExamples(t *testing.T) {
	be := cpuBackend(t, 2)
	tok := tinyTokenizer(t)
	for _, cfg := range []model.Config{tinyMoE(t), tinyDense(t)} {
		m, err := New(Fresh{Cfg: cfg, Tok: tok}, be, OpenOptions{}, 3)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		var examples []Example
		enc := &encoder{tok: tok, cfg: m.TokCfg, learn: LearnAll}
		for _, s := range []string{"1", "1+2=3 and the sum of 4", "the sum", strings.Repeat("5+6 ", 20)} {
			e, err := enc.encode([]text.Message{{Role: "user", Content: s}, {Role: "assistant", Content: s + "!"}}, text.RenderOptions{})
			if err != nil {
				t.Fatal(err)
			}
			examples = append(examples, e...)
		}
		ar := be.NewArena("test")
		defer ar.Free()
		logps := func(examples ...Example) []float32 {
			p, _ := packExamples(examples)
			logp, _ := m.Net.Learn(ar, p, model.StepOptions{}).LogProbs()
			return logp
		}
		for _, order := range [][]int{{0, 1, 2, 3}, {3, 0, 2, 1}, {2, 2, 3}} {
			var side []Example
			var alone []float32
			for _, i := range order {
				side = append(side, examples[i])
				alone = append(alone, logps(examples[i])...)
			}
			if !slices.Equal(alone, logps(side...)) {
				t.Errorf("%s: order %v: beside others the log-probabilities differ", cfg.Architecture(), order)
			}
		}
	}
}

// The loss is the mean over the step's targets whatever the passes they are cut into, and
// only targets have gradients.
func TestMicroDoesNotChangeTheStep(t *testing.T) {
	var first []float64
	for _, micro := range []int{64, 512} {
		c := tinySFT(t, filepath.Join(t.TempDir(), "run"), 3)
		c.Micro, c.Alpha = micro, 0
		c.Fresh.Cfg = tinyDense(t)
		mustSFT(t, c)
		steps, _ := train.ReadJournal(c.Out)
		for i, s := range steps {
			loss, _ := s.Get("loss")
			norm, _ := s.Get("grad_norm")
			if micro == 64 {
				first = append(first, loss, norm)
			} else if math.Abs(loss-first[2*i]) > 1e-4 || math.Abs(norm-first[2*i+1]) > 1e-3*norm {
				t.Errorf("step %d: loss %v, norm %v; in small passes %v, %v", i+1, loss, norm, first[2*i], first[2*i+1])
			}
		}
	}
}

// From a checkpoint, with files of every form, twice over; nothing is learned but answers.
func TestSFTOfFilesOnACheckpoint(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base")
	be := cpuBackend(t, 1)
	tok := tinyTokenizer(t)
	m, err := New(Fresh{Cfg: tinyDense(t), Tok: tok, TokCfg: text.NewTokenizerConfig(tok, 256)}, be, OpenOptions{}, 5)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Save(base); err != nil {
		t.Fatal(err)
	}
	m.Close()
	dir := t.TempDir()
	chat, tasks := filepath.Join(dir, "chat.jsonl"), filepath.Join(dir, "tasks.jsonl")
	var lines strings.Builder
	for i := range 30 {
		fmt.Fprintf(&lines, `{"messages":[{"role":"system","content":"Add."},{"role":"user","content":"%d+1"},{"role":"assistant","reasoning_content":"one more","content":"%d"}],"id":%d}`+"\n", i, i+1, i)
		fmt.Fprintf(&lines, "\n"+`{"prompt":"say %d","completion":"%d"}`+"\n", i, i)
	}
	fmt.Fprintf(&lines, `{"prompt":"%s","completion":"too long"}`, strings.Repeat("x", 400))
	write(t, chat, lines.String())
	write(t, tasks, `{"prompt":"2+2?","reference":"4","verifier":"number","answer":"4","thought":"two and two"}`+"\n"+`{"prompt":"no answer","reference":"^a$","verifier":"regex"}`)
	c := SFTConfig{Backend: be, SFTOptions: SFTOptions{Model: base, Out: filepath.Join(t.TempDir(), "run"), Data: []string{chat}, TaskFiles: []string{tasks},
		Heldout: ptr(0.2), Batch: 400, LR: 1e-3}}
	s, printed := mustSFT(t, c)
	for _, want := range []string{"1 examples longer than 256 tokens are left out: " + chat + ", line 91", "template", "held-out"} {
		if !strings.Contains(printed, want) {
			t.Errorf("the output does not say %q:\n%s", want, printed)
		}
	}
	if s.Examples < 2*40 || s.Examples%2 != 0 || s.Examples > 2*61 || s.Learned*10 > s.Tokens*6 || s.HeldoutLoss == nil {
		t.Errorf("the summary is %+v", s)
	}
	c.Out = filepath.Join(t.TempDir(), "refused")
	c.Long = LongRefuse
	if _, err := SFT(t.Context(), c, t.Output()); err == nil || !strings.Contains(err.Error(), "chat.jsonl, line 91") {
		t.Errorf("a long example that is to be refused: %v", err)
	}
	if _, err := os.Stat(filepath.Join(c.Out, "run.json")); err == nil {
		t.Error("a run that could not begin leaves a run.json")
	}
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestHostileExamplesAreNamed(t *testing.T) {
	tok := tinyTokenizer(t)
	enc := &encoder{tok: tok, cfg: text.NewChatConfig(tok, 256), learn: LearnAnswers}
	for line, want := range map[string]string{
		`{`:                              "not a JSON object",
		`[]`:                             "not a JSON object",
		`{"text":"a"}`:                   `it has ["text"]`,
		`{"prompt":"a"}`:                 `the field "completion" is missing`,
		`{"prompt":"a","completion":7}`:  `the field "completion" is a number`,
		`{"prompt":"","completion":"a"}`: `the field "prompt" is an empty text`,
		`{"messages":[],"x":1}`:          `the field "messages" is an empty list`,
		`{"messages":{"role":"user"}}`:   `the field "messages" is an object`,
		`{"messages":[{"role":"bot"}]}`:  `the field "messages[0].role" is "bot"`,
		`{"messages":[{"role":7}]}`:      `the field "messages[0].role" is a number`,
		`{"messages":[7]}`:               `the field "messages[0]"`,
		`{"messages":[{"role":"user","content":"a"}]}`:                                                                  "no message of an assistant",
		`{"messages":[{"role":"user","content":"a"},{"role":"assistant"}]}`:                                             `the field "messages[1].content" is missing`,
		`{"messages":[{"role":"user","content":7},{"role":"assistant","content":"b"}]}`:                                 `the field "messages[0]"`,
		`{"messages":[{"role":"assistant","content":"b"}]}`:                                                             "message 0",
		`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"prompt":"a"}`:                  "one example a line",
		`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"tools":7}`:                     `the field "tools"`,
		`{"messages":[{"role":"user","content":"a"},{"role":"tool","content":"x"},{"role":"assistant","content":"b"}]}`: "no tools",
		"{\"prompt\":\"\xff\",\"completion\":\"a\"}":                                                                    "UTF-8",
	} {
		name := filepath.Join(t.TempDir(), "bad.jsonl")
		write(t, name, `{"prompt":"a","completion":"b"}`+"\n\n"+line+"\n")
		err := readFiles(t.Context(), []string{name}, enc, &fitter{room: 256, long: LongDrop}, 0, newList(name), newList(""))
		if err == nil || !strings.Contains(err.Error(), "bad.jsonl, line 3") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, expected line 3 and %q", line, err, want)
		}
	}
}

// masked writes an example with what is learned between brackets.
func masked(tok *text.Tokenizer, e Example) string {
	var b strings.Builder
	on := false
	for i, id := range e.Tokens {
		if now := e.Weights[i] > 0; now != on {
			b.WriteString(map[bool]string{true: "[", false: "]"}[now])
			on = now
		}
		b.WriteString(tok.Decode([]int32{id}))
	}
	if on {
		b.WriteString("]")
	}
	return b.String()
}

func TestMasks(t *testing.T) {
	tok := tinyTokenizer(t)
	talk := `[{"role":"user","content":"a"},{"role":"assistant","content":"<think>\nt\n</think>\n\nb"},{"role":"user","content":"c"},{"role":"assistant","content":"d"},{"role":"user","content":"e"}]`
	var messages []text.Message
	if err := json.Unmarshal([]byte(talk), &messages); err != nil {
		t.Fatal(err)
	}
	const bos, eos, user, assistant = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"
	for learn, want := range map[string][]string{
		// The second prompt leaves out the first thought, so it is another example.
		LearnAnswers: {bos + user + "a" + assistant + "[<think>\nt\n</think>\n\nb" + eos + "]", bos + user + "a" + assistant + "b" + eos + user + "c" + assistant + "[d" + eos + "]"},
		LearnLast:    {bos + user + "a" + assistant + "b" + eos + user + "c" + assistant + "[d" + eos + "]"},
		LearnAll:     {"[" + bos + user + "a" + assistant + "<think>\nt\n</think>\n\nb" + eos + "]", "[" + bos + user + "a" + assistant + "b" + eos + user + "c" + assistant + "d" + eos + "]"},
	} {
		enc := &encoder{tok: tok, cfg: text.NewChatConfig(tok, 256), learn: learn}
		examples, err := enc.encode(messages, text.RenderOptions{})
		var got []string
		for _, e := range examples {
			got = append(got, masked(tok, e))
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v\nexpected %q", learn, got, err, want)
		}
	}
	// Without thoughts one example holds both answers.
	messages[1].Content = "b"
	enc := &encoder{tok: tok, cfg: text.NewChatConfig(tok, 256), learn: LearnAnswers, promptWeight: 0}
	examples, err := enc.encode(messages, text.RenderOptions{})
	if err != nil || len(examples) != 1 || masked(tok, examples[0]) != bos+user+"a"+assistant+"[b"+eos+"]"+user+"c"+assistant+"[d"+eos+"]" {
		t.Errorf("%d examples, %v: %q", len(examples), err, masked(tok, examples[0]))
	}
	enc.promptWeight = 0.25
	if examples, _ := enc.encode(messages, text.RenderOptions{}); examples[0].Weights[1] != 0.25 || examples[0].Weights[len(examples[0].Weights)-1] != 1 {
		t.Errorf("the weights are %v", examples[0].Weights)
	}
}

func TestBestFit(t *testing.T) {
	got := bestFit([]int{3, 9, 4, 12, 6, 1}, 10)
	want := [][]int{{3}, {1, 5}, {4, 2}, {0}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the bins are %v, expected %v", got, want)
	}
}

// Each epoch shows every example once, in another order.
func TestStream(t *testing.T) {
	list := newList("test")
	for i := range 20 {
		list.add(Example{Tokens: make([]int32, 2+i), Weights: append([]float32{0, 0.5}, slices.Repeat([]float32{1}, i)...)})
	}
	s := stream{list, 7}
	var epochs [2][]int
	for k := range 40 {
		e, err := s.at(int64(k))
		if err != nil || len(e.Weights) != len(e.Tokens) || e.Weights[1] != 0.5 || e.Weights[len(e.Weights)-1] != 1 && len(e.Tokens) > 2 {
			t.Fatalf("example %d is %+v, %v", k, e, err)
		}
		epochs[k/20] = append(epochs[k/20], len(e.Tokens))
	}
	if slices.Equal(epochs[0], epochs[1]) {
		t.Error("two epochs have one order")
	}
	for _, e := range epochs {
		slices.Sort(e)
		for i, n := range e {
			if n != 2+i {
				t.Fatalf("an epoch has the lengths %v", e)
			}
		}
	}
	part, err := s.take(38, 40, 1000)
	if err != nil || len(part) != 2 {
		t.Errorf("the end of the stream gives %d examples, %v", len(part), err)
	}
}
