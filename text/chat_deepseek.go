package text

import "strings"

// Control tokens of DeepSeek's tool calls.
const (
	callsBegin  = "<｜tool▁calls▁begin｜>"
	callsEnd    = "<｜tool▁calls▁end｜>"
	callBegin   = "<｜tool▁call▁begin｜>"
	callEnd     = "<｜tool▁call▁end｜>"
	callSep     = "<｜tool▁sep｜>"
	outputsOpen = "<｜tool▁outputs▁begin｜>"
	outputsEnd  = "<｜tool▁outputs▁end｜>"
	outputBegin = "<｜tool▁output▁begin｜>"
	outputEnd   = "<｜tool▁output▁end｜>"
	thinkOpen   = "<think>"
	thinkClose  = "</think>"
)

// deepSeekTurns is what the templates of V3, R1 and the distilled models share: system
// text first, then the turns, tool calls as fenced JSON.
type deepSeekTurns struct {
	*rendering
	joinSystems bool // all system messages, or the last one alone
	dropThought bool // of earlier answers, what stands before </think>
	callsByNull bool // calls are written where content is null (else: where there are any, beside the content)
	dump        bool // arguments are written as JSON whatever they are (else they must be text)

	called, answering, answered bool // a call, a tool's answer, was ever written; the last message was a tool's answer
}

func renderDeepSeekV3(r *rendering) {
	t := deepSeekTurns{rendering: r, joinSystems: true, callsByNull: true}
	t.run()
	if r.ask && !t.answering {
		r.control(AssistantToken)
	}
}

func renderR1DistillLlama(r *rendering) {
	t := deepSeekTurns{rendering: r, dropThought: true, callsByNull: true}
	t.run()
	if r.ask && !t.answering {
		r.control(AssistantToken)
		r.control(thinkOpen)
		r.text("\n")
	}
}

func renderR1DistillQwen(r *rendering) {
	t := deepSeekTurns{rendering: r, dropThought: true, dump: true}
	t.run()
	if r.ask && !t.answering {
		r.control(AssistantToken)
		r.control(thinkOpen)
		r.text("\n")
		if !truthy(r.kwargs["enable_thinking"]) {
			r.control(thinkClose)
		}
	}
}

func (t *deepSeekTurns) run() {
	t.control(t.cfg.BOS)
	if t.joinSystems {
		t.systems()
	} else {
		t.lastSystem()
	}
	for i, m := range t.messages {
		switch m.Role {
		case "user":
			t.answering = false
			t.control(UserToken)
			t.content(i)
		case "assistant":
			t.assistant(i)
		case "tool":
			t.answer(i)
		}
	}
	if t.answering {
		t.control(outputsEnd)
	}
}

func (t *deepSeekTurns) lastSystem() {
	for i := len(t.messages) - 1; i >= 0; i-- {
		if t.messages[i].Role == "system" {
			t.printed(i)
			return
		}
	}
}

func (t *deepSeekTurns) assistant(i int) {
	m := &t.messages[i]
	if t.callsByNull && m.NoContent || !t.callsByNull && len(m.ToolCalls) > 0 {
		t.answering = false
		for j := range m.ToolCalls {
			t.call(i, j)
		}
		if !t.callsByNull {
			t.control(callsEnd)
			t.control(eosToken)
		}
	}
	if m.NoContent {
		return
	}
	if t.answering {
		t.control(outputsEnd)
		t.text(m.Content)
		t.answering = false
	} else {
		t.control(AssistantToken)
		s := m.Content
		if t.dropThought {
			s = s[after(s, thinkClose):]
		}
		t.text(s)
	}
	t.control(eosToken)
}

// call writes one call. Only the first of the whole conversation opens the list, and in
// the templates that write calls for a null content every later one closes it: so the
// originals do.
func (t *deepSeekTurns) call(i, j int) {
	c := &t.messages[i].ToolCalls[j]
	first := !t.called
	t.called = true
	if first {
		t.control(AssistantToken)
		t.control(callsBegin)
	} else {
		t.text("\n")
	}
	t.control(callBegin)
	t.text(c.Type)
	t.control(callSep)
	t.text(c.Name + "\n```json\n" + t.arguments(i, j, t.dump) + "\n```")
	t.control(callEnd)
	if !first && t.callsByNull {
		t.control(callsEnd)
		t.control(eosToken)
	}
}

func (t *deepSeekTurns) answer(i int) {
	t.answering = true
	if !t.answered {
		t.control(outputsOpen)
	} else {
		t.text("\n")
	}
	t.answered = true
	t.control(outputBegin)
	t.content(i)
	t.control(outputEnd)
}

// renderDeepSeekV31 is V3.1's: every answer is preceded by a closed (or, thinking, an
// open) thought; tool calls are plain JSON; answers after tools go on in the same turn.
func renderDeepSeekV31(r *rendering) {
	thinking, set := r.kwargs["thinking"]
	if !set {
		thinking = r.kwargs["enable_thinking"]
	}
	t := v31Turns{rendering: r, thinking: truthy(thinking)}
	r.control(r.cfg.BOS)
	r.systems()
	for i, m := range r.messages {
		switch {
		case m.Role == "user":
			t.afterTool, t.afterUser = false, true
			r.control(UserToken)
			r.content(i)
		case m.Role == "assistant" && len(m.ToolCalls) > 0:
			t.calls(i)
		case m.Role == "assistant":
			t.assistant(i)
		case m.Role == "tool":
			t.afterUser, t.afterTool = false, true
			r.control(outputBegin)
			r.content(i)
			r.control(outputEnd)
		}
	}
	if r.ask && t.afterUser && !t.afterTool {
		r.control(AssistantToken)
		r.control(thinkOpen)
		if !t.thinking {
			r.control(thinkClose)
		}
	}
}

type v31Turns struct {
	*rendering
	thinking             bool
	afterUser, afterTool bool
}

func (t *v31Turns) calls(i int) {
	m := &t.messages[i]
	if t.afterUser {
		t.control(AssistantToken)
		t.control(thinkOpen)
		t.control(thinkClose)
	}
	t.afterUser, t.afterTool = false, false
	t.text(m.Content)
	for j := range m.ToolCalls {
		if j == 0 {
			t.control(callsBegin)
		}
		t.control(callBegin)
		t.text(m.ToolCalls[j].Name)
		t.control(callSep)
		t.text(t.arguments(i, j, true))
		t.control(callEnd)
	}
	t.control(callsEnd)
	t.control(eosToken)
}

func (t *v31Turns) assistant(i int) {
	m := &t.messages[i]
	if t.afterUser {
		t.control(AssistantToken)
		t.control(thinkOpen)
		if !m.Prefix || !t.thinking {
			t.control(thinkClose)
		}
	}
	t.afterUser = false
	if t.afterTool {
		t.afterTool = false
		t.content(i)
	} else if _, after, found := strings.Cut(m.Content, thinkClose); found {
		t.text(after)
	} else {
		t.content(i)
	}
	t.control(eosToken)
}
