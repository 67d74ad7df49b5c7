package serve

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"

	"sonde/engine"
	"sonde/text"
)

// chatRequest is the body of POST /v1/chat/completions.
type chatRequest struct {
	sampling
	Messages            []chatMessage     `json:"messages"`
	MaxCompletionTokens *int              `json:"max_completion_tokens"`
	LogProbs            bool              `json:"logprobs"`
	TopLogProbs         int               `json:"top_logprobs"`
	Tools               []json.RawMessage `json:"tools"`
	ToolChoice          json.RawMessage   `json:"tool_choice"`
	// Thinking is DeepSeek's switch, {"type": "enabled"}; the kwargs are vLLM's.
	Thinking *struct {
		Type string `json:"type"`
	} `json:"thinking"`
	Kwargs map[string]any `json:"chat_template_kwargs"`
}

var chatNames = names(samplingNames + "messages max_completion_tokens logprobs top_logprobs tools tool_choice thinking chat_template_kwargs")

// chatMessage is one message of the conversation.
type chatMessage struct {
	Role       string       `json:"role"`
	Content    *textContent `json:"content"`
	Reasoning  *string      `json:"reasoning_content"`
	ToolCalls  []toolCall   `json:"tool_calls"`
	ToolCallID string       `json:"tool_call_id"`
	Name       string       `json:"name"`
	Prefix     bool         `json:"prefix"`
}

// toolCall is a call in OpenAI's form.
type toolCall struct {
	Index    *int   `json:"index,omitempty"` // in streams
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"` // a string that holds JSON
	} `json:"function"`
}

// textContent is a string or a list of text parts.
type textContent string

// UnmarshalJSON takes both forms and refuses parts that are not text.
func (c *textContent) UnmarshalJSON(raw []byte) error {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		*c = textContent(s)
		return nil
	}
	var parts []struct{ Type, Text string }
	if err := json.Unmarshal(raw, &parts); err != nil {
		return invalid("messages", "a message's content must be a string or a list of parts {\"type\":\"text\",\"text\":...}")
	}
	var b strings.Builder
	for _, p := range parts {
		if p.Type != "text" {
			return fail(http.StatusBadRequest, "invalid_request_error", "messages", "unsupported_parameter",
				"a message has a part of type "+quoteShort(p.Type)+"; this server reads text alone")
		}
		b.WriteString(p.Text)
	}
	*c = textContent(b.String())
	return nil
}

// conversation checks the messages' roles.
func (q *chatRequest) conversation() ([]text.Message, error) {
	if len(q.Messages) == 0 {
		return nil, invalid("messages", "messages must hold at least one message")
	}
	var out []text.Message
	for i, m := range q.Messages {
		role := m.Role
		switch role {
		case "system", "user", "assistant", "tool":
		case "developer":
			role = "system"
		default:
			return nil, invalid("messages", "messages[%d] has the role %s; this server knows system, developer, user, assistant and tool", i, quoteShort(role))
		}
		t := text.Message{Role: role, NoContent: m.Content == nil, Reasoning: m.Reasoning, ToolCallID: m.ToolCallID, Name: m.Name, Prefix: m.Prefix}
		if m.Content != nil {
			t.Content = string(*m.Content)
		} else if len(m.ToolCalls) == 0 {
			t.NoContent = false // left out: an empty text
		}
		for _, c := range m.ToolCalls {
			t.ToolCalls = append(t.ToolCalls, text.ToolCall{ID: c.ID, Type: cmp.Or(c.Type, "function"), Name: c.Function.Name, Arguments: c.Function.Arguments})
		}
		out = append(out, t)
	}
	return out, nil
}

// options are what the template is told beside the messages.
func (q *chatRequest) options() (text.RenderOptions, error) {
	o := text.RenderOptions{Tools: q.Tools, Kwargs: q.Kwargs}
	if len(o.Tools) > 128 {
		return o, invalid("tools", "there are %d tools; at most 128 are taken", len(o.Tools))
	}
	for i, raw := range o.Tools {
		var t struct {
			Type     string
			Function *struct{ Name string }
		}
		if json.Unmarshal(raw, &t) != nil || t.Type != "function" || t.Function == nil || t.Function.Name == "" {
			return o, invalid("tools", "tools[%d] must be {\"type\":\"function\",\"function\":{\"name\":...}}", i)
		}
	}
	switch choice := string(q.ToolChoice); choice {
	case "", "null", `"auto"`:
	case `"none"`:
		o.Tools = nil
	default:
		return o, fail(http.StatusBadRequest, "invalid_request_error", "tool_choice", "unsupported_parameter",
			"tool_choice can be \"auto\" or \"none\"; this server cannot force a call")
	}
	if len(o.Tools) == 0 {
		o.Tools = nil
	}
	if q.Thinking != nil {
		on := q.Thinking.Type == "enabled"
		if !on && q.Thinking.Type != "disabled" {
			return o, invalid("thinking", "thinking.type is %s; it must be enabled or disabled", quoteShort(q.Thinking.Type))
		}
		o.Thinking = &on
	}
	for name := range q.Kwargs {
		if name == "messages" || name == "tools" || name == "add_generation_prompt" || strings.HasSuffix(name, "_token") {
			return o, invalid("chat_template_kwargs", "chat_template_kwargs cannot set %s", quoteShort(name))
		}
	}
	return o, nil
}

// job turns a request into work.
func (s *server) chatJob(q *chatRequest) (*job, error) {
	m, err := s.find(q.Model)
	if err != nil {
		return nil, err
	}
	if q.MaxCompletionTokens != nil {
		if *q.MaxCompletionTokens < 0 {
			return nil, invalid("max_completion_tokens", "max_completion_tokens is %d; it must not be negative", *q.MaxCompletionTokens)
		}
		q.MaxTokens = q.MaxCompletionTokens
	}
	if q.TopLogProbs != 0 && !q.LogProbs {
		return nil, invalid("top_logprobs", "top_logprobs needs logprobs to be true")
	}
	messages, err := q.conversation()
	if err != nil {
		return nil, err
	}
	j, err := newJob("chatcmpl-", m, &q.sampling)
	if err != nil {
		return nil, err
	}
	j.silent = q.MaxTokens != nil && *q.MaxTokens == 0
	j.params.LogProbs, j.params.TopLogProbs = q.LogProbs, q.TopLogProbs
	options, err := q.options()
	if err != nil {
		return nil, err
	}
	s.encoding(func() { j.chat, err = m.ChatPrompt(messages, options) })
	if err != nil {
		return nil, invalid("messages", "%v", err)
	}
	j.prompts, j.params.StopTokens = []prompt{{ids: j.chat.IDs}}, j.chat.Stops
	return j, j.check()
}

func (s *server) chat(w http.ResponseWriter, r *http.Request) {
	var q chatRequest
	body, err := readBody(w, r, s.maxBody)
	if err == nil {
		err = decodeBody(body, &q, chatNames)
	}
	var j *job
	if err == nil {
		j, err = s.chatJob(&q)
	}
	if err != nil {
		s.answerError(w, r, err)
		return
	}
	a := &chatAnswer{j: j}
	if !q.Stream {
		if err := j.run(r.Context(), a, nil); err != nil {
			s.answerError(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, a.whole())
		return
	}
	a.events = newEvents(w)
	err = j.run(r.Context(), a, nil)
	if err == nil && q.wantsUsage() {
		err = a.events.send(chatChunk{a.head("chat.completion.chunk"), []chatDelta{}, &j.usage})
	}
	if err != nil {
		s.logError(r, err)
	}
	a.events.end(err)
}

// chatHead begins every object of an answer.
type chatHead struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	Model   string `json:"model"`
}

type chatChunk struct {
	chatHead
	Choices []chatDelta `json:"choices"`
	Usage   *usage      `json:"usage,omitempty"`
}

type chatDelta struct {
	Index        int            `json:"index"`
	Delta        message        `json:"delta"`
	LogProbs     *chatLogProbs  `json:"logprobs"`
	FinishReason *engine.Finish `json:"finish_reason"`
}

type chatWhole struct {
	chatHead
	Choices []chatChoice `json:"choices"`
	Usage   usage        `json:"usage"`
}

type chatChoice struct {
	Index        int           `json:"index"`
	Message      wholeMessage  `json:"message"`
	LogProbs     *chatLogProbs `json:"logprobs"`
	FinishReason engine.Finish `json:"finish_reason"`
}

type wholeMessage struct {
	Role      string     `json:"role"`
	Content   *string    `json:"content"`
	Reasoning *string    `json:"reasoning_content,omitempty"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
	Refusal   *string    `json:"refusal"`
}

// message is the new part of a streamed message.
type message struct {
	Role      string     `json:"role,omitempty"`
	Content   *string    `json:"content,omitempty"`
	Reasoning *string    `json:"reasoning_content,omitempty"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
}

type chatLogProbs struct {
	Content []chatToken `json:"content"`
	Refusal *string     `json:"refusal"`
}

type chatToken struct {
	Token   string      `json:"token"`
	LogProb float64     `json:"logprob"`
	Bytes   []int       `json:"bytes"`
	Top     []chatToken `json:"top_logprobs,omitempty"`
}

// chatAnswer collects or streams the choices of a chat.
type chatAnswer struct {
	j       *job
	events  *events // nil: collect
	choices []chatChoice
	named   int // choices whose role has been sent

	// Of the choice under way.
	parser  *text.OutputParser
	now     wholeMessage
	calls   int
	waiting []engine.TokenLogProb // log-probabilities of text that is held back
}

func (a *chatAnswer) head(object string) chatHead {
	return chatHead{a.j.id, object, a.j.created, a.j.m.Name()}
}

// role is the role for the first part of a choice, "" afterwards.
func (a *chatAnswer) role(index int) string {
	if index < a.named {
		return ""
	}
	a.named = index + 1
	return "assistant"
}

func (a *chatAnswer) delta(index int, d engine.Delta) error {
	if a.parser == nil {
		a.parser = a.j.chat.Parser()
	}
	a.waiting = append(a.waiting, d.Tokens...)
	events := a.parser.Feed(d.Text)
	readable(events)
	return a.take(index, events)
}

// take sends or collects events.
func (a *chatAnswer) take(index int, events []text.Event) error {
	for _, e := range events {
		var m message
		switch e.Kind {
		case text.EventContent:
			m.Content = &e.Text
			appendTo(&a.now.Content, e.Text)
		case text.EventReasoning:
			m.Reasoning = &e.Text
			appendTo(&a.now.Reasoning, e.Text)
		case text.EventToolCall:
			c := newToolCall(e.Call)
			a.now.ToolCalls = append(a.now.ToolCalls, c)
			c.Index = ptr(a.calls)
			m.ToolCalls = []toolCall{c}
			a.calls++
		default: // a call that was cut off
			continue
		}
		if err := a.send(index, m); err != nil {
			return err
		}
	}
	return nil
}

func appendTo(s **string, more string) {
	if *s != nil {
		more = **s + more
	}
	*s = &more
}

func ptr[T any](v T) *T { return &v }

func newToolCall(call text.ToolCall) toolCall {
	c := toolCall{ID: newID("call_"), Type: "function"}
	c.Function.Name = call.Name
	c.Function.Arguments, _ = json.Marshal(string(call.Arguments)) // a string always has a form
	return c
}

func (a *chatAnswer) send(index int, m message) error {
	if a.events == nil {
		return nil
	}
	m.Role = a.role(index)
	p := a.logProbs(a.waiting)
	a.waiting = nil
	return a.events.send(chatChunk{chatHead: a.head("chat.completion.chunk"), Choices: []chatDelta{{Index: index, Delta: m, LogProbs: p}}})
}

func (a *chatAnswer) finish(index int, res engine.Result) error {
	if a.parser != nil {
		events := a.parser.Flush()
		if res.Finish != engine.FinishLength {
			readable(events)
		}
		if err := a.take(index, events); err != nil {
			return err
		}
	}
	done, finish := a.now, res.Finish
	if a.calls > 0 && finish == engine.FinishStop {
		finish = finishToolCalls
	}
	if done.Content == nil && len(done.ToolCalls) == 0 {
		done.Content = ptr("")
	}
	done.Role = "assistant"
	rest := a.waiting
	a.parser, a.now, a.calls, a.waiting = nil, wholeMessage{}, 0, nil
	if a.events == nil {
		a.choices = append(a.choices, chatChoice{index, done, a.logProbs(res.LogProbs), finish})
		return nil
	}
	last := chatDelta{Index: index, Delta: message{Role: a.role(index)}, FinishReason: &finish}
	if len(rest) > 0 {
		last.LogProbs = a.logProbs(rest)
	}
	return a.events.send(chatChunk{chatHead: a.head("chat.completion.chunk"), Choices: []chatDelta{last}})
}

// finishToolCalls is the reason of an answer that ends with calls.
const finishToolCalls engine.Finish = "tool_calls"

// readable turns what the model meant as a call and nobody can read into text, so that
// it is not lost; only a call that the limit of tokens cut off is left out.
func readable(events []text.Event) {
	for i := range events {
		if events[i].Kind == text.EventMalformed {
			events[i].Kind = text.EventContent
		}
	}
}

func (a *chatAnswer) whole() chatWhole {
	return chatWhole{a.head("chat.completion"), a.choices, a.j.usage}
}

func (a *chatAnswer) logProbs(tokens []engine.TokenLogProb) *chatLogProbs {
	if !a.j.params.LogProbs {
		return nil
	}
	return &chatLogProbs{Content: chatTokens(tokens)}
}

func chatTokens(tokens []engine.TokenLogProb) []chatToken {
	out := make([]chatToken, 0, len(tokens))
	for _, t := range tokens {
		c := chatToken{Token: printable(t.Text), LogProb: t.LogProb}
		for _, b := range []byte(t.Text) {
			c.Bytes = append(c.Bytes, int(b))
		}
		if len(t.Top) > 0 {
			c.Top = chatTokens(t.Top)
		}
		out = append(out, c)
	}
	return out
}

// printable is a token's text with U+FFFD for parts of characters.
func printable(s string) string { return strings.ToValidUTF8(s, string(utf8.RuneError)) }
