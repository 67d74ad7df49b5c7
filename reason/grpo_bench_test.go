package reason

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"sonde/engine"
	"sonde/model"
	"sonde/model/auto"
	"sonde/reason/task"
	"sonde/train"
)

// benchConfigs are models of about 0.36 million active weights, 3 layers of width 96.
var benchConfigs = map[string]string{
	"bench-dense": `{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":300,"hidden_size":96,"intermediate_size":256,
"num_hidden_layers":3,"num_attention_heads":3,"num_key_value_heads":3,"head_dim":32,"max_position_embeddings":64,"rms_norm_eps":1e-5,"initializer_range":0.05,"tie_word_embeddings":false}`,
	"bench-moe": `{"architectures":["DeepseekV3ForCausalLM"],"model_type":"deepseek_v3","vocab_size":300,"hidden_size":96,"intermediate_size":256,"moe_intermediate_size":64,
"num_hidden_layers":3,"num_attention_heads":4,"num_key_value_heads":4,"n_shared_experts":1,"n_routed_experts":8,"num_experts_per_tok":2,"n_group":1,"topk_group":1,"first_k_dense_replace":1,
"q_lora_rank":null,"kv_lora_rank":48,"qk_nope_head_dim":16,"qk_rope_head_dim":16,"v_head_dim":16,"max_position_embeddings":64,"rms_norm_eps":1e-6,"initializer_range":0.05,
"norm_topk_prob":true,"scoring_func":"sigmoid","topk_method":"noaux_tc","routed_scaling_factor":1.0,"num_nextn_predict_layers":0,"rope_theta":10000,"hidden_act":"silu","attention_bias":false,"tie_word_embeddings":false,"ep_size":1,"moe_layer_freq":1,"aux_loss_alpha":0.0}`,
}

func init() {
	for k, v := range benchConfigs {
		tinyConfigs[k] = v
		lessons[k] = lessonSums
	}
}

// lessonSums are 300 batches of chain sums, a quarter of them written out.
func lessonSums(t testing.TB, m *Model) {
	opt, ar, rng := train.NewOptimizer(m.Net), m.be.NewArena("records"), task.NewRand(5)
	defer opt.Free()
	defer ar.Free()
	for step := range 300 {
		var p told
		for range 64 {
			x := task.BareChainSum(10).Generate(rng, 4)
			prompt, err := m.Prompt(x.Prompt, ThinkAuto)
			if err != nil {
				t.Fatal(err)
			}
			answer := x.Answer
			if rng.IntN(4) == 0 {
				answer = "<think>\n" + x.Thought + "\n</think>\n\n" + answer
			}
			ids := append(m.Tok.EncodeWithSpecial(answer), m.Tok.EOS())
			p.tell(prompt, ids)
		}
		ar.Reset()
		p.learn(m, ar, opt, 1./400)
		opt.Step(3e-3*min(1, float64(step)/50), 0, min(1, 1/opt.GradNorm()))
	}
}

// BenchmarkGRPO is the time of a step of 32 problems x 16 answers, chain sums of 12 to 16
// terms.
func BenchmarkGRPO(b *testing.B) {
	for name := range benchConfigs {
		b.Run(name, func(b *testing.B) {
			base(b, name)
			out := filepath.Join(b.TempDir(), "run")
			c := GRPOConfig{Backend: cpuBackend(b, 2), GRPOOptions: GRPOOptions{Model: base(b, name), Out: out, Tasks: "chain-sum-bare@4",
				Objective: "dapo", Dynamic: false, Std: ptr(false), MaxTokens: 32, LR: 3e-4, EvalProblems: -1, Steps: max(b.N, 3), SaveEvery: 1000}}
			if len(os.Getenv("SONDE_SHOW")) > 0 {
				c.EvalProblems = 256
			}
			var w io.Writer = io.Discard
			if len(os.Getenv("SONDE_SHOW")) > 0 {
				w = os.Stderr
			}
			if _, err := GRPO(context.Background(), c, w); err != nil {
				b.Fatal(err)
			}
			recs, err := train.ReadJournal(out)
			if err != nil {
				b.Fatal(err)
			}
			mean := func(n string) (m float64) {
				for _, r := range recs[1:] {
					v, _ := r.Get(n)
					m += v / float64(len(recs)-1)
				}
				return m
			}
			for _, n := range []string{"seconds", "gen_share", "gen_tokens_per_s", "tokens_per_s", "length", "accuracy"} {
				b.ReportMetric(mean(n), n)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkRollouts compares many texts side by side with one at a time, for the models of
// the recipes, a dense one and the preset mini, which no cache holds; their weights are
// fresh: what a token costs does not depend on what it is.
func BenchmarkRollouts(b *testing.B) {
	configs := map[string]model.Config{}
	add := func(name, config string) {
		cfg, _, err := auto.ParseConfig([]byte(config))
		if err != nil {
			b.Fatal(err)
		}
		configs[name] = cfg
	}
	add("dense", benchConfigs["bench-dense"])
	for _, name := range RecipeNames() {
		r, err := RecipeByName(name)
		if err != nil {
			b.Fatal(err)
		}
		add(name, string(r.Model))
	}
	mini, err := auto.Preset("mini")
	if err != nil {
		b.Fatal(err)
	}
	configs["mini"] = mini
	tok := smallTokenizer(b)
	for name, cfg := range configs {
		m, err := New(Fresh{Cfg: cfg, Tok: tok}, cpuBackend(b, 2), OpenOptions{}, 1)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(m.Close)
		ids, err := m.Prompt("12345678901234", ThinkForce)
		if err != nil {
			b.Fatal(err)
		}
		for _, slots := range []int{1, 16, 64, 128, 256, 512} {
			b.Run(fmt.Sprint(name, "/", slots), func(b *testing.B) { benchmarkRollouts(b, m, ids, slots) })
		}
	}
}

// benchmarkRollouts writes texts of 24 tokens, slots at a time.
func benchmarkRollouts(b *testing.B, m *Model, ids []int32, slots int) {
	r := engine.NewRoller(m.Net)
	defer r.Close()
	tokens := 0
	p := engine.RollParams{EOS: -1, Slots: slots, Params: engine.Params{Temperature: 1, MaxTokens: 24, LogProbs: true}}
	for i := range b.N {
		rolls := make([]engine.Roll, (slots+15)/16)
		for k := range rolls {
			rolls[k] = engine.Roll{Prompt: ids, Samples: min(16, slots), Seed: uint64(1000*i + k)}
		}
		if err := r.Roll(context.Background(), rolls, p, func(x *engine.Rolled) { tokens += len(x.Tokens) }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
}
