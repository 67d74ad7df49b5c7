package reason

import (
	"fmt"

	"sonde/text"
)

// Example is a text to learn from, in tokens.
type Example struct {
	Tokens []int32
	// Weights says for each token how much predicting it from those before counts: 1 for
	// what the model is to write, 0 for what it is given.
	Weights []float32
}

// learned is the number of tokens that count.
func (e *Example) learned() int {
	n := 0
	for _, w := range e.Weights[1:] {
		if w > 0 {
			n++
		}
	}
	return n
}

// Source gives examples by their number: for the same number the same one, however often
// and in whatever order they are asked for.
type Source interface {
	// Len is the number of examples; 0 stands for a source without end.
	Len() int64
	// At is example i, from 0.
	At(i int64) (Example, error)
	// Name says what the source is, in a way that differs for another one: a run goes on
	// with the data that it began with.
	Name() string
}

// The values of Learn: which tokens are learned from.
const (
	LearnAnswers = "answers" // all that assistants say, with the ends of their turns
	LearnLast    = "last"    // the last turn of an assistant alone
	LearnAll     = "all"     // every token
)

// encoder turns conversations into examples.
type encoder struct {
	tok          *text.Tokenizer
	cfg          *text.TokenizerConfig
	learn        string
	promptWeight float32 // of tokens that are not an assistant's
}

// encode gives the examples of a conversation. Each turn to be learned stands behind the
// prompt that inference would have sent for it; turns share an example as long as the
// template repeats what was said as it was said, and where it does not (most leave out
// earlier thoughts) the next turn begins an example of its own.
func (e *encoder) encode(messages []text.Message, o text.RenderOptions) ([]Example, error) {
	messages = append([]text.Message(nil), messages...)
	last := -1
	for i, m := range messages {
		if m.Role == "assistant" {
			messages[i], last = text.SplitThought(m), i
		}
	}
	if last < 0 {
		return nil, fmt.Errorf("there is no assistant's message to learn from")
	}
	var out []Example
	for i, m := range messages {
		if m.Role != "assistant" || e.learn == LearnLast && i != last {
			continue
		}
		prompt, answer, err := e.tok.EncodeTurn(e.cfg, messages, i, o)
		if err != nil {
			return nil, err
		}
		if n := len(out); n == 0 || !out[n-1].goesOn(prompt) {
			out = append(out, Example{})
		}
		out[len(out)-1].add(prompt, answer, e.given())
	}
	return out, nil
}

// given is the weight of tokens that are not an assistant's.
func (e *encoder) given() float32 {
	if e.learn == LearnAll {
		return 1
	}
	return e.promptWeight
}

// goesOn reports whether prompt begins with all of e.
func (e *Example) goesOn(prompt []int32) bool {
	if len(prompt) < len(e.Tokens) {
		return false
	}
	for i, id := range e.Tokens {
		if prompt[i] != id {
			return false
		}
	}
	return true
}

// add appends what of prompt is not there yet, and answer.
func (e *Example) add(prompt, answer []int32, given float32) {
	for _, id := range prompt[len(e.Tokens):] {
		e.Tokens, e.Weights = append(e.Tokens, id), append(e.Weights, given)
	}
	for _, id := range answer {
		e.Tokens, e.Weights = append(e.Tokens, id), append(e.Weights, 1)
	}
}
