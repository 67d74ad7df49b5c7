package task

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// lexeme is a piece of a mathematical text. kind is '0' for a number, 'a' for a name (text
// without the backslash), else the character itself.
type lexeme struct {
	kind rune
	text string
}

// Bounds of a mathematical text.
const (
	maxMath   = 2000 // bytes
	maxNested = 60   // brackets, roots, fractions within each other
)

// mathReplacer takes out what only sets type, and names signs in one way.
var mathReplacer = strings.NewReplacer(
	`\\`, ` \row `, `\begin{pmatrix}`, ` \matrix `, `\end{pmatrix}`, ` \endmatrix `, `\begin{bmatrix}`, ` \matrix `, `\end{bmatrix}`, ` \endmatrix `,
	`\left`, " ", `\right`, " ", `\bigl`, " ", `\bigr`, " ", `\Bigl`, " ", `\Bigr`, " ", `\big`, " ", `\Big`, " ",
	`\displaystyle`, " ", `\,`, " ", `\!`, "", `\;`, " ", `\:`, " ", `\ `, " ", `~`, " ", `\quad`, " ",
	`\$`, " ", `$`, " ", `{,}`, ",", `^\circ`, " ", `^{\circ}`, " ", `°`, " ", `\degree`, " ",
	`\{`, ` \lbrace `, `\}`, ` \rbrace `, `\%`, "%", `\lvert`, "|", `\rvert`, "|", `\vert`, "|",
	`\dfrac`, `\frac`, `\tfrac`, `\frac`, `\dbinom`, `\binom`, `\varnothing`, `\emptyset`, `\cfrac`, `\frac`, `\cdot`, "*", `\times`, "*", `\div`, "/", `\ast`, "*",
	"×", "*", "·", "*", "÷", "/", "−", "-", "–", "-", "√", `\sqrt `, "π", `\pi `, "∞", `\infty `, "∪", `\cup `, "±", `\pm `,
	"²", "^2 ", "³", "^3 ", "½", "(1/2)", "**", "^", `\lparen`, "(", `\rparen`, ")", `\lbrack`, "[", `\rbrack`, "]",
)

// lexMath cuts a text into tokens.
func lexMath(s string) ([]lexeme, error) {
	if len(s) > maxMath {
		return nil, fmt.Errorf("the expression has %d bytes, at most %d are read", len(s), maxMath)
	}
	s = mathReplacer.Replace(s)
	var out []lexeme
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		var t lexeme
		switch {
		case unicode.IsSpace(r):
			s = s[size:]
			continue
		case r >= '0' && r <= '9' || r == '.' && len(s) > 1 && s[1] >= '0' && s[1] <= '9':
			t = lexeme{'0', numberPrefix(s)}
			size = len(t.text)
		case r == '\\':
			name := letters(s[1:])
			if name == "" {
				return nil, fmt.Errorf("%.20q is not understood", s)
			}
			t, size = lexeme{'a', name}, 1+len(name)
			if isTextCommand(name) {
				return nil, fmt.Errorf("there are words in it: %.20q", s)
			}
		case unicode.IsLetter(r):
			t.text = nameOf(letters(s))
			t.kind, size = 'a', len(t.text)
		default:
			t.kind = r
		}
		out = append(out, t)
		s = s[size:]
	}
	return out, nil
}

// isTextCommand names the commands whose argument is text.
func isTextCommand(name string) bool {
	return name == "text" || name == "mathrm" || name == "mbox" || name == "textbf" || name == "mathbf"
}

// numberPrefix is the number that s starts with: digits, groups of three after commas,
// decimals.
func numberPrefix(s string) string {
	i := digits(s)
	for grouped := i > 0 && i <= 3; grouped && i+4 <= len(s) && s[i] == ','; {
		if digits(s[i+1:]) != 3 {
			break
		}
		i += 4
	}
	if i < len(s) && s[i] == '.' {
		i += 1 + digits(s[i+1:])
	}
	return s[:i]
}

// digits counts the digits that s starts with.
func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// letters are the letters that s starts with.
func letters(s string) string {
	end := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsLetter(r) })
	if end < 0 {
		return s
	}
	return s[:end]
}

// plainNames are names that may be written without a backslash.
var plainNames = []string{"sqrt", "sin", "cos", "tan", "log", "ln", "exp", "abs", "pi", "infty", "inf", "or", "and", "arcsin", "arccos", "arctan", "cup", "frac"}

// nameOf is the name that a run of letters starts with: a known one, else one letter.
func nameOf(run string) string {
	for _, n := range plainNames {
		if strings.HasPrefix(run, n) && len(n) == len(run) {
			return n
		}
	}
	for _, n := range plainNames {
		if len(n) >= 3 && strings.HasPrefix(run, n) {
			return n
		}
	}
	_, size := utf8.DecodeRuneInString(run)
	return run[:size]
}
