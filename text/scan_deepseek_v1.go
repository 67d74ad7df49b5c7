package text

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// The classes of characters that DeepSeek's first pre-tokenisers split by, as the
// insides of brackets.
const (
	v1Letters = "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377" +
		"\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556" +
		"\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15" +
		"\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe" +
		"\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113" +
		"\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184" +
		"\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e" +
		"\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3" +
		"\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
	v1Punct  = "!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002"
	v1Blocks = "\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff" // Chinese, kana, Korean, and most scripts of Asia between
)

var (
	// deepseekLLMPatterns are the splits of DeepSeek LLM, V2 and V2-Lite.
	deepseekLLMPatterns = []string{"[\r\n]", `\s?[` + v1Letters + `]+`, `\s?[` + v1Punct + `]+`, `\s+$`, "[" + v1Blocks + "]+", eachDigit}
	// deepseekCoderPatterns are those of DeepSeek Coder.
	deepseekCoderPatterns = []string{"[\r\n]", `\s?\p{L}+`, `\s?\p{P}+`, "[" + v1Blocks + "]+", eachDigit}
)

// The class bits of a character for one of these pre-tokenisers.
const (
	v1L  = 1 << iota // a letter
	v1P              // punctuation
	v1B              // of v1Blocks
	v1N              // a number
	v1S              // white space, line breaks apart
	v1NL             // \r or \n
)

// v1Table holds the bits of every character.
type v1Table struct {
	page  [(utf8.MaxRune + 1) / 256]uint8
	pages [][256]uint8
}

// at is the class and width in bytes of the character that begins at s[i]; 0, 0 at
// the end of the text.
func (t *v1Table) at(s string, i int) (uint8, int) {
	if i >= len(s) {
		return 0, 0
	}
	if c := s[i]; c < utf8.RuneSelf {
		return t.pages[t.page[0]][c], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	if r == utf8.RuneError && n == 1 {
		return 0, 1
	}
	return t.pages[t.page[r>>8]][r&255], n
}

var (
	v1LLM = sync.OnceValue(func() *v1Table {
		return buildV1(func(bits []uint8, _ *classTable) {
			paint(bits, v1Letters, v1L)
			paint(bits, v1Punct, v1P)
		})
	})
	v1Coder = sync.OnceValue(func() *v1Table {
		return buildV1(func(bits []uint8, cls *classTable) {
			for r := range bits {
				switch c := cls.of(rune(r)); {
				case c&clsL != 0:
					bits[r] |= v1L
				case c&clsPS != 0 && unicode.Is(unicode.P, rune(r)):
					bits[r] |= v1P
				}
			}
		})
	})
)

// paint sets a bit of the characters that the inside of brackets names.
func paint(bits []uint8, class string, bit uint8) {
	runes := []rune(class)
	for i := 0; i < len(runes); i++ {
		lo, hi := runes[i], runes[i]
		if i+2 < len(runes) && runes[i+1] == '-' {
			hi = runes[i+2]
			i += 2
		}
		for r := lo; r <= hi; r++ {
			bits[r] |= bit
		}
	}
}

// buildV1 makes a table of the classes that fill paints and of those that both
// pre-tokenisers have.
func buildV1(fill func(bits []uint8, cls *classTable)) *v1Table {
	t, cls, bits := new(v1Table), classes(), make([]uint8, utf8.MaxRune+1)
	fill(bits, cls)
	paint(bits, v1Blocks, v1B)
	known := map[[256]uint8]uint8{}
	for p := range t.page {
		page := [256]uint8(bits[p*256:])
		for i := range page {
			switch c := cls.of(rune(p*256 + i)); {
			case c&clsN != 0:
				page[i] |= v1N
			case c&clsNL != 0:
				page[i] |= v1NL
			case c&clsS != 0:
				page[i] |= v1S
			}
		}
		k, ok := known[page]
		if !ok {
			k = uint8(len(t.pages))
			known[page] = k
			t.pages = append(t.pages, page)
		}
		t.page[p] = k
	}
	return t
}

func scanDeepSeekLLM(_ *classTable, s string, i int) int { return scanV1(v1LLM(), s, i, true) }

func scanDeepSeekCoder(_ *classTable, s string, i int) int { return scanV1(v1Coder(), s, i, false) }

// scanV1 finds the end of the piece at s[i]. Each split cuts what the ones before it
// left whole, so a piece ends where the first of them cuts. All have cut at i, so none
// needs to know what stands before: within a match a split goes on to the match's end,
// otherwise to where its next match begins. With trailing, the white space that ends a
// piece of the first three splits is set apart.
func scanV1(t *v1Table, s string, i int, trailing bool) int {
	c, n := t.at(s, i)
	if c&(v1NL|v1N) != 0 {
		return i + n
	}
	r := v1Run{t: t, s: s}
	r.word = c&v1L != 0 || c&v1S != 0 && r.has(v1L, i+n)
	r.punct = c&v1P != 0 || c&v1S != 0 && r.has(v1P, i+n) && !r.wordCuts(i+n)
	space := c&v1S != 0
	for j := i + n; j < len(s); {
		cj, nj := t.at(s, j)
		if (cj^c)&v1B != 0 || cj&v1N != 0 || r.cuts(j) {
			return j
		}
		if trailing && cj&v1S != 0 && !space && r.spaceEnds(j) {
			return j
		}
		space = cj&v1S != 0
		j += nj
	}
	return len(s)
}

// A v1Run is what the first three splits, of lines, of \s?[letters]+ and of
// \s?[punctuation]+, make of a text from a place on.
type v1Run struct {
	t           *v1Table
	s           string
	word, punct bool // whether the place begins a match
}

// has reports that the character at j is of the class.
func (r *v1Run) has(class uint8, j int) bool { c, _ := r.t.at(r.s, j); return c&class != 0 }

// wordCuts reports that a word ends or begins at j.
func (r *v1Run) wordCuts(j int) bool {
	c, n := r.t.at(r.s, j)
	if r.word {
		return c&v1L == 0
	}
	return c&v1L != 0 || c&v1S != 0 && r.has(v1L, j+n)
}

// cuts reports that one of the three splits cuts at j.
func (r *v1Run) cuts(j int) bool {
	c, n := r.t.at(r.s, j)
	switch {
	case c&v1NL != 0 || r.wordCuts(j):
		return true
	case r.punct:
		return c&v1P == 0
	}
	return c&v1P != 0 || c&v1S != 0 && r.has(v1P, j+n) && !r.wordCuts(j+n)
}

// spaceEnds reports that the white space that begins at j goes on to where one of the
// three splits cuts.
func (r *v1Run) spaceEnds(j int) bool {
	_, n := r.t.at(r.s, j)
	for j += n; j < len(r.s); j += n {
		if r.cuts(j) {
			return true
		}
		var c uint8
		if c, n = r.t.at(r.s, j); c&v1S == 0 {
			return false
		}
	}
	return true
}
