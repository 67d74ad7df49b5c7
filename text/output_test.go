package text

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// parsed runs pieces through a parser and writes the joined events in one line.
func parsed(p *OutputParser, pieces []string) string {
	var kinds []EventKind
	var texts []string
	add := func(events []Event) {
		for _, e := range events {
			s := e.Text
			if e.Kind == EventToolCall {
				s = fmt.Sprintf("%s(%s)", e.Call.Name, e.Call.Arguments)
			}
			if n := len(kinds); n > 0 && kinds[n-1] == e.Kind && (e.Kind == EventContent || e.Kind == EventReasoning) {
				texts[n-1] += s
				continue
			}
			kinds, texts = append(kinds, e.Kind), append(texts, s)
		}
	}
	for _, s := range pieces {
		add(p.Feed(s))
	}
	add(p.Flush())
	out := ""
	for i, k := range kinds {
		out += []string{"say", "think", "call", "bad"}[k] + "[" + texts[i] + "]"
	}
	return out
}

type outputCase struct {
	template string
	thought  Thought
	tools    bool
	in, want string
}

var outputCases = []outputCase{
	{"deepseek-v3", ThoughtNone, false, "plain", "say[plain]"},
	{"deepseek-v3", ThoughtNone, false, "a <think>b</think>\n", "say[a <think>b</think>\n]"},
	{"deepseek-v3", ThoughtOpen, false, "\nso\n\nit is\n</think>\n\nFour.\n", "think[so\n\nit is]say[Four.\n]"},
	{"deepseek-v3", ThoughtOpen, false, "<think>\nagain</think>x", "think[again]say[x]"},
	{"deepseek-v3", ThoughtOpen, false, "never ends </thin", "think[never ends </thin]"},
	{"deepseek-v3", ThoughtMaybe, false, " \n<think>t</think>x", "think[t]say[x]"},
	{"deepseek-v3", ThoughtMaybe, false, "<thinker> x", "say[<thinker> x]"},
	{"deepseek-v3", ThoughtMaybe, false, "lost</think>\nx", "say[lost\nx]"},
	{"deepseek-v3", ThoughtMaybe, false, "<thi", "say[<thi]"},
	{"deepseek-v3", ThoughtNone, false, callsBegin + "x", "say[" + callsBegin + "x]"},
	{"deepseek-v3", ThoughtNone, true, "Look.\n" + callsBegin + callBegin + "function" + callSep + "f\n```json\n{\"a\": \"```\"}\n```" + callEnd +
		"\n" + callBegin + "function" + callSep + "g\n```json\n{}\n```" + callEnd + callsEnd, "say[Look.]call[f({\"a\": \"```\"})]call[g({})]"},
	{"deepseek-v3.1", ThoughtOpen, true, "hm" + callsBegin + callBegin + "f" + callSep + "{\"a\":1}" + callEnd + callBegin + "g" + callSep + "oops" + callEnd + callsEnd + "done",
		"think[hm]call[f({\"a\":1})]bad[" + callBegin + "g" + callSep + "oops" + callEnd + "]say[done]"},
	{"deepseek-v3.1", ThoughtNone, true, callsBegin + callBegin + "f" + callSep + "{\"a\":", "bad[" + callBegin + "f" + callSep + "{\"a\":]"},
	{"deepseek-v3.2", ThoughtOpen, true, "t</think>s\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"true\">x \"y\"_calls></｜DSML｜parameter>\n" +
		"<｜DSML｜parameter name=\"b\" string=\"false\">[1, 2]</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"g\">\n\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
		`think[t]say[s]call[f({"a": "x \"y\"_calls>", "b": [1, 2]})]call[g({})]`},
	{"qwen2.5", ThoughtNone, true, "ok\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": \"</tool_call>\"}}\n</tool_call>\n<tool_call>{\"name\":\"g\",\"arguments\":\"{}\"}</tool_call>",
		`say[ok]call[f({"x": "</tool_call>"})]call[g({})]`},
	{"qwen3", ThoughtMaybe, true, "<think>\nuse <tool_call>?\n</think>\n\n<tool_call>\nnot json\n</tool_call>after", "think[use <tool_call>?]bad[\nnot json\n</tool_call>]say[after]"},
	{"qwen3", ThoughtMaybe, true, "<tool_call>{\"name\":\"f\"", "bad[{\"name\":\"f\"]"},
	{"llama3.1", ThoughtNone, true, `{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}`, `call[f({"a": 1})]call[g({})]`},
	{"llama3.1", ThoughtNone, true, pythonTag + `{"type": "function", "name": "f", "parameters": {}}`, `call[f({})]`},
	{"llama3.1", ThoughtNone, true, `{"city": "Paris"}`, `say[{"city": "Paris"}]`},
	{"llama3.1", ThoughtNone, true, `use {"name": "f"}`, `say[use {"name": "f"}]`},
	{"llama3.1", ThoughtNone, false, `{"name": "f", "parameters": {}}`, `say[{"name": "f", "parameters": {}}]`},
}

// TestOutputHoweverCut cuts every output into bytes, in two at every place, and at
// random: the events are always the same.
func TestOutputHoweverCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range outputCases {
		cfg := &TokenizerConfig{}
		if err := cfg.UseTemplate(c.template); err != nil {
			t.Fatal(err)
		}
		check := func(pieces []string) {
			t.Helper()
			if got := parsed(NewOutputParser(cfg, c.thought, c.tools), pieces); got != c.want {
				t.Fatalf("%s, %q:\n got %s\nwant %s", c.template, pieces, got, c.want)
			}
		}
		check([]string{c.in})
		check(strings.Split(c.in, ""))
		for i := range len(c.in) {
			check([]string{c.in[:i], c.in[i:]})
		}
		for range 300 {
			var pieces []string
			for rest := c.in; rest != ""; {
				n := 1 + rng.IntN(min(len(rest), 12))
				pieces, rest = append(pieces, rest[:n]), rest[n:]
			}
			check(pieces)
		}
	}
}

// FuzzOutput compares an output fed whole with the same fed byte by byte.
func FuzzOutput(f *testing.F) {
	for i, c := range outputCases {
		f.Add(c.in, uint8(i), uint8(c.thought))
	}
	names := TemplateNames()
	f.Fuzz(func(t *testing.T, in string, template, thought uint8) {
		cfg := &TokenizerConfig{}
		if err := cfg.UseTemplate(names[int(template)%len(names)]); err != nil {
			t.Fatal(err)
		}
		parser := func() *OutputParser { return NewOutputParser(cfg, Thought(thought%3), true) }
		bytes := make([]string, len(in))
		for i := range len(in) {
			bytes[i] = in[i : i+1]
		}
		if whole, cut := parsed(parser(), []string{in}), parsed(parser(), bytes); whole != cut {
			t.Errorf("%q: whole %s, byte by byte %s", in, whole, cut)
		}
	})
}

func TestThoughtAfter(t *testing.T) {
	for _, c := range []struct {
		prompt []Segment
		want   Thought
	}{
		{[]Segment{{AssistantToken, true}, {thinkOpen, true}, {"\n", false}}, ThoughtOpen},
		{[]Segment{{AssistantToken, true}, {"<think>\n", false}}, ThoughtOpen},
		{[]Segment{{AssistantToken, true}, {thinkOpen, true}, {thinkClose, true}}, ThoughtNone},
		{[]Segment{{thinkOpen, true}, {"\n\n", false}, {thinkClose, true}, {"\n\n", false}}, ThoughtNone},
		{[]Segment{{AssistantToken, true}}, ThoughtMaybe},
	} {
		if got := ThoughtAfter(c.prompt); got != c.want {
			t.Errorf("%v: %v, want %v", c.prompt, got, c.want)
		}
	}
}
