package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// part is a stretch of a template: text, or what stands between delimiters.
type part struct {
	kind byte // 't' text, 'v' {{ }}, 'b' {% %}
	text string
	line int
}

// split cuts a source into parts and applies Jinja's rules of white space:
// {%- and -%} strip all of it, a block's line loses its indent (lstrip_blocks) and its
// line break (trim_blocks).
func split(src string) []part {
	src = strings.TrimSuffix(strings.ReplaceAll(src, "\r\n", "\n"), "\n")
	var out []part
	line := 1
	strip, newline := false, false // of the text that follows
	for src != "" {
		at, kind := nextDelimiter(src)
		text := src
		if at >= 0 {
			text = src[:at]
		}
		lines := strings.Count(text, "\n")
		if newline {
			text = strings.TrimPrefix(text, "\n")
		}
		if strip {
			text = strings.TrimLeft(text, whitespace)
		}
		if at < 0 {
			return append(out, part{'t', text, line})
		}
		src = src[at+2:]
		switch {
		case strings.HasPrefix(src, "-"):
			text, src = strings.TrimRight(text, whitespace), src[1:]
		case strings.HasPrefix(src, "+"):
			src = src[1:]
		case kind != '{':
			text = stripIndent(text, len(out) == 0, newline || strip)
		}
		if text != "" {
			out = append(out, part{'t', text, line})
		}
		line += lines
		var inner string
		inner, src, strip = closing(src, kind, line)
		newline = kind != '{'
		switch kind {
		case '{':
			out = append(out, part{'v', inner, line})
		case '%':
			out = append(out, part{'b', inner, line})
			if strings.TrimSpace(inner) == "raw" {
				var raw string
				raw, src, strip = rawBlock(src, line)
				out[len(out)-1] = part{'t', raw, line}
				line += strings.Count(raw, "\n")
			}
		}
		line += strings.Count(inner, "\n")
	}
	return out
}

const whitespace = " \t\n\r\v\f"

// nextDelimiter finds the first {{, {% or {#.
func nextDelimiter(s string) (at int, kind byte) {
	for from := 0; ; {
		i := strings.IndexByte(s[from:], '{')
		if i < 0 || from+i+1 >= len(s) {
			return -1, 0
		}
		from += i
		if k := s[from+1]; k == '{' || k == '%' || k == '#' {
			return from, k
		}
		from++
	}
}

// stripIndent drops the blanks between the start of the last line and a block. They do
// not start a line when a tag stands before them on it.
func stripIndent(text string, first, afterTag bool) string {
	i := strings.LastIndexByte(text, '\n')
	if i < 0 && (!first || afterTag) {
		return text
	}
	if strings.Trim(text[i+1:], " \t") == "" {
		return text[:i+1]
	}
	return text
}

// closing finds the end of a tag, past strings that hold its delimiter.
func closing(src string, kind byte, line int) (inner, rest string, strip bool) {
	end := map[byte]string{'{': "}}", '%': "%}", '#': "#}"}[kind]
	at := -1
	if kind == '#' {
		at = strings.Index(src, end)
	} else {
		at = endOutsideStrings(src, end)
	}
	if at < 0 {
		fail(line, "a tag is opened and never closed by %s", end)
	}
	inner, rest = src[:at], src[at+2:]
	if cut, ok := strings.CutSuffix(inner, "-"); ok {
		return cut, rest, true
	}
	return strings.TrimSuffix(inner, "+"), rest, false
}

func endOutsideStrings(s, end string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\'' || c == '"':
			for i++; i < len(s) && s[i] != c; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		case c == '{':
			depth++
		case depth == 0 && strings.HasPrefix(s[i:], end):
			return i
		case c == '}':
			depth--
		}
	}
	return -1
}

// rawBlock is the text up to {% endraw %}.
func rawBlock(src string, line int) (raw, rest string, strip bool) {
	for at := 0; ; at += 2 {
		i := strings.Index(src[at:], "{%")
		if i < 0 {
			fail(line, "raw is opened and never ended by endraw")
		}
		at += i
		inner, after, s := closing(src[at+2:], '%', line)
		if strings.TrimSpace(strings.TrimLeft(inner, "-+")) == "endraw" {
			return src[:at], after, s
		}
	}
}

// token is a word of an expression.
type token struct {
	kind byte // 'n' name, 's' string, 'i' integer, 'f' float, 'o' operator, 0 end
	text string
}

var operators = []string{"==", "!=", "<=", ">=", "//", "**", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ".", ",", ":", "|"}

// lex cuts an expression into tokens.
func lex(s string, line int) []token {
	var out []token
	for {
		s = strings.TrimLeft(s, whitespace)
		if s == "" {
			return out
		}
		t, n := lexOne(s, line)
		out, s = append(out, t), s[n:]
	}
}

func lexOne(s string, line int) (token, int) {
	r, _ := utf8.DecodeRuneInString(s)
	switch {
	case r == '\'' || r == '"':
		return lexString(s, line)
	case r >= '0' && r <= '9':
		return lexNumber(s)
	case r == '_' || unicode.IsLetter(r):
		n := strings.IndexFunc(s, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		if n < 0 {
			n = len(s)
		}
		return token{'n', s[:n]}, n
	}
	for _, o := range operators {
		if strings.HasPrefix(s, o) {
			return token{'o', o}, len(o)
		}
	}
	fail(line, "%q is not understood", r)
	return token{}, 0
}

var escapes = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '\\': "\\", '\'': "'", '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v", '0': "\x00", '\n': ""}

func lexString(s string, line int) (token, int) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == s[0]:
			return token{'s', b.String()}, i + 1
		case c == '\\' && i+1 < len(s):
			i++
			n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]]
			if r, ok := hexRune(s[i+1:], n); ok {
				b.WriteRune(r)
				i += n
			} else if e, known := escapes[s[i]]; known {
				b.WriteString(e)
			} else {
				b.WriteString(s[i-1 : i+1])
			}
		default:
			b.WriteByte(c)
		}
	}
	fail(line, "a string is not closed")
	return token{}, 0
}

func hexRune(s string, n int) (r rune, ok bool) {
	if n == 0 || len(s) < n {
		return 0, false
	}
	for i := range n {
		d := strings.IndexByte("0123456789abcdef", s[i]|0x20)
		if d < 0 {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, utf8.ValidRune(r)
}

func lexNumber(s string) (token, int) {
	n, kind := 0, byte('i')
	digits := func() {
		for n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[n] == '_') {
			n++
		}
	}
	digits()
	if n+1 < len(s) && s[n] == '.' && s[n+1] >= '0' && s[n+1] <= '9' {
		kind = 'f'
		n++
		digits()
	}
	if n < len(s) && s[n]|0x20 == 'e' {
		m := n
		n++
		if n < len(s) && (s[n] == '+' || s[n] == '-') {
			n++
		}
		if from := n; true {
			digits()
			if n == from {
				n = m
			} else {
				kind = 'f'
			}
		}
	}
	return token{kind, strings.ReplaceAll(s[:n], "_", "")}, n
}
