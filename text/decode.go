package text

import (
	"strings"
	"unicode/utf8"
)

// Decode turns ids back into text, control tokens as they are spelled. Bytes that are
// not UTF-8 become U+FFFD, one for each maximal part of a character, as Hugging Face
// does; ids outside the vocabulary give nothing.
func (t *Tokenizer) Decode(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(t.tokenBytes(id))
	}
	return lossy(b.String())
}

// DecodeBytes is Decode without the repair: the bytes that the ids stand for.
func (t *Tokenizer) DecodeBytes(ids []int32) []byte {
	var b []byte
	for _, id := range ids {
		b = append(b, t.tokenBytes(id)...)
	}
	return b
}

func (t *Tokenizer) tokenBytes(id int32) string {
	if id < 0 || int(id) >= len(t.bytes) {
		return ""
	}
	return t.bytes[id]
}

// lossy replaces what is not UTF-8 by U+FFFD.
func lossy(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	rest := appendLossy(&b, s)
	if rest != "" {
		b.WriteRune(utf8.RuneError)
	}
	return b.String()
}

// appendLossy writes s to b and returns what may be the beginning of a character
// that s does not finish (at most three bytes).
func appendLossy(b *strings.Builder, s string) string {
	for s != "" {
		if r, n := utf8.DecodeRuneInString(s); r != utf8.RuneError || n > 1 {
			b.WriteString(s[:n])
			s = s[n:]
			continue
		}
		n := partial(s)
		if n == len(s) {
			return s
		}
		b.WriteRune(utf8.RuneError)
		s = s[max(n, 1):]
	}
	return ""
}

// partial is how many bytes of s begin a character that s then does not go on with:
// the maximal part that one U+FFFD stands for. 0 if s[0] begins no character.
func partial(s string) int {
	lo, hi, want := byte(0x80), byte(0xbf), 0
	switch c := s[0]; {
	case 0xc2 <= c && c <= 0xdf:
		want = 2
	case 0xe0 <= c && c <= 0xef:
		want = 3
		if c == 0xe0 {
			lo = 0xa0
		} else if c == 0xed {
			hi = 0x9f
		}
	case 0xf0 <= c && c <= 0xf4:
		want = 4
		if c == 0xf0 {
			lo = 0x90
		} else if c == 0xf4 {
			hi = 0x8f
		}
	default:
		return 0
	}
	n := 1
	for n < want && n < len(s) && lo <= s[n] && s[n] <= hi {
		lo, hi = 0x80, 0xbf
		n++
	}
	return n
}

// Stream decodes ids one at a time. What Next and Flush return, joined, is what
// Decode gives for all of them; each part is valid UTF-8.
type Stream struct {
	t    *Tokenizer
	held string // the beginning of a character, at most three bytes
}

// NewStream begins a stream.
func (t *Tokenizer) NewStream() *Stream { return &Stream{t: t} }

// Next is the text that id completes; "" while a character is unfinished.
func (s *Stream) Next(id int32) string {
	part := s.held + s.t.tokenBytes(id)
	s.held = ""
	if utf8.ValidString(part) {
		return part
	}
	var b strings.Builder
	s.held = strings.Clone(appendLossy(&b, part))
	return b.String()
}

// Flush ends the stream: a character that was never finished becomes U+FFFD.
func (s *Stream) Flush() string {
	if s.held == "" {
		return ""
	}
	s.held = ""
	return string(utf8.RuneError)
}
