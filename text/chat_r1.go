package text

import (
	"errors"
	"strings"
)

// r1Template is the template of models that learn to reason here: the turns as DeepSeek's
// V3 and R1 write them, the thoughts of earlier answers left out, no tools. The assistant's
// turn begins with nothing: to think or not is the model's choice.
const r1Template = "{{ bos_token }}{% set ns = namespace(first=true) %}" +
	"{% for message in messages %}{% if message['role'] == 'system' %}{% if not ns.first %}{{ '\\n\\n' }}{% endif %}" +
	"{% set ns.first = false %}{{ message['content'] }}{% endif %}{% endfor %}" +
	"{% for message in messages %}{% if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}" +
	"{% elif message['role'] == 'assistant' %}{{ '<｜Assistant｜>' + message['content'].split('</think>')[-1].lstrip('\\n') + eos_token }}" +
	"{% elif message['role'] == 'tool' %}{{ raise_exception('this model knows no tools') }}{% endif %}{% endfor %}" +
	"{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"

// NewChatConfig is the file for a model trained here with t to answer: as
// NewTokenizerConfig makes it, with the chat template "sonde-r1", which is DeepSeek R1's
// form of turns: <｜User｜>prompt<｜Assistant｜>, where the answer, with a thought between
// <think> and </think> before it or without one, ends with the end-of-text token.
func NewChatConfig(t *Tokenizer, maxLength int) *TokenizerConfig {
	c := NewTokenizerConfig(t, maxLength)
	c.ChatTemplate = r1Template
	return c
}

func renderR1(r *rendering) {
	r.control(r.cfg.BOS)
	r.systems()
	for i, m := range r.messages {
		switch m.Role {
		case "user":
			r.control(UserToken)
			r.content(i)
		case "assistant":
			r.needContent(i)
			r.control(AssistantToken)
			r.text(strings.TrimLeft(m.Content[after(m.Content, thinkClose):], "\n"))
			r.control(r.cfg.EOS)
		case "tool":
			r.failAt(i, errors.New("this model knows no tools"))
		}
	}
	if r.ask {
		r.control(AssistantToken)
	}
}
