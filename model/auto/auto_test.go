package auto

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"sonde/compute"
	"sonde/internal/golden"
	"sonde/model"
)

// TestGoldenConfigs: every case of the folder becomes a model whose sequences grow, with
// the weights that its file holds.
func TestGoldenConfigs(t *testing.T) {
	be := compute.NewReference()
	for _, c := range golden.Cases(t, "model") {
		raw, err := os.ReadFile(c.Path("config.json"))
		if err != nil {
			t.Fatal(err)
		}
		cfg, warnings, err := ParseConfig(raw)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", c.Name, warnings, err)
			continue
		}
		if !slices.Contains(Architectures(), cfg.Architecture()) || !strings.Contains(string(raw), cfg.Architecture()) {
			t.Errorf("%s: taken for %s", c.Name, cfg.Architecture())
		}
		func() {
			ar := be.NewArena("test")
			defer ar.Free()
			net := New(cfg, be, ar, compute.F32)
			defer net.Close()
			file := golden.Read(t, c.Path("model.safetensors"))
			for _, p := range net.Params() {
				if w := golden.Get(t, file, p.Name); !slices.Equal(w.Shape, p.Shape) {
					t.Errorf("%s: %s has the shape %v in the file, %v in the model", c.Name, p.Name, w.Shape, p.Shape)
				}
			}
			if got := net.Describe(); got != cfg {
				t.Errorf("%s: describes itself as %v", c.Name, got)
			}
			s := net.NewSequence(4)
			defer s.Close()
			parts := []model.Part{{Sequence: s, IDs: []int32{1, 2}, Want: model.WantLast}}
			if err := net.Forward(parts); err != nil || len(parts[0].Logits) != cfg.Vocab() || s.Len() != 2 {
				t.Errorf("%s: %d logits, %d tokens, %v", c.Name, len(parts[0].Logits), s.Len(), err)
			}
		}()
		again, err := cfg.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if other, _, err := ParseConfig(again); err != nil || other.TotalParams() != cfg.TotalParams() {
			t.Errorf("%s: %s comes back as %v, %v", c.Name, again, other, err)
		}
	}
}

// TestByModelType: a file without "architectures" is known by its model_type.
func TestByModelType(t *testing.T) {
	const qwen = `{"model_type":"qwen2","vocab_size":9,"hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":2,"max_position_embeddings":16}`
	c, _, err := ParseConfig([]byte(qwen))
	if err != nil || c.Architecture() != "Qwen2ForCausalLM" {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestRefusals(t *testing.T) {
	for config, want := range map[string]string{
		`[]`:                    "not a JSON object",
		`{}`:                    "Qwen3ForCausalLM",
		`{"architectures":7}`:   "architectures",
		`{"model_type":"bert"}`: "LlamaForCausalLM",
		`{"architectures":["T5ForConditionalGeneration"],"model_type":"llama"}`: "T5ForConditionalGeneration",
		`{"architectures":["LlamaForCausalLM"]}`:                                "vocab_size",
		`{"architectures":["DeepseekV3ForCausalLM"]}`:                           "is missing",
	} {
		c, _, err := ParseConfig(json.RawMessage(config))
		if !errors.Is(err, model.ErrConfig) || !strings.Contains(err.Error(), want) || c != nil {
			t.Errorf("%s: got %v, %v, expected an error with %s", config, c, err, want)
		}
	}
}
