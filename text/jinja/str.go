package jinja

import "strings"

// Str is text that remembers which of its bytes came from the values.
type Str struct {
	s    string
	data []run // in order, not touching; empty: all of it is the template's
}

// run is the bytes [from, to) that came from the values.
type run struct{ from, to int }

func literal(s string) Str { return Str{s: s} }

func fromData(s string) Str {
	if s == "" {
		return Str{}
	}
	return Str{s: s, data: []run{{0, len(s)}}}
}

// like is s with the origin of by as a whole: the values' if any byte of by is.
func like(by Str, s string) Str {
	if len(by.data) > 0 {
		return fromData(s)
	}
	return literal(s)
}

// cut is the bytes [from, to).
func (a Str) cut(from, to int) Str {
	out := Str{s: a.s[from:to]}
	for _, r := range a.data {
		if l, h := max(r.from, from), min(r.to, to); l < h {
			out.data = append(out.data, run{l - from, h - from})
		}
	}
	return out
}

// build puts texts together.
type build struct {
	strings.Builder
	data []run
}

func (b *build) add(a Str) {
	at := b.Len()
	for _, r := range a.data {
		if n := len(b.data); n > 0 && b.data[n-1].to == at+r.from {
			b.data[n-1].to = at + r.to
			continue
		}
		b.data = append(b.data, run{at + r.from, at + r.to})
	}
	b.WriteString(a.s)
}

func (b *build) str() Str { return Str{b.String(), b.data} }

func concat(parts ...Str) Str {
	var b build
	for _, p := range parts {
		b.add(p)
	}
	return b.str()
}

// trim strips characters that drop says, at the left, the right or both.
func (a Str) trim(left, right bool, drop func(rune) bool) Str {
	from, to := 0, len(a.s)
	if left {
		from = to - len(strings.TrimLeftFunc(a.s, drop))
	}
	if right {
		to = from + len(strings.TrimRightFunc(a.s[from:], drop))
	}
	return a.cut(from, to)
}

// split is Python's split(sep, n): at most n cuts, all for n < 0.
func (a Str) split(sep string, n int) []Str {
	var out []Str
	from := 0
	for n != 0 {
		i := strings.Index(a.s[from:], sep)
		if i < 0 {
			break
		}
		out = append(out, a.cut(from, from+i))
		from += i + len(sep)
		n--
	}
	return append(out, a.cut(from, len(a.s)))
}

// rsplit is split from the right.
func (a Str) rsplit(sep string, n int) []Str {
	var out []Str
	to := len(a.s)
	for n != 0 {
		i := strings.LastIndex(a.s[:to], sep)
		if i < 0 {
			break
		}
		out = append(out, a.cut(i+len(sep), to))
		to = i
		n--
	}
	out = append(out, a.cut(0, to))
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// words is Python's split() at white space.
func (a Str) words() []Str {
	var out []Str
	for rest := a.trim(true, false, Space); rest.s != ""; rest = rest.trim(true, false, Space) {
		i := strings.IndexFunc(rest.s, Space)
		if i < 0 {
			i = len(rest.s)
		}
		out = append(out, rest.cut(0, i))
		rest = rest.cut(i, len(rest.s))
	}
	return out
}

// replace puts by in place of old, n times at most, always for n < 0.
func (a Str) replace(old string, by Str, n int) Str {
	if old == "" {
		return like(a, strings.Replace(a.s, old, by.s, n))
	}
	var b build
	for i, p := range a.split(old, n) {
		if i > 0 {
			b.add(by)
		}
		b.add(p)
	}
	return b.str()
}

// Piece is a part of a result.
type Piece struct {
	Text string
	Data bool // it came from the values
}

// pieces divides a text by origin.
func (a Str) pieces() []Piece {
	var out []Piece
	at := 0
	for _, r := range a.data {
		if r.from > at {
			out = append(out, Piece{a.s[at:r.from], false})
		}
		out = append(out, Piece{a.s[r.from:r.to], true})
		at = r.to
	}
	if at < len(a.s) {
		out = append(out, Piece{a.s[at:], false})
	}
	return out
}
