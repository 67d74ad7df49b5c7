package text

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"sonde/text/jinja"
)

// rendering is a conversation on its way to becoming a prompt.
type rendering struct {
	cfg      *TokenizerConfig
	messages []Message
	tools    []json.RawMessage
	ask      bool
	kwargs   map[string]any

	out []Segment
	err error // the first thing that the template refuses
}

// control places a control token.
func (r *rendering) control(token string) {
	if token != "" {
		r.out = append(r.out, Segment{token, true})
	}
}

// text adds text to the segment before it if that is text, too: a tokenizer may merge
// across the two.
func (r *rendering) text(s string) {
	if s == "" {
		return
	}
	if n := len(r.out); n > 0 && !r.out[n-1].Control {
		r.out[n-1].Text += s
		return
	}
	r.out = append(r.out, Segment{s, false})
}

func (r *rendering) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *rendering) failAt(i int, err error) {
	r.fail(fmt.Errorf("message %d (%s): %w", i, r.messages[i].Role, err))
}

// needContent refuses a message without content.
func (r *rendering) needContent(i int) {
	if r.messages[i].NoContent {
		r.failAt(i, errors.New("it has no content, and this model's template needs one: give \"\" for an empty one"))
	}
}

// content writes message i's content, which must be there.
func (r *rendering) content(i int) {
	r.needContent(i)
	r.text(r.messages[i].Content)
}

// printed writes message i's content as Jinja prints a value: a missing one by its name
// in Python.
func (r *rendering) printed(i int) {
	if r.messages[i].NoContent {
		r.text("None")
		return
	}
	r.text(r.messages[i].Content)
}

// systems writes all system messages, an empty line between them.
func (r *rendering) systems() {
	first := true
	for i, m := range r.messages {
		if m.Role != "system" {
			continue
		}
		if !first {
			r.text("\n\n")
		}
		first = false
		r.content(i)
	}
}

// arguments are those of call j of message i: as JSON, or as the text that they are.
func (r *rendering) arguments(i, j int, dump bool) string {
	c := &r.messages[i].ToolCalls[j]
	get := c.argumentText
	if dump {
		get = c.argumentJSON
	}
	s, err := get()
	if err != nil {
		r.failAt(i, err)
	}
	return s
}

// tool is function i as JSON.
func (r *rendering) tool(i, indent int) string {
	s, err := jinja.Dumps(r.tools[i], indent)
	if err != nil {
		r.fail(fmt.Errorf("tool %d: %w", i, err))
	}
	return s
}

func isString(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) > 0 && raw[0] == '"'
}

// truthy is Jinja's idea of true for a variable that may be missing.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case float64:
		return v != 0
	case int:
		return v != 0
	}
	return true
}

func renderPlain(r *rendering) {
	r.control(r.cfg.BOS)
	for i := range r.messages {
		r.content(i)
		if i+1 < len(r.messages) || r.ask {
			r.text("\n")
		}
	}
}
