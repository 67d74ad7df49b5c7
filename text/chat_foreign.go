package text

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"sonde/text/jinja"
)

// jinja runs a template that is not built in. What it wrote itself may hold control
// tokens; what it took from messages and tools may not.
func (r *rendering) jinja(t *jinja.Template) {
	values := map[string]any{"add_generation_prompt": r.ask, "tools": nil}
	for name, v := range r.kwargs {
		values[name] = v
	}
	for name, token := range map[string]string{"bos_token": r.cfg.BOS, "eos_token": r.cfg.EOS, "pad_token": r.cfg.Pad} {
		if token != "" {
			values[name] = jinja.Literal(token)
		}
	}
	var messages []any
	for i := range r.messages {
		m, err := r.messages[i].object()
		if err != nil {
			r.failAt(i, err)
			return
		}
		messages = append(messages, m)
	}
	values["messages"] = messages
	if r.tools != nil {
		tools := []any{}
		for i, raw := range r.tools {
			v, err := jinja.ParseJSON(raw)
			if err != nil {
				r.fail(fmt.Errorf("tool %d: %w", i, err))
				return
			}
			tools = append(tools, v)
		}
		values["tools"] = tools
	}
	pieces, err := t.Render(values, map[string]func(string) string{"strftime_now": func(f string) string { return strftime(f, time.Now()) }}, jinja.Limits{})
	var refused *jinja.Error
	if errors.As(err, &refused) && !refused.Raised {
		err = fmt.Errorf("%w: %w: %s", ErrTemplate, err, templateHint)
	}
	if err != nil {
		r.fail(err)
		return
	}
	for _, p := range pieces {
		r.out = append(r.out, Segment{p.Text, !p.Data})
	}
}

// object is the message as a template sees it.
func (m *Message) object() (*jinja.Object, error) {
	o := &jinja.Object{Values: map[string]any{}}
	set := func(key string, v any) { o.Keys, o.Values[key] = append(o.Keys, key), v }
	// A role of the known ones is the template's word as much as the message's: models
	// have tokens that are spelled by it.
	set("role", jinja.Literal(m.Role))
	if m.NoContent {
		set("content", nil)
	} else {
		set("content", m.Content)
	}
	if m.Reasoning != nil {
		set("reasoning_content", *m.Reasoning)
	}
	if m.ToolCalls != nil {
		calls := []any{}
		for i := range m.ToolCalls {
			c, err := m.ToolCalls[i].object()
			if err != nil {
				return nil, err
			}
			calls = append(calls, c)
		}
		set("tool_calls", calls)
	}
	if m.ToolCallID != "" {
		set("tool_call_id", m.ToolCallID)
	}
	if m.Name != "" {
		set("name", m.Name)
	}
	if m.Prefix {
		set("prefix", true)
	}
	return o, nil
}

func (c *ToolCall) object() (*jinja.Object, error) {
	args, err := jinja.ParseJSON(c.Arguments)
	if err != nil {
		return nil, fmt.Errorf("the arguments of the call of %q: %w", clip(c.Name), err)
	}
	f := &jinja.Object{Keys: []string{"name", "arguments"}, Values: map[string]any{"name": c.Name, "arguments": args}}
	return &jinja.Object{Keys: []string{"id", "type", "function"}, Values: map[string]any{"id": c.ID, "type": c.Type, "function": f}}, nil
}

// strftime formats a time as Python does, for the letters that templates use.
func strftime(format string, t time.Time) string {
	layouts := map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'B': "January", 'b': "Jan", 'A': "Monday", 'a': "Mon", 'H': "15", 'I': "03", 'M': "04",
		'S': "05", 'p': "PM", 'y': "06", 'Z': "MST", 'z': "-0700", 'j': "002"}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		if l, ok := layouts[format[i]]; ok {
			b.WriteString(t.Format(l))
		} else if format[i] != '%' {
			b.WriteString(format[i-1 : i+1])
		} else {
			b.WriteByte('%')
		}
	}
	return b.String()
}
