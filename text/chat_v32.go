package text

import (
	"encoding/json"
	"errors"
	"fmt"

	"sonde/text/jinja"
)

// dsml marks the tags of V3.2's tool calls.
const dsml = "｜DSML｜"

// renderDeepSeekV32 writes what DeepSeek publishes for V3.2 as code in place of a
// template (encoding_dsv32). Functions stand in the first system message. A question
// always asks for its answer, so there is no separate generation prompt. Thoughts are
// kept after the last question alone, where answers go on through tool calls.
func renderDeepSeekV32(r *rendering) {
	t := v32Turns{rendering: r, thinking: truthy(r.kwargs["thinking"]), question: -1}
	for i, m := range r.messages {
		if m.Role == "user" {
			t.question = i
		}
	}
	r.control(r.cfg.BOS)
	if r.messages[0].Role != "system" && len(r.tools) > 0 {
		t.functions()
	}
	for i, m := range r.messages {
		switch m.Role {
		case "system":
			r.text(m.Content)
			if i == 0 && len(r.tools) > 0 {
				t.functions()
			}
		case "user":
			r.control(UserToken)
			r.content(i)
			r.control(AssistantToken)
			t.think(i == t.question)
		case "tool":
			t.result(i)
		case "assistant":
			t.assistant(i)
		}
	}
}

type v32Turns struct {
	*rendering
	thinking bool
	question int // the last message of a user
}

// think opens a thought or says that there is none.
func (t *v32Turns) think(now bool) {
	if now && t.thinking {
		t.control(thinkOpen)
	} else {
		t.control(thinkClose)
	}
}

// tag writes <｜DSML｜body> or, with a slash, its end.
func (t *v32Turns) tag(slash, body string) {
	t.text("<" + slash)
	t.control(dsml)
	t.text(body + ">")
}

func (t *v32Turns) functions() {
	t.text("\n\n## Tools\n\nYou have access to a set of tools you can use to answer the user's question.\nYou can invoke functions by writing a \"")
	t.tag("", "function_calls")
	t.text("\" block like the following as part of your reply to the user:\n")
	t.tag("", "function_calls")
	t.text("\n")
	t.tag("", `invoke name="$FUNCTION_NAME"`)
	t.text("\n")
	t.tag("", `parameter name="$PARAMETER_NAME" string="true|false"`)
	t.text("$PARAMETER_VALUE")
	t.tag("/", "parameter")
	t.text("\n...\n")
	t.tag("/", "invoke")
	t.text("\n")
	t.tag("", `invoke name="$FUNCTION_NAME2"`)
	t.text("\n...\n")
	t.tag("/", "invoke")
	t.text("\n")
	t.tag("/", "function_calls")
	t.text("\n\nString and scalar parameters should be specified as is without any escaping or quotes, while lists and objects should use JSON format. " +
		"The \"string\" attribute should be set to \"true\" for string type parameters and \"false\" for other types (numbers, booleans, arrays, objects).\n\n" +
		"If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking block. Here is an example:\n\n")
	t.tag("", "function_calls")
	t.text("\n...\n")
	t.tag("/", "function_calls")
	t.text("\n\n<function_results>\n...\n</function_results>\n\n")
	t.control(thinkOpen)
	t.text("...thinking about results")
	t.control(thinkClose)
	t.text("\n\nHere are the functions available in JSONSchema format:\n<functions>\n")
	for i := range t.tools {
		if i > 0 {
			t.text("\n")
		}
		t.text(t.function(i))
	}
	t.text("\n</functions>\n")
}

// function is tool i without the envelope of OpenAI's form.
func (t *v32Turns) function(i int) string {
	var f struct{ Function json.RawMessage }
	if err := json.Unmarshal(t.tools[i], &f); err != nil || f.Function == nil {
		t.fail(fmt.Errorf("tool %d: it needs a \"function\" object, as OpenAI's API has it", i))
		return ""
	}
	s, err := jinja.Dumps(f.Function, 0)
	if err != nil {
		t.fail(fmt.Errorf("tool %d: %w", i, err))
	}
	return s
}

// result writes a tool's answer; the answers to the calls of one message share a list.
func (t *v32Turns) result(i int) {
	from := i - 1
	for from >= 0 && t.messages[from].Role == "tool" {
		from--
	}
	if from < 0 || t.messages[from].Role != "assistant" || len(t.messages[from].ToolCalls) < i-from {
		t.failAt(i, errors.New("it answers no tool call: an assistant's message with the call must stand before it"))
		return
	}
	if i-from == 1 {
		t.text("\n\n<function_results>")
	}
	t.text("\n<result>")
	t.printed(i)
	t.text("</result>")
	if i-from == len(t.messages[from].ToolCalls) {
		t.text("\n</function_results>\n\n")
		t.think(i >= t.question)
	}
}

func (t *v32Turns) assistant(i int) {
	m := &t.messages[i]
	if t.thinking && i > t.question {
		switch {
		case m.Reasoning != nil && *m.Reasoning != "":
			t.text(*m.Reasoning)
		case len(m.ToolCalls) == 0:
			t.failAt(i, errors.New("after the last question, thinking, an answer needs its thought (reasoning_content) or tool calls"))
			return
		}
		t.control(thinkClose)
	}
	t.text(m.Content)
	if len(m.ToolCalls) > 0 {
		t.text("\n\n")
		t.tag("", "function_calls")
		t.text("\n")
		for j := range m.ToolCalls {
			t.invoke(i, j)
		}
		t.tag("/", "function_calls")
	}
	t.control(eosToken)
}

// invoke writes one call, its arguments one by one.
func (t *v32Turns) invoke(i, j int) {
	c := &t.messages[i].ToolCalls[j]
	raw := []byte(c.Arguments)
	if isString(raw) {
		s, _ := c.argumentText()
		raw = []byte(s)
	}
	v, err := jinja.ParseJSON(raw)
	args, ok := v.(*jinja.Object)
	if err != nil || !ok {
		t.failAt(i, fmt.Errorf("the arguments of the call of %q are not a JSON object", clip(c.Name)))
		return
	}
	t.tag("", `invoke name="`+c.Name+`"`)
	t.text("\n")
	for n, key := range args.Keys {
		value, isText := args.Values[key].(string)
		if !isText {
			value = jinja.DumpValue(args.Values[key], 0)
		}
		if n > 0 {
			t.text("\n")
		}
		t.tag("", fmt.Sprintf(`parameter name="%s" string="%t"`, key, isText))
		t.text(value)
		t.tag("/", "parameter")
	}
	t.text("\n")
	t.tag("/", "invoke")
	t.text("\n")
}
