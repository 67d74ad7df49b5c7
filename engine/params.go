package engine

import (
	"fmt"
	"math"
)

// Params says how the next tokens are chosen and when to end. The zero value is
// greedy decoding up to the end of the context.
type Params struct {
	// Temperature divides the logits; 0 takes the most probable token.
	Temperature float64
	// TopK keeps the K most probable tokens; 0 keeps all.
	TopK int
	// TopP keeps the fewest most probable tokens whose probabilities, among those
	// that TopK left, reach TopP (nucleus sampling, Holtzman et al.); 0 and 1 keep all.
	TopP float64
	// MinP drops tokens less probable than MinP times the most probable one; 0 keeps all.
	MinP float64
	// Seed fixes the draws: the same seed, prompt and parameters give the same text.
	Seed uint64
	// MaxTokens ends the text after so many tokens; 0 goes on to the context's end.
	MaxTokens int
	// Stop holds strings that end the text; they are not part of it.
	Stop []string
	// StopTokens holds ids that end the text as the end-of-sequence token does.
	StopTokens []int32
	// IgnoreEOS goes on past the end-of-sequence token, to measure speed.
	IgnoreEOS bool
	// LogProbs asks for the log-probability of each token, TopLogProbs for so many
	// of the most probable alternatives beside it.
	LogProbs    bool
	TopLogProbs int
}

// Bounds of what a request may ask for.
const (
	MaxStops       = 16   // stop strings
	MaxStopBytes   = 1024 // bytes of one stop string
	MaxTopLogProbs = 20   // alternatives per token
)

// ParamError is a parameter outside its range. Name is the field as the HTTP API
// spells it.
type ParamError struct {
	Name, Problem string
}

// Error names the parameter and what it may be.
func (e *ParamError) Error() string { return e.Name + " " + e.Problem }

// Validate checks every field; the error is a *ParamError.
func (p Params) Validate() error {
	switch {
	case !(p.Temperature >= 0) || math.IsInf(p.Temperature, 0):
		return &ParamError{"temperature", fmt.Sprintf("is %v; it must be a number from 0 (greedy) up", p.Temperature)}
	case !(p.TopP >= 0 && p.TopP <= 1):
		return &ParamError{"top_p", fmt.Sprintf("is %v; it must lie between 0 and 1", p.TopP)}
	case !(p.MinP >= 0 && p.MinP <= 1):
		return &ParamError{"min_p", fmt.Sprintf("is %v; it must lie between 0 and 1", p.MinP)}
	case p.TopK < 0:
		return &ParamError{"top_k", fmt.Sprintf("is %d; it must be 0 (off) or more", p.TopK)}
	case p.MaxTokens < 0:
		return &ParamError{"max_tokens", fmt.Sprintf("is %d; it must not be negative", p.MaxTokens)}
	case p.TopLogProbs < 0 || p.TopLogProbs > MaxTopLogProbs:
		return &ParamError{"top_logprobs", fmt.Sprintf("is %d; it must lie between 0 and %d", p.TopLogProbs, MaxTopLogProbs)}
	case len(p.Stop) > MaxStops:
		return &ParamError{"stop", fmt.Sprintf("holds %d strings; at most %d are allowed", len(p.Stop), MaxStops)}
	}
	for _, s := range p.Stop {
		if s == "" || len(s) > MaxStopBytes {
			return &ParamError{"stop", fmt.Sprintf("holds a string of %d bytes; each must have 1 to %d", len(s), MaxStopBytes)}
		}
	}
	return nil
}
