package text

import (
	"encoding/json"
	"strings"
	"testing"
)

// turnTokenizer has the control tokens of every family and a byte for the rest.
func turnTokenizer(t *testing.T) *Tokenizer {
	t.Helper()
	tok, err := TrainBPE(t.Context(), func(yield func([]byte) bool) { yield([]byte("abab ab")) }, TrainOptions{VocabSize: MinVocab})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := tok.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	added := file["added_tokens"].([]any)
	for _, name := range []string{imStart, imEnd, "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", callsBegin, callsEnd, callBegin, callEnd, callSep,
		outputsOpen, outputsEnd, outputBegin, outputEnd, dsml} {
		added = append(added, map[string]any{"id": MinVocab + len(added), "content": name, "special": true,
			"single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
	}
	file["added_tokens"] = added
	if raw, err = json.Marshal(file); err != nil {
		t.Fatal(err)
	}
	if tok, err = LoadTokenizer(raw); err != nil {
		t.Fatal(err)
	}
	return tok
}

// templateConfig is a template by its name, with the file's tokens.
func templateConfig(t *testing.T, name string) *TokenizerConfig {
	t.Helper()
	c := &TokenizerConfig{BOS: bosToken, EOS: eosToken}
	if name == "smollm2-foreign" {
		c.ChatTemplate = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
		return c
	}
	if err := c.UseTemplate(name); err != nil {
		t.Fatal(err)
	}
	return c
}

// What is to be learned is what the model has to write after inference's prompt, by the
// habits of its family, to the end of its turn and no further.
func TestEncodeTurn(t *testing.T) {
	tok := turnTokenizer(t)
	thought := "2 and 3."
	think := Message{Role: "assistant", Content: "5", Reasoning: &thought}
	for template, want := range map[string][4]string{ // prompt, thinking; answer; prompt, plain; answer
		"plain":                     {bosToken + "Hi\n", "<think>\n2 and 3.\n</think>\n\n5" + eosToken, bosToken + "Hi\n", "5" + eosToken},
		"sonde-r1":                  {bosToken + "<｜User｜>Hi<｜Assistant｜>", "<think>\n2 and 3.\n</think>\n\n5" + eosToken, bosToken + "<｜User｜>Hi<｜Assistant｜>", "5" + eosToken},
		"deepseek-v3":               {bosToken + "<｜User｜>Hi<｜Assistant｜>", "<think>\n2 and 3.\n</think>\n\n5" + eosToken, bosToken + "<｜User｜>Hi<｜Assistant｜>", "5" + eosToken},
		"deepseek-v3.1":             {bosToken + "<｜User｜>Hi<｜Assistant｜><think>", "2 and 3.</think>5" + eosToken, bosToken + "<｜User｜>Hi<｜Assistant｜><think></think>", "5" + eosToken},
		"deepseek-v3.2":             {bosToken + "<｜User｜>Hi<｜Assistant｜><think>", "2 and 3.</think>5" + eosToken, bosToken + "<｜User｜>Hi<｜Assistant｜></think>", "5" + eosToken},
		"deepseek-r1-distill-llama": {bosToken + "<｜User｜>Hi<｜Assistant｜><think>\n", "2 and 3.\n</think>\n\n5" + eosToken, bosToken + "<｜User｜>Hi<｜Assistant｜><think>\n", "\n</think>\n\n5" + eosToken},
		"deepseek-r1-distill-qwen":  {bosToken + "<｜User｜>Hi<｜Assistant｜><think>\n", "2 and 3.\n</think>\n\n5" + eosToken, bosToken + "<｜User｜>Hi<｜Assistant｜><think>\n</think>", "5" + eosToken},
		"qwen3":                     {"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<think>\n2 and 3.\n</think>\n\n5<|im_end|>", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", "5<|im_end|>"},
		"smollm2-foreign":           {"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<think>\n2 and 3.\n</think>\n\n5<|im_end|>", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "5<|im_end|>"},
	} {
		for n, m := range []Message{think, {Role: "assistant", Content: "5"}} {
			prompt, answer, err := tok.EncodeTurn(templateConfig(t, template), []Message{{Role: "user", Content: "Hi"}, m}, 1, RenderOptions{})
			if err != nil {
				t.Errorf("%s: %v", template, err)
				continue
			}
			if p, a := tok.Decode(prompt), tok.Decode(answer); p != want[2*n] || a != want[2*n+1] {
				t.Errorf("%s:\nprompt %q, expected %q\nanswer %q, expected %q", template, p, want[2*n], a, want[2*n+1])
			}
		}
	}
	for template, ends := range map[string]string{"smollm2": "5<|im_end|>", "qwen2.5": "5<|im_end|>", "llama3.1": "5<|eot_id|>"} {
		_, answer, err := tok.EncodeTurn(templateConfig(t, template), []Message{{Role: "user", Content: "Hi"}, {Role: "assistant", Content: "5"}}, 1, RenderOptions{})
		if err != nil || tok.Decode(answer) != ends {
			t.Errorf("%s: answer %q, %v", template, tok.Decode(answer), err)
		}
	}
}

// A message's text that spells control tokens stays text; a thought at the beginning of
// an answer is told apart once, and not in what a user writes.
func TestEncodeTurnKeepsTextApart(t *testing.T) {
	tok := turnTokenizer(t)
	user := Message{Role: "user", Content: "<think>x</think>" + eosToken}
	m := SplitThought(Message{Role: "assistant", Content: "<think>\na\n</think>\n\nsay </think> and " + eosToken})
	if m.Reasoning == nil || *m.Reasoning != "a" || SplitThought(user).Reasoning != nil {
		t.Fatalf("split into %+v", m)
	}
	prompt, answer, err := tok.EncodeTurn(templateConfig(t, "sonde-r1"), []Message{user, m}, 1, RenderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	count := func(ids []int32, token string) (n int) {
		want, _ := tok.ID(token)
		for _, id := range ids {
			if id == want {
				n++
			}
		}
		return n
	}
	if count(prompt, thinkOpen) != 0 || count(prompt, eosToken) != 0 || count(answer, thinkClose) != 1 || count(answer, eosToken) != 1 {
		t.Errorf("control tokens come from messages: %q and %q", tok.Decode(prompt), tok.Decode(answer))
	}
	_, _, err = tok.EncodeTurn(templateConfig(t, "sonde-r1"), []Message{m}, 0, RenderOptions{})
	if err == nil || !strings.Contains(err.Error(), "message 0") {
		t.Errorf("an answer to nothing: %v", err)
	}
	off := false
	_, _, err = tok.EncodeTurn(templateConfig(t, "qwen3"), []Message{user, m}, 1, RenderOptions{Thinking: &off})
	if err == nil || !strings.Contains(err.Error(), "thought") {
		t.Errorf("a thought where the prompt forbids it: %v", err)
	}
}

// Tool calls are learned as the template writes them, after a thought too.
func TestEncodeTurnOfToolCalls(t *testing.T) {
	tok := turnTokenizer(t)
	thought := "look"
	call := Message{Role: "assistant", Content: "", NoContent: true, Reasoning: &thought, ToolCalls: []ToolCall{{Type: "function", Name: "f", Arguments: json.RawMessage(`"{}"`)}}}
	messages := []Message{{Role: "user", Content: "Hi"}, call, {Role: "tool", Content: "7"}, {Role: "assistant", Content: "7!"}}
	want := map[string]string{
		"deepseek-v3":               "<think>\nlook\n</think>\n\n" + callsBegin + callBegin + "function" + callSep + "f\n```json\n{}\n```" + callEnd + callsEnd + eosToken,
		"qwen2.5":                   "<think>\nlook\n</think>\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": \"{}\"}\n</tool_call><|im_end|>",
		"deepseek-r1-distill-llama": "look\n</think>\n\n" + callsBegin + callBegin + "function" + callSep + "f\n```json\n{}\n```" + callEnd + callsEnd + eosToken,
	}
	for template, want := range want {
		_, answer, err := tok.EncodeTurn(templateConfig(t, template), messages, 1, RenderOptions{})
		if err != nil || tok.Decode(answer) != want {
			t.Errorf("%s:\nanswer %q\nwanted %q, %v", template, tok.Decode(answer), want, err)
		}
		_, answer, err = tok.EncodeTurn(templateConfig(t, template), messages, 3, RenderOptions{})
		if err != nil || !strings.HasPrefix(strings.TrimPrefix(tok.Decode(answer), "\n</think>\n\n"), "7!<") {
			t.Errorf("%s: the answer after the tool is %q, %v", template, tok.Decode(answer), err)
		}
	}
}
