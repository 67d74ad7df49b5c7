package text

import (
	"encoding/json"
	"strings"

	"sonde/text/jinja"
)

// toolFormat is how a family of models writes tool calls.
type toolFormat struct {
	open        []string // tags that open a call, or a list of calls
	each        string   // what ends a call of a list; "" where every call has tags of its own
	close       []string // what ends each of open
	endsThought bool     // the tags are control tokens: within a thought they end it
	bare        bool     // an answer that is a JSON object is a call
	parse       func(raw string) ([]ToolCall, bool)
}

const pythonTag = "<|python_tag|>"

var (
	deepSeekCalls = &toolFormat{open: []string{callsBegin}, each: callEnd, close: []string{callsEnd}, endsThought: true, parse: parseDeepSeekCall}
	dsmlCalls     = &toolFormat{open: []string{"<" + dsml + "function_calls>", "<" + dsml + "tool_calls>"},
		close: []string{"</" + dsml + "function_calls>", "</" + dsml + "tool_calls>"}, each: "</" + dsml + "invoke>", endsThought: true, parse: parseDSMLCall}
	hermesCalls = &toolFormat{open: []string{toolCallOpen}, close: []string{toolCallClose}, parse: parseHermesCall}
	bareCalls   = &toolFormat{bare: true, parse: parseBareCalls}
)

// toolFormat is the format of the template's family: templates that are not built in
// are told by the tags that they write.
func (c *TokenizerConfig) toolFormat() *toolFormat {
	source := c.ChatTemplate
	switch c.template {
	case "deepseek-v3.2":
		return dsmlCalls
	case "deepseek-v3", "deepseek-v3.1", "deepseek-r1-distill-llama", "deepseek-r1-distill-qwen":
		return deepSeekCalls
	case "qwen2.5", "qwen3":
		return hermesCalls
	case "llama3.1":
		return bareCalls
	}
	switch {
	case strings.Contains(source, dsml):
		return dsmlCalls
	case strings.Contains(source, callsBegin):
		return deepSeekCalls
	case strings.Contains(source, toolCallOpen):
		return hermesCalls
	case strings.Contains(source, pythonTag), strings.Contains(source, `"parameters": `):
		return bareCalls
	}
	return nil
}

// parseDeepSeekCall reads one call of V3's form (type, separator, name, fenced JSON) or
// V3.1's (name, separator, JSON).
func parseDeepSeekCall(raw string) ([]ToolCall, bool) {
	_, raw, found := strings.Cut(raw, callBegin)
	name, rest, sep := strings.Cut(raw, callSep)
	if !found || !sep {
		return nil, false
	}
	if before, fenced, ok := strings.Cut(rest, "\n```json\n"); ok && !strings.ContainsAny(before, "{[\n") {
		name, rest = before, fenced
		rest = strings.TrimSuffix(strings.TrimRight(rest, " \n"), "```")
	}
	return oneCall(strings.TrimSpace(name), strings.TrimSpace(rest))
}

// parseHermesCall reads {"name": ..., "arguments": {...}}.
func parseHermesCall(raw string) ([]ToolCall, bool) {
	var c struct {
		Name       string
		Arguments  json.RawMessage
		Parameters json.RawMessage
	}
	if json.Unmarshal([]byte(raw), &c) != nil {
		return nil, false
	}
	if c.Arguments == nil {
		c.Arguments = c.Parameters
	}
	return oneCall(c.Name, string(c.Arguments))
}

// parseBareCalls reads Llama's calls: JSON objects, several of them divided by
// semicolons or line breaks.
func parseBareCalls(raw string) ([]ToolCall, bool) {
	raw, _ = strings.CutPrefix(strings.TrimLeft(raw, " \t\r\n"), pythonTag)
	var out []ToolCall
	d := json.NewDecoder(strings.NewReader(raw))
	for {
		var one json.RawMessage
		if d.Decode(&one) != nil {
			return nil, false
		}
		calls, ok := parseHermesCall(string(one))
		if !ok {
			return nil, false
		}
		out = append(out, calls...)
		raw = strings.TrimLeft(raw[d.InputOffset():], "; \t\r\n")
		if raw == "" {
			return out, true
		}
		d = json.NewDecoder(strings.NewReader(raw))
	}
}

// parseDSMLCall reads one invoke of V3.2's form, up to its end tag.
func parseDSMLCall(raw string) ([]ToolCall, bool) {
	const open, param, end = "<" + dsml + "invoke name=\"", "<" + dsml + "parameter name=\"", "</" + dsml + "parameter>"
	_, raw, found := strings.Cut(raw, open)
	name, rest, ok := strings.Cut(raw, "\">")
	if !found || !ok {
		return nil, false
	}
	var args strings.Builder
	args.WriteByte('{')
	for n := 0; ; n++ {
		_, p, more := strings.Cut(rest, param)
		if !more {
			break
		}
		key, p, ok1 := strings.Cut(p, `" string="`)
		kind, p, ok2 := strings.Cut(p, `">`)
		value, after, ok3 := strings.Cut(p, end)
		if !ok1 || !ok2 || !ok3 {
			return nil, false
		}
		if n > 0 {
			args.WriteString(", ")
		}
		if kind == "true" || !json.Valid([]byte(value)) {
			value = jinja.Quote(value)
		}
		args.WriteString(jinja.Quote(key) + ": " + value)
		rest = after
	}
	args.WriteByte('}')
	return oneCall(name, args.String())
}

// oneCall checks a call: a name and a JSON object, which some models write as a string.
func oneCall(name, arguments string) ([]ToolCall, bool) {
	var inner string
	if json.Unmarshal([]byte(arguments), &inner) == nil {
		arguments = strings.TrimSpace(inner)
	}
	switch arguments {
	case "", "null":
		arguments = "{}"
	}
	if name == "" || arguments[0] != '{' || !json.Valid([]byte(arguments)) {
		return nil, false
	}
	return []ToolCall{{Name: name, Arguments: json.RawMessage(arguments)}}, true
}
