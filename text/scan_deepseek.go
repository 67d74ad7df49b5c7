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

// zone is the part of a class that the first two splits look at: characters of
// different zones are never in one piece, and the end of a zone counts as the end of
// the text to the third split.
func zone(c uint8) uint8 { return c & (clsN | clsCJK) }

// scanDeepSeek finds the end of the piece at s[i]. The three splits run in one pass:
// a look at the class of each character tells where the first two would have cut.
func scanDeepSeek(t *classTable, s string, i int) int {
	c, n := t.at(s, i)
	if c&clsN != 0 {
		return scanDigits(t, s, i+n)
	}
	z, next := zone(c), i+n
	c2, n2 := classIn(t, s, next, z)
	switch {
	case c&clsPS != 0 && s[i] < 0x80 && c2&clsAZ != 0:
		return scanWhile(t, s, next+n2, z, clsAZ)
	case c&(clsL|clsM) != 0:
		return scanWhile(t, s, next, z, clsL|clsM)
	case c&(clsPS|clsNL) == 0 && c2&(clsL|clsM) != 0:
		return scanWhile(t, s, next+n2, z, clsL|clsM)
	case c&clsPS != 0:
		return scanPunct(t, s, next, z)
	case s[i] == ' ' && c2&clsPS != 0:
		return scanPunct(t, s, next+n2, z)
	case c&clsS != 0:
		return scanSpace(t, s, i, z)
	}
	return scanGap(t, s, next, z)
}

// classIn is the class and width of the character at s[i], or 0, 0 where the text or
// the zone ends.
func classIn(t *classTable, s string, i int, z uint8) (uint8, int) {
	if i >= len(s) {
		return 0, 0
	}
	c, n := t.at(s, i)
	if zone(c) != z {
		return 0, 0
	}
	return c, n
}

// scanDigits: \p{N}{1,3}, one of them already read.
func scanDigits(t *classTable, s string, i int) int {
	for k := 1; k < 3 && i < len(s); k++ {
		c, n := t.at(s, i)
		if c&clsN == 0 {
			break
		}
		i += n
	}
	return i
}

// scanWhile: as many characters of the wanted classes as follow within the zone.
func scanWhile(t *classTable, s string, i int, z, want uint8) int {
	for i < len(s) {
		c, n := t.at(s, i)
		if c&want == 0 || zone(c) != z {
			break
		}
		i += n
	}
	return i
}

// scanPunct: [\p{P}\p{S}]+[\r\n]*, its first character already read.
func scanPunct(t *classTable, s string, i int, z uint8) int {
	i = scanWhile(t, s, i, z, clsPS)
	return scanWhile(t, s, i, z, clsNL)
}

// scanSpace: \s*[\r\n]+|\s+(?!\S)|\s+. A run of white space ends with its last line
// break if it has one; else it goes to the end of the zone, or leaves its last
// character to the word that follows.
func scanSpace(t *classTable, s string, i int, z uint8) int {
	start, last, lineEnd := i, i, 0
	for i < len(s) {
		c, n := t.at(s, i)
		if c&clsS == 0 || zone(c) != z {
			if lineEnd == 0 && zone(c) == z && last > start {
				return last
			}
			break
		}
		last = i
		i += n
		if c&clsNL != 0 {
			lineEnd = i
		}
	}
	if lineEnd != 0 {
		return lineEnd
	}
	return i
}

// scanGap: characters that no alternative matches (control and format characters,
// unassigned ones, bytes that are no UTF-8) stay together up to the next match. One
// of them before a letter belongs to that letter's word.
func scanGap(t *classTable, s string, i int, z uint8) int {
	const matched = clsL | clsM | clsPS | clsS
	for i < len(s) {
		c, n := t.at(s, i)
		if c&matched != 0 || zone(c) != z {
			break
		}
		if c2, _ := classIn(t, s, i+n, z); c2&(clsL|clsM) != 0 {
			break
		}
		i += n
	}
	return i
}
