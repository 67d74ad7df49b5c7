package text

// A span is where a scanner may look: the characters whose class, masked, is zone.
// Where the zone ends, the text ends as far as the scanner is concerned; earlier
// steps of the pre-tokeniser have cut there. The zero span is the whole text.
type span struct{ mask, zone uint8 }

// at is the class and width of the character at s[i], or 0, 0 where the span ends.
func (z span) at(t *classTable, s string, i int) (uint8, int) {
	if i >= len(s) {
		return 0, 0
	}
	c, n := t.at(s, i)
	if c&z.mask != z.zone {
		return 0, 0
	}
	return c, n
}

// while goes on as long as characters are of the wanted classes.
func (z span) while(t *classTable, s string, i int, want uint8) int {
	for i < len(s) {
		c, n := t.at(s, i)
		if c&want == 0 || c&z.mask != z.zone {
			break
		}
		i += n
	}
	return i
}

// whileNot goes on as long as characters are of none of the unwanted classes.
func (z span) whileNot(t *classTable, s string, i int, unwanted uint8) int {
	for i < len(s) {
		c, n := t.at(s, i)
		if c&unwanted != 0 || c&z.mask != z.zone {
			break
		}
		i += n
	}
	return i
}

// space: \s*[\r\n]+|\s+(?!\S)|\s+. A run of white space ends with its last line
// break if it has one; else it goes to the end of the span, or leaves its last
// character to the word that follows.
func (z span) space(t *classTable, s string, i int) int {
	end, last, lineEnd := z.run(t, s, i)
	if lineEnd != 0 {
		return lineEnd
	}
	return z.leaveLast(t, s, i, end, last)
}

// run measures the white space at s[i]: its end, its last character, and the end of
// its last line break (0: none).
func (z span) run(t *classTable, s string, i int) (end, last, lineEnd int) {
	for i < len(s) {
		c, n := t.at(s, i)
		if c&clsS == 0 || c&z.mask != z.zone {
			break
		}
		last = i
		i += n
		if c&clsNL != 0 {
			lineEnd = i
		}
	}
	return i, last, lineEnd
}

// leaveLast: \s+(?!\S)|\s+ for the white space s[i:end], whose last character is at last.
func (z span) leaveLast(t *classTable, s string, i, end, last int) int {
	if _, n := z.at(t, s, end); n > 0 && last > i {
		return last
	}
	return end
}

// scanDigits: \p{N}{1,most}, one of them already read.
func scanDigits(t *classTable, s string, i, most int) int {
	for k := 1; k < most && i < len(s); k++ {
		c, n := t.at(s, i)
		if c&clsN == 0 {
			break
		}
		i += n
	}
	return i
}
