package serve

import (
	"encoding/json"
	"math/rand/v2"

	"sonde/engine"
)

// sampling is what both endpoints share.
type sampling struct {
	Model         string      `json:"model"`
	MaxTokens     *int        `json:"max_tokens"`
	Temperature   *float64    `json:"temperature"`
	TopP          *float64    `json:"top_p"`
	TopK          *int        `json:"top_k"`
	MinP          *float64    `json:"min_p"`
	Seed          *int64      `json:"seed"`
	N             *int        `json:"n"`
	Stop          *stringList `json:"stop"`
	Stream        bool        `json:"stream"`
	StreamOptions *struct {
		IncludeUsage       bool `json:"include_usage"`
		IncludeObfuscation bool `json:"include_obfuscation"`
	} `json:"stream_options"`
}

const samplingNames = "model max_tokens temperature top_p top_k min_p seed n stop stream stream_options "

// stringList is a string or a list of strings.
type stringList []string

// UnmarshalJSON takes both forms.
func (l *stringList) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*l = stringList{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(raw, &many); err != nil {
		return invalid("stop", "stop must be a string or a list of strings")
	}
	*l = many
	return nil
}

// maxChoices caps n, and n times the number of prompts.
const maxChoices = 8

// choices is n, checked.
func (s *sampling) choices() (int, error) {
	if s.N == nil {
		return 1, nil
	}
	if *s.N < 1 || *s.N > maxChoices {
		return 0, invalid("n", "n is %d; it must lie between 1 and %d", *s.N, maxChoices)
	}
	return *s.N, nil
}

// params are the engine's, with the model's defaults and a random seed.
func (s *sampling) params(m Model) (engine.Params, error) {
	p := engine.Params{Seed: rand.Uint64()}
	p.Temperature, p.TopP = defaultSampling(m)
	if s.Temperature != nil {
		p.Temperature = *s.Temperature
	}
	if s.TopP != nil {
		// The engine's 0 is "off", the API's the most probable token alone.
		if p.TopP = *s.TopP; p.TopP == 0 {
			p.TopP = 1e-12
		}
	}
	if s.TopK != nil {
		// Elsewhere -1 is a common spelling of "off".
		if p.TopK = *s.TopK; p.TopK == -1 {
			p.TopK = 0
		}
	}
	if s.MinP != nil {
		p.MinP = *s.MinP
	}
	if s.Seed != nil {
		p.Seed = uint64(*s.Seed)
	}
	if s.MaxTokens != nil {
		p.MaxTokens = *s.MaxTokens
	}
	if s.Stop != nil {
		p.Stop = *s.Stop
	}
	return p, p.Validate()
}

// wantsUsage reports whether a stream should end with a chunk of token counts.
func (s *sampling) wantsUsage() bool { return s.StreamOptions != nil && s.StreamOptions.IncludeUsage }

// usage counts tokens.
type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

func (u *usage) add(prompt, completion int) {
	u.PromptTokens += prompt
	u.CompletionTokens += completion
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
}
