package text

// deepseekPatterns are the splits of DeepSeek-V3, R1 and V3.1: groups of up to three
// digits, runs of Chinese characters and kana, and within what remains (and within
// those runs) words, punctuation and white space.
var deepseekPatterns = []string{
	`\p{N}{1,3}`,
	"[一-龥\u3040-ゟ゠-ヿ]+",
	"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+" +
		"| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
}

// scanDeepSeek finds the end of the piece at s[i]. The three splits run in one pass:
// a look at the class of each character tells where the first two would have cut.
func scanDeepSeek(t *classTable, s string, i int) int {
	c, n := t.at(s, i)
	if c&clsN != 0 {
		return scanDigits(t, s, i+n, 3)
	}
	z, next := span{clsN | clsCJK, c & (clsN | clsCJK)}, i+n
	c2, n2 := z.at(t, s, next)
	switch {
	case c&clsPS != 0 && s[i] < 0x80 && c2&clsAZ != 0:
		return z.while(t, s, next+n2, clsAZ)
	case c&(clsL|clsM) != 0:
		return z.while(t, s, next, clsL|clsM)
	case c&(clsPS|clsNL) == 0 && c2&(clsL|clsM) != 0:
		return z.while(t, s, next+n2, clsL|clsM)
	case c&clsPS != 0:
		return z.while(t, s, z.while(t, s, next, clsPS), clsNL)
	case s[i] == ' ' && c2&clsPS != 0:
		return z.while(t, s, z.while(t, s, next+n2, clsPS), clsNL)
	case c&clsS != 0:
		return z.space(t, s, i)
	}
	return scanGap(t, s, next, z)
}

// scanGap: characters that no alternative matches (control and format characters,
// unassigned ones, bytes that are no UTF-8) stay together up to the next match. One
// of them before a letter belongs to that letter's word.
func scanGap(t *classTable, s string, i int, z span) int {
	for i < len(s) {
		c, n := z.at(t, s, i)
		if n == 0 || c&(clsL|clsM|clsPS|clsS) != 0 {
			break
		}
		if c2, _ := z.at(t, s, i+n); c2&(clsL|clsM) != 0 {
			break
		}
		i += n
	}
	return i
}
