package jinja

import (
	"strconv"
	"strings"
)

// tuple parses an expression, or several with commas between them.
func (p *parser) tuple() expr {
	e := p.cond()
	if !p.is('o', ",") {
		return e
	}
	items := []expr{e}
	for p.take('o', ",") {
		if len(p.toks) == 0 || p.is('o', ")") {
			break
		}
		items = append(items, p.cond())
	}
	return listExpr{items, true}
}

func (p *parser) cond() expr {
	defer p.deeper()()
	e := p.orExpr()
	for p.take('n', "if") {
		p.counted()
		c := condExpr{cond: p.orExpr(), then: e}
		if p.take('n', "else") {
			c.other = p.cond()
		}
		e = c
	}
	return e
}

func (p *parser) orExpr() expr {
	e := p.andExpr()
	for p.take('n', "or") {
		e = p.operator("or", e, p.andExpr())
	}
	return e
}

func (p *parser) andExpr() expr {
	e := p.notExpr()
	for p.take('n', "and") {
		e = p.operator("and", e, p.notExpr())
	}
	return e
}

func (p *parser) notExpr() expr {
	if p.take('n', "not") {
		defer p.deeper()()
		return unaryExpr{"not", p.notExpr(), p.line}
	}
	return p.compare()
}

// compare parses chains such as a < b < c as Python reads them.
func (p *parser) compare() expr {
	left := p.sum()
	var out expr
	for {
		op := p.comparison()
		if op == "" {
			break
		}
		right := p.sum()
		var e expr = p.operator(op, left, right)
		if out != nil {
			e = p.operator("and", out, e)
		}
		out, left = e, right
	}
	if out == nil {
		return left
	}
	return out
}

func (p *parser) comparison() string {
	switch t := p.peek(); {
	case t.kind == 'o' && (t.text == "==" || t.text == "!=" || t.text == "<" || t.text == "<=" || t.text == ">" || t.text == ">="):
		p.toks = p.toks[1:]
		return t.text
	case p.take('n', "in"):
		return "in"
	case p.is('n', "not") && len(p.toks) > 1 && p.toks[1] == token{'n', "in"}:
		p.toks = p.toks[2:]
		return "not in"
	}
	return ""
}

// operator is a binary operation; what stands left of it may hold others.
func (p *parser) operator(op string, l, r expr) expr {
	p.counted()
	return binaryExpr{op, l, r, p.line}
}

// counted bounds the operators of a template, which nest without brackets.
func (p *parser) counted() {
	if p.operators++; p.operators > maxOperators {
		fail(p.line, "it has more than %d operators", maxOperators)
	}
}

// levels are the binary operators from the loosest to the tightest.
var levels = [][]string{{"+", "-"}, {"~"}, {"*", "/", "//", "%"}}

func (p *parser) sum() expr { return p.level(0) }

func (p *parser) level(n int) expr {
	if n == len(levels) {
		return p.power()
	}
	e := p.level(n + 1)
	for {
		found := false
		for _, op := range levels[n] {
			if p.take('o', op) {
				e, found = p.operator(op, e, p.level(n+1)), true
				break
			}
		}
		if !found {
			return e
		}
	}
}

func (p *parser) power() expr {
	e := p.unary(true)
	for p.take('o', "**") {
		e = p.operator("**", e, p.unary(true))
	}
	return e
}

func (p *parser) unary(filters bool) expr {
	defer p.deeper()()
	var e expr
	switch {
	case p.take('o', "-"):
		e = unaryExpr{"-", p.unary(false), p.line}
	case p.take('o', "+"):
		e = unaryExpr{"+", p.unary(false), p.line}
	default:
		e = p.postfix(p.primary())
	}
	if filters {
		e = p.filtered(e)
	}
	return e
}

func (p *parser) primary() expr {
	t := p.peek()
	if t.kind == 0 {
		fail(p.line, "an expression is needed where the tag ends")
	}
	p.toks = p.toks[1:]
	switch t.kind {
	case 's':
		var b strings.Builder
		b.WriteString(t.text)
		for p.peek().kind == 's' { // neighbours are one string
			b.WriteString(p.peek().text)
			p.toks = p.toks[1:]
		}
		return constExpr{literal(b.String())}
	case 'i':
		n, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			fail(p.line, "the number %s is too large", t.text)
		}
		return constExpr{n}
	case 'f':
		f, _ := strconv.ParseFloat(t.text, 64)
		return constExpr{f}
	case 'n':
		switch t.text {
		case "true", "True":
			return constExpr{true}
		case "false", "False":
			return constExpr{false}
		case "none", "None":
			return constExpr{nil}
		}
		return nameExpr{t.text, p.line}
	}
	return p.bracket(t)
}

func (p *parser) bracket(t token) expr {
	switch t.text {
	case "(":
		if p.take('o', ")") {
			return listExpr{nil, true}
		}
		e := p.tuple()
		p.op(")")
		return e
	case "[":
		var l listExpr
		for !p.take('o', "]") {
			l.items = append(l.items, p.cond())
			if !p.is('o', "]") {
				p.op(",")
			}
		}
		return l
	case "{":
		var d dictExpr
		for !p.take('o', "}") {
			d.keys = append(d.keys, p.cond())
			p.op(":")
			d.values = append(d.values, p.cond())
			if !p.is('o', "}") {
				p.op(",")
			}
		}
		return d
	}
	fail(p.line, "%q stands where an expression is needed", t.text)
	return nil
}

func (p *parser) postfix(e expr) expr {
	for n := 0; ; n++ {
		if n > maxNesting {
			fail(p.line, "an expression has more than %d parts", maxNesting)
		}
		switch {
		case p.take('o', "."):
			t := p.peek()
			if t.kind == 'i' {
				p.toks = p.toks[1:]
				i, _ := strconv.ParseInt(t.text, 10, 64)
				e = itemExpr{e, constExpr{i}, p.line}
				continue
			}
			e = attrExpr{e, p.name("an attribute"), p.line}
		case p.take('o', "["):
			e = p.subscript(e)
		case p.is('o', "("):
			c := callExpr{f: e, call: call{line: p.line}}
			p.arguments(&c.call)
			e = c
		default:
			return e
		}
	}
}

func (p *parser) subscript(e expr) expr {
	var bounds [3]expr
	n := 0
	for !p.take('o', "]") {
		switch {
		case p.take('o', ":"):
			n++
		case n < 3 && bounds[n] == nil:
			bounds[n] = p.cond()
		default:
			fail(p.line, "%s stands in a subscript", p.here())
		}
		if n > 2 {
			fail(p.line, "a slice has more than three parts")
		}
	}
	if n == 0 {
		if bounds[0] == nil {
			fail(p.line, "a subscript is empty")
		}
		return itemExpr{e, bounds[0], p.line}
	}
	return sliceExpr{e, bounds[0], bounds[1], bounds[2], p.line}
}

func (p *parser) arguments(c *call) {
	p.op("(")
	for !p.take('o', ")") {
		if p.is('o', "*") || p.is('o', "**") {
			fail(p.line, "arguments by * are not available here")
		}
		if len(p.toks) > 1 && p.toks[0].kind == 'n' && p.toks[1] == (token{'o', "="}) {
			c.names = append(c.names, p.toks[0].text)
			p.toks = p.toks[2:]
			c.kwargs = append(c.kwargs, p.cond())
		} else {
			c.args = append(c.args, p.cond())
		}
		if !p.is('o', ")") {
			p.op(",")
		}
	}
}

// filtered parses filters, tests and calls behind an operand.
func (p *parser) filtered(e expr) expr {
	for n := 0; ; n++ {
		if n > maxNesting {
			fail(p.line, "an expression has more than %d filters", maxNesting)
		}
		switch {
		case p.take('o', "|"):
			c := call{name: p.dotted(), line: p.line}
			if p.is('o', "(") {
				p.arguments(&c)
			}
			e = filterExpr{e, c}
		case p.take('n', "is"):
			e = p.test(e)
		case p.is('o', "("):
			c := callExpr{f: e, call: call{line: p.line}}
			p.arguments(&c.call)
			e = c
		default:
			return e
		}
	}
}

func (p *parser) test(e expr) expr {
	t := testExpr{of: e, not: p.take('n', "not"), call: call{line: p.line}}
	t.name = p.name("a test")
	switch next := p.peek(); {
	case p.is('o', "("):
		p.arguments(&t.call)
	case next.kind == 's' || next.kind == 'i' || next.kind == 'f' || next == token{'o', "["} || next == token{'o', "{"},
		next.kind == 'n' && !strings.Contains(" else or and is in if not ", " "+next.text+" "):
		t.args = []expr{p.postfix(p.primary())}
	}
	return t
}
