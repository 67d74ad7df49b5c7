package engine_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"sonde/compute/cpu"
	"sonde/engine"
	"sonde/model"
	"sonde/model/deepseek"
	"sonde/model/llama"
)

const tinyLlama = `{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":37,"hidden_size":32,"intermediate_size":48,
"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":8,"max_position_embeddings":64,"rms_norm_eps":1e-5,"initializer_range":0.3}`

const tinyDeepSeek = `{"architectures":["DeepseekV3ForCausalLM"],"model_type":"deepseek_v3","vocab_size":37,"hidden_size":32,"intermediate_size":48,"moe_intermediate_size":16,
"num_hidden_layers":3,"num_attention_heads":2,"num_key_value_heads":2,"n_shared_experts":1,"n_routed_experts":6,"num_experts_per_tok":2,"n_group":1,"topk_group":1,"first_k_dense_replace":1,
"q_lora_rank":null,"kv_lora_rank":16,"qk_nope_head_dim":16,"qk_rope_head_dim":16,"v_head_dim":16,"max_position_embeddings":64,"rms_norm_eps":1e-6,"initializer_range":0.3,
"norm_topk_prob":true,"scoring_func":"sigmoid","topk_method":"noaux_tc","routed_scaling_factor":1.0,"num_nextn_predict_layers":0,"rope_theta":10000}`

// learners are small models of each architecture with drawn weights.
func learners(t *testing.T, threads int) map[string]model.Learner {
	t.Helper()
	be, err := cpu.New(cpu.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	ar := be.NewArena("weights")
	t.Cleanup(func() { ar.Free(); be.Close() })
	lc, _, err := llama.ParseConfig([]byte(tinyLlama))
	if err != nil {
		t.Fatal(err)
	}
	l := llama.New(lc, be, ar)
	l.Init(7)
	dc, _, err := deepseek.ParseConfig([]byte(tinyDeepSeek))
	if err != nil {
		t.Fatal(err)
	}
	d := deepseek.New(dc, be, ar)
	d.Init(7)
	return map[string]model.Learner{"llama": l, "deepseek": d}
}

// somePrompts are groups of different lengths.
func somePrompts() []engine.Roll {
	var out []engine.Roll
	for i := range 5 {
		r := engine.Roll{Samples: 1 + i%4, Seed: uint64(100 + i)}
		for j := range 3 + 2*i {
			r.Prompt = append(r.Prompt, int32((7*i+5*j)%37))
		}
		out = append(out, r)
	}
	return out
}

func rolled(t *testing.T, l model.Learner, rolls []engine.Roll, p engine.RollParams) map[string]*engine.Rolled {
	t.Helper()
	r := engine.NewRoller(l)
	defer r.Close()
	out := map[string]*engine.Rolled{}
	for range 2 { // the second time with the sequences of the first
		clear(out)
		if err := r.Roll(context.Background(), rolls, p, func(x *engine.Rolled) { out[fmt.Sprint(x.Roll, "/", x.Sample)] = x }); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func params() engine.RollParams {
	return engine.RollParams{Params: engine.Params{Temperature: 1, MaxTokens: 20, LogProbs: true, Seed: 3}, EOS: 2}
}

// TestRollDoesNotDependOnTheBatch: slots, pieces and threads change no token and no bit.
func TestRollDoesNotDependOnTheBatch(t *testing.T) {
	for name := range learners(t, 1) {
		want := rolled(t, learners(t, 1)[name], somePrompts(), params())
		lengths := map[int]bool{}
		for _, x := range want {
			lengths[len(x.Tokens)] = true
		}
		if len(want) != 11 || len(lengths) < 2 {
			t.Fatalf("%s: %d texts of lengths %v", name, len(want), lengths)
		}
		for _, c := range []struct{ threads, slots, piece int }{{2, 0, 0}, {1, 1, 0}, {2, 3, 1}, {1, 7, 5}} {
			p := params()
			p.Slots, p.Piece = c.slots, c.piece
			got := rolled(t, learners(t, c.threads)[name], somePrompts(), p)
			for k, w := range want {
				g := got[k]
				if g == nil || !slices.Equal(g.Tokens, w.Tokens) || !slices.Equal(g.LogProbs, w.LogProbs) || g.Finish != w.Finish {
					t.Fatalf("%s, %+v: text %s is %+v, want %+v", name, c, k, g, w)
				}
			}
		}
	}
}

// TestRollHasTheTrainersBits: the log-probabilities are those of a training pass over the
// same texts, packed in one way or another, whatever filters and temperature are on; with
// the routes that were noted too.
func TestRollHasTheTrainersBits(t *testing.T) {
	plain, cool, cut, masked := params(), params(), params(), params()
	cool.Temperature = 0.7
	cut.Temperature, cut.TopK, cut.TopP = 1.3, 20, 0.9
	masked.TopP, masked.MinP, masked.KeepMask, masked.KeepRoutes = 0.8, 0.01, true, true
	for name, l := range learners(t, 2) {
		for i, p := range []engine.RollParams{plain, cool, cut, masked} {
			texts := rolled(t, l, somePrompts(), p)
			for _, split := range []int{1, 4, 100} {
				t.Run(fmt.Sprint(name, "/", i, "/", split), func(t *testing.T) { sameBits(t, l, texts, p, split) })
			}
		}
	}
}

// sameBits learns from texts, split at a time, and compares.
func sameBits(t *testing.T, l model.Learner, texts map[string]*engine.Rolled, p engine.RollParams, split int) {
	rolls, pk := somePrompts(), pack{Packed: model.Packed{Temperature: float32(p.Temperature)}}
	limited := 0
	for _, x := range texts {
		pk.add(rolls[x.Roll].Prompt, x, p)
		for i, ids := range x.Allowed {
			if !slices.Contains(ids, x.Tokens[i]) || !slices.IsSorted(ids) {
				t.Fatalf("token %d was drawn from %v", x.Tokens[i], ids)
			}
			limited++
		}
		if len(pk.Lens) == split {
			pk.check(t, l)
			pk = pack{Packed: model.Packed{Temperature: float32(p.Temperature)}}
		}
	}
	if len(pk.Lens) > 0 {
		pk.check(t, l)
	}
	if p.KeepMask != (limited > 0) {
		t.Errorf("%d tokens have a mask", limited)
	}
}

// pack is texts laid side by side with what their rollouts say.
type pack struct {
	model.Packed
	want []float32
}

func (k *pack) add(prompt []int32, x *engine.Rolled, p engine.RollParams) {
	k.Lens = append(k.Lens, len(prompt)+len(x.Tokens)-1)
	k.Tokens = append(append(k.Tokens, prompt...), x.Tokens[:len(x.Tokens)-1]...)
	for range len(prompt) - 1 {
		k.Targets, k.want = append(k.Targets, -1), append(k.want, 0)
	}
	k.Targets, k.want = append(k.Targets, x.Tokens...), append(k.want, x.LogProbs...)
	if p.KeepMask {
		k.Allowed = append(append(k.Allowed, make([][]int32, len(prompt)-1)...), x.Allowed...)
	}
	if len(x.Routes) > 0 && k.Routes == nil {
		k.Routes = make([][]int32, len(x.Routes))
	}
	for i, r := range x.Routes {
		k.Routes[i] = append(k.Routes[i], r...)
	}
}

func (k *pack) check(t *testing.T, l model.Learner) {
	t.Helper()
	ar := l.Backend().NewArena("records")
	defer ar.Free()
	logp, _ := l.Learn(ar, k.Packed, model.StepOptions{}).LogProbs()
	for i, w := range k.want {
		if math.Float32bits(logp[i]) != math.Float32bits(w) {
			t.Fatalf("row %d has %v, its rollout %v", i, logp[i], w)
		}
	}
	for i, r := range k.Routes {
		if len(r)%len(k.Tokens) != 0 || len(r) == 0 {
			t.Fatalf("layer %d has %d routes for %d rows", i, len(r), len(k.Tokens))
		}
	}
}

// TestRollEnds: texts end at the end token, which belongs to them, at the length, or at
// the context's end.
func TestRollEnds(t *testing.T) {
	for name, l := range learners(t, 1) {
		p := params()
		p.MaxTokens = 0
		p.EOS = -1
		p.StopTokens = []int32{5}
		stopped := 0
		rolls := somePrompts()
		for _, x := range rolled(t, l, rolls, p) {
			last := x.Tokens[len(x.Tokens)-1]
			switch {
			case x.Finish == engine.FinishStop && last == 5 && slices.Index(x.Tokens, 5) == len(x.Tokens)-1:
				stopped++
			case x.Finish == engine.FinishLength && len(rolls[x.Roll].Prompt)+len(x.Tokens) == 64 && !slices.Contains(x.Tokens, 5):
			default:
				t.Errorf("%s: %v ended with %q", name, x.Tokens, x.Finish)
			}
		}
		if stopped == 0 {
			t.Errorf("%s: no text of 11 came to its end token", name)
		}
	}
}
