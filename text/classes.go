package text

import (
	"sync"
	"unicode/utf8"
)

// The class bits of a character. The first five come from the generated table; the
// others are ours, so that a scanner needs one look-up a character.
const (
	clsL   = 1 << iota // \p{L}
	clsM               // \p{M}
	clsN               // \p{N}
	clsPS              // \p{P} or \p{S}
	clsS               // \s
	clsNL              // \r or \n
	clsCJK             // the characters that DeepSeek's second split keeps apart
	clsAZ              // A-Z or a-z
)

// classTable maps a character to its class bits in two steps: page of 256, place in it.
// Most pages are alike, so the whole of Unicode takes about 60 KB.
type classTable struct {
	ascii [utf8.RuneSelf]uint8
	page  [(utf8.MaxRune + 1) / 256]uint8
	pages [][256]uint8
}

var classes = sync.OnceValue(buildClasses)

// of is the class of the character r.
func (t *classTable) of(r rune) uint8 {
	if uint32(r) > utf8.MaxRune {
		return 0
	}
	return t.pages[t.page[r>>8]][r&255]
}

// at is the class and width in bytes of the character that begins at s[i]. A byte
// that begins no character stands alone and belongs to no class.
func (t *classTable) at(s string, i int) (uint8, int) {
	if c := s[i]; c < utf8.RuneSelf {
		return t.ascii[c], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	if r == utf8.RuneError && n == 1 {
		return 0, 1
	}
	return t.of(r), n
}

func buildClasses() *classTable {
	t := new(classTable)
	known := map[[256]uint8]uint8{}
	run := 0
	for p := range t.page {
		var page [256]uint8
		for i := range page {
			c := uint32(p*256 + i)
			for run+1 < len(classRuns) && classRuns[run+1]>>8 <= c {
				run++
			}
			page[i] = uint8(classRuns[run]) | ownBits(rune(c))
		}
		k, ok := known[page]
		if !ok {
			k = uint8(len(t.pages))
			known[page] = k
			t.pages = append(t.pages, page)
		}
		t.page[p] = k
	}
	copy(t.ascii[:], t.pages[t.page[0]][:utf8.RuneSelf])
	return t
}

// ownBits are the class bits that are not properties of Unicode.
func ownBits(c rune) uint8 {
	switch {
	case c == '\r' || c == '\n':
		return clsNL
	case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
		return clsAZ
	case 0x4e00 <= c && c <= 0x9fa5 || 0x3040 <= c && c <= 0x30ff:
		return clsCJK
	}
	return 0
}
