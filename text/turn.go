package text

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// SplitThought returns an assistant's message whose content begins with a thought,
// <think>...</think>, with the thought apart in Reasoning; others as they are.
func SplitThought(m Message) Message {
	if m.Role != "assistant" || m.Reasoning != nil {
		return m
	}
	rest, opened := strings.CutPrefix(strings.TrimLeft(m.Content, " \t\r\n"), thinkOpen)
	thought, answer, closed := strings.Cut(rest, thinkClose)
	if !opened || !closed {
		return m
	}
	thought = strings.Trim(thought, "\n")
	m.Reasoning, m.Content = &thought, strings.TrimLeft(answer, "\n")
	return m
}

// EncodeTurn gives what a model is to learn from message i, an assistant's: the prompt
// as inference sends it, RenderChat of the messages before with AddGenerationPrompt, and
// what should be written then: the thought (Reasoning) as [OutputParser] reads it, the
// answer and its tool calls as the template has them, and the token that ends the turn.
// Where o leaves Thinking open it is on for a message with a thought, off for others.
func (t *Tokenizer) EncodeTurn(c *TokenizerConfig, messages []Message, i int, o RenderOptions) (prompt, answer []int32, err error) {
	switch {
	case i < 0 || i >= len(messages) || messages[i].Role != "assistant":
		return nil, nil, fmt.Errorf("message %d is no assistant's", i)
	case i == 0:
		return nil, nil, errors.New("message 0 (assistant): a conversation begins with a message of the user or the system")
	}
	m := messages[i]
	thinks := m.Reasoning != nil && *m.Reasoning != ""
	ask := o
	if ask.AddGenerationPrompt = true; o.Thinking == nil {
		ask.Thinking = &thinks
	}
	asked, err := RenderChat(c, messages[:i], ask)
	if err != nil {
		return nil, nil, err
	}
	begun, err := beginTurn(asked, m, thinks)
	if err != nil {
		return nil, nil, fmt.Errorf("message %d (assistant): %w", i, err)
	}
	said, err := sayTurn(c, messages[:i:i], m, o)
	if err != nil {
		return nil, nil, err
	}
	if prompt, err = t.EncodeSegments(asked); err == nil {
		answer, err = t.EncodeSegments(append(begun, said...))
	}
	if err != nil {
		return nil, nil, err
	}
	return prompt, t.endTurn(answer), nil
}

// beginTurn is the thought as it is written after a prompt, with its tags.
func beginTurn(asked []Segment, m Message, thinks bool) ([]Segment, error) {
	at := ThoughtAfter(asked)
	if !thinks && at != ThoughtOpen {
		return nil, nil
	}
	thought := ""
	if thinks {
		thought = *m.Reasoning
	}
	last := asked[len(asked)-1].Text
	tight := strings.HasSuffix(last, thinkOpen) // V3.1 and V3.2 put no line breaks around a thought
	var out []Segment
	switch {
	case at == ThoughtNone:
		return nil, errors.New("it has a thought, but the prompt says that there is none: leave thinking on, or leave out the thought")
	case at == ThoughtMaybe:
		out = append(out, Segment{thinkOpen, true})
		thought = "\n" + thought
	}
	if tight {
		return append(out, Segment{thought, false}, Segment{thinkClose, true}), nil
	}
	return append(out, Segment{thought + "\n", false}, Segment{thinkClose, true}, Segment{"\n\n", false}), nil
}

// sayTurn is message m without its thought as the template writes it after history, less
// what a prompt for it has already: where the two part, the turn's own text begins.
func sayTurn(c *TokenizerConfig, history []Message, m Message, o RenderOptions) ([]Segment, error) {
	m.Reasoning = nil
	off := false
	o.AddGenerationPrompt, o.Thinking = false, &off
	with, err := RenderChat(c, append(history, m), o)
	if err != nil {
		return nil, err
	}
	before, err := RenderChat(c, history, o)
	if err != nil {
		return nil, err
	}
	o.AddGenerationPrompt = true
	prompt, err := RenderChat(c, history, o)
	if err != nil {
		return nil, err
	}
	if _, left := afterCommon(with, before); len(left) == 0 {
		rest, _ := afterCommon(with, prompt)
		return rest, nil
	}
	if len(m.ToolCalls) > 0 {
		return nil, errors.New("an assistant's message with tool calls: this model's chat template writes what comes before it in another way once it is there")
	}
	return []Segment{{m.Content, false}}, nil
}

// afterCommon returns what is left of a and of b behind their common beginning.
func afterCommon(a, b []Segment) (restA, restB []Segment) {
	a, b = slices.Clone(a), slices.Clone(b)
	for len(a) > 0 && len(b) > 0 && a[0].Control == b[0].Control {
		n := 0
		for n < len(a[0].Text) && n < len(b[0].Text) && a[0].Text[n] == b[0].Text[n] {
			n++
		}
		part := n < len(a[0].Text) && n < len(b[0].Text)
		if part && a[0].Control {
			return a, b
		}
		for n > 0 && part && !utf8.RuneStart(a[0].Text[n]) {
			n--
		}
		a[0].Text, b[0].Text = a[0].Text[n:], b[0].Text[n:]
		if part {
			return a, b
		}
		a, b = dropEmpty(a), dropEmpty(b)
	}
	return a, b
}

func dropEmpty(s []Segment) []Segment {
	if len(s) > 0 && s[0].Text == "" {
		return s[1:]
	}
	return s
}

// endTurn cuts a turn's tokens behind the token that ends it, after which templates write
// but white space; where there is none it ends with the text's.
func (t *Tokenizer) endTurn(ids []int32) []int32 {
	for i := len(ids) - 1; i >= 0; i-- {
		if a := t.Added(ids[i]); a != nil && t.endsTurn(a) {
			return ids[:i+1]
		} else if a != nil || strings.TrimSpace(t.tokenBytes(ids[i])) != "" {
			break
		}
	}
	if end, ok := t.addedID[callsEnd]; ok && len(ids) > 0 && t.addedID[callEnd] == ids[len(ids)-1] {
		ids = append(ids, end) // V3's template leaves out what the model writes
	}
	if t.eos >= 0 {
		ids = append(ids, t.eos)
	}
	return ids
}

// endsTurn tells a token that ends turns from tags of thoughts and calls.
func (t *Tokenizer) endsTurn(a *AddedToken) bool {
	switch a.Content {
	case thinkOpen, thinkClose, callEnd, callsEnd, toolCallClose:
		return false
	}
	return a.Special || a.ID == t.eos
}
