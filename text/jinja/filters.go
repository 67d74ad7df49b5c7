package jinja

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

type filterFunc func(x *exec, v any, a args) any

// filterFuncs is filled at start, since some filters look up others.
var filterFuncs map[string]filterFunc

func init() {
	filterFuncs = map[string]filterFunc{
		"trim":   func(x *exec, v any, a args) any { return stripped(true, true)(x, text(v), a) },
		"length": func(x *exec, v any, a args) any { return length(v, a.line) }, "count": func(x *exec, v any, a args) any { return length(v, a.line) },
		"string": func(x *exec, v any, a args) any { return text(v) }, "safe": func(x *exec, v any, a args) any { return v },
		"upper": onText("upper"), "lower": onText("lower"), "title": onText("title"), "capitalize": onText("capitalize"),
		"tojson": tojson, "default": defaulted, "d": defaulted, "int": toInt, "float": toFloat, "abs": absolute, "round": rounded,
		"first": func(x *exec, v any, a args) any { return end(v, a, func(n int) int { return 0 }) },
		"last":  func(x *exec, v any, a args) any { return end(v, a, func(n int) int { return n - 1 }) },
		"list":  func(x *exec, v any, a args) any { return &list{items: slices.Clone(x.items(v, a.line))} },
		"items": func(x *exec, v any, a args) any {
			if _, none := v.(undefined); none {
				return &list{}
			}
			d, ok := v.(*dict)
			if !ok {
				fail(a.line, "items needs a dict, not %s", describe(v))
			}
			return pairs(x, d, a.line)
		},
		"join": func(x *exec, v any, a args) any {
			if attr, ok := a.get(1, "attribute"); ok {
				v = x.attributes(v, attr, nil, a.line)
			}
			return x.join(v, text(a.or(0, "d", literal(""))), a.line, false)
		},
		"replace": func(x *exec, v any, a args) any {
			return x.replaced(text(v), x.str(a.need(0, "old"), a.line), x.str(a.need(1, "new"), a.line), x.int(a.or(2, "count", int64(-1)), a.line), a.line)
		},
		"reverse": func(x *exec, v any, a args) any {
			out := slices.Clone(x.items(v, a.line))
			slices.Reverse(out)
			if _, ok := v.(Str); ok {
				return x.join(&list{items: out}, Str{}, a.line, false)
			}
			return &list{items: out}
		},
		"map": mapFilter, "select": selecting(false, false), "reject": selecting(true, false), "selectattr": selecting(false, true), "rejectattr": selecting(true, true),
		"sort": sorted, "dictsort": dictsorted, "unique": unique, "indent": indented, "sum": sum, "min": extreme(false), "max": extreme(true),
	}
}

func (x *exec) filter(v any, c call) any {
	f, ok := filterFuncs[c.name]
	if !ok {
		fail(c.line, "there is no filter %q", c.name)
	}
	return f(x, v, x.args(c))
}

func (x *exec) filters(v any, calls []call) any {
	for _, c := range calls {
		v = x.filter(v, c)
	}
	return v
}

// items is items, counted.
func (x *exec) items(v any, line int) []any {
	out := items(v, line)
	x.step(line, 64*len(out))
	return out
}

func onText(method string) filterFunc {
	return func(x *exec, v any, a args) any { return strMethods[method](x, text(v), a) }
}

func end(v any, a args, at func(n int) int) any {
	if all := items(v, a.line); len(all) > 0 {
		return all[at(len(all))]
	}
	return undefined{"an item of what is empty"}
}

func defaulted(_ *exec, v any, a args) any {
	_, missing := v.(undefined)
	if missing || truth(a.or(1, "boolean", false)) && !truth(v) {
		return a.or(0, "default_value", literal(""))
	}
	return v
}

// tojson writes JSON as transformers has Python do it.
func tojson(x *exec, v any, a args) any {
	w := pythonWriter{comma: ", ", colon: ": "}
	if n, ok := integer(a.or(1, "indent", nil)); ok {
		w.indent = int(min(max(n, 0), 16))
	}
	if seps, ok := a.or(2, "separators", nil).(*list); ok && len(seps.items) == 2 {
		w.comma, w.colon = x.str(seps.items[0], a.line).s, x.str(seps.items[1], a.line).s
	}
	w.sort = truth(a.or(3, "sort_keys", false))
	w.ascii = truth(a.or(0, "ensure_ascii", false))
	w.value(simple(v, a.line, 0), 0)
	x.step(a.line, w.Len())
	return fromData(w.String())
}

func toInt(x *exec, v any, a args) any {
	otherwise := a.or(0, "default", int64(0))
	switch v := v.(type) {
	case Str:
		s := Strip(v.s)
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return otherwise
		}
		return toInt(x, f, a)
	case float64:
		if math.Abs(v) < 1<<62 {
			return int64(v)
		}
		return otherwise
	}
	if n, ok := integer(v); ok {
		return n
	}
	return otherwise
}

func toFloat(x *exec, v any, a args) any {
	if f, ok := number(v); ok {
		return f
	}
	if s, ok := v.(Str); ok {
		if f, err := strconv.ParseFloat(Strip(s.s), 64); err == nil {
			return f
		}
	}
	return a.or(0, "default", 0.0)
}

func absolute(x *exec, v any, a args) any {
	if n, ok := integer(v); ok {
		return max(n, -n)
	}
	f, ok := number(v)
	if !ok {
		fail(a.line, "abs needs a number, not %s", describe(v))
	}
	return math.Abs(f)
}

func rounded(x *exec, v any, a args) any {
	f, ok := number(v)
	if !ok {
		fail(a.line, "round needs a number, not %s", describe(v))
	}
	p := math.Pow(10, float64(min(max(x.int(a.or(0, "precision", int64(0)), a.line), -300), 300)))
	switch text(a.or(1, "method", literal("common"))).s {
	case "ceil":
		return math.Ceil(f*p) / p
	case "floor":
		return math.Floor(f*p) / p
	}
	return math.RoundToEven(f*p) / p
}

// path is the value that an attribute's dotted name leads to.
func (x *exec) path(v, attr any, line int) any {
	if n, ok := integer(attr); ok {
		return x.item(v, n, line)
	}
	for _, name := range x.str(attr, line).split(".", -1) {
		if n, err := strconv.ParseInt(name.s, 10, 64); err == nil {
			v = x.item(v, n, line)
			continue
		}
		v = x.item(v, name, line)
	}
	return v
}

func (x *exec) attributes(v, attr, otherwise any, line int) *list {
	out := &list{}
	for _, item := range x.items(v, line) {
		got := x.path(item, attr, line)
		if _, none := got.(undefined); none && otherwise != nil {
			got = otherwise
		}
		out.items = append(out.items, got)
	}
	return out
}

func mapFilter(x *exec, v any, a args) any {
	if attr, ok := a.named["attribute"]; ok {
		return x.attributes(v, attr, a.named["default"], a.line)
	}
	name := x.str(a.need(0, ""), a.line).s
	f, ok := filterFuncs[name]
	if !ok {
		fail(a.line, "there is no filter %q", name)
	}
	out := &list{}
	for _, item := range x.items(v, a.line) {
		out.items = append(out.items, f(x, item, args{a.pos[1:], a.named, a.line}))
	}
	return out
}

// selecting is select, reject, selectattr and rejectattr.
func selecting(reject, attr bool) filterFunc {
	return func(x *exec, v any, a args) any {
		out := &list{}
		for _, item := range x.items(v, a.line) {
			of, rest := item, a.pos
			if attr {
				of, rest = x.path(item, a.need(0, ""), a.line), rest[1:]
			}
			keep := truth(of)
			if len(rest) > 0 {
				keep = x.tested(of, x.str(rest[0], a.line).s, args{rest[1:], a.named, a.line})
			}
			if keep != reject {
				out.items = append(out.items, item)
			}
		}
		return out
	}
}

// tested is a test whose arguments are values already.
func (x *exec) tested(v any, name string, a args) bool {
	c := call{name: name, line: a.line}
	for _, p := range a.pos {
		c.args = append(c.args, constExpr{p})
	}
	return x.test(v, c)
}

func (x *exec) sortedBy(vals []any, key func(any) any, a args) *list {
	fold := !truth(a.named["case_sensitive"])
	keyed := func(v any) any {
		k := key(v)
		if s, ok := k.(Str); ok && fold {
			return like(s, strings.ToLower(s.s))
		}
		return k
	}
	out := slices.Clone(vals)
	slices.SortStableFunc(out, func(p, q any) int {
		x.step(a.line, 64)
		if truth(a.named["reverse"]) {
			p, q = q, p
		}
		switch k, l := keyed(p), keyed(q); {
		case less(k, l, a.line):
			return -1
		case less(l, k, a.line):
			return 1
		}
		return 0
	})
	return &list{items: out}
}

func sorted(x *exec, v any, a args) any {
	return x.sortedBy(x.items(v, a.line), func(v any) any {
		if attr, ok := a.named["attribute"]; ok {
			return x.path(v, attr, a.line)
		}
		return v
	}, a)
}

func dictsorted(x *exec, v any, a args) any {
	d, ok := v.(*dict)
	if !ok {
		fail(a.line, "dictsort needs a dict, not %s", describe(v))
	}
	at := 0
	if text(a.or(1, "by", literal("key"))).s == "value" {
		at = 1
	}
	return x.sortedBy(pairs(x, d, a.line).items, func(v any) any { return v.(*list).items[at] }, a)
}

func unique(x *exec, v any, a args) any {
	seen := newDict()
	for _, item := range x.items(v, a.line) {
		if _, ok := seen.get(item); !ok {
			seen.set(a.line, item, nil)
		}
	}
	return &list{items: seen.keys}
}

// indented puts blanks before every line but the first.
func indented(x *exec, v any, a args) any {
	width, ok := a.or(0, "width", int64(4)).(Str)
	if !ok {
		width = literal(strings.Repeat(" ", int(min(max(x.int(a.or(0, "width", int64(4)), a.line), 0), 1000))))
	}
	first, blank := truth(a.or(1, "first", false)), truth(a.or(2, "blank", false))
	var b build
	for i, l := range text(v).split("\n", -1) {
		x.step(a.line, len(l.s)+len(width.s))
		if i > 0 {
			b.add(literal("\n"))
		}
		if (i > 0 || first) && (l.s != "" || blank) {
			b.add(width)
		}
		b.add(l)
		if b.Len() > x.most {
			fail(a.line, "a text grows beyond %d bytes", x.most)
		}
	}
	return b.str()
}

func sum(x *exec, v any, a args) any {
	var total any = int64(0)
	if attr, ok := a.get(0, "attribute"); ok && attr != nil {
		v = x.attributes(v, attr, nil, a.line)
	}
	for _, item := range x.items(v, a.line) {
		total = x.arithmetic("+", total, item, a.line)
	}
	return total
}

func extreme(most bool) filterFunc {
	return func(x *exec, v any, a args) any {
		var best any = undefined{"the extreme of what is empty"}
		for i, item := range x.items(v, a.line) {
			if i == 0 || less(item, best, a.line) != most && !equal(item, best, 0) {
				best = item
			}
		}
		return best
	}
}
