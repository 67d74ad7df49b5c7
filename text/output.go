package text

import "strings"

// EventKind says what a piece of a model's output is.
type EventKind uint8

// The kinds of events.
const (
	// EventContent is text of the answer.
	EventContent EventKind = iota
	// EventReasoning is text of the thought.
	EventReasoning
	// EventToolCall is a whole tool call.
	EventToolCall
	// EventMalformed is the raw text of a tool call that cannot be read: damaged, or cut
	// off by the end of the output. It is no text for the user.
	EventMalformed
)

// Event is a piece of a model's output.
type Event struct {
	Kind EventKind
	Text string   // of all kinds but EventToolCall
	Call ToolCall // of EventToolCall; its Arguments are a JSON object as the model wrote it, and ID is empty
}

// Thought says where an output stands at its beginning.
type Thought uint8

const (
	// ThoughtNone is for models that do not think: tags of thoughts are text.
	ThoughtNone Thought = iota
	// ThoughtMaybe looks for an opening tag at the very beginning.
	ThoughtMaybe
	// ThoughtOpen is for prompts that end with the opening tag: the output begins with
	// the thought. An opening tag that the model repeats is dropped.
	ThoughtOpen
)

// OutputParser takes a model's output apart while it streams: thought, answer and tool
// calls. However the output is cut into pieces, the joined events are the same, and no
// part of a tag is ever given out as text. Line breaks around a thought, and between an
// answer and the tool calls after it, belong to the format and are dropped.
type OutputParser struct {
	format  *toolFormat // nil: tool calls are text
	thought Thought

	state    func(p *OutputParser, end bool) bool // makes progress on buf, or reports that it needs more
	close    string                               // what ends the call or list that is open
	buf      string
	space    string // line breaks that are dropped if a tag follows and given out if text does
	inAnswer bool
	lead     bool // nothing but line breaks since the last tag
	events   []Event
}

// NewOutputParser makes a parser of the output of a model with this configuration.
// tools says whether functions were offered: without, tool calls are text.
func NewOutputParser(c *TokenizerConfig, thought Thought, tools bool) *OutputParser {
	p := &OutputParser{thought: thought, state: (*OutputParser).opening}
	if tools {
		p.format = c.toolFormat()
	}
	if thought == ThoughtNone {
		p.state = (*OutputParser).answer
	}
	return p
}

// ThoughtAfter is how the output after this prompt begins, for a model that thinks.
func ThoughtAfter(prompt []Segment) Thought {
	tail := ""
	for i := len(prompt) - 1; i >= 0 && len(tail) < 64; i-- {
		tail = prompt[i].Text + tail
	}
	tail = strings.TrimRight(tail, "\n")
	switch {
	case strings.HasSuffix(tail, thinkOpen):
		return ThoughtOpen
	case strings.HasSuffix(tail, thinkClose):
		return ThoughtNone
	}
	return ThoughtMaybe
}

// Feed adds a piece of output and returns what is certain now. The events are valid
// until the next call.
func (p *OutputParser) Feed(s string) []Event {
	p.events = p.events[:0]
	p.buf += s
	for p.buf != "" && p.state(p, false) {
	}
	return p.events
}

// Flush returns what was held back at the end of the output.
func (p *OutputParser) Flush() []Event {
	p.events = p.events[:0]
	for p.buf != "" && p.state(p, true) {
	}
	if p.inAnswer && p.space != "" { // they end the answer as the model wrote it
		p.emit(EventContent, p.space)
		p.space = ""
	}
	return p.events
}

// text gives out s, and before it the line breaks held back; line breaks at its end are
// held back in turn, at its beginning dropped after a tag.
func (p *OutputParser) text(kind EventKind, s string) {
	s = p.space + s
	if p.lead {
		s = strings.TrimLeft(s, "\n")
	}
	body := strings.TrimRight(s, "\n")
	p.space = s[len(body):]
	if body == "" {
		return
	}
	p.lead = false
	p.emit(kind, body)
}

func (p *OutputParser) emit(kind EventKind, s string) {
	if n := len(p.events); n > 0 && p.events[n-1].Kind == kind && kind != EventMalformed {
		p.events[n-1].Text += s
		return
	}
	p.events = append(p.events, Event{Kind: kind, Text: s})
}

// enter goes on to another state after a tag.
func (p *OutputParser) enter(state func(*OutputParser, bool) bool) {
	p.state, p.space, p.lead = state, "", true
}

// take gives out text up to the first of tags and drops the tag; which is its place in
// tags, or -1 where none stands whole in the buffer. Then what may be the beginning of
// one stays, unless the output has ended.
func (p *OutputParser) take(kind EventKind, end bool, tags ...string) (which int) {
	p.inAnswer = kind == EventContent
	at, which := len(p.buf), -1
	for i, t := range tags {
		if j := strings.Index(p.buf, t); j >= 0 && j < at {
			at, which = j, i
		}
	}
	if which >= 0 {
		p.text(kind, p.buf[:at])
		p.buf = p.buf[at+len(tags[which]):]
		return which
	}
	keep := 0
	if !end {
		keep = tagBegun(p.buf, tags)
	}
	p.text(kind, p.buf[:len(p.buf)-keep])
	p.buf = p.buf[len(p.buf)-keep:]
	return -1
}

// tagBegun is the length of the longest end of s that begins one of tags.
func tagBegun(s string, tags []string) int {
	best := 0
	for _, t := range tags {
		for n := min(len(t)-1, len(s)); n > best; n-- {
			if strings.HasSuffix(s, t[:n]) {
				best = n
				break
			}
		}
	}
	return best
}

// opening looks for the tag that opens a thought, behind white space.
func (p *OutputParser) opening(end bool) bool {
	s := strings.TrimLeft(p.buf, " \t\r\n")
	switch {
	case strings.HasPrefix(s, thinkOpen):
		p.buf = s[len(thinkOpen):]
		p.enter((*OutputParser).reasoning)
	case !end && strings.HasPrefix(thinkOpen, s):
		return false
	case p.thought == ThoughtOpen:
		p.enter((*OutputParser).reasoning)
	default:
		p.state = (*OutputParser).answer
	}
	return true
}

// reasoning is within a thought. DeepSeek's models sometimes call tools without closing
// it: their control tokens close it.
func (p *OutputParser) reasoning(end bool) bool {
	tags := []string{thinkClose}
	if p.format != nil && p.format.endsThought {
		tags = append(tags, p.format.open...)
	}
	switch which := p.take(EventReasoning, end, tags...); which {
	case -1:
		return false
	case 0:
		p.enter((*OutputParser).answer)
	default:
		p.begin(which - 1)
	}
	return true
}

// answer begins the answer: models that call tools by a bare JSON object do it here.
func (p *OutputParser) answer(end bool) bool {
	p.state = (*OutputParser).content
	if p.format == nil || !p.format.bare {
		return true
	}
	s := strings.TrimLeft(p.buf, " \t\r\n")
	s, tagged := strings.CutPrefix(s, pythonTag)
	switch {
	case tagged || strings.HasPrefix(s, "{"):
		p.state = (*OutputParser).bare
	case !end && strings.HasPrefix(pythonTag, s):
		p.state = (*OutputParser).answer
		return false
	}
	return true
}

// content is within the answer. A stray end of a thought is no text of it.
func (p *OutputParser) content(end bool) bool {
	var tags []string
	if p.thought != ThoughtNone {
		tags = append(tags, thinkClose)
	}
	first := len(tags)
	if p.format != nil {
		tags = append(tags, p.format.open...)
	}
	which := p.take(EventContent, end, tags...)
	switch {
	case which < 0:
		return false
	case which >= first:
		p.begin(which - first)
	}
	return true
}

// begin goes on to the calls that the format's tag which opened.
func (p *OutputParser) begin(which int) {
	p.close = p.format.close[which]
	p.enter((*OutputParser).call)
	if p.format.each == "" {
		p.enter((*OutputParser).single)
	}
}

// call is within a list of calls: they are given out one by one.
func (p *OutputParser) call(end bool) bool {
	each, stop := strings.Index(p.buf, p.format.each), strings.Index(p.buf, p.close)
	switch {
	case each >= 0 && (stop < 0 || each < stop):
		p.give(p.buf[:each], p.buf[:each+len(p.format.each)])
		p.buf = p.buf[each+len(p.format.each):]
		return true
	case stop >= 0:
		p.malformed(p.buf[:stop])
		p.buf = p.buf[stop+len(p.close):]
		p.enter((*OutputParser).content)
		return true
	case end:
		p.malformed(p.buf)
		p.buf = ""
	}
	return false
}

// single is within a call that has tags of its own. Its end tag may also stand in a
// string of the arguments: the first one that leaves a whole call counts.
func (p *OutputParser) single(end bool) bool {
	first := -1
	for at := 0; ; {
		i := strings.Index(p.buf[at:], p.close)
		if i < 0 {
			break
		}
		at += i + len(p.close)
		if first < 0 {
			first = at
		}
		if calls, ok := p.format.parse(p.buf[:at-len(p.close)]); ok {
			p.calls(calls)
			p.buf = p.buf[at:]
			p.enter((*OutputParser).content)
			return true
		}
	}
	if !end {
		return false
	}
	if first < 0 {
		first = len(p.buf)
	}
	p.malformed(p.buf[:first])
	p.buf = p.buf[first:]
	p.enter((*OutputParser).content)
	return true
}

// give reads a call; raw is what stands for it if it cannot be read.
func (p *OutputParser) give(call, raw string) {
	if calls, ok := p.format.parse(call); ok {
		p.calls(calls)
	} else {
		p.malformed(raw)
	}
}

func (p *OutputParser) calls(calls []ToolCall) {
	for _, c := range calls {
		c.Type = "function"
		p.events = append(p.events, Event{Kind: EventToolCall, Call: c})
	}
}

func (p *OutputParser) malformed(raw string) {
	if strings.TrimSpace(raw) != "" {
		p.emit(EventMalformed, raw)
	}
}

// bare holds an answer that may be a JSON object until its end.
func (p *OutputParser) bare(end bool) bool {
	if !end {
		return false
	}
	if calls, ok := parseBareCalls(p.buf); ok {
		p.calls(calls)
	} else {
		p.emit(EventContent, p.buf)
	}
	p.buf = ""
	return false
}
