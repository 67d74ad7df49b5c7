package jinja

// globals are the names that every template sees.
var globals = map[string]any{
	"range": function(func(x *exec, a args) any {
		from, to, step := int64(0), x.int(a.need(0, ""), a.line), int64(1)
		if len(a.pos) > 1 {
			from, to = to, x.int(a.pos[1], a.line)
		}
		if len(a.pos) > 2 {
			step = x.int(a.pos[2], a.line)
		}
		if step == 0 {
			fail(a.line, "range's step is zero")
		}
		l := &list{}
		for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
			if len(l.items) >= maxRange {
				fail(a.line, "range has more than %d numbers", maxRange)
			}
			x.step(a.line, 0)
			l.items = append(l.items, i)
			if next := i + step; (next > i) != (step > 0) {
				break
			}
		}
		return l
	}),
	"namespace": function(func(x *exec, a args) any { return &namespace{*dictOf(x, a)} }),
	"dict":      function(func(x *exec, a args) any { return dictOf(x, a) }),
	"raise_exception": function(func(x *exec, a args) any {
		panic(failure{&Error{Line: a.line, What: text(a.need(0, "message")).s, Raised: true}})
	}),
}

func dictOf(x *exec, a args) *dict {
	d := newDict()
	if len(a.pos) > 0 {
		from, ok := a.pos[0].(*dict)
		if !ok {
			fail(a.line, "a dict is needed, not %s", describe(a.pos[0]))
		}
		x.step(a.line, 64*len(from.keys))
		for i, k := range from.keys {
			d.set(a.line, k, from.values[i])
		}
	}
	for name, v := range a.named { // their order shows only where a dict is printed
		d.set(a.line, literal(name), v)
	}
	return d
}

// test is "is name".
func (x *exec) test(v any, c call) bool {
	a := x.args(c)
	switch c.name {
	case "defined":
		_, no := v.(undefined)
		return !no
	case "undefined":
		_, yes := v.(undefined)
		return yes
	case "none":
		return v == nil
	case "boolean":
		_, ok := v.(bool)
		return ok
	case "true":
		return v == true
	case "false":
		return v == false
	case "string":
		_, ok := v.(Str)
		return ok
	case "mapping":
		_, ok := v.(*dict)
		return ok
	case "number", "integer", "float":
		return isNumber(v, c.name)
	case "iterable", "sequence":
		switch v.(type) {
		case Str, *list, *dict:
			return true
		case undefined:
			return c.name == "iterable"
		}
		return false
	case "callable":
		switch v.(type) {
		case function, *macro:
			return true
		}
		return false
	}
	return x.compared(v, c.name, a)
}

func isNumber(v any, name string) bool {
	switch kind(v) {
	case "int":
		return name != "float"
	case "float":
		return name != "integer"
	case "bool":
		return name == "number"
	}
	return false
}

// compared are the tests with an argument, and those of numbers and texts.
func (x *exec) compared(v any, name string, a args) bool {
	switch name {
	case "eq", "equalto", "sameas":
		return equal(v, a.need(0, ""), 0)
	case "ne":
		return !equal(v, a.need(0, ""), 0)
	case "lt", "lessthan":
		return less(v, a.need(0, ""), a.line)
	case "gt", "greaterthan":
		return less(a.need(0, ""), v, a.line)
	case "le":
		return !less(a.need(0, ""), v, a.line)
	case "ge":
		return !less(v, a.need(0, ""), a.line)
	case "in":
		return contains(a.need(0, ""), v, a.line)
	case "odd":
		return x.int(v, a.line)%2 != 0
	case "even":
		return x.int(v, a.line)%2 == 0
	case "divisibleby":
		return whole("%", x.int(v, a.line), x.int(a.need(0, ""), a.line), a.line) == 0
	case "lower":
		s := text(v)
		return equal(s, strMethods["lower"](x, s, args{}), 0)
	case "upper":
		s := text(v)
		return equal(s, strMethods["upper"](x, s, args{}), 0)
	case "filter":
		_, ok := filterFuncs[text(v).s]
		return ok
	}
	fail(a.line, "there is no test %q", name)
	return false
}
