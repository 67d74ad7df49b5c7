// Package auto chooses the architecture by what config.json says, so that the rooms
// above need not know which there are.
package auto

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sonde/compute"
	"sonde/model"
	"sonde/model/deepseek"
	"sonde/model/llama"
)

// kinds lists the architectures: their class in transformers and the model_type that
// stands for them where a file names no class.
var kinds = []struct {
	class, modelType string
	parse            func([]byte) (model.Config, []string, error)
}{
	{deepseek.V2, "deepseek_v2", parseDeepSeek}, {deepseek.V3, "deepseek_v3", parseDeepSeek}, {deepseek.V32, "deepseek_v32", parseDeepSeek},
	{"LlamaForCausalLM", "llama", parseLlama}, {"MistralForCausalLM", "mistral", parseLlama},
	{"Qwen2ForCausalLM", "qwen2", parseLlama}, {"Qwen3ForCausalLM", "qwen3", parseLlama},
}

// Architectures lists the classes that ParseConfig knows.
func Architectures() []string {
	var out []string
	for _, k := range kinds {
		out = append(out, k.class)
	}
	return out
}

// ParseConfig reads a config.json of any architecture here. Unknown keys are returned as
// warnings; errors wrap model.ErrConfig.
func ParseConfig(data []byte) (model.Config, []string, error) {
	keys, err := model.ReadKeys(data)
	if err != nil {
		return nil, nil, err
	}
	var archs []string
	var mt string
	if err := errors.Join(keys.Read("architectures", &archs), keys.Read("model_type", &mt)); err != nil {
		return nil, nil, err
	}
	for _, k := range kinds {
		if slices.Contains(archs, k.class) || len(archs) == 0 && mt == k.modelType {
			return k.parse(data)
		}
	}
	return nil, nil, model.BadKey("architectures", "is %q (model_type %q), which does not run here; these do: %s", archs, mt, strings.Join(Architectures(), ", "))
}

func parseDeepSeek(data []byte) (model.Config, []string, error) {
	c, warnings, err := deepseek.ParseConfig(data)
	if err != nil {
		return nil, nil, err
	}
	return c, warnings, nil
}

func parseLlama(data []byte) (model.Config, []string, error) {
	c, warnings, err := llama.ParseConfig(data)
	if err != nil {
		return nil, nil, err
	}
	return c, warnings, nil
}

// New allocates a model in ar, to which nothing is written; its weights are undefined
// until they are loaded. Matrices have the format dt. It panics on a config that is not
// ParseConfig's.
func New(cfg model.Config, be compute.Backend, ar *compute.Arena, dt compute.DType) model.Net {
	switch c := cfg.(type) {
	case *deepseek.Config:
		return deepseek.NewWith(c, be, ar, dt)
	case *llama.Config:
		return llama.NewWith(c, be, ar, dt)
	}
	panic(fmt.Sprintf("auto: no architecture has configs of type %T", cfg))
}
