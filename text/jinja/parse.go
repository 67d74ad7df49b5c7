package jinja

import (
	"slices"
	"strconv"
	"strings"
)

// Template is a parsed template.
type Template struct {
	body []node
}

// Parse reads a template's source.
func Parse(source string) (t *Template, err error) {
	defer caught(&err)
	if len(source) > maxSource {
		fail(0, "it has %d bytes, and at most %d are read", len(source), maxSource)
	}
	p := &parser{parts: split(source)}
	body, end := p.block()
	if end != "" {
		fail(p.line, "%s ends nothing", end)
	}
	return &Template{body}, nil
}

type parser struct {
	parts []part
	toks  []token
	line  int
	depth int

	operators int
}

// deeper bounds the recursion over what the source nests.
func (p *parser) deeper() func() {
	if p.depth++; p.depth > maxNesting {
		fail(p.line, "it nests deeper than %d", maxNesting)
	}
	return func() { p.depth-- }
}

// block parses up to a tag that it does not know as the beginning of a statement, and
// returns that tag's word; the rest of the tag is in toks.
func (p *parser) block() (out []node, end string) {
	defer p.deeper()()
	for len(p.parts) > 0 {
		x := p.parts[0]
		p.parts = p.parts[1:]
		p.line = x.line
		switch x.kind {
		case 't':
			out = append(out, textNode{literal(x.text)})
			continue
		case 'v':
			p.toks = lex(x.text, x.line)
			out = append(out, outNode{p.tuple(), x.line})
			p.done()
			continue
		}
		p.toks = lex(x.text, x.line)
		word := p.name("a statement")
		parse, ok := statements[word]
		if !ok {
			return out, word
		}
		if n := parse(p); n != nil {
			out = append(out, n)
		}
	}
	return out, ""
}

var statements map[string]func(p *parser) node

func init() { // the table's functions parse blocks, which look up the table
	statements = map[string]func(p *parser) node{
		"if": (*parser).ifTag, "for": (*parser).forTag, "set": (*parser).setTag, "macro": (*parser).macroTag, "call": (*parser).callTag,
		"filter": (*parser).filterTag, "with": (*parser).withTag, "generation": (*parser).generationTag,
		"break":    func(p *parser) node { p.done(); return jumpNode{true} },
		"continue": func(p *parser) node { p.done(); return jumpNode{false} },
	}
	for _, w := range []string{"include", "import", "from", "extends", "block", "autoescape", "do", "trans"} {
		statements[w] = func(p *parser) node {
			fail(p.line, "it uses {%% %s %%}, which no chat template needs and which is not available here", w)
			return nil
		}
	}
}

// until parses a block that one of ends ends, and returns which.
func (p *parser) until(what string, ends ...string) ([]node, string) {
	line := p.line
	body, end := p.block()
	if !slices.Contains(ends, end) {
		if end == "" {
			end = "the end of the template"
		}
		fail(line, "%s needs %s, but %s comes first", what, strings.Join(ends, " or "), end)
	}
	return body, end
}

func (p *parser) ifTag() node {
	n := ifNode{line: p.line, cond: p.tuple()}
	p.done()
	var end string
	n.then, end = p.until("if", "elif", "else", "endif")
	switch end {
	case "elif":
		defer p.deeper()()
		n.other = []node{p.ifTag()}
		return n
	case "else":
		p.done()
		n.other, _ = p.until("else", "endif")
	}
	p.done()
	return n
}

func (p *parser) forTag() node {
	n := forNode{line: p.line, targets: p.targets()}
	p.word("in")
	n.iter = p.orExpr()
	if p.is('o', ",") {
		items := []expr{n.iter}
		for p.take('o', ",") {
			items = append(items, p.orExpr())
		}
		n.iter = listExpr{items, true}
	}
	if p.take('n', "if") {
		n.where = p.cond()
	}
	if p.is('n', "recursive") {
		fail(p.line, "it uses a recursive loop, which is not available here")
	}
	p.done()
	var end string
	n.body, end = p.until("for", "else", "endfor")
	if end == "else" {
		p.done()
		n.other, _ = p.until("else", "endfor")
	}
	p.done()
	return n
}

func (p *parser) targets() []string {
	paren := p.take('o', "(")
	names := []string{p.name("a name")}
	for p.take('o', ",") {
		names = append(names, p.name("a name"))
	}
	if paren {
		p.op(")")
	}
	return names
}

func (p *parser) setTag() node {
	n := setNode{line: p.line, targets: p.targets()}
	if len(n.targets) == 1 && p.take('o', ".") {
		n.attr = p.name("an attribute")
	}
	if p.take('o', "=") {
		n.value = p.tuple()
		p.done()
		return n
	}
	if p.take('o', "|") {
		n.filters = p.filters()
	}
	p.done()
	n.body, _ = p.until("set", "endset")
	p.done()
	return n
}

func (p *parser) params() (names []string, defaults []expr) {
	if !p.take('o', "(") {
		return nil, nil
	}
	for !p.take('o', ")") {
		names = append(names, p.name("a parameter"))
		if p.take('o', "=") {
			defaults = append(defaults, p.cond())
		} else if len(defaults) > 0 {
			fail(p.line, "a parameter without default follows one with")
		}
		if !p.is('o', ")") {
			p.op(",")
		}
	}
	return names, defaults
}

func (p *parser) macroTag() node {
	n := macroNode{line: p.line, name: p.name("the macro's name")}
	n.params, n.defaults = p.params()
	p.done()
	n.body, _ = p.until("macro", "endmacro")
	if len(p.toks) > 0 {
		p.name("the macro's name")
	}
	p.done()
	return n
}

func (p *parser) callTag() node {
	n := callNode{line: p.line}
	n.params, _ = p.params()
	n.call = p.cond()
	p.done()
	n.body, _ = p.until("call", "endcall")
	p.done()
	return n
}

func (p *parser) filterTag() node {
	n := filterNode{line: p.line, filters: p.filters()}
	p.done()
	n.body, _ = p.until("filter", "endfilter")
	p.done()
	return n
}

func (p *parser) withTag() node {
	n := withNode{line: p.line}
	for len(p.toks) > 0 {
		n.names = append(n.names, p.name("a name"))
		p.op("=")
		n.values = append(n.values, p.cond())
		if len(p.toks) > 0 {
			p.op(",")
		}
	}
	n.body, _ = p.until("with", "endwith")
	p.done()
	return n
}

// generationTag marks the assistant's words for training; here it changes nothing.
func (p *parser) generationTag() node {
	n := withNode{line: p.line}
	p.done()
	n.body, _ = p.until("generation", "endgeneration")
	p.done()
	return n
}

func (p *parser) filters() []call {
	var out []call
	for {
		c := call{name: p.dotted(), line: p.line}
		if p.is('o', "(") {
			p.arguments(&c)
		}
		out = append(out, c)
		if !p.take('o', "|") {
			return out
		}
	}
}

func (p *parser) dotted() string {
	s := p.name("a filter's name")
	for p.take('o', ".") {
		s += "." + p.name("a filter's name")
	}
	return s
}

// Tokens.

func (p *parser) peek() token {
	if len(p.toks) == 0 {
		return token{}
	}
	return p.toks[0]
}

func (p *parser) is(kind byte, text string) bool { return p.peek() == token{kind, text} }

func (p *parser) take(kind byte, text string) bool {
	if !p.is(kind, text) {
		return false
	}
	p.toks = p.toks[1:]
	return true
}

func (p *parser) op(text string)   { p.need('o', text) }
func (p *parser) word(text string) { p.need('n', text) }

func (p *parser) need(kind byte, text string) {
	if !p.take(kind, text) {
		fail(p.line, "%q is needed where %s stands", text, p.here())
	}
}

func (p *parser) name(what string) string {
	t := p.peek()
	if t.kind != 'n' {
		fail(p.line, "%s is needed where %s stands", what, p.here())
	}
	p.toks = p.toks[1:]
	return t.text
}

func (p *parser) here() string {
	if t := p.peek(); t.kind != 0 {
		return strconv.Quote(t.text)
	}
	return "the end of the tag"
}

func (p *parser) done() {
	if len(p.toks) > 0 {
		fail(p.line, "%s stands where the tag should end", p.here())
	}
}
