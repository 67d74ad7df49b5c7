package sonde

import (
	"context"
	"errors"
	"iter"

	"sonde/engine"
	"sonde/text"
)

// GenerateOptions say how tokens are chosen and when to end. The zero value is
// greedy decoding to the end of the context.
type GenerateOptions = engine.Params

// Message is one turn of a conversation: Role is "system", "user" or "assistant".
type Message = text.Message

// Prompt is the tokens of s, after the beginning-of-text token where the model's texts
// begin with one; begin counts such tokens (0 or 1). Text that spells a control token is
// plain text.
func (m *Model) Prompt(s string) (ids []int32, begin int) {
	if bos := m.tok.BOS(); bos >= 0 && m.tokCfg.AddBOS {
		ids = append(ids, bos)
	}
	return append(ids, m.tok.Encode(s)...), len(ids)
}

// userToken begins a user's turn in DeepSeek's templates: where it appears in an
// answer, the answer is over.
const userToken = "<｜User｜>"

// ChatPrompt is the tokens of a conversation, rendered with the model's chat template
// up to where the assistant's answer begins, and the tokens beside the end-of-text one
// that end such an answer.
func (m *Model) ChatPrompt(messages []Message) (ids, stops []int32, err error) {
	segments, err := text.RenderChat(m.tokCfg, messages, text.RenderOptions{AddGenerationPrompt: true})
	if err != nil {
		return nil, nil, err
	}
	if id, ok := m.tok.ID(userToken); ok {
		stops = append(stops, id)
	}
	ids, err = m.tok.EncodeSegments(segments)
	return ids, stops, err
}

// Decode is the text of tokens.
func (m *Model) Decode(ids []int32) string { return m.tok.Decode(ids) }

// Generate continues prompt. It yields pieces of text, always whole characters, and
// at most one error, last. Leaving the loop ends the generation.
func (m *Model) Generate(ctx context.Context, prompt string, o GenerateOptions) iter.Seq2[string, error] {
	ids, _ := m.Prompt(prompt)
	return m.stream(ctx, ids, o)
}

// Chat answers the last message of a conversation, as Generate does a prompt.
func (m *Model) Chat(ctx context.Context, messages []Message, o GenerateOptions) iter.Seq2[string, error] {
	ids, stops, err := m.ChatPrompt(messages)
	if err != nil {
		return func(yield func(string, error) bool) { yield("", err) }
	}
	o.StopTokens = append(stops, o.StopTokens...)
	return m.stream(ctx, ids, o)
}

// errLeft ends a generation whose reader has left the loop.
var errLeft = errors.New("the reader left")

func (m *Model) stream(ctx context.Context, ids []int32, o GenerateOptions) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		leave, err := m.enter()
		if err != nil {
			yield("", err)
			return
		}
		defer leave()
		_, err = m.eng.Generate(ctx, ids, o, func(d engine.Delta) error {
			if d.Text != "" && !yield(d.Text, nil) {
				return errLeft
			}
			return nil
		})
		if err != nil && err != errLeft {
			yield("", err)
		}
	}
}
