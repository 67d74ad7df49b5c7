package text

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// laterMarks are the characters that Unicode gave a combining class or a composition
// after its edition 9, whose data Hugging Face's normaliser has: to it they are
// letters like others, and so they are here, since ids depend on it.
var laterMarks = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x07fd, 0x07fd, 1},
		{0x0898, 0x089f, 1},
		{0x08ca, 0x08d3, 1},
		{0x09fe, 0x09fe, 1},
		{0x0c3c, 0x0c3c, 1},
		{0x0d3b, 0x0d3c, 1},
		{0x0eba, 0x0eba, 1},
		{0x1715, 0x1715, 1},
		{0x1abf, 0x1ace, 1},
		{0x1df6, 0x1dfa, 1},
		{0xa82c, 0xa82c, 1},
	},
	R32: []unicode.Range32{
		{0x10d24, 0x10d27, 1},
		{0x10eab, 0x10eac, 1},
		{0x10efd, 0x10eff, 1},
		{0x10f46, 0x10f50, 1},
		{0x10f82, 0x10f85, 1},
		{0x11070, 0x11070, 1},
		{0x1133b, 0x1133b, 1},
		{0x1145e, 0x1145e, 1},
		{0x11839, 0x1183a, 1},
		{0x11930, 0x11930, 1},
		{0x11938, 0x11938, 1},
		{0x1193d, 0x1193e, 1},
		{0x11943, 0x11943, 1},
		{0x119e0, 0x119e0, 1},
		{0x11a34, 0x11a34, 1},
		{0x11a47, 0x11a47, 1},
		{0x11a99, 0x11a99, 1},
		{0x11d42, 0x11d42, 1},
		{0x11d44, 0x11d45, 1},
		{0x11d97, 0x11d97, 1},
		{0x11f41, 0x11f42, 1},
		{0x16ff0, 0x16ff1, 1},
		{0x1e08f, 0x1e08f, 1},
		{0x1e130, 0x1e136, 1},
		{0x1e2ae, 0x1e2ae, 1},
		{0x1e2ec, 0x1e2ef, 1},
		{0x1e4ec, 0x1e4ef, 1},
	},
}

// nfc is Unicode's normalisation form C with the data of edition 9. The tables are
// those of x/text; its algorithm is not, because it breaks up long runs of marks.
// Bytes that are not UTF-8 stay as they are.
func nfc(s string) string {
	if isASCII(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	start, plain := 0, true // the part of s since the last boundary; whether it is normal as it is
	flush := func(end int) {
		if plain {
			b.WriteString(s[start:end])
		} else {
			composeTo(&b, s[start:end])
		}
		start, plain = end, true
	}
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			flush(i)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError || unicode.Is(laterMarks, r) {
			flush(i)
			i += n
			continue
		}
		p := norm.NFC.PropertiesString(s[i:])
		if p.BoundaryBefore() {
			flush(i)
		} else {
			plain = false
		}
		if p.Decomposition() != nil {
			plain = false
		}
		i += n
	}
	flush(len(s))
	return b.String()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// mark is a character with its combining class.
type mark struct {
	r   rune
	ccc uint8
}

// composeTo writes one combining sequence in form C: decomposed, its marks put in
// order, then composed from the left.
func composeTo(b *strings.Builder, s string) {
	if !utf8.ValidString(s) { // broken bytes begin a sequence: they have no marks to take
		_, n := utf8.DecodeRuneInString(s)
		b.WriteString(s[:n])
		s = s[n:]
	}
	marks := decompose(s)
	for i := 0; i < len(marks); i++ {
		j := i
		for j < len(marks) && marks[j].ccc != 0 {
			j++
		}
		slices.SortStableFunc(marks[i:j], func(a, b mark) int { return int(a.ccc) - int(b.ccc) })
		i = max(i, j-1)
	}
	for _, m := range compose(marks) {
		b.WriteRune(m.r)
	}
}

func decompose(s string) []mark {
	var out []mark
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		if unicode.Is(laterMarks, r) {
			out = append(out, mark{r, 0})
		} else {
			for _, d := range norm.NFD.String(s[:n]) {
				out = append(out, mark{d, norm.NFD.PropertiesString(string(d)).CCC()})
			}
		}
		s = s[n:]
	}
	return out
}

// compose joins each mark with the starter before it where a composite exists and no
// mark of the same class or of none stands between.
func compose(marks []mark) []mark {
	out := marks[:0]
	starter := -1
	for _, m := range marks {
		if starter >= 0 {
			last := out[len(out)-1]
			free := len(out)-1 == starter || last.ccc != 0 && last.ccc < m.ccc
			if free && !unicode.Is(laterMarks, out[starter].r) {
				if r, ok := composite(out[starter].r, m.r); ok {
					out[starter].r = r
					continue
				}
			}
		}
		if m.ccc == 0 {
			starter = len(out)
		}
		out = append(out, m)
	}
	return out
}

// composite is the character that a and b compose to.
func composite(a, b rune) (rune, bool) {
	s := norm.NFC.String(string([]rune{a, b}))
	r, n := utf8.DecodeRuneInString(s)
	return r, n == len(s)
}
