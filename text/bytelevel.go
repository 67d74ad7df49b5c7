package text

import (
	"strings"
	"unicode/utf8"
)

// Byte-level tokenizers spell each byte of a token as one printable character:
// printable Latin-1 as itself, the other 68 bytes as U+0100 and on, in order.
// byteSpelling maps a byte to its character, spelledByte back (-1: none).
var byteSpelling, spelledByte = func() (to [256]rune, from [0x144]int16) {
	for i := range from {
		from[i] = -1
	}
	extra := rune(0x100)
	for b := range rune(256) {
		if '!' <= b && b <= '~' || 0xa1 <= b && b <= 0xac || 0xae <= b {
			to[b] = b
		} else {
			to[b] = extra
			extra++
		}
		from[to[b]] = int16(b)
	}
	return to, from
}()

// byteOrder lists the 256 bytes in the order of their spellings: the order of the
// first ids in DeepSeek's vocabulary.
var byteOrder = func() (order [256]byte) {
	n := 0
	for _, b := range spelledByte {
		if b >= 0 {
			order[n] = byte(b)
			n++
		}
	}
	return order
}()

// spell writes bytes in the spelling of a vocabulary.
func spell(bytes string) string {
	var b strings.Builder
	b.Grow(2 * len(bytes))
	for i := range len(bytes) {
		b.WriteRune(byteSpelling[bytes[i]])
	}
	return b.String()
}

// unspell reads a spelling; ok is false when a character of it stands for no byte.
func unspell(spelling string) (bytes string, ok bool) {
	i := 0
	for i < len(spelling) && '!' <= spelling[i] && spelling[i] <= '~' {
		i++
	}
	if i == len(spelling) {
		return spelling, true // as most spellings that have no space
	}
	var b strings.Builder
	b.Grow(len(spelling))
	b.WriteString(spelling[:i])
	for i < len(spelling) {
		r, n := utf8.DecodeRuneInString(spelling[i:])
		if r >= rune(len(spelledByte)) || spelledByte[r] < 0 {
			return "", false
		}
		b.WriteByte(byte(spelledByte[r]))
		i += n
	}
	return b.String(), true
}
