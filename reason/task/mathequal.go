package task

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"
)

// newPattern compiles a pattern of the package's own.
func newPattern(s string) *regexp.Regexp { return regexp.MustCompile(s) }

// Math verifies that an answer is mathematically the same as want. Both may be plain text
// or LaTeX: fractions, roots, powers, percentages, constants, expressions with unknowns,
// several values in any order ("1 or 2", "2 \pm \sqrt{3}"), sets, tuples, intervals and
// their unions. Rational numbers are compared exactly; what has roots, functions or
// unknowns is compared in float64 at several points, to 1e-9. "x = 5" is the value 5,
// units set as text are left out, and where want is a percentage the sign may be missing.
// What cannot be read as mathematics must be equal word for word.
func Math(want string) Verifier {
	return func(_ context.Context, answer string) Verdict {
		same, why := sameMath(answer, want)
		if !same {
			return wrong("%s", why)
		}
		return right()
	}
}

// sameMath compares two texts; why says why they are not the same.
func sameMath(answer, want string) (same bool, why string) {
	answer, want = clean(answer), clean(want)
	if len(answer) > maxMath {
		return false, fmt.Sprintf("the answer has %d bytes, at most %d are read", len(answer), maxMath)
	}
	if answer == "" {
		return false, "the answer is empty"
	}
	if plainWords(answer) == plainWords(want) {
		return true, ""
	}
	if a, ok := ParseNumber(answer); ok {
		if b, ok := ParseNumber(want); ok && a.Cmp(b) == 0 {
			return true, ""
		}
	}
	a, err := parseMath(answer)
	if err != nil {
		return false, fmt.Sprintf("%.60q cannot be read: %v", answer, err)
	}
	b, err := parseMath(want)
	if err != nil {
		return false, fmt.Sprintf("%.60q is not %.60q", answer, want)
	}
	if sameExpr(a, b, 0) {
		return true, ""
	}
	if body, percent := strings.CutSuffix(plainWords(want), "%"); percent && !strings.Contains(answer, "%") {
		if c, err := parseMath(body); err == nil && sameExpr(a, c, 0) {
			return true, ""
		}
	}
	return false, fmt.Sprintf("%.60q is not equal to %.60q", answer, want)
}

// plainWords brings a text into one form: without the marks of text, and without spaces
// but those between digits.
func plainWords(s string) string {
	s = textRE.ReplaceAllString(s, "$1")
	s = mathReplacer.Replace(s)
	s = scriptRE.ReplaceAllString(s, "$1$2")
	s = choiceRE.ReplaceAllString(s, "$1")
	var b strings.Builder
	before := byte(0)
	for f := range strings.FieldsSeq(s) {
		if isDigit(before) && isDigit(f[0]) {
			b.WriteByte(' ')
		}
		b.WriteString(f)
		before = f[len(f)-1]
	}
	return strings.ToLower(b.String())
}

// scriptRE finds braces that are not needed in sub- and superscripts, choiceRE the letter
// of an answer to choose, in brackets.
var (
	scriptRE = newPattern(`([_^])\s*\{\s*([\pL\d]+)\s*\}`)
	choiceRE = newPattern(`^\s*\(\s*(\pL)\s*\)\s*$`)
)

// isDigit says whether c is a decimal digit.
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// maxItems bounds sets: comparing them takes the square of it.
const maxItems = 50

// sameExpr compares two trees.
func sameExpr(a, b *expr, depth int) bool {
	if depth > maxNested {
		return false
	}
	a, b = spread(a), spread(b)
	switch {
	case collection(a) && collection(b):
		return sameSet(a.args, b.args, depth)
	case a.op != b.op && (structure(a) || structure(b)):
		return false
	case a.op == "tuple" || a.op == "based":
		if a.name != b.name || len(a.args) != len(b.args) {
			return false
		}
		for i := range a.args {
			if !sameExpr(a.args[i], b.args[i], depth+1) {
				return false
			}
		}
		return true
	case a.op == "union":
		return sameSet(a.args, b.args, depth)
	case a.op == "=":
		return sameExpr(a.args[0], b.args[0], depth+1) && sameExpr(a.args[1], b.args[1], depth+1) ||
			sameExpr(a.args[0], b.args[1], depth+1) && sameExpr(a.args[1], b.args[0], depth+1)
	}
	return sameValue(a, b)
}

// collection says whether a tree is several values whose order does not count.
func collection(e *expr) bool { return e.op == "list" || e.op == "set" }

// structure says whether a tree is more than one value.
func structure(e *expr) bool {
	return collection(e) || e.op == "tuple" || e.op == "based" || e.op == "union" || e.op == "="
}

// spread turns plus-or-minus into the two values.
func spread(e *expr) *expr {
	if structure(e) || !has(e, "pm") {
		return e
	}
	return &expr{op: "list", args: []*expr{replaceSign(e, "pos"), replaceSign(e, "neg")}}
}

// has says whether op is in the tree.
func has(e *expr, op string) bool {
	if e.op == op {
		return true
	}
	for _, a := range e.args {
		if has(a, op) {
			return true
		}
	}
	return false
}

// replaceSign puts one sign for plus-or-minus; "pos" leaves the argument as it is.
func replaceSign(e *expr, sign string) *expr {
	out := &expr{op: e.op, name: e.name, value: e.value}
	for _, a := range e.args {
		out.args = append(out.args, replaceSign(a, sign))
	}
	if e.op == "pm" {
		if sign == "pos" {
			return out.args[0]
		}
		out.op = sign
	}
	return out
}

// sameSet matches the values one to one, in any order; equal values within one side count
// once, so that {1,1} is {1}.
func sameSet(a, b []*expr, depth int) bool {
	a, b = distinct(a, depth), distinct(b, depth)
	if len(a) != len(b) || len(a) > maxItems {
		return false
	}
	for _, x := range a {
		if !contains(b, x, depth) {
			return false
		}
	}
	return true
}

// distinct leaves out values that are there already.
func distinct(v []*expr, depth int) []*expr {
	var out []*expr
	for _, e := range v {
		e = spread(e)
		items := []*expr{e}
		if e.op == "list" {
			items = e.args
		}
		for _, x := range items {
			if len(out) <= maxItems && !contains(out, x, depth) {
				out = append(out, x)
			}
		}
	}
	return out
}

// contains says whether v has a value equal to x.
func contains(v []*expr, x *expr, depth int) bool {
	for _, y := range v {
		if sameExpr(x, y, depth+1) {
			return true
		}
	}
	return false
}

// points are where expressions with unknowns are compared: for each point a value, which
// is shifted for each further unknown.
var points = []float64{0.7310585, 1.6180339, 2.2360679, -0.5772156, -1.4142135, 3.1622776, 0.1415926, -2.6651441}

// sameValue compares two values: exactly if both are rational, else in float64.
func sameValue(a, b *expr) bool {
	ra, exactA := rational(a)
	rb, exactB := rational(b)
	if exactA && exactB {
		return ra.Cmp(rb) == 0
	}
	unknowns := map[string]int{}
	number := func(e *expr) { collectUnknowns(e, unknowns) }
	number(a)
	number(b)
	valid := 0
	for _, at := range points {
		x, y := evalFloat(a, at, unknowns), evalFloat(b, at, unknowns)
		if math.IsInf(x, 0) && x == y && len(unknowns) == 0 {
			return a.op != "num" && hasInfinity(a) && hasInfinity(b)
		}
		if math.IsNaN(x) || math.IsNaN(y) || math.IsInf(x, 0) || math.IsInf(y, 0) {
			continue
		}
		if diff := math.Abs(x - y); diff > 1e-9*math.Max(math.Abs(x), math.Abs(y)) && diff > 1e-13 {
			return false
		}
		valid++
	}
	return valid >= 3
}

// hasInfinity says whether infinity itself is meant, rather than a number too large.
func hasInfinity(e *expr) bool {
	if e.op == "var" && (e.name == "infty" || e.name == "inf") {
		return true
	}
	for _, a := range e.args {
		if hasInfinity(a) {
			return true
		}
	}
	return false
}

// constants are the names that are no unknowns.
var constants = map[string]float64{"pi": math.Pi, "π": math.Pi, "e": math.E, "infty": math.Inf(1), "inf": math.Inf(1)}

// collectUnknowns numbers the unknowns of a tree.
func collectUnknowns(e *expr, into map[string]int) {
	if _, known := constants[e.name]; e.op == "var" && !known {
		if _, seen := into[e.name]; !seen {
			into[e.name] = len(into)
		}
	}
	for _, a := range e.args {
		collectUnknowns(a, into)
	}
}

// maxBits bounds exact numbers; what grows beyond is compared in float64.
const maxBits = 1 << 13

// rational works a tree out exactly, if it is a rational number of bounded size.
func rational(e *expr) (*big.Rat, bool) {
	if e.op == "num" {
		return e.value, true
	}
	args := make([]*big.Rat, len(e.args))
	for i, a := range e.args {
		r, ok := rational(a)
		if !ok || r.Num().BitLen()+r.Denom().BitLen() > maxBits {
			return nil, false
		}
		args[i] = r
	}
	out := new(big.Rat)
	switch e.op {
	case "+":
		return out.Add(args[0], args[1]), true
	case "*":
		return out.Mul(args[0], args[1]), true
	case "neg":
		return out.Neg(args[0]), true
	case "abs":
		return out.Abs(args[0]), true
	case "/":
		if args[1].Sign() == 0 {
			return nil, false
		}
		return out.Quo(args[0], args[1]), true
	case "^":
		return rationalPower(args[0], args[1])
	case "root":
		return rationalRoot(args[0], args[1])
	case "!":
		return factorial(args[0])
	case "binom":
		return binomial(args[0], args[1])
	}
	return nil, false
}

// rationalPower is a to a whole power, if that stays small.
func rationalPower(a, x *big.Rat) (*big.Rat, bool) {
	if !x.IsInt() || !x.Num().IsInt64() {
		return nil, false
	}
	n := x.Num().Int64()
	size := int64(a.Num().BitLen() + a.Denom().BitLen())
	if n > maxBits || n < -maxBits || size*max(n, -n) > maxBits || (n < 0 && a.Sign() == 0) {
		return nil, false
	}
	p := big.NewInt(max(n, -n))
	out := new(big.Rat).SetFrac(new(big.Int).Exp(a.Num(), p, nil), new(big.Int).Exp(a.Denom(), p, nil))
	if n < 0 {
		out.Inv(out)
	}
	return out, true
}

// rationalRoot is the square root of a, if that is rational.
func rationalRoot(a, degree *big.Rat) (*big.Rat, bool) {
	if degree.Cmp(big.NewRat(2, 1)) != 0 || a.Sign() < 0 {
		return nil, false
	}
	n, d := new(big.Int).Sqrt(a.Num()), new(big.Int).Sqrt(a.Denom())
	r := new(big.Rat).SetFrac(n, d)
	return r, new(big.Rat).Mul(r, r).Cmp(a) == 0
}

// factorial is n! for whole n up to 500.
func factorial(n *big.Rat) (*big.Rat, bool) {
	if !n.IsInt() || n.Sign() < 0 || n.Cmp(big.NewRat(500, 1)) > 0 {
		return nil, false
	}
	return new(big.Rat).SetInt(new(big.Int).MulRange(1, n.Num().Int64())), true
}

// binomial is n over k for whole numbers from 0 to 1000.
func binomial(n, k *big.Rat) (*big.Rat, bool) {
	most := big.NewRat(1000, 1)
	if !n.IsInt() || !k.IsInt() || n.Sign() < 0 || k.Sign() < 0 || n.Cmp(most) > 0 || k.Cmp(most) > 0 {
		return nil, false
	}
	return new(big.Rat).SetInt(new(big.Int).Binomial(n.Num().Int64(), k.Num().Int64())), true
}

// evalFloat works a tree out at a point; NaN where it has no real value.
func evalFloat(e *expr, at float64, unknowns map[string]int) float64 {
	args := make([]float64, len(e.args))
	for i, a := range e.args {
		args[i] = evalFloat(a, at, unknowns)
	}
	switch e.op {
	case "num":
		f, _ := e.value.Float64()
		return f
	case "var":
		if c, known := constants[e.name]; known {
			return c
		}
		return at + 0.3819660*float64(unknowns[e.name])*(1+at*at)
	case "+":
		return args[0] + args[1]
	case "*":
		return args[0] * args[1]
	case "/":
		return args[0] / args[1]
	case "neg":
		return -args[0]
	case "abs":
		return math.Abs(args[0])
	case "^":
		return math.Pow(args[0], args[1])
	case "root":
		return root(args[0], args[1])
	case "!":
		return math.Gamma(args[0] + 1)
	case "fn":
		return evalFunction(e.name, args[0])
	}
	return math.NaN()
}

// root is the real root of a; odd ones of negative numbers exist.
func root(a, degree float64) float64 {
	if degree == 2 {
		return math.Sqrt(a)
	}
	if a < 0 && math.Mod(degree, 2) == 1 {
		return -math.Pow(-a, 1/degree)
	}
	return math.Pow(a, 1/degree)
}

// evalFunction applies a function; log is the one to base 10.
func evalFunction(name string, x float64) float64 {
	switch name {
	case "sin":
		return math.Sin(x)
	case "cos":
		return math.Cos(x)
	case "tan":
		return math.Tan(x)
	case "ln":
		return math.Log(x)
	case "log":
		return math.Log10(x)
	case "exp":
		return math.Exp(x)
	case "abs":
		return math.Abs(x)
	case "arcsin":
		return math.Asin(x)
	case "arccos":
		return math.Acos(x)
	case "arctan":
		return math.Atan(x)
	case "cot":
		return 1 / math.Tan(x)
	case "sec":
		return 1 / math.Cos(x)
	case "csc":
		return 1 / math.Sin(x)
	}
	return math.NaN()
}
