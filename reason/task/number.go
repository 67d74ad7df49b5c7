package task

import (
	"context"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// maxExponent bounds the power of ten of a number that is read: 1e999999999 would fill
// the memory.
const maxExponent = 400

// maxNumber is the longest number that is read, in bytes.
const maxNumber = 1000

// numberRE takes a number apart: sign, digits (grouped or not), decimals, exponent.
var numberRE = regexp.MustCompile(`^([+-]?)(\d{1,3}(?:,\d{3})+|\d{1,3}(?:[ '_]\d{3})+|\d+)?(?:\.(\d*))?(?:[eE]([+-]?\d{1,6}))?$`)

// mixedRE takes "2 1/2" apart.
var mixedRE = regexp.MustCompile(`^([+-]?\d+)\s+(\d+)\s*/\s*(\d+)$`)

// latexFractionRE finds a LaTeX fraction of two numbers.
var latexFractionRE = regexp.MustCompile(`\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}`)

// ParseNumber reads a number as people write it, exactly: "1,234.50", "-7", "3/4",
// "2 1/2", "\frac{3}{4}", "12.5%", "6.02e23", "1 000 000". It does no arithmetic beyond
// that: "2+3" is no number.
func ParseNumber(s string) (*big.Rat, bool) {
	s = plainNumber(s)
	if len(s) == 0 || len(s) > maxNumber {
		return nil, false
	}
	if body, ok := strings.CutSuffix(s, "%"); ok {
		r, ok := ParseNumber(strings.TrimSpace(body))
		if !ok || strings.HasSuffix(body, "%") {
			return nil, false
		}
		return r.Quo(r, big.NewRat(100, 1)), true
	}
	if m := mixedRE.FindStringSubmatch(s); m != nil {
		return parseMixed(m)
	}
	if a, b, ok := strings.Cut(s, "/"); ok {
		return parseFraction(a, b)
	}
	return parseDecimal(s)
}

// typography turns LaTeX's and printers' characters in numbers into plain ones; groupers
// takes out what stands between groups of digits.
var (
	typography = strings.NewReplacer("−", "-", "–", "-", "{,}", ",", `\,`, "", `\!`, "", `\%`, "%", "\u00a0", " ", "\u202f", " ", `\ `, " ")
	groupers   = strings.NewReplacer(",", "", " ", "", "'", "", "_", "")
)

// plainNumber replaces LaTeX and typography by plain characters.
func plainNumber(s string) string {
	if len(s) > maxNumber {
		return ""
	}
	s = clean(s)
	s = typography.Replace(s)
	s = latexFractionRE.ReplaceAllString(s, " $1/$2")
	s = strings.TrimSpace(s)
	if rest, ok := strings.CutPrefix(s, "- "); ok {
		s = "-" + strings.TrimSpace(rest)
	}
	return s
}

// parseDecimal reads a sign, digits, decimals and an exponent.
func parseDecimal(s string) (*big.Rat, bool) {
	m := numberRE.FindStringSubmatch(s)
	if m == nil || m[2]+m[3] == "" {
		return nil, false
	}
	exp := 0
	if m[4] != "" {
		e, err := strconv.Atoi(m[4])
		if err != nil || e > maxExponent || e < -maxExponent {
			return nil, false
		}
		exp = e
	}
	digits := groupers.Replace(m[2])
	n, ok := new(big.Int).SetString(m[1]+digits+m[3], 10)
	if !ok {
		return nil, false
	}
	exp -= len(m[3])
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exp, -exp))), nil)
	if exp < 0 {
		return new(big.Rat).SetFrac(n, scale), true
	}
	return new(big.Rat).SetInt(n.Mul(n, scale)), true
}

// parseFraction reads the two sides of a slash.
func parseFraction(a, b string) (*big.Rat, bool) {
	x, okA := parseDecimal(strings.TrimSpace(a))
	y, okB := parseDecimal(strings.TrimSpace(b))
	if !okA || !okB || y.Sign() == 0 {
		return nil, false
	}
	return x.Quo(x, y), true
}

// parseMixed reads a match of mixedRE.
func parseMixed(m []string) (*big.Rat, bool) {
	whole, ok := parseDecimal(m[1])
	part, okPart := parseFraction(m[2], m[3])
	if !ok || !okPart {
		return nil, false
	}
	if strings.HasPrefix(m[1], "-") {
		part.Neg(part)
	}
	return whole.Add(whole, part), true
}

// anyNumberRE finds numbers within text; it takes more than a number can be, so that
// what is no number is seen rather than passed over.
var anyNumberRE = regexp.MustCompile(`[+-]?\d[\d,.'_]*(?:[eE][+-]?\d+)?(?:\s*/\s*\d+)?%?[\pL!^]*`)

// readNumber reads the number that an answer states: the answer itself, what stands
// after its last "=", or the only number in its words. It returns the number as written.
func readNumber(answer string) (value *big.Rat, written string, err error) {
	if len(answer) > MaxAnswer {
		return nil, "", fmt.Errorf("the answer is too long for a number")
	}
	if strings.Contains(answer, "\n") {
		return nil, "", fmt.Errorf("%.40q is more than one line", answer)
	}
	written = plainNumber(answer)
	if i := strings.LastIndexByte(written, '='); i >= 0 {
		written = clean(written[i+1:])
	}
	if r, ok := ParseNumber(written); ok {
		return r, written, nil
	}
	found := anyNumberRE.FindAllString(written, 2)
	switch {
	case len(found) == 0:
		return nil, "", fmt.Errorf("%.40q is not a number", answer)
	case len(found) > 1:
		return nil, "", fmt.Errorf("%.40q is more than one number", answer)
	}
	written = strings.TrimRight(found[0], ".,'_")
	r, ok := ParseNumber(written)
	if !ok {
		return nil, "", fmt.Errorf("%.40q is not a number", answer)
	}
	return r, written, nil
}

// computed verifies the result of a computation: any way of writing the number is right,
// but a quotient that was left standing is not, where the result is a whole number.
func computed(want *big.Rat) Verifier {
	return func(_ context.Context, answer string) Verdict {
		got, written, err := readNumber(answer)
		if err != nil {
			return wrong("%v", err)
		}
		if got.Cmp(want) != 0 {
			return wrong("%.40s is not %s", written, decimal(want))
		}
		if want.IsInt() && strings.Contains(written, "/") {
			return wrong("%.40s is not worked out", written)
		}
		return right()
	}
}

// computedInt is computed for a whole number.
func computedInt(want int) Verifier { return computed(big.NewRat(int64(want), 1)) }

// decimal writes a number with its decimals if they end, else as a fraction.
func decimal(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	if digits, exact := r.FloatPrec(); exact {
		return r.FloatString(digits)
	}
	return r.RatString()
}

// Number verifies a number within a tolerance: right if |answer - want| is at most
// absolute or at most relative*|want|. Both may be 0: then the number must be exact.
func Number(want *big.Rat, absolute, relative float64) Verifier {
	allowed := new(big.Rat)
	allowed.SetFloat64(absolute)
	if rel := new(big.Rat).SetFloat64(relative); rel != nil {
		rel.Mul(rel, new(big.Rat).Abs(want))
		if rel.Cmp(allowed) > 0 {
			allowed = rel
		}
	}
	return func(_ context.Context, answer string) Verdict {
		got, written, err := readNumber(answer)
		if err != nil {
			return wrong("%v", err)
		}
		diff := new(big.Rat).Sub(got, want)
		if diff.Abs(diff).Cmp(allowed) > 0 {
			return wrong("%.40s is not %.40s", written, decimal(want))
		}
		return right()
	}
}

// Exact verifies that the answer is want, letter for letter; space around it and the
// width of spaces within do not count.
func Exact(want string) Verifier {
	want = strings.Join(strings.Fields(want), " ")
	return func(_ context.Context, answer string) Verdict {
		if strings.Join(strings.Fields(answer), " ") != want {
			return wrong("%.40q is not %.40q", answer, want)
		}
		return right()
	}
}
