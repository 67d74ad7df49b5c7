package text

import "strings"

const (
	imStart = "<|im_start|>"
	imEnd   = "<|im_end|>"

	toolCallOpen, toolCallClose         = "<tool_call>", "</tool_call>"
	toolResponseOpen, toolResponseClose = "<tool_response>", "</tool_response>"
)

// open begins a turn of ChatML.
func (r *rendering) open(role string) {
	r.control(imStart)
	r.text(role + "\n")
}

// shut ends it.
func (r *rendering) shut() {
	r.control(imEnd)
	r.text("\n")
}

// qwenTools is the part of the system message that lists the functions.
func (r *rendering) qwenTools() {
	r.text("# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>")
	for i := range r.tools {
		r.text("\n" + r.tool(i, 0))
	}
	r.text("\n</tools>\n\nFor each function call, return a json object with function name and arguments within ")
	r.control(toolCallOpen)
	r.control(toolCallClose)
	r.text(" XML tags:\n")
	r.control(toolCallOpen)
	r.text("\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n")
	r.control(toolCallClose)
	r.shut()
}

// qwenAnswer writes a tool's answer; neighbours share one turn of the user.
func (r *rendering) qwenAnswer(i int) {
	if i == 0 || r.messages[i-1].Role != "tool" {
		r.control(imStart)
		r.text("user")
	}
	r.text("\n")
	r.control(toolResponseOpen)
	r.text("\n")
	r.printed(i)
	r.text("\n")
	r.control(toolResponseClose)
	if i+1 == len(r.messages) || r.messages[i+1].Role != "tool" {
		r.shut()
	}
}

// renderQwen25 is Qwen2.5's.
func renderQwen25(r *rendering) {
	const system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
	first := r.messages[0].Role == "system"
	r.open("system")
	switch {
	case !first:
		r.text(system)
	case len(r.tools) > 0:
		r.printed(0)
	default:
		r.content(0)
	}
	if len(r.tools) > 0 {
		r.text("\n\n")
		r.qwenTools()
	} else {
		r.shut()
	}
	for i, m := range r.messages {
		switch {
		case m.Role == "tool":
			r.qwenAnswer(i)
		case m.Role == "assistant" && len(m.ToolCalls) > 0:
			r.qwen25Calls(i)
		case m.Role != "system" || i > 0:
			r.open(m.Role)
			r.content(i)
			r.shut()
		}
	}
	if r.ask {
		r.open("assistant")
	}
}

func (r *rendering) qwen25Calls(i int) {
	m := &r.messages[i]
	r.control(imStart)
	r.text("assistant")
	if m.Content != "" {
		r.text("\n" + m.Content)
	}
	for j := range m.ToolCalls {
		r.text("\n")
		r.qwenCall(i, j, true)
	}
	r.shut()
}

func (r *rendering) qwenCall(i, j int, dump bool) {
	r.control(toolCallOpen)
	r.text("\n{\"name\": \"" + r.messages[i].ToolCalls[j].Name + "\", \"arguments\": " + r.arguments(i, j, dump) + "}\n")
	r.control(toolCallClose)
}

// renderQwen3 is Qwen3's: thoughts of turns before the last question are left out.
func renderQwen3(r *rendering) {
	first := r.messages[0].Role == "system"
	switch {
	case len(r.tools) > 0:
		r.open("system")
		if first {
			r.content(0)
			r.text("\n\n")
		}
		r.qwenTools()
	case first:
		r.open("system")
		r.content(0)
		r.shut()
	}
	question := r.qwen3Question()
	for i, m := range r.messages {
		switch {
		case m.Role == "tool":
			r.qwenAnswer(i)
		case m.Role == "assistant":
			r.qwen3Assistant(i, i > question)
		case m.Role != "system" || i > 0:
			r.open(m.Role)
			r.content(i)
			r.shut()
		}
	}
	if r.ask {
		r.open("assistant")
		if on, ok := r.kwargs["enable_thinking"].(bool); ok && !on {
			r.control(thinkOpen)
			r.text("\n\n")
			r.control(thinkClose)
			r.text("\n\n")
		}
	}
}

// qwen3Question is the place of the last message of a user that is not a tool's answer.
func (r *rendering) qwen3Question() int {
	for i := len(r.messages) - 1; i >= 0; i-- {
		if m := &r.messages[i]; m.Role == "user" &&
			!(strings.HasPrefix(m.Content, toolResponseOpen) && strings.HasSuffix(m.Content, toolResponseClose)) {
			return i
		}
	}
	return len(r.messages) - 1
}

func (r *rendering) qwen3Assistant(i int, recent bool) {
	m := &r.messages[i]
	r.needContent(i)
	content, thought := m.Content, ""
	if m.Reasoning != nil {
		thought = *m.Reasoning
	} else if last := strings.LastIndex(content, thinkClose); last >= 0 {
		before, _, _ := strings.Cut(content, thinkClose)
		before = strings.TrimRight(before, "\n")
		thought = strings.TrimLeft(before[after(before, thinkOpen):], "\n")
		content = strings.TrimLeft(content[last+len(thinkClose):], "\n")
	}
	r.open("assistant")
	if recent && (i+1 == len(r.messages) || thought != "") {
		r.control(thinkOpen)
		r.text("\n" + strings.Trim(thought, "\n") + "\n")
		r.control(thinkClose)
		r.text("\n\n" + strings.TrimLeft(content, "\n"))
	} else {
		r.text(content)
	}
	for j, c := range m.ToolCalls {
		if j > 0 || content != "" {
			r.text("\n")
		}
		r.qwenCall(i, j, !isString(c.Arguments))
	}
	r.shut()
}

// after is the place behind the last occurrence of part in s, 0 if there is none.
func after(s, part string) int {
	if i := strings.LastIndex(s, part); i >= 0 {
		return i + len(part)
	}
	return 0
}

// renderSmolLM2 is plain ChatML with a system message of its own.
func renderSmolLM2(r *rendering) {
	for i, m := range r.messages {
		if i == 0 && m.Role != "system" {
			r.open("system")
			r.text("You are a helpful AI assistant named SmolLM, trained by Hugging Face")
			r.shut()
		}
		r.open(m.Role)
		r.content(i)
		r.shut()
	}
	if r.ask {
		r.open("assistant")
	}
}
