package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"sonde/engine"
	"sonde/text"
)

// chatRequest is the body of POST /v1/chat/completions.
type chatRequest struct {
	sampling
	Messages            []chatMessage `json:"messages"`
	MaxCompletionTokens *int          `json:"max_completion_tokens"`
	LogProbs            bool          `json:"logprobs"`
	TopLogProbs         int           `json:"top_logprobs"`
}

var chatNames = names(samplingNames + "messages max_completion_tokens logprobs top_logprobs")

// chatMessage is one message of the conversation.
type chatMessage struct {
	Role      string          `json:"role"`
	Content   textContent     `json:"content"`
	ToolCalls json.RawMessage `json:"tool_calls"`
}

// textContent is a string or a list of text parts.
type textContent string

// UnmarshalJSON takes both forms and refuses parts that are not text.
func (c *textContent) UnmarshalJSON(raw []byte) error {
	var s *string
	if json.Unmarshal(raw, &s) == nil {
		if s != nil {
			*c = textContent(*s)
		}
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
		case "system", "user", "assistant":
		case "developer":
			role = "system"
		default:
			return nil, invalid("messages", "messages[%d] has the role %s; this server knows system, developer, user and assistant", i, quoteShort(role))
		}
		if tc := string(m.ToolCalls); tc != "" && tc != "null" && tc != "[]" {
			return nil, fail(http.StatusBadRequest, "invalid_request_error", "messages", "unsupported_parameter",
				fmt.Sprintf("messages[%d] has tool_calls, which this server does not support", i))
		}
		out = append(out, text.Message{Role: role, Content: string(m.Content)})
	}
	return out, nil
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
	var ids, stops []int32
	s.encoding(func() { ids, stops, err = m.ChatPrompt(messages) })
	if err != nil {
		return nil, invalid("messages", "%v", err)
	}
	j.prompts, j.params.StopTokens = []prompt{{ids: ids}}, stops
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
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

// message is the new part of a streamed message.
type message struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
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
	if a.events == nil {
		return nil
	}
	return a.events.send(chatChunk{chatHead: a.head("chat.completion.chunk"), Choices: []chatDelta{{
		Index: index, Delta: message{a.role(index), &d.Text}, LogProbs: a.logProbs(d.Tokens)}}})
}

func (a *chatAnswer) finish(index int, res engine.Result) error {
	if a.events == nil {
		a.choices = append(a.choices, chatChoice{index, wholeMessage{"assistant", res.Text, nil}, a.logProbs(res.LogProbs), res.Finish})
		return nil
	}
	return a.events.send(chatChunk{chatHead: a.head("chat.completion.chunk"), Choices: []chatDelta{{
		Index: index, Delta: message{Role: a.role(index)}, FinishReason: &res.Finish}}})
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
