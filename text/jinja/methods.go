package jinja

import (
	"strings"
	"unicode"
)

type strMethod = func(x *exec, s Str, a args) any

func mapped(f func(string) string) strMethod {
	return func(x *exec, s Str, a args) any {
		x.step(a.line, len(s.s))
		return like(s, f(s.s))
	}
}

func stripped(left, right bool) strMethod {
	return func(x *exec, s Str, a args) any {
		x.step(a.line, len(s.s))
		drop := Space
		if chars, ok := a.get(0, "chars"); ok && chars != nil {
			set := x.str(chars, a.line).s
			drop = func(r rune) bool { return strings.ContainsRune(set, r) }
		}
		return s.trim(left, right, drop)
	}
}

func affix(has func(s, part string) bool) strMethod {
	return func(x *exec, s Str, a args) any {
		switch part := a.need(0, "prefix").(type) {
		case *list:
			for _, p := range part.items {
				if has(s.s, x.str(p, a.line).s) {
					return true
				}
			}
			return false
		default:
			return has(s.s, x.str(part, a.line).s)
		}
	}
}

func all(f func(rune) bool) strMethod {
	return func(x *exec, s Str, a args) any {
		x.step(a.line, len(s.s))
		return s.s != "" && strings.IndexFunc(s.s, func(r rune) bool { return !f(r) }) < 0
	}
}

func found(f func(s, part string) int) strMethod {
	return func(x *exec, s Str, a args) any {
		x.step(a.line, len(s.s))
		i := f(s.s, x.str(a.need(0, "sub"), a.line).s)
		if i > 0 {
			i = len([]rune(s.s[:i]))
		}
		return int64(i)
	}
}

func splitter(f func(s Str, sep string, n int) []Str) strMethod {
	return func(x *exec, s Str, a args) any {
		x.step(a.line, len(s.s))
		n := int(x.int(a.or(1, "maxsplit", int64(-1)), a.line))
		sep := a.or(0, "sep", nil)
		if sep == nil {
			if n >= 0 {
				fail(a.line, "split at white space takes no maxsplit here")
			}
			return x.strings(s.words(), a.line)
		}
		by := x.str(sep, a.line).s
		if by == "" {
			fail(a.line, "split needs a separator that is not empty")
		}
		return x.strings(f(s, by, n), a.line)
	}
}

func (x *exec) strings(parts []Str, line int) *list {
	x.step(line, 64*len(parts))
	l := &list{}
	for _, p := range parts {
		l.items = append(l.items, p)
	}
	return l
}

// titled begins every word with a capital.
func titled(s string) string {
	word := false
	return strings.Map(func(r rune) rune {
		before := word
		word = unicode.IsLetter(r)
		if word && before {
			return unicode.ToLower(r)
		}
		return unicode.ToTitle(r)
	}, s)
}

func capitalized(s string) string {
	for i, r := range s {
		if i > 0 || r == unicode.ReplacementChar {
			return string(unicode.ToTitle([]rune(s)[0])) + strings.ToLower(s[i:])
		}
	}
	return strings.ToUpper(s)
}

var strMethods = map[string]strMethod{
	"strip": stripped(true, true), "lstrip": stripped(true, false), "rstrip": stripped(false, true),
	"upper": mapped(strings.ToUpper), "lower": mapped(strings.ToLower), "title": mapped(titled), "capitalize": mapped(capitalized),
	"startswith": affix(strings.HasPrefix), "endswith": affix(strings.HasSuffix),
	"find": found(strings.Index), "rfind": found(strings.LastIndex),
	"split": splitter(Str.split), "rsplit": splitter(Str.rsplit),
	"isdigit": all(unicode.IsDigit), "isalpha": all(unicode.IsLetter), "isspace": all(Space),
	"isupper": func(_ *exec, s Str, _ args) any {
		return strings.ToUpper(s.s) == s.s && strings.ToLower(s.s) != s.s
	},
	"islower": func(_ *exec, s Str, _ args) any {
		return strings.ToLower(s.s) == s.s && strings.ToUpper(s.s) != s.s
	},
	"count": func(x *exec, s Str, a args) any {
		x.step(a.line, len(s.s))
		return int64(strings.Count(s.s, x.str(a.need(0, "sub"), a.line).s))
	},
	"replace": func(x *exec, s Str, a args) any {
		return x.replaced(s, x.str(a.need(0, "old"), a.line), x.str(a.need(1, "new"), a.line), x.int(a.or(2, "count", int64(-1)), a.line), a.line)
	},
	"join": func(x *exec, s Str, a args) any { return x.join(a.need(0, "iterable"), s, a.line, true) },
	"splitlines": func(x *exec, s Str, a args) any {
		x.step(a.line, len(s.s))
		parts := s.split("\n", -1)
		if parts[len(parts)-1].s == "" {
			parts = parts[:len(parts)-1]
		}
		return x.strings(parts, a.line)
	},
	"removeprefix": func(x *exec, s Str, a args) any {
		if p := x.str(a.need(0, "prefix"), a.line).s; strings.HasPrefix(s.s, p) {
			return s.cut(len(p), len(s.s))
		}
		return s
	},
	"removesuffix": func(x *exec, s Str, a args) any {
		if p := x.str(a.need(0, "suffix"), a.line).s; strings.HasSuffix(s.s, p) {
			return s.cut(0, len(s.s)-len(p))
		}
		return s
	},
}

// replaced is s.replace; the size of the result is known before it is made.
func (x *exec) replaced(s, old, by Str, n int64, line int) Str {
	times := int64(strings.Count(s.s, old.s))
	if n >= 0 {
		times = min(times, n)
	}
	size := int64(len(s.s)) + times*int64(len(by.s)-len(old.s))
	x.step(line, len(s.s))
	x.step(line, int(min(size, int64(x.most)+1)))
	return s.replace(old.s, by, int(n))
}

// join puts items together, sep between them. Python's own join takes texts alone.
func (x *exec) join(v any, sep Str, line int, strict bool) Str {
	var b build
	for i, item := range items(v, line) {
		s := text(item)
		if strict {
			s = x.str(item, line)
		}
		if i > 0 {
			b.add(sep)
		}
		x.step(line, len(s.s)+len(sep.s))
		if b.Len()+len(s.s) > x.most {
			fail(line, "a text grows beyond %d bytes", x.most)
		}
		b.add(s)
	}
	return b.str()
}

var listMethods = map[string]func(x *exec, l *list, a args) any{
	"index": func(x *exec, l *list, a args) any {
		for i, v := range l.items {
			if equal(v, a.need(0, ""), 0) {
				return int64(i)
			}
		}
		fail(a.line, "an item is not in the list")
		return nil
	},
	"count": func(x *exec, l *list, a args) any {
		n := int64(0)
		for _, v := range l.items {
			if equal(v, a.need(0, ""), 0) {
				n++
			}
		}
		return n
	},
	"append": immutable[*list], "extend": immutable[*list], "insert": immutable[*list], "pop": immutable[*list], "remove": immutable[*list],
	"clear": immutable[*list], "sort": immutable[*list], "reverse": immutable[*list],
}

// immutable refuses what transformers' sandbox refuses.
func immutable[T any](_ *exec, _ T, a args) any {
	fail(a.line, "it changes a value in place, which chat templates must not do")
	return nil
}

var dictMethods = map[string]func(x *exec, d *dict, a args) any{
	"keys":   func(x *exec, d *dict, a args) any { return &list{items: d.keys} },
	"values": func(x *exec, d *dict, a args) any { return &list{items: d.values} },
	"items":  func(x *exec, d *dict, a args) any { return pairs(x, d, a.line) },
	"get": func(x *exec, d *dict, a args) any {
		if v, ok := d.get(a.need(0, "key")); ok {
			return v
		}
		return a.or(1, "default", nil)
	},
	"update": immutable[*dict], "pop": immutable[*dict], "popitem": immutable[*dict], "clear": immutable[*dict], "setdefault": immutable[*dict],
}

func pairs(x *exec, d *dict, line int) *list {
	x.step(line, 64*len(d.keys))
	l := &list{}
	for i := range d.keys {
		l.items = append(l.items, &list{[]any{d.keys[i], d.values[i]}, true})
	}
	return l
}
