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

// PresetNames lists the built-in configs of all architectures.
func PresetNames() []string { return slices.Concat(deepseek.PresetNames(), llama.PresetNames()) }

// Preset is a built-in config by name.
func Preset(name string) (model.Config, error) {
	if slices.Contains(deepseek.PresetNames(), name) {
		return deepseek.Preset(name)
	}
	if slices.Contains(llama.PresetNames(), name) {
		return llama.Preset(name)
	}
	return nil, fmt.Errorf("no preset is named %q; there are %s", name, strings.Join(PresetNames(), ", "))
}

// New allocates a model in ar, to which nothing is written; its weights are undefined
// until they are loaded or drawn. Matrices have the format dt. It panics on a config that
// is not ParseConfig's.
func New(cfg model.Config, be compute.Backend, ar *compute.Arena, dt compute.DType) model.Trainer {
	switch c := cfg.(type) {
	case *deepseek.Config:
		return deepseek.NewWith(c, be, ar, dt)
	case *llama.Config:
		return llama.NewWith(c, be, ar, dt)
	}
	panic(unknown(cfg))
}

func unknown(cfg model.Config) string {
	return fmt.Sprintf("auto: no architecture has configs of type %T", cfg)
}

// SetVocab fits a config to a tokenizer: its number of tokens, and those that begin and
// end a text.
func SetVocab(cfg model.Config, vocab, bos, eos int) {
	switch c := cfg.(type) {
	case *deepseek.Config:
		c.VocabSize, c.BOSTokenID, c.EOSTokenID = vocab, bos, eos
	case *llama.Config:
		c.VocabSize, c.BOSTokenID, c.EOSTokenIDs = vocab, bos, []int{eos}
	default:
		panic(unknown(cfg))
	}
}

// MTPDepth is the number of modules that predict further tokens (DeepSeek-V3, section
// 2.2), 0 for architectures without.
func MTPDepth(cfg model.Config) int {
	if c, ok := cfg.(*deepseek.Config); ok {
		return c.NumNextnPredict
	}
	return 0
}

// DropMTP makes a config one without such modules.
func DropMTP(cfg model.Config) {
	if c, ok := cfg.(*deepseek.Config); ok {
		c.NumNextnPredict = 0
	}
}
