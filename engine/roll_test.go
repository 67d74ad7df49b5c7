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
	"sonde/model/llama"
)

const tinyLlama = `{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":37,"hidden_size":32,"intermediate_size":48,
"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":8,"max_position_embeddings":64,"rms_norm_eps":1e-5,"initializer_range":0.3}`

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
	return map[string]model.Learner{"llama": l}
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
		if len(want) != 11 || len(lengths) < 3 {
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
// same texts, packed in one way or another.
func TestRollHasTheTrainersBits(t *testing.T) {
	for name, l := range learners(t, 2) {
		rolls := somePrompts()
		texts := rolled(t, l, rolls, params())
		for _, split := range []int{1, 4, 100} {
			var packed model.Packed
			var want []float32
			check := func() {
				ar := l.Backend().NewArena("records")
				defer ar.Free()
				logp, _ := l.Learn(ar, packed, model.StepOptions{}).LogProbs()
				for i := range want {
					if math.Float32bits(logp[i]) != math.Float32bits(want[i]) {
						t.Fatalf("%s: row %d of a pack of %d has %v, its rollout %v", name, i, split, logp[i], want[i])
					}
				}
				packed, want = model.Packed{}, nil
			}
			for _, x := range texts {
				prompt := rolls[x.Roll].Prompt
				packed.Lens = append(packed.Lens, len(prompt)+len(x.Tokens)-1)
				packed.Tokens = append(append(packed.Tokens, prompt...), x.Tokens[:len(x.Tokens)-1]...)
				for range len(prompt) - 1 {
					packed.Targets, want = append(packed.Targets, -1), append(want, 0)
				}
				packed.Targets, want = append(packed.Targets, x.Tokens...), append(want, x.LogProbs...)
				if len(packed.Lens) == split {
					check()
				}
			}
			if len(packed.Lens) > 0 {
				check()
			}
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
