package text

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"sonde/text/jinja"
)

// Message is one turn of a conversation.
type Message struct {
	Role    string // "system", "user", "assistant" or "tool"
	Content string

	// NoContent stands for a null content, as beside tool calls.
	NoContent bool
	// Reasoning is the thought that led to an assistant's answer, where it is kept apart.
	Reasoning *string
	// ToolCalls are an assistant's; nil where there are none.
	ToolCalls []ToolCall
	// ToolCallID and Name say which call a tool's answer belongs to.
	ToolCallID, Name string
	// Prefix marks a last assistant message that the reply is to continue (DeepSeek).
	Prefix bool
}

// ToolCall is a function that an assistant wants called.
type ToolCall struct {
	ID   string
	Type string // "function"
	Name string
	// Arguments is JSON: an object, or a string that holds one, as OpenAI's API has it.
	Arguments json.RawMessage
}

type messageJSON struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"`
	Reasoning  *string         `json:"reasoning_content,omitempty"`
	ToolCalls  []toolCallJSON  `json:"tool_calls,omitempty"`
	ToolCallID string          `json:"tool_call_id,omitempty"`
	Name       string          `json:"name,omitempty"`
	Prefix     bool            `json:"prefix,omitempty"`
}

type toolCallJSON struct {
	ID       string       `json:"id,omitempty"`
	Type     string       `json:"type,omitempty"`
	Function functionJSON `json:"function"`
}

type functionJSON struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

// UnmarshalJSON reads OpenAI's form; a content of several text parts becomes one text.
func (m *Message) UnmarshalJSON(data []byte) error {
	var f messageJSON
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	*m = Message{Role: f.Role, Reasoning: f.Reasoning, ToolCallID: f.ToolCallID, Name: f.Name, Prefix: f.Prefix}
	if f.ToolCalls != nil {
		m.ToolCalls = []ToolCall{}
	}
	for _, c := range f.ToolCalls {
		m.ToolCalls = append(m.ToolCalls, ToolCall{c.ID, c.Type, c.Function.Name, c.Function.Arguments})
	}
	var err error
	m.Content, m.NoContent, err = contentOf(f.Content)
	return err
}

// contentOf reads a content: null, a string, or a list of parts of which all are text.
func contentOf(raw json.RawMessage) (s string, none bool, err error) {
	if isNull(raw) {
		return "", true, nil
	}
	if json.Unmarshal(raw, &s) == nil {
		return s, false, nil
	}
	var parts []struct{ Type, Text string }
	if json.Unmarshal(raw, &parts) != nil {
		return "", false, errors.New("a message's content must be a string, null or a list of parts")
	}
	for _, p := range parts {
		if p.Type != "text" {
			return "", false, fmt.Errorf("a message has a part of type %q: only \"text\" is read", clip(p.Type))
		}
		s += p.Text
	}
	return s, false, nil
}

// MarshalJSON writes OpenAI's form.
func (m Message) MarshalJSON() ([]byte, error) {
	f := messageJSON{Role: m.Role, Content: json.RawMessage("null"), Reasoning: m.Reasoning, ToolCallID: m.ToolCallID, Name: m.Name, Prefix: m.Prefix}
	if !m.NoContent {
		raw, err := marshal(m.Content)
		if err != nil {
			return nil, err
		}
		f.Content = raw
	}
	for _, c := range m.ToolCalls {
		f.ToolCalls = append(f.ToolCalls, toolCallJSON{c.ID, c.Type, functionJSON{c.Name, c.Arguments}})
	}
	return marshal(f)
}

// argumentText is the call's arguments where the template joins them to other text: a
// string. An object is an error there.
func (c *ToolCall) argumentText() (string, error) {
	var s string
	if raw := bytes.TrimSpace(c.Arguments); len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", fmt.Errorf("the arguments of the call of %q must be a string that holds JSON: this model's template takes no object", clip(c.Name))
	}
	return s, nil
}

// argumentJSON is the call's arguments as Python's json.dumps writes them.
func (c *ToolCall) argumentJSON() (string, error) {
	if len(c.Arguments) == 0 {
		return "", fmt.Errorf("the call of %q has no arguments: give {} where there are none", clip(c.Name))
	}
	s, err := jinja.Dumps(c.Arguments, 0)
	if err != nil {
		return "", fmt.Errorf("the arguments of the call of %q: %w", clip(c.Name), err)
	}
	return s, nil
}
