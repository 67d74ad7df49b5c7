package task

import (
	"strings"
	"testing"
	"time"
)

func TestMathEqual(t *testing.T) {
	same := [][2]string{
		{`1/2`, `\frac{1}{2}`}, {`0.5`, `\frac12`}, {`50\%`, `0.5`}, {`50`, `50\%`}, {`\dfrac{-3}{4}`, `-\frac34`},
		{`2\sqrt{3}`, `\sqrt{12}`}, {`\frac{\sqrt2}{2}`, `\frac{1}{\sqrt{2}}`}, {`\sqrt[3]{8}`, `2`}, {`2^{10}`, `1024`},
		{`1,234`, `1234`}, {`1{,}234.50`, `1234.5`}, {`x=5`, `5`}, {`$x = 5$`, `5`}, {`\boxed5`[6:], `5`},
		{`(x+1)^2`, `x^2+2x+1`}, {`2x(x-1)`, `2x^2 - 2x`}, {`\frac{x}{2}+\frac{y}{2}`, `(x+y)/2`}, {`ab`, `ba`},
		{`\{1,2,3\}`, `\{3, 1, 2\}`}, {`1, 2`, `2, 1`}, {`x=1 \text{ or } x=2`, `2,1`}, {`(1, \frac{1}{2})`, `(1,0.5)`},
		{`[0,\infty)`, `[0, \infty)`}, {`(-\infty,1)\cup(2,3]`, `(2,3] \cup (-\infty, 1)`}, {`2\pm\sqrt3`, `2+\sqrt{3}, 2-\sqrt{3}`},
		{`1\frac{1}{2}`, `3/2`}, {`5\text{ cm}`, `5`}, {`90^\circ`, `90`}, {`\text{Evelyn}`, `Evelyn`}, {`\pi r^2`, `r^2\pi`},
		{`|x|`, `\sqrt{x^2}`}, {`\sin^2 x + \cos^2 x`, `1`}, {`\log_2 8`, `3`}, {`e^{2}`, `\exp(2)`}, {`5!`, `120`},
		{`y=2x+1`, `2x+1`}, {`x^2+y^2=4`, `4=x^2+y^2`}, {`\left(\frac{1}{2}\right)`, `.5`}, {`-(-3)`, `3`}, {`2*-3`, `-6`},
		{`x \in [1,2]`, `[1,2]`}, {`\$12.50`, `12.5`}, {`3.0`, `3`}, {`1e3`, `1000`}, {`52_8`, `52_{8}`}, {`x_1 + 1`, `1+x_{1}`},
		{`\begin{pmatrix} 1 \\ -\frac12 \end{pmatrix}`, `\begin{bmatrix}1\\-0.5\\\end{bmatrix}`}, {`\begin{pmatrix} 1 & x \\ 0 & 2 \end{pmatrix}`, `\begin{pmatrix}1&x\\0&\frac{4}{2}\end{pmatrix}`},
		{`\text{(C)}`, `C`}, {`(C)`, `\textbf{(c)}`}, {`\cot x`, `\frac{\cos x}{\sin x}`}, {`\sec^2 x`, `1+\tan^2 x`}, {`\binom{10}{3}`, `120`}, {`\dbinom52`, `10`},
		{`864 \mbox{ inches}^2`, `864`}, {`28`, `28 degrees`}, {`\frac12 \text{ m}^{2}`, `0.5`}, {`12 square units`, `12`}, {`0.\overline{3}`, `1/3`}, {`2.1\overline{6}`, `\frac{13}{6}`},
		{`y=x^2`, `x^2=y`}, {`\emptyset`, `\{\}`}, {`5`, `5 = x`}, {`2^{5000}`, `2^{5000}`}, {`\theta`, `\theta`},
	}
	for _, c := range same {
		if ok, why := sameMath(c[0], c[1]); !ok {
			t.Errorf("%s and %s differ: %s", c[0], c[1], why)
		}
		if ok, why := sameMath(c[1], c[0]); !ok && c[0] != "50" {
			t.Errorf("%s and %s differ: %s", c[1], c[0], why)
		}
	}
	differ := [][2]string{
		{`1/3`, `0.333`}, {`1/3`, `0.3333333333333333333`}, {`50`, `0.5`}, {`50\%`, `50`}, {`\sqrt{2}`, `1.414`}, {`(1,2)`, `[1,2]`},
		{`(1,2)`, `(2,1)`}, {`1,2`, `1,2,3`}, {`x+1`, `x+2`}, {`x`, `y`}, {`x^2`, `x^3`}, {`\infty`, `-\infty`}, {`10^{400}`, `10^{401}`},
		{`\text{Evelyn}`, `\text{Eva}`}, {``, `0`}, {`5 or 6`, `5`}, {`\{1\}`, `2`}, {`2\pm1`, `3`}, {`\frac{1}{0}`, `5`}, {`2^{5000}`, `2^{5001}`},
		{`10000000000000000000001`, `10000000000000000000000`}, {`\infty`, `10^{10^{10}}`}, {`2 3`, `23`}, {`y`, `yes`}, {`1/0`, `2/0`},
		{`52_8`, `52_9`}, {`52_8`, `52`}, {`52_8`, `42`}, {`x_1`, `x_2`}, {`x_1`, `x`}, {`\begin{pmatrix}1\\2\end{pmatrix}`, `\begin{pmatrix}1&2\end{pmatrix}`},
		{`\begin{pmatrix}1\\2\end{pmatrix}`, `\begin{pmatrix}2\\1\end{pmatrix}`}, {`\begin{pmatrix}1\\2\end{pmatrix}`, `(1,2)`}, {`(C)`, `D`}, {`5`, `5 x`}, {`5`, `5 pi`}, {`5`, `5 ab`},
		{`0.\overline{3}`, `0.3`}, {`\emptyset`, `0`}, {`\binom{10}{3}`, `\frac{10}{3}`}, {`7`, `8 = 7`}, {`\begin{pmatrix}1&2\\3\end{pmatrix}`, `\begin{pmatrix}1&2\\3&\end{pmatrix}`},
	}
	for _, c := range differ {
		if ok, _ := sameMath(c[0], c[1]); ok {
			t.Errorf("%s and %s are the same", c[0], c[1])
		}
	}
}

// TestMathBombs: what is short to write and endless to work out ends at once.
func TestMathBombs(t *testing.T) {
	for _, s := range []string{
		"9^9^9^9^9", strings.Repeat("(", 1900), strings.Repeat("-", 1900) + "1", strings.Repeat(`\sqrt`, 300) + "2", "1e999999999", "1e400^400",
		strings.Repeat("2^", 900) + "2", strings.Repeat("|", 1000), "500!!!!", strings.Repeat("x,", 900) + "x", strings.Repeat("x!", 600),
		strings.Repeat("1\\pm", 100) + "1", strings.Repeat(`\frac`, 300), strings.Repeat("9", 1900) + "^" + strings.Repeat("9", 50), strings.Repeat("(1+x)", 380),
		strings.Repeat(`\{`, 500), strings.Repeat(`\begin{pmatrix}`, 120), strings.Repeat(`\binom{999}{500}`, 100), strings.Repeat("1_", 900) + "1", "0." + strings.Repeat("1", 900) + `\overline{` + strings.Repeat("3", 900) + "}",
		"(((((9^999)^999)^999)^999)^999)", strings.Repeat(`\pm(`, 50) + "1" + strings.Repeat(")", 50),
	} {
		start := time.Now()
		sameMath(s, "7")
		sameMath("7", s)
		sameMath(s, s+"+0")
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("%.30q took %v", s, d)
		}
	}
}

func TestParseNumber(t *testing.T) {
	for s, want := range map[string]string{
		"1,234.50": "2469/2", "-7": "-7", "−7": "-7", "3/4": "3/4", "-3/4": "-3/4", "2 1/2": "5/2", "-2 1/2": "-5/2", `\frac{3}{4}`: "3/4", `-\frac{3}{4}`: "-3/4",
		"12.5%": "1/8", "6e2": "600", "1 000 000": "1000000", ".5": "1/2", "5.": "5", "+3": "3", "007": "7", "$42$": "42", "1e-2": "1/100", "1_000": "1000",
	} {
		if r, ok := ParseNumber(s); !ok || r.RatString() != want {
			t.Errorf("%q is %v, want %s", s, r, want)
		}
	}
	for _, s := range []string{"", "-", ".", "1,23", "1,2345", "2+3", "1/0", "1e999999999", "12a", "1.2.3", "--1", "%", "1%%", "0x10", "NaN", "Inf", strings.Repeat("9", 5000)} {
		if r, ok := ParseNumber(s); ok {
			t.Errorf("%q is read as %v", s, r)
		}
	}
}
