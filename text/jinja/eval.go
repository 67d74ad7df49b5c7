package jinja

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// args are the arguments of a call.
type args struct {
	pos   []any
	named map[string]any
	line  int
}

// get is argument i, or the one of that name.
func (a args) get(i int, name string) (any, bool) {
	if i < len(a.pos) {
		return a.pos[i], true
	}
	v, ok := a.named[name]
	return v, ok
}

func (a args) need(i int, name string) any {
	v, ok := a.get(i, name)
	if !ok {
		fail(a.line, "an argument is missing")
	}
	return v
}

func (a args) or(i int, name string, otherwise any) any {
	if v, ok := a.get(i, name); ok {
		return v
	}
	return otherwise
}

// str is v as text, which it must be.
func (x *exec) str(v any, line int) Str {
	s, ok := v.(Str)
	if !ok {
		fail(line, "a str is needed, not %s", describe(v))
	}
	return s
}

func (x *exec) int(v any, line int) int64 {
	n, ok := integer(v)
	if !ok {
		fail(line, "an int is needed, not %s", describe(v))
	}
	return n
}

func describe(v any) string {
	if u, ok := v.(undefined); ok && u.what != "" {
		return u.what + ", which is undefined"
	}
	return kind(v)
}

func (x *exec) eval(e expr) any {
	x.step(0, 0)
	switch e := e.(type) {
	case constExpr:
		return e.v
	case nameExpr:
		v, _ := x.look(e.name)
		return v
	case listExpr:
		l := &list{tuple: e.tuple}
		for _, i := range e.items {
			l.items = append(l.items, x.eval(i))
		}
		return l
	case dictExpr:
		d := newDict()
		for i := range e.keys {
			d.set(0, x.eval(e.keys[i]), x.eval(e.values[i]))
		}
		return d
	case attrExpr:
		return x.attr(x.eval(e.of), e.name, e.line)
	case itemExpr:
		return x.item(x.eval(e.of), x.eval(e.key), e.line)
	case sliceExpr:
		return x.slice(e)
	case callExpr:
		return x.apply(x.eval(e.f), x.args(e.call))
	case filterExpr:
		return x.filter(x.eval(e.of), e.call)
	case testExpr:
		return x.test(x.eval(e.of), e.call) != e.not
	case unaryExpr:
		return x.unary(e)
	case binaryExpr:
		return x.binary(e)
	case condExpr:
		if truth(x.eval(e.cond)) {
			return x.eval(e.then)
		}
		if e.other == nil {
			return undefined{"the value of an if without else"}
		}
		return x.eval(e.other)
	}
	return undefined{}
}

func (x *exec) args(c call) args {
	a := args{line: c.line}
	for _, e := range c.args {
		a.pos = append(a.pos, x.eval(e))
	}
	for i, name := range c.names {
		if a.named == nil {
			a.named = map[string]any{}
		}
		a.named[name] = x.eval(c.kwargs[i])
	}
	return a
}

func (x *exec) apply(f any, a args) any {
	switch f := f.(type) {
	case function:
		return f(x, a)
	case *macro:
		return x.call(f, a)
	}
	fail(a.line, "%s is called, but it is no function", describe(f))
	return nil
}

// attr is of.name: a method, or the item of that name.
func (x *exec) attr(of any, name string, line int) any {
	switch v := of.(type) {
	case undefined:
		fail(line, "%s is undefined, and its %s is asked for", v.what, name)
	case *loop:
		return v.attr(name)
	case *namespace:
		if got, ok := v.get(literal(name)); ok {
			return got
		}
		return undefined{"the namespace's " + name}
	case Str:
		if m, ok := strMethods[name]; ok {
			return function(func(x *exec, a args) any { return m(x, v, a) })
		}
	case *list:
		if m, ok := listMethods[name]; ok {
			return function(func(x *exec, a args) any { return m(x, v, a) })
		}
	case *dict:
		if m, ok := dictMethods[name]; ok {
			return function(func(x *exec, a args) any { return m(x, v, a) })
		}
		if got, ok := v.get(literal(name)); ok {
			return got
		}
	}
	return undefined{kind(of) + "'s " + name}
}

// item is of[key].
func (x *exec) item(of, key any, line int) any {
	switch v := of.(type) {
	case undefined:
		fail(line, "%s is undefined, and an item of it is asked for", v.what)
	case *dict:
		if got, ok := v.get(key); ok {
			return got
		}
		if s, ok := key.(Str); ok {
			return undefined{"the item " + s.s}
		}
		return undefined{"an item"}
	case *list, Str:
		if i, ok := integer(key); ok {
			vals := items(v, line)
			x.step(line, len(vals))
			if i < 0 {
				i += int64(len(vals))
			}
			if i >= 0 && i < int64(len(vals)) {
				return vals[i]
			}
			return undefined{"an item beyond the end"}
		}
	}
	if s, ok := key.(Str); ok {
		return x.attr(of, s.s, line)
	}
	return undefined{"an item of " + kind(of)}
}

func (x *exec) slice(e sliceExpr) any {
	of := x.eval(e.of)
	s, isText := of.(Str)
	l, isList := of.(*list)
	if !isText && !isList {
		fail(e.line, "%s cannot be sliced", describe(of))
	}
	vals := items(of, e.line)
	x.step(e.line, len(vals))
	n := int64(len(vals))
	bound := func(b expr, otherwise int64) int64 {
		if b == nil {
			return otherwise
		}
		v := x.eval(b)
		if v == nil {
			return otherwise
		}
		i := x.int(v, e.line)
		if i < 0 {
			i += n
		}
		return i
	}
	step := int64(1)
	if e.step != nil {
		if v := x.eval(e.step); v != nil {
			step = x.int(v, e.line)
		}
	}
	if step == 0 {
		fail(e.line, "a slice's step is zero")
	}
	var picked []any
	if step > 0 {
		from, to := max(bound(e.from, 0), 0), min(bound(e.to, n), n)
		for i := from; i < to; {
			picked = append(picked, vals[i])
			if step > n {
				break
			}
			i += step
		}
	} else {
		from, to := min(bound(e.from, n-1), n-1), max(bound(e.to, -1), -1)
		for i := from; i > to && i >= 0; {
			picked = append(picked, vals[i])
			if step < -n {
				break
			}
			i += step
		}
	}
	if isList {
		return &list{picked, l.tuple}
	}
	if step == 1 { // in one piece
		from, to := max(bound(e.from, 0), 0), min(bound(e.to, n), n)
		return s.cut(byteAt(s.s, from), byteAt(s.s, max(from, to)))
	}
	var b build
	for _, p := range picked {
		b.add(p.(Str))
	}
	return b.str()
}

// byteAt is where character i of s begins.
func byteAt(s string, i int64) int {
	at := 0
	for ; i > 0 && at < len(s); i-- {
		_, n := utf8.DecodeRuneInString(s[at:])
		at += n
	}
	return at
}

func (x *exec) unary(e unaryExpr) any {
	v := x.eval(e.e)
	if e.op == "not" {
		return !truth(v)
	}
	if n, ok := integer(v); ok {
		if e.op == "-" {
			return -n
		}
		return n
	}
	f, ok := number(v)
	if !ok {
		fail(e.line, "%s has no sign", describe(v))
	}
	if e.op == "-" {
		return -f
	}
	return f
}

func (x *exec) binary(e binaryExpr) any {
	l := x.eval(e.l)
	switch e.op {
	case "and":
		if !truth(l) {
			return l
		}
		return x.eval(e.r)
	case "or":
		if truth(l) {
			return l
		}
		return x.eval(e.r)
	}
	r := x.eval(e.r)
	switch e.op {
	case "==":
		return equal(l, r, 0)
	case "!=":
		return !equal(l, r, 0)
	case "<":
		return less(l, r, e.line)
	case ">":
		return less(r, l, e.line)
	case "<=":
		return less(l, r, e.line) || equal(l, r, 0)
	case ">=":
		return less(r, l, e.line) || equal(l, r, 0)
	case "in", "not in":
		if s, ok := r.(Str); ok {
			x.step(e.line, len(s.s))
		}
		return contains(r, l, e.line) == (e.op == "in")
	case "~":
		a, b := text(l), text(r)
		x.step(e.line, len(a.s)+len(b.s))
		return concat(a, b)
	}
	return x.arithmetic(e.op, l, r, e.line)
}

func (x *exec) arithmetic(op string, l, r any, line int) any {
	if v, ok := x.joined(op, l, r, line); ok {
		return v
	}
	a, okA := integer(l)
	b, okB := integer(r)
	if okA && okB && op != "/" && !(op == "**" && b < 0) {
		return whole(op, a, b, line)
	}
	f, okA := number(l)
	g, okB := number(r)
	if !okA || !okB {
		fail(line, "%s %s %s cannot be computed", describe(l), op, describe(r))
	}
	if g == 0 && (op == "/" || op == "//" || op == "%") {
		fail(line, "it divides by zero")
	}
	switch op {
	case "+":
		return f + g
	case "-":
		return f - g
	case "*":
		return f * g
	case "/":
		return f / g
	case "//":
		return math.Floor(f / g)
	case "%":
		return f - g*math.Floor(f/g)
	}
	return math.Pow(f, g)
}

// joined is + and * of texts and lists.
func (x *exec) joined(op string, l, r any, line int) (any, bool) {
	switch a := l.(type) {
	case Str:
		if b, ok := r.(Str); ok && op == "+" {
			x.step(line, len(a.s)+len(b.s))
			return concat(a, b), true
		}
		if n, ok := integer(r); ok && op == "*" {
			n = max(n, 0)
			if n > 0 && int64(len(a.s)) > int64(x.most)/n {
				fail(line, "a text grows beyond %d bytes", x.most)
			}
			x.step(line, len(a.s)*int(n))
			return like(a, strings.Repeat(a.s, int(n))), true
		}
	case *list:
		if b, ok := r.(*list); ok && op == "+" && a.tuple == b.tuple {
			x.step(line, 64*(len(a.items)+len(b.items)))
			return &list{append(append([]any{}, a.items...), b.items...), a.tuple}, true
		}
		if n, ok := integer(r); ok && op == "*" {
			n = max(n, 0)
			if n > 0 && int64(len(a.items)) > maxRange/n {
				fail(line, "a list has more than %d items", maxRange)
			}
			x.step(line, 64*len(a.items)*int(n))
			return &list{slices.Repeat(a.items, int(n)), a.tuple}, true
		}
	}
	return nil, false
}

// whole computes with integers, which must not overflow.
func whole(op string, a, b int64, line int) int64 {
	over := func(bad bool) {
		if bad {
			fail(line, "a number grows too large")
		}
	}
	switch op {
	case "+":
		c := a + b
		over((c > a) != (b > 0) && b != 0)
		return c
	case "-":
		c := a - b
		over((c < a) != (b > 0) && b != 0)
		return c
	case "*":
		c := a * b
		over(a != 0 && (c/a != b || a == -1 && b == math.MinInt64))
		return c
	case "**":
		f := math.Pow(float64(a), float64(b))
		over(math.Abs(f) >= 1<<62)
		c := int64(1)
		for i := int64(0); i < b && a != 1 && a != 0 && a != -1; i++ {
			c *= a
		}
		switch {
		case a == 0 && b > 0:
			c = 0
		case a == -1 && b%2 != 0:
			c = -1
		}
		return c
	}
	if b == 0 {
		fail(line, "it divides by zero")
	}
	over(b == -1 && a == math.MinInt64)
	q, m := a/b, a%b
	if m != 0 && (m < 0) != (b < 0) {
		q, m = q-1, m+b
	}
	if op == "//" {
		return q
	}
	return m
}
