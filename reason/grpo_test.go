package reason

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/model"
	"sonde/model/auto"
	"sonde/reason/task"
	"sonde/text"
	"sonde/train"
)

// lessons are what a tiny model learns before it is reinforced; teach where none is named.
var lessons = map[string]func(testing.TB, *Model){}

// tinyConfigs are a dense model and a mixture of experts, of some ten thousand weights.
var tinyConfigs = map[string]string{
	"llama": `{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":300,"hidden_size":32,"intermediate_size":48,
"num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":2,"head_dim":16,"max_position_embeddings":64,"rms_norm_eps":1e-5,"initializer_range":0.05,"tie_word_embeddings":false}`,
	"deepseek": `{"architectures":["DeepseekV3ForCausalLM"],"model_type":"deepseek_v3","vocab_size":300,"hidden_size":32,"intermediate_size":48,"moe_intermediate_size":16,
"num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":2,"n_shared_experts":1,"n_routed_experts":4,"num_experts_per_tok":2,"n_group":1,"topk_group":1,"first_k_dense_replace":1,
"q_lora_rank":null,"kv_lora_rank":16,"qk_nope_head_dim":16,"qk_rope_head_dim":16,"v_head_dim":16,"max_position_embeddings":64,"rms_norm_eps":1e-6,"initializer_range":0.05,
"norm_topk_prob":true,"scoring_func":"sigmoid","topk_method":"noaux_tc","routed_scaling_factor":1.0,"num_nextn_predict_layers":0,"rope_theta":10000,"hidden_act":"silu","attention_bias":false,"tie_word_embeddings":false,"ep_size":1,"moe_layer_freq":1,"aux_loss_alpha":0.0}`,
}

var bases struct {
	sync.Mutex
	dirs map[string]string
}

// base is a folder with a tiny model that has learned to answer any question with some
// digit, a third of the time after a thought, and nothing else.
func base(t testing.TB, arch string) string {
	t.Helper()
	bases.Lock()
	defer bases.Unlock()
	if bases.dirs == nil {
		bases.dirs = map[string]string{}
	}
	if bases.dirs[arch] == "" {
		dir, err := os.MkdirTemp("", "sonde-base")
		if err != nil {
			t.Fatal(err)
		}
		makeBase(t, arch, dir)
		bases.dirs[arch] = dir
	}
	return bases.dirs[arch]
}

func TestMain(m *testing.M) {
	if raw := os.Getenv(childVariable); raw != "" {
		os.Exit(runChild(raw))
	}
	code := m.Run()
	for _, dir := range bases.dirs {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func makeBase(t testing.TB, arch, dir string) {
	be, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer be.Close()
	cfg, _, err := auto.ParseConfig([]byte(tinyConfigs[arch]))
	if err != nil {
		t.Fatal(err)
	}
	tok := smallTokenizer(t)
	m := &Model{Cfg: cfg, Tok: tok, TokCfg: text.NewChatConfig(tok, 64), be: be}
	defer m.Close()
	if err := m.allocate("f32"); err != nil {
		t.Fatal(err)
	}
	m.Net.(interface{ Init(uint64) }).Init(3)
	for _, b := range m.Net.Biases() {
		be.Zero(b)
	}
	lesson := lessons[arch]
	if lesson == nil {
		lesson = teach
	}
	lesson(t, m)
	json := func(raw []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	m.files = checkpoint.HF{ConfigJSON: json(cfg.MarshalJSON()), TokenizerJSON: json(tok.JSON()), TokenizerConfigJSON: json(m.TokCfg.JSON())}
	if err := m.Save(dir); err != nil {
		t.Fatal(err)
	}
}

// teach trains on answers that are digits drawn evenly.
func teach(t testing.TB, m *Model) {
	opt, ar, rng := train.NewOptimizer(m.Net), m.be.NewArena("records"), rand.New(rand.NewPCG(1, 1))
	defer opt.Free()
	defer ar.Free()
	prompt, err := m.Prompt("Which digit?", ThinkAuto)
	if err != nil {
		t.Fatal(err)
	}
	for range 60 {
		var p told
		for range 32 {
			answer := string(rune('0' + rng.IntN(10)))
			if rng.IntN(3) == 0 {
				answer = "<think>\nso " + answer + "\n</think>\n\n" + answer
			}
			ids := append(m.Tok.EncodeWithSpecial(answer), m.Tok.EOS())
			p.tell(prompt, ids)
		}
		ar.Reset()
		p.learn(m, ar, opt, 1./32)
		opt.Step(0.01, 0, min(1, 1/opt.GradNorm()))
	}
}

// smallTokenizer has hardly more than the bytes and the control tokens.
func smallTokenizer(t testing.TB) *text.Tokenizer {
	t.Helper()
	docs := func(yield func([]byte) bool) { yield([]byte("some text to make a vocabulary of")) }
	tok, err := text.TrainBPE(context.Background(), docs, text.TrainOptions{VocabSize: 300, SingleDigits: true})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// told are answers to prompts, for a model to learn in one pass.
type told struct{ model.Packed }

func (p *told) tell(prompt, answer []int32) {
	p.Lens = append(p.Lens, len(prompt)+len(answer)-1)
	p.Tokens = append(append(p.Tokens, prompt...), answer[:len(answer)-1]...)
	p.Targets = append(append(p.Targets, slices.Repeat([]int32{-1}, len(prompt)-1)...), answer...)
}

// learn adds the gradient of the answers' tokens, each weighing so much.
func (p *told) learn(m *Model, ar *compute.Arena, opt *train.Optimizer, weight float32) {
	coef := make([]float32, len(p.Targets))
	for i, target := range p.Targets {
		if target >= 0 {
			coef[i] = -weight
		}
	}
	m.Net.Learn(ar, p.Packed, model.StepOptions{Scale: 1}).Backward(coef, opt.Grads())
}

// sevens asks for a digit and wants 7.
func sevensMix() task.Mix {
	return task.Mix{{Weight: 1, Low: 1, High: 1, Task: task.Family{About: task.Info{Name: "seven", Default: 1, Hard: 1},
		Make: func(rng *rand.Rand, _ int) task.Problem {
			return task.Problem{Prompt: "Which digit?", Canonical: string([]rune{rune('a' + rng.IntN(26)), rune('a' + rng.IntN(26))}), Answer: "7"}
		}}}}
}

// short is a run of a few seconds.
func short(t testing.TB, arch, out string) GRPOConfig {
	return GRPOConfig{Backend: cpuBackend(t, 2), Mix: sevensMix(), GRPOOptions: GRPOOptions{Model: base(t, arch), Out: out,
		Steps: 40, Prompts: 4, Group: 16, MaxTokens: 24, LR: 2e-3, EvalProblems: 16, EvalEvery: 10}}
}

func TestGRPOLearns(t *testing.T) {
	for _, arch := range []string{"llama", "deepseek"} {
		out := filepath.Join(t.TempDir(), "run")
		s, err := GRPO(context.Background(), short(t, arch, out), testWriter{t})
		if err != nil {
			t.Fatal(err)
		}
		if s.Before.Sampled > 0.5 || s.After.Sampled < 0.9 || s.After.Greedy != 1 {
			t.Errorf("%s: before %v, after %v", arch, s.Before, s.After)
		}
		recs, err := train.ReadJournal(out)
		if err != nil || len(recs) != 40 {
			t.Fatalf("%s: %d steps, %v", arch, len(recs), err)
		}
		for _, r := range recs {
			if ratio, ok := r.Get("ratio_max"); !ok || ratio != 1 {
				t.Errorf("%s, step %d: the largest ratio is %v", arch, r.Step, ratio)
			}
		}
	}
}

// TestGRPODoesNotDependOnTheSplit: threads, slots and the size of a pass change nothing of
// what is written; the ratio is 1 whatever they are.
func TestGRPODoesNotDependOnTheSplit(t *testing.T) {
	for _, arch := range []string{"llama", "deepseek"} {
		var want []string
		for i, s := range []struct{ threads, slots, micro int }{{2, 0, 8192}, {1, 5, 8192}, {2, 64, 100}, {2, 1, 1}} {
			c := short(t, arch, filepath.Join(t.TempDir(), "run"))
			c.Backend, c.Slots, c.Micro, c.Steps, c.EvalProblems = cpuBackend(t, s.threads), s.slots, s.micro, 3, -1
			if _, err := GRPO(context.Background(), c, io.Discard); err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(train.RolloutsPath(c.Out, 1))
			if err != nil {
				t.Fatal(err)
			}
			if got := []string{string(raw)}; i == 0 {
				want = got
			} else if !slices.Equal(got, want) {
				t.Errorf("%s, %+v: the rollouts differ", arch, s)
			}
			recs, _ := train.ReadJournal(c.Out)
			for _, r := range recs {
				if ratio, _ := r.Get("ratio_max"); ratio != 1 {
					t.Errorf("%s, %+v, step %d: the largest ratio is %v", arch, s, r.Step, ratio)
				}
			}
		}
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) { w.t.Logf("%s", b); return len(b), nil }

var _ io.Writer = testWriter{}
