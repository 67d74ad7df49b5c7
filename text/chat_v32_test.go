package text

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestV32 follows a question through a call and its result to the answer, thinking.
func TestV32(t *testing.T) {
	cfg := &TokenizerConfig{BOS: bosToken}
	if err := cfg.UseTemplate("deepseek-v3.2"); err != nil {
		t.Fatal(err)
	}
	thought := "weigh"
	talk := []Message{
		{Role: "user", Content: "old"},
		{Role: "assistant", Content: "reply", Reasoning: &thought},
		{Role: "user", Content: "new"},
		{Role: "assistant", Content: "", Reasoning: &thought, ToolCalls: []ToolCall{{Name: "f",
			Arguments: json.RawMessage(`"{\"s\": \"a\\\"b\", \"n\": 1.0, \"l\": [1, {\"x\": null}]}"`)}}},
		{Role: "tool", Content: "42"},
	}
	on := true
	tools := []json.RawMessage{json.RawMessage(`{"type":"function","function":{"name":"f","b":1,"a":2}}`)}
	segments, err := RenderChat(cfg, talk, RenderOptions{Thinking: &on, Tools: tools})
	if err != nil {
		t.Fatal(err)
	}
	got := joined(segments)
	start := bosToken + "\n\n## Tools\n"
	functions := "<functions>\n{\"name\": \"f\", \"b\": 1, \"a\": 2}\n</functions>\n"
	end := functions + "<｜User｜>old<｜Assistant｜></think>reply<｜end▁of▁sentence｜><｜User｜>new<｜Assistant｜><think>weigh</think>\n\n<｜DSML｜function_calls>\n" +
		"<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"s\" string=\"true\">a\"b</｜DSML｜parameter>\n" +
		"<｜DSML｜parameter name=\"n\" string=\"false\">1.0</｜DSML｜parameter>\n<｜DSML｜parameter name=\"l\" string=\"false\">[1, {\"x\": null}]</｜DSML｜parameter>\n" +
		"</｜DSML｜invoke>\n</｜DSML｜function_calls><｜end▁of▁sentence｜>\n\n<function_results>\n<result>42</result>\n</function_results>\n\n<think>"
	if !strings.HasPrefix(got, start) || !strings.HasSuffix(got, end) {
		t.Errorf("got %q", got)
	}
	for name, bad := range map[string][]Message{
		"a result without a call":    {{Role: "user", Content: "q"}, {Role: "tool", Content: "r"}},
		"an answer without thought":  {{Role: "user", Content: "q"}, {Role: "assistant", Content: "a"}},
		"arguments that are a list":  {{Role: "user", Content: "q"}, {Role: "assistant", ToolCalls: []ToolCall{{Name: "f", Arguments: json.RawMessage(`[1]`)}}}},
		"arguments that are no JSON": {{Role: "user", Content: "q"}, {Role: "assistant", ToolCalls: []ToolCall{{Name: "f", Arguments: json.RawMessage(`"{"`)}}}},
	} {
		if _, err := RenderChat(cfg, bad, RenderOptions{Thinking: &on}); err == nil || !strings.Contains(err.Error(), "message 1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
