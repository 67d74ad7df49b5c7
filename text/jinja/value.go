package jinja

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The values of templates are nil (None), undefined, bool, int64, float64, json.Number
// (an integer beyond int64), Str, *list, *dict, *namespace, *loop, *macro and function.
type (
	undefined struct{ what string }
	list      struct {
		items []any
		tuple bool
	}
	dict struct {
		keys, values []any
		at           map[any]int
	}
	namespace struct{ dict }
	function  func(x *exec, a args) any
)

func newDict() *dict { return &dict{at: map[any]int{}} }

// hash is what a key is found by; ok is false for what cannot be one.
func hash(k any) (any, bool) {
	switch k := k.(type) {
	case Str:
		return k.s, true
	case bool:
		if k {
			return int64(1), true
		}
		return int64(0), true
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<53 {
			return int64(k), true
		}
		return k, k == k
	case nil, int64, json.Number:
		return k, true
	}
	return nil, false
}

func (d *dict) get(k any) (any, bool) {
	h, ok := hash(k)
	if !ok {
		return nil, false
	}
	i, ok := d.at[h]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

func (d *dict) set(line int, k, v any) {
	h, ok := hash(k)
	if !ok {
		fail(line, "a %s cannot be a key", kind(k))
	}
	if i, ok := d.at[h]; ok {
		d.values[i] = v
		return
	}
	d.at[h] = len(d.keys)
	d.keys, d.values = append(d.keys, k), append(d.values, v)
}

// Literal is text that counts as the template's own, such as the spelling of a control
// token that belongs to the model.
type Literal string

// value turns what ParseJSON reads, and Go's own simple types, into a template's value;
// text counts as the values' own.
func value(v any) any {
	switch v := v.(type) {
	case string:
		return fromData(v)
	case Literal:
		return literal(string(v))
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return n
		}
		if !strings.ContainsAny(string(v), ".eE") {
			return v
		}
		f, _ := strconv.ParseFloat(string(v), 64)
		return f
	case int:
		return int64(v)
	case []any:
		l := &list{}
		for _, x := range v {
			l.items = append(l.items, value(x))
		}
		return l
	case *Object:
		d := newDict()
		for _, k := range v.Keys {
			d.set(0, fromData(k), value(v.Values[k]))
		}
		return d
	case nil, bool, int64, float64:
		return v
	}
	return undefined{fmt.Sprintf("a value of type %T", v)}
}

// simple turns a value into what DumpValue writes.
func simple(v any, line, depth int) any {
	if depth > maxJSONDepth {
		fail(line, "a value nests deeper than %d", maxJSONDepth)
	}
	switch v := v.(type) {
	case Str:
		return v.s
	case int64:
		return json.Number(strconv.FormatInt(v, 10))
	case float64:
		return json.Number(pythonFloat(v))
	case *list:
		out := []any{}
		for _, x := range v.items {
			out = append(out, simple(x, line, depth+1))
		}
		return out
	case *dict:
		o := &Object{Values: map[string]any{}}
		for i, k := range v.keys {
			s := text(k).s
			if _, isText := k.(Str); !isText {
				s = DumpValue(simple(k, line, depth+1), 0)
			}
			if _, twice := o.Values[s]; !twice {
				o.Keys = append(o.Keys, s)
			}
			o.Values[s] = simple(v.values[i], line, depth+1)
		}
		return o
	case nil, bool, json.Number:
		return v
	}
	fail(line, "%s cannot be written as JSON", kind(v))
	return nil
}

// kind names a value's type as Python does.
func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case undefined:
		return "undefined"
	case bool:
		return "bool"
	case int64, json.Number:
		return "int"
	case float64:
		return "float"
	case Str:
		return "str"
	case *list:
		if v.tuple {
			return "tuple"
		}
		return "list"
	case *dict:
		return "dict"
	case *namespace:
		return "namespace"
	case *loop:
		return "loop"
	}
	return "function"
}

func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case Str:
		return v.s != ""
	case *list:
		return len(v.items) > 0
	case *dict:
		return len(v.keys) > 0
	}
	return true
}

// text is a value as Python's str writes it.
func text(v any) Str {
	switch v := v.(type) {
	case Str:
		return v
	case undefined:
		return Str{}
	case *list, *dict:
		var b build
		repr(&b, v, 0)
		return b.str()
	}
	var b build
	repr(&b, v, 0)
	return b.str()
}

// repr writes a value as Python's repr does.
func repr(b *build, v any, depth int) {
	if depth > maxNesting {
		fail(0, "a value nests deeper than %d", maxNesting)
	}
	switch v := v.(type) {
	case nil:
		b.add(literal("None"))
	case bool:
		b.add(literal(map[bool]string{true: "True", false: "False"}[v]))
	case int64:
		b.add(literal(strconv.FormatInt(v, 10)))
	case json.Number:
		b.add(fromData(string(v)))
	case float64:
		s := pythonFloat(v)
		s = strings.Replace(s, "Infinity", "inf", 1)
		b.add(literal(s))
	case Str:
		b.add(like(v, reprString(v.s)))
	case *list:
		ends := map[bool]string{true: "()", false: "[]"}[v.tuple]
		b.add(literal(ends[:1]))
		for i, x := range v.items {
			if i > 0 {
				b.add(literal(", "))
			}
			repr(b, x, depth+1)
		}
		if v.tuple && len(v.items) == 1 {
			b.add(literal(","))
		}
		b.add(literal(ends[1:]))
	case *dict:
		b.add(literal("{"))
		for i := range v.keys {
			if i > 0 {
				b.add(literal(", "))
			}
			repr(b, v.keys[i], depth+1)
			b.add(literal(": "))
			repr(b, v.values[i], depth+1)
		}
		b.add(literal("}"))
	case undefined:
		b.add(literal("Undefined"))
	default:
		b.add(literal("<" + kind(v) + ">"))
	}
}

func reprString(s string) string {
	q := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	var b strings.Builder
	b.WriteByte(q)
	for _, r := range s {
		switch {
		case r == rune(q) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte(q)
	return b.String()
}

// number is v as a float, and whether it is one.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// integer is v as an int64 if it is an int or a bool.
func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return v, true
	}
	return 0, false
}

func equal(a, b any, depth int) bool {
	if depth > maxNesting {
		fail(0, "a value nests deeper than %d", maxNesting)
	}
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case undefined:
		_, ok := b.(undefined)
		return ok
	case json.Number:
		return a == b
	case Str:
		s, ok := b.(Str)
		return ok && a.s == s.s
	case *list:
		l, ok := b.(*list)
		if !ok || l.tuple != a.tuple || len(l.items) != len(a.items) {
			return false
		}
		for i := range a.items {
			if !equal(a.items[i], l.items[i], depth+1) {
				return false
			}
		}
		return true
	case *dict:
		d, ok := b.(*dict)
		if !ok || len(d.keys) != len(a.keys) {
			return false
		}
		for i, k := range a.keys {
			v, ok := d.get(k)
			if !ok || !equal(a.values[i], v, depth+1) {
				return false
			}
		}
		return true
	}
	return false
}

// less compares two numbers, two texts or two lists.
func less(a, b any, line int) bool {
	if x, ok := number(a); ok {
		if y, ok := number(b); ok {
			return x < y
		}
	}
	if x, ok := a.(Str); ok {
		if y, ok := b.(Str); ok {
			return x.s < y.s
		}
	}
	x, ok1 := a.(*list)
	y, ok2 := b.(*list)
	if !ok1 || !ok2 {
		fail(line, "%s and %s cannot be ordered", kind(a), kind(b))
	}
	for i := range min(len(x.items), len(y.items)) {
		if !equal(x.items[i], y.items[i], 0) {
			return less(x.items[i], y.items[i], line)
		}
	}
	return len(x.items) < len(y.items)
}

// items are what a loop over v sees.
func items(v any, line int) []any {
	switch v := v.(type) {
	case undefined:
		return nil
	case *list:
		return v.items
	case *dict:
		return v.keys
	case Str:
		out := make([]any, 0, len(v.s))
		for i := 0; i < len(v.s); {
			_, n := utf8.DecodeRuneInString(v.s[i:])
			out = append(out, v.cut(i, i+n))
			i += n
		}
		return out
	}
	fail(line, "%s cannot be looped over", kind(v))
	return nil
}

func length(v any, line int) int64 {
	switch v := v.(type) {
	case undefined:
		return 0
	case Str:
		return int64(utf8.RuneCountInString(v.s))
	case *list:
		return int64(len(v.items))
	case *dict:
		return int64(len(v.keys))
	}
	fail(line, "%s has no length", kind(v))
	return 0
}

func contains(in, v any, line int) bool {
	switch in := in.(type) {
	case Str:
		s, ok := v.(Str)
		if !ok {
			fail(line, "%s cannot be looked for in a str", kind(v))
		}
		return strings.Contains(in.s, s.s)
	case *dict:
		_, ok := in.get(v)
		return ok
	}
	for _, x := range items(in, line) {
		if equal(x, v, 0) {
			return true
		}
	}
	return false
}
