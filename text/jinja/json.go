package jinja

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// maxJSONDepth bounds nesting in what users send; deeper than any schema.
const maxJSONDepth = 200

// Dumps writes a JSON text as Python's json.dumps(json.loads(raw),
// ensure_ascii=False, indent=indent) does (indent 0: on one line), which is how
// templates' tojson prints tools and arguments: keys keep their order, of equal keys
// the last value counts, numbers are spelled as Python spells them.
func Dumps(raw []byte, indent int) (string, error) {
	v, err := ParseJSON(raw)
	if err != nil {
		return "", err
	}
	return DumpValue(v, indent), nil
}

// Object is a JSON object that remembers the order of its keys.
type Object struct {
	Keys   []string
	Values map[string]any
}

// ParseJSON reads a JSON text into nil, bool, json.Number, string, []any and *Object.
func ParseJSON(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("not valid JSON: something follows the value")
	}
	return v, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := parseValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	case json.Delim('{'):
		return parseObject(d, depth)
	}
	return t, nil
}

func parseObject(d *json.Decoder, depth int) (any, error) {
	o := &Object{Values: map[string]any{}}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, ok := k.(string)
		if !ok {
			return nil, fmt.Errorf("an object's key is %v", k)
		}
		v, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		if _, twice := o.Values[key]; !twice {
			o.Keys = append(o.Keys, key)
		}
		o.Values[key] = v
	}
	_, err := d.Token()
	return o, err
}

// DumpValue is Dumps of a value that ParseJSON read.
func DumpValue(v any, indent int) string {
	w := pythonWriter{indent: indent, comma: ", ", colon: ": "}
	w.value(v, 0)
	return w.String()
}

// Quote is a string in JSON's form as Python writes it.
func Quote(s string) string {
	w := pythonWriter{}
	w.quote(s)
	return w.String()
}

type pythonWriter struct {
	strings.Builder
	indent       int
	comma, colon string // on one line
	sort, ascii  bool
}

func (w *pythonWriter) value(v any, depth int) {
	switch v := v.(type) {
	case nil:
		w.WriteString("null")
	case bool:
		w.WriteString(strconv.FormatBool(v))
	case json.Number:
		w.WriteString(pythonNumber(string(v)))
	case string:
		w.quote(v)
	case []any:
		w.list('[', ']', len(v), depth, func(i int) { w.value(v[i], depth+1) })
	case *Object:
		keys := v.Keys
		if w.sort {
			keys = slices.Sorted(slices.Values(keys))
		}
		w.list('{', '}', len(keys), depth, func(i int) {
			w.quote(keys[i])
			w.WriteString(w.colon)
			w.value(v.Values[keys[i]], depth+1)
		})
	}
}

func (w *pythonWriter) list(open, end byte, n, depth int, each func(i int)) {
	w.WriteByte(open)
	for i := range n {
		switch {
		case w.indent > 0:
			if i > 0 {
				w.WriteString(strings.TrimRight(w.comma, " "))
			}
			w.line(depth + 1)
		case i > 0:
			w.WriteString(w.comma)
		}
		each(i)
	}
	if n > 0 && w.indent > 0 {
		w.line(depth)
	}
	w.WriteByte(end)
}

func (w *pythonWriter) line(depth int) {
	w.WriteByte('\n')
	for range w.indent * depth {
		w.WriteByte(' ')
	}
}

func (w *pythonWriter) quote(s string) {
	w.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.WriteByte('\\')
			w.WriteRune(r)
		case r == '\n':
			w.WriteString(`\n`)
		case r == '\r':
			w.WriteString(`\r`)
		case r == '\t':
			w.WriteString(`\t`)
		case r == '\b':
			w.WriteString(`\b`)
		case r == '\f':
			w.WriteString(`\f`)
		case r < 0x20:
			fmt.Fprintf(w, `\u%04x`, r)
		case w.ascii && r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(w, `\u%04x\u%04x`, hi, lo)
		case w.ascii && r > 0x7e:
			fmt.Fprintf(w, `\u%04x`, r)
		default:
			w.WriteRune(r)
		}
	}
	w.WriteByte('"')
}

// pythonNumber is how Python writes a number that it read from JSON: integers of any
// length as they are, others as repr writes a float.
func pythonNumber(n string) string {
	if !strings.ContainsAny(n, ".eE") {
		if n == "-0" {
			return "0"
		}
		return n
	}
	f, _ := strconv.ParseFloat(n, 64) // beyond the range: an infinity, as in Python
	return pythonFloat(f)
}

func pythonFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	s := strconv.FormatFloat(f, 'e', -1, 64)
	exp, _ := strconv.Atoi(s[strings.IndexByte(s, 'e')+1:])
	if exp < -4 || exp >= 16 {
		return s
	}
	s = strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// Strip is Python's str.strip(), whose white space is Unicode's and four control
// characters.
func Strip(s string) string { return strings.TrimFunc(s, Space) }

// Space is Python's str.isspace() of one character.
func Space(r rune) bool {
	switch {
	case r >= 0x09 && r <= 0x0d, r >= 0x1c && r <= 0x20, r == 0x85, r == 0xa0, r == 0x1680, r >= 0x2000 && r <= 0x200a:
		return true
	}
	return r == 0x2028 || r == 0x2029 || r == 0x202f || r == 0x205f || r == 0x3000
}
