package task

import (
	"fmt"
	"math/big"
	"strings"
)

// Bounds of an expression that is worked out.
const (
	maxExpression = 500 // bytes
	maxDepth      = 50  // brackets within brackets
)

// calculator reads and works out + - * / and brackets over whole numbers.
type calculator struct {
	s     string
	used  []*big.Int
	depth int
}

// operators turns LaTeX's and printers' signs into plain ones.
var operators = strings.NewReplacer("×", "*", "·", "*", "÷", "/", "−", "-", "–", "-", `\times`, "*", `\cdot`, "*", `\div`, "/",
	`\left`, "", `\right`, "", "[", "(", "]", ")", "\t", " ", "\u00a0", " ")

// evaluate works out an expression exactly and lists the numbers in it. It knows whole
// numbers without a sign, + - * /, the typographic signs for them, and brackets: nothing
// by which a number could be made of another. (So no "12" out of 1 and 2, no powers, no
// factorials, no unary minus.)
func evaluate(s string) (value *big.Rat, used []*big.Int, err error) {
	if len(s) > maxExpression {
		return nil, nil, fmt.Errorf("the expression is too long")
	}
	s = operators.Replace(s)
	c := &calculator{s: s}
	value, err = c.sum()
	if err == nil && c.peek() != 0 {
		err = fmt.Errorf("%.40q is not an expression: %q is unexpected", s, c.s[:1])
	}
	return value, c.used, err
}

// peek returns the next character that is no space, or 0 at the end.
func (c *calculator) peek() byte {
	c.s = strings.TrimLeft(c.s, " ")
	if c.s == "" {
		return 0
	}
	return c.s[0]
}

// sum reads products with + and - between them.
func (c *calculator) sum() (*big.Rat, error) {
	v, err := c.product()
	for err == nil {
		op := c.peek()
		if op != '+' && op != '-' {
			return v, nil
		}
		c.s = c.s[1:]
		var w *big.Rat
		if w, err = c.product(); err != nil {
			break
		}
		if op == '-' {
			w.Neg(w)
		}
		v.Add(v, w)
	}
	return nil, err
}

// product reads factors with * and / between them.
func (c *calculator) product() (*big.Rat, error) {
	v, err := c.factor()
	for err == nil {
		op := c.peek()
		if op != '*' && op != '/' {
			return v, nil
		}
		c.s = c.s[1:]
		var w *big.Rat
		if w, err = c.factor(); err != nil {
			break
		}
		if op == '/' {
			if w.Sign() == 0 {
				return nil, fmt.Errorf("it divides by 0")
			}
			w.Inv(w)
		}
		v.Mul(v, w)
	}
	return nil, err
}

// factor reads a number or a bracket.
func (c *calculator) factor() (*big.Rat, error) {
	if c.peek() == '(' {
		if c.depth++; c.depth > maxDepth {
			return nil, fmt.Errorf("the expression has too many brackets")
		}
		c.s = c.s[1:]
		v, err := c.sum()
		if err != nil {
			return nil, err
		}
		if c.peek() != ')' {
			return nil, fmt.Errorf("a bracket is not closed")
		}
		c.s = c.s[1:]
		c.depth--
		return v, nil
	}
	end := 0
	for end < len(c.s) && c.s[end] >= '0' && c.s[end] <= '9' {
		end++
	}
	if end == 0 || end > 18 {
		return nil, fmt.Errorf("a number is missing before %.20q", c.s)
	}
	n, _ := new(big.Int).SetString(c.s[:end], 10)
	c.s = c.s[end:]
	c.used = append(c.used, n)
	return new(big.Rat).SetInt(n), nil
}
