package text

// byteLevelRegex is GPT-2's split, which ByteLevel does by itself when use_regex is
// set. eachDigit stands in the table for the step that sets every digit apart
// (SmolLM's).
const (
	byteLevelRegex = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	eachDigit      = "Digits, one by one"
)

func scanGPT2(t *classTable, s string, i int) int { return scanByteLevel(t, s, i, span{}) }

func scanSmolLM(t *classTable, s string, i int) int {
	c, n := t.at(s, i)
	if c&clsN != 0 {
		return i + n
	}
	return scanByteLevel(t, s, i, span{mask: clsN})
}

func scanByteLevel(t *classTable, s string, i int, z span) int {
	if s[i] == '\'' {
		if n := contraction(s[i+1:], false); n > 0 {
			return i + 1 + n
		}
	}
	c, n := t.at(s, i)
	next := i + n
	if s[i] == ' ' {
		if c2, n2 := z.at(t, s, next); n2 > 0 && c2&clsS == 0 {
			c, next = c2, next+n2
		}
	}
	switch {
	case c&clsL != 0:
		return z.while(t, s, next, clsL)
	case c&clsN != 0:
		return z.while(t, s, next, clsN)
	case c&clsS == 0:
		return z.whileNot(t, s, next, clsS|clsL|clsN)
	}
	end, last, _ := z.run(t, s, i)
	return z.leaveLast(t, s, i, end, last)
}
