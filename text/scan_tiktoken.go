package text

import "strings"

// tiktokenPattern is the split of Llama 3 and Qwen2, which differ in how many digits
// make a group.
func tiktokenPattern(digits string) string {
	return `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|` + digits +
		`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
}

func scanLlama3(t *classTable, s string, i int) int { return scanTiktoken(t, s, i, 3) }

func scanQwen2(t *classTable, s string, i int) int { return scanTiktoken(t, s, i, 1) }

func scanTiktoken(t *classTable, s string, i, digits int) int {
	if s[i] == '\'' {
		if n := contraction(s[i+1:], true); n > 0 {
			return i + 1 + n
		}
	}
	var z span
	c, n := t.at(s, i)
	next := i + n
	c2, n2 := z.at(t, s, next)
	switch {
	case c&clsL != 0:
		return z.while(t, s, next, clsL)
	case c&clsN != 0:
		return scanDigits(t, s, next, digits)
	case c&clsNL == 0 && c2&clsL != 0:
		return z.while(t, s, next+n2, clsL)
	case c&clsS == 0:
		return z.while(t, s, z.whileNot(t, s, next, clsS|clsL|clsN), clsNL)
	case s[i] == ' ' && n2 > 0 && c2&(clsS|clsL|clsN) == 0:
		return z.while(t, s, z.whileNot(t, s, next+n2, clsS|clsL|clsN), clsNL)
	}
	return z.space(t, s, i)
}

// contraction is the length of the English ending that s, the text after an
// apostrophe, begins with: s, t, re, ve, m, ll or d. With fold, capitals count, and
// the long s, which folds to s.
func contraction(s string, fold bool) int {
	if s == "" {
		return 0
	}
	if fold && strings.HasPrefix(s, "ſ") {
		return len("ſ")
	}
	var low [2]byte
	copy(low[:], s)
	if fold {
		for k, b := range low {
			if 'A' <= b && b <= 'Z' {
				low[k] = b + 'a' - 'A'
			}
		}
	}
	switch low[0] {
	case 's', 't', 'm', 'd':
		return 1
	}
	switch string(low[:]) {
	case "re", "ve", "ll":
		return 2
	}
	return 0
}
