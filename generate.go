package sonde

import (
	"context"
	"errors"
	"iter"
	"slices"

	"sonde/engine"
	"sonde/text"
)

// GenerateOptions say how tokens are chosen and when to end. The zero value is
// greedy decoding to the end of the context.
type GenerateOptions = engine.Params

// Message is one turn of a conversation: Role is "system", "user", "assistant" or
// "tool".
type Message = text.Message

// ChatOptions say what the chat template is told beside the messages: tools, whether
// to think.
type ChatOptions = text.RenderOptions

// Prompt is the tokens of s, after the beginning-of-text token where the model's texts
// begin with one; begin counts such tokens (0 or 1). Text that spells a control token is
// plain text.
func (m *Model) Prompt(s string) (ids []int32, begin int) {
	if bos := m.tok.BOS(); bos >= 0 && m.tokCfg.AddBOS {
		ids = append(ids, bos)
	}
	return append(ids, m.tok.Encode(s)...), len(ids)
}

// ChatPrompt is a conversation, rendered with the model's chat template up to where the
// assistant's answer begins. The embedded model reads the last message of the user alone.
func (m *Model) ChatPrompt(messages []Message, o ChatOptions) (*text.ChatPrompt, error) {
	if m.recipe != nil {
		messages = lastQuestion(messages)
	}
	p, err := m.tok.ChatPrompt(m.tokCfg, messages, o)
	if p != nil {
		p.Stops = append(m.ends(), p.Stops...)
	}
	return p, err
}

// ends are the tokens that end a text beside the tokenizer's own.
func (m *Model) ends() []int32 {
	return slices.DeleteFunc(m.src.EndTokens(m.cfg.Vocab()), func(id int32) bool { return id == m.tok.EOS() })
}

// Decode is the text of tokens.
func (m *Model) Decode(ids []int32) string { return m.tok.Decode(ids) }

// Generate continues prompt. It yields pieces of text, always whole characters, and
// at most one error, last. Leaving the loop ends the generation.
func (m *Model) Generate(ctx context.Context, prompt string, o GenerateOptions) iter.Seq2[string, error] {
	ids, _ := m.Prompt(prompt)
	o.StopTokens = append(m.ends(), o.StopTokens...)
	return m.stream(ctx, ids, o)
}

// Chat answers the last message of a conversation, as Generate does a prompt. The text
// is the model's as it is, thoughts and tool calls included; Converse takes it apart.
func (m *Model) Chat(ctx context.Context, messages []Message, o GenerateOptions) iter.Seq2[string, error] {
	p, err := m.ChatPrompt(messages, ChatOptions{})
	if err != nil {
		return func(yield func(string, error) bool) { yield("", err) }
	}
	o.StopTokens = append(p.Stops, o.StopTokens...)
	return m.stream(ctx, p.IDs, o)
}

// Converse is Chat with the answer taken apart while it streams: thought, answer, tool
// calls.
func (m *Model) Converse(ctx context.Context, messages []Message, c ChatOptions, o GenerateOptions) iter.Seq2[text.Event, error] {
	return func(yield func(text.Event, error) bool) {
		p, err := m.ChatPrompt(messages, c)
		if err != nil {
			yield(text.Event{}, err)
			return
		}
		o.StopTokens = append(p.Stops, o.StopTokens...)
		parser := p.Parser()
		give := func(events []text.Event) bool {
			for _, e := range events {
				if !yield(e, nil) {
					return false
				}
			}
			return true
		}
		for piece, err := range m.stream(ctx, p.IDs, o) {
			if !give(parser.Feed(piece)) {
				return
			}
			if err != nil {
				if give(parser.Flush()) {
					yield(text.Event{}, err)
				}
				return
			}
		}
		give(parser.Flush())
	}
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
