package task

import (
	"fmt"
	"math/big"
	"strings"
)

// expr is a mathematical text as a tree. op is
//
//	"num"  a number, value
//	"var"  an unknown, name
//	"+" "*" "/" "^" "neg" "pm"  arithmetic; "pm" is plus or minus, of one argument
//	"root" the second argument's root of the first; "fn" a function, name
//	"abs" "!" "=" "union" "binom"
//	"based" a number's digits and the base that they are written in
//	"list" values side by side, "set" in braces, "tuple" in brackets, name their two signs,
//	        or "matrix" and its columns
type expr struct {
	op, name string
	value    *big.Rat
	args     []*expr
}

// mathParser reads tokens.
type mathParser struct {
	toks   []lexeme
	depth  int
	inBars bool // within |...|, where | closes
}

// textRE finds words set as text, unitRE with the power of a unit.
var (
	textRE = newPattern(`\\(?:text|mathrm|mbox|textbf|textit|mathbf)\s*\{([^{}]*)\}`)
	unitRE = newPattern(textRE.String() + `(?:\s*\^\s*\{?[23]\}?)?`)
)

// plainUnitRE finds units that follow a number without being set as text.
var plainUnitRE = newPattern(`(?i)(\d)\s*(?:square |cubic |sq\.? )?(?:degrees?|dollars?|cents?|units?|inch(?:es)?|foot|feet|ft|yards?|miles?|mph|mm|cm|km|` +
	`(?:centi|milli|kilo)?met(?:er|re)s?|hours?|minutes?|seconds?|days?|weeks?|months?|years?|people|students|ways|points?)\.?\s*$`)

// repeatingRE finds repeating decimals, 0.1\overline{6}.
var repeatingRE = newPattern(`(\d*)\.(\d*)\\overline\s*\{\s*(\d+)\s*\}`)

// repeating writes a repeating decimal as a fraction: with n digits that repeat after m
// that do not, all digits less those that do not repeat, over (10^n-1)*10^m.
func repeating(s string) string {
	m := repeatingRE.FindStringSubmatch(s)
	all, _ := new(big.Int).SetString("0"+m[1]+m[2]+m[3], 10)
	once, _ := new(big.Int).SetString("0"+m[1]+m[2], 10)
	return fmt.Sprintf("(%d/%s)", all.Sub(all, once), strings.Repeat("9", len(m[3]))+strings.Repeat("0", len(m[2])))
}

// parseMath reads a whole answer. Words set as text are units, and left out, but for
// "or" and "and".
func parseMath(s string) (*expr, error) {
	s = repeatingRE.ReplaceAllStringFunc(s, repeating)
	s = plainUnitRE.ReplaceAllString(s, "$1")
	s = unitRE.ReplaceAllStringFunc(s, func(m string) string {
		words := strings.Trim(textRE.FindStringSubmatch(m)[1], " ,")
		if words == "or" || words == "and" {
			return " " + words + " "
		}
		return " "
	})
	toks, err := lexMath(s)
	if err != nil {
		return nil, err
	}
	p := &mathParser{toks: toks}
	e, err := p.list(func() bool { return len(p.toks) == 0 })
	switch {
	case err != nil:
		return nil, err
	case len(p.toks) > 0:
		return nil, fmt.Errorf("%q is unexpected", p.toks[0].String())
	case len(e) == 1:
		return e[0], nil
	}
	return &expr{op: "list", args: e}, nil
}

// String is the token as written.
func (t lexeme) String() string {
	if t.text != "" {
		return t.text
	}
	return string(t.kind)
}

// is says whether the next token is a sign, or a name if it has several letters.
func (p *mathParser) is(s string) bool {
	if len(p.toks) == 0 {
		return false
	}
	t := p.toks[0]
	return t.kind == 'a' && t.text == s || t.text == "" && string(t.kind) == s
}

// take is is that also moves on.
func (p *mathParser) take(s string) bool {
	if !p.is(s) {
		return false
	}
	p.toks = p.toks[1:]
	return true
}

// enter counts the depth.
func (p *mathParser) enter() error {
	if p.depth++; p.depth > maxNested {
		return fmt.Errorf("the expression is nested too deeply")
	}
	return nil
}

// list reads statements with commas, "or" or "and" between them, until end.
func (p *mathParser) list(end func() bool) ([]*expr, error) {
	var out []*expr
	for {
		e, err := p.statement()
		if err != nil {
			return nil, err
		}
		out = append(out, e)
		if end() || !(p.take(",") || p.take(";") || p.take("or") || p.take("and")) {
			return out, nil
		}
		_ = p.take("or") || p.take("and") // "1, 2, and 3"
	}
}

// statement reads a sum, an equation, a union, or "x in" before one of them.
func (p *mathParser) statement() (*expr, error) {
	e, err := p.sum()
	if err != nil {
		return nil, err
	}
	switch {
	case p.take("in") && e.op == "var":
		return p.statement()
	case p.take("="):
		right, err := p.sum()
		if err != nil {
			return nil, err
		}
		if e.op == "var" {
			return right, nil // x = 5 is the value 5
		}
		if _, known := constants[right.name]; right.op == "var" && !known {
			return e, nil // and so is 5 = x
		}
		return &expr{op: "=", args: []*expr{e, right}}, nil
	case p.is("cup"):
		u := &expr{op: "union", args: []*expr{e}}
		for p.take("cup") {
			next, err := p.sum()
			if err != nil {
				return nil, err
			}
			u.args = append(u.args, next)
		}
		return u, nil
	}
	return e, nil
}

// sum reads products with signs between them.
func (p *mathParser) sum() (*expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	var total *expr
	for {
		sign := ""
		switch {
		case p.take("+"):
		case p.take("-"):
			sign = "neg"
		case p.take("pm"):
			sign = "pm"
		default:
			if total != nil {
				return total, nil
			}
		}
		e, err := p.product()
		if err != nil {
			return nil, err
		}
		if sign != "" {
			e = &expr{op: sign, args: []*expr{e}}
		}
		if total == nil {
			total = e
		} else {
			total = &expr{op: "+", args: []*expr{total, e}}
		}
	}
}

// product reads powers with * or / or nothing between them.
func (p *mathParser) product() (*expr, error) {
	e, err := p.power()
	for err == nil {
		op := "*"
		switch {
		case p.take("*"):
		case p.take("/"):
			op = "/"
		case !p.starts():
			return e, nil
		case e.op == "num" && p.toks[0].kind == '0':
			return nil, fmt.Errorf("two numbers side by side")
		case e.op == "num" && e.value.IsInt() && p.is("frac"):
			op = "mixed"
		}
		var f *expr
		if op != "mixed" && p.take("-") { // 2*-3
			if f, err = p.power(); err == nil {
				f = &expr{op: "neg", args: []*expr{f}}
			}
		} else {
			f, err = p.power()
		}
		if err != nil {
			break
		}
		if op == "mixed" {
			op = mixedOp(f)
		}
		e = &expr{op: op, args: []*expr{e, f}}
	}
	return nil, err
}

// mixedOp says what a whole number before a fraction means: 2\frac{1}{2} is two and a
// half, 2\frac{x}{3} a product.
func mixedOp(f *expr) string {
	if f.op == "/" && f.args[0].op == "num" && f.args[1].op == "num" {
		return "+"
	}
	return "*"
}

// starts says whether the next token can begin a factor.
func (p *mathParser) starts() bool {
	if len(p.toks) == 0 {
		return false
	}
	switch t := p.toks[0]; t.kind {
	case '0', '(', '{':
		return true
	case '|':
		return !p.inBars
	case 'a':
		switch t.text {
		case "or", "and", "in", "cup", "pm", "rbrace", "lbrace", "row", "endmatrix":
			return false
		}
		return true
	}
	return false
}

// power reads a factor, what follows it (! %), and an exponent.
func (p *mathParser) power() (*expr, error) {
	e, err := p.factor()
	if err != nil {
		return nil, err
	}
	for {
		switch {
		case p.take("!"):
			e = &expr{op: "!", args: []*expr{e}}
		case p.take("%"):
			e = &expr{op: "/", args: []*expr{e, number(100)}}
		case p.is("_") && (e.op == "num" || e.op == "var"):
			if e, err = p.subscript(e); err != nil {
				return nil, err
			}
		case p.take("^"):
			x, err := p.exponent()
			if err != nil {
				return nil, err
			}
			return &expr{op: "^", args: []*expr{e, x}}, nil
		default:
			return e, nil
		}
	}
}

// subscript reads what follows a number, its base, or an unknown, a part of its name.
func (p *mathParser) subscript(e *expr) (*expr, error) {
	p.take("_")
	sub, err := p.factor()
	switch {
	case err != nil:
		return nil, err
	case e.op == "num" && sub.op == "num":
		return &expr{op: "based", args: []*expr{e, sub}}, nil
	case e.op == "var" && sub.op == "num":
		return &expr{op: "var", name: e.name + "_" + sub.value.RatString()}, nil
	case e.op == "var" && sub.op == "var":
		return &expr{op: "var", name: e.name + "_" + sub.name}, nil
	}
	return nil, fmt.Errorf("a subscript is not understood")
}

// number makes a small whole number.
func number(n int64) *expr { return &expr{op: "num", value: big.NewRat(n, 1)} }

// exponent reads what follows ^: a signed power.
func (p *mathParser) exponent() (*expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if p.take("-") {
		e, err := p.power()
		return &expr{op: "neg", args: []*expr{e}}, err
	}
	return p.power()
}

// factor reads a number, a name, or something in brackets.
func (p *mathParser) factor() (*expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if len(p.toks) == 0 {
		return nil, fmt.Errorf("the expression ends too early")
	}
	t := p.toks[0]
	p.toks = p.toks[1:]
	switch t.kind {
	case '0':
		r, ok := parseDecimal(t.text)
		if !ok {
			return nil, fmt.Errorf("%.40q is not a number", t.text)
		}
		return &expr{op: "num", value: r}, nil
	case 'a':
		return p.named(t.text)
	case '(', '[':
		return p.bracket(string(t.kind))
	case '{':
		e, err := p.sum()
		if err == nil && !p.take("}") {
			err = fmt.Errorf("a brace is not closed")
		}
		return e, err
	case '|':
		return p.bars()
	}
	return nil, fmt.Errorf("%q is unexpected", t.String())
}

// bars reads what follows an opening |.
func (p *mathParser) bars() (*expr, error) {
	if p.inBars {
		return nil, fmt.Errorf("| within |")
	}
	p.inBars = true
	e, err := p.sum()
	p.inBars = false
	if err == nil && !p.take("|") {
		err = fmt.Errorf("| is not closed")
	}
	return &expr{op: "abs", args: []*expr{e}}, err
}

// bracket reads what follows ( or [: one value, or a tuple or interval.
func (p *mathParser) bracket(open string) (*expr, error) {
	bars := p.inBars
	p.inBars = false
	items, err := p.list(func() bool { return p.is(")") || p.is("]") })
	p.inBars = bars
	if err != nil {
		return nil, err
	}
	closed := ")"
	if !p.take(")") {
		if closed = "]"; !p.take("]") {
			return nil, fmt.Errorf("a bracket is not closed")
		}
	}
	if len(items) == 1 && (open == "(") == (closed == ")") {
		return items[0], nil
	}
	return &expr{op: "tuple", name: open + closed, args: items}, nil
}

// argument reads a function's or command's argument: in braces, else one digit or factor.
func (p *mathParser) argument() (*expr, error) {
	if len(p.toks) > 0 && p.toks[0].kind == '0' && len(p.toks[0].text) > 1 && digits(p.toks[0].text) == len(p.toks[0].text) {
		// \frac12 is a half.
		t := p.toks[0].text
		p.toks[0].text = t[1:]
		r, _ := parseDecimal(t[:1])
		return &expr{op: "num", value: r}, nil
	}
	return p.factor()
}

// functions are those of one real argument.
var functions = map[string]bool{
	"sin": true, "cos": true, "tan": true, "ln": true, "log": true, "exp": true, "abs": true,
	"arcsin": true, "arccos": true, "arctan": true, "cot": true, "sec": true, "csc": true,
}

// named reads what a name begins.
func (p *mathParser) named(name string) (*expr, error) {
	switch {
	case name == "frac" || name == "binom":
		a, err := p.argument()
		if err != nil {
			return nil, err
		}
		b, err := p.argument()
		return &expr{op: map[string]string{"frac": "/", "binom": "binom"}[name], args: []*expr{a, b}}, err
	case name == "matrix":
		return p.matrix()
	case name == "emptyset" || name == "lbrace" && p.take("rbrace"):
		return &expr{op: "set"}, nil
	case name == "sqrt":
		return p.root()
	case name == "lbrace":
		items, err := p.list(func() bool { return p.is("rbrace") })
		if err == nil && !p.take("rbrace") {
			err = fmt.Errorf("a set is not closed")
		}
		return &expr{op: "set", args: items}, err
	case functions[name]:
		return p.function(name)
	case name == "pi" || name == "infty" || name == "inf" || len([]rune(name)) == 1 || greek[name]:
		return &expr{op: "var", name: name}, nil
	}
	return nil, fmt.Errorf("%.20q is not understood", name)
}

// matrix reads the rows of a matrix, up to its end.
func (p *mathParser) matrix() (*expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	var cells []*expr
	rows, columns := 0, 0
	for n := 1; ; n++ {
		e, err := p.sum()
		if err != nil {
			return nil, err
		}
		cells = append(cells, e)
		if p.take("&") {
			continue
		}
		if rows++; rows > 1 && n != columns {
			return nil, fmt.Errorf("the rows of a matrix differ in length")
		}
		columns, n = n, 0
		ended := p.take("endmatrix")
		if !ended && p.take("row") {
			ended = p.take("endmatrix") // after the last row
		} else if !ended {
			return nil, fmt.Errorf("a matrix is not closed")
		}
		if ended {
			return &expr{op: "tuple", name: fmt.Sprint("matrix", columns), args: cells}, nil
		}
	}
}

// greek are the letters that serve as unknowns.
var greek = map[string]bool{"alpha": true, "beta": true, "gamma": true, "delta": true, "theta": true, "lambda": true, "mu": true, "phi": true, "omega": true}

// root reads what follows \sqrt.
func (p *mathParser) root() (*expr, error) {
	degree := number(2)
	if p.take("[") {
		d, err := p.sum()
		if err != nil {
			return nil, err
		}
		if !p.take("]") {
			return nil, fmt.Errorf("a root's degree is not closed")
		}
		degree = d
	}
	arg := p.argument
	if len(p.toks) > 0 && p.toks[0].kind == '0' {
		arg = p.factor // sqrt 12 is the root of twelve
	}
	e, err := arg()
	return &expr{op: "root", args: []*expr{e, degree}}, err
}

// function reads a function's exponent or base, and its argument.
func (p *mathParser) function(name string) (*expr, error) {
	var base, exponent *expr
	var err error
	if name == "log" && p.take("_") {
		if base, err = p.argument(); err != nil {
			return nil, err
		}
	}
	if p.take("^") {
		if exponent, err = p.exponent(); err != nil {
			return nil, err
		}
	}
	arg, err := p.power()
	if err != nil {
		return nil, err
	}
	e := &expr{op: "fn", name: name, args: []*expr{arg}}
	if base != nil {
		e = &expr{op: "/", args: []*expr{{op: "fn", name: "ln", args: []*expr{arg}}, {op: "fn", name: "ln", args: []*expr{base}}}}
	}
	if exponent != nil {
		e = &expr{op: "^", args: []*expr{e, exponent}}
	}
	return e, nil
}
