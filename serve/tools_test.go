package serve

import (
	"strings"
	"testing"

	chat "sonde/text"
)

const toolTalk = `"messages":[{"role":"user","content":"weather?"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function",` +
	`"function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"rain"}],` +
	`"tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object"}}}]`

const toolScript = "\nI look.\n</think>\n\nOne moment.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Köln\"}}\n</tool_call>"

func TestToolCall(t *testing.T) {
	srv := startFake(t, &fakeModel{script: toolScript, thought: chat.ThoughtOpen}, Options{})
	status, raw, _ := post(t, srv.URL+"/v1/chat/completions", `{`+toolTalk+`}`)
	if status != 200 {
		t.Fatal(status, raw)
	}
	v := parse(t, raw)
	for path, want := range map[string]string{"content": "One moment.", "reasoning_content": "I look."} {
		if got := at(t, v, "choices", 0, "message", path); got != want {
			t.Errorf("%s %q, want %q", path, got, want)
		}
	}
	call := at(t, v, "choices", 0, "message", "tool_calls", 0)
	if at(t, call, "function", "name") != "get_weather" || at(t, call, "function", "arguments") != `{"city": "Köln"}` ||
		!strings.HasPrefix(at(t, call, "id").(string), "call_") || at(t, call, "type") != "function" {
		t.Errorf("call %v", call)
	}
	if f := at(t, v, "choices", 0, "finish_reason"); f != "tool_calls" {
		t.Errorf("finish_reason %v", f)
	}
}

func TestToolCallStream(t *testing.T) {
	srv := startFake(t, &fakeModel{script: toolScript, thought: chat.ThoughtOpen}, Options{})
	_, raw, _ := post(t, srv.URL+"/v1/chat/completions", `{"stream":true,"logprobs":true,`+toolTalk+`}`)
	list, done := eventsOf(t, raw)
	var content, thought, args, finish string
	tokens := 0
	for _, e := range list {
		d := at(t, e, "choices", 0, "delta")
		m := d.(map[string]any)
		if s, ok := m["content"].(string); ok {
			content += s
		}
		if s, ok := m["reasoning_content"].(string); ok {
			thought += s
		}
		if m["tool_calls"] != nil {
			args += at(t, d, "tool_calls", 0, "function", "arguments").(string)
			if at(t, d, "tool_calls", 0, "index") != 0.0 {
				t.Errorf("index in %v", d)
			}
		}
		if f, ok := at(t, e, "choices", 0, "finish_reason").(string); ok {
			finish = f
		}
		if p, ok := at(t, e, "choices", 0, "logprobs").(map[string]any); ok {
			tokens += len(p["content"].([]any))
		}
	}
	if !done || content != "One moment." || thought != "I look." || args != `{"city": "Köln"}` || finish != "tool_calls" {
		t.Errorf("content %q, thought %q, arguments %q, finish %q, done %v", content, thought, args, finish, done)
	}
	if tokens != len(toolScript) {
		t.Errorf("log-probabilities of %d tokens, want %d", tokens, len(toolScript))
	}
}

// TestUnreadableCall: what cannot be read as a call is given out as text, unless the
// limit of tokens cut it off.
func TestUnreadableCall(t *testing.T) {
	srv := startFake(t, &fakeModel{script: "So <tool_call>\nnot JSON\n</tool_call>"}, Options{})
	_, raw, _ := post(t, srv.URL+"/v1/chat/completions", `{`+toolTalk+`}`)
	v := parse(t, raw)
	if got := at(t, v, "choices", 0, "message", "content").(string); !strings.Contains(got, "not JSON") || at(t, v, "choices", 0, "finish_reason") != "stop" {
		t.Errorf("%s", raw)
	}
	_, raw, _ = post(t, srv.URL+"/v1/chat/completions", `{"max_tokens":20,`+toolTalk+`}`)
	v = parse(t, raw)
	if got := at(t, v, "choices", 0, "message", "content"); got != "So " || at(t, v, "choices", 0, "finish_reason") != "length" {
		t.Errorf("cut off: %s", raw)
	}
}
