package task

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/big"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// each calls f with problems of every task at every difficulty up to one beyond the hard
// one.
func each(t *testing.T, n int, f func(t *testing.T, p Problem)) {
	for _, task := range All() {
		t.Run(task.Info().Name, func(t *testing.T) {
			rng := NewRand(7)
			for d := 1; d <= task.Info().Hard+1; d++ {
				for range n {
					f(t, task.Generate(rng, d))
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// count is how many problems of each task and difficulty are tried.
func count() int {
	if testing.Short() {
		return 30
	}
	return 300
}

func TestOwnAnswerIsRight(t *testing.T) {
	each(t, count(), func(t *testing.T, p Problem) {
		outputs := []string{
			p.Answer,
			p.Thought + "</think>\n" + p.Answer,
			"<think>\n" + p.Thought + "\n</think>\n\nAnswer: " + p.Answer,
			"So the answer is $\\boxed{" + p.Answer + "}$.",
			"**Answer:** " + p.Answer + ".",
		}
		for _, o := range outputs {
			if v := p.Score(o); v.Score != 1 {
				t.Errorf("%s\n%q scores %v: %s", p.Prompt, o, v.Score, v.Reason)
			}
		}
		if p.ID == "" || p.Task == "" || p.Canonical == "" || p.Thought == "" {
			t.Errorf("a field is missing: %+v", p)
		}
		if !strings.HasSuffix(p.Thought, p.Answer) {
			t.Errorf("the thought %q does not end with %q", p.Thought, p.Answer)
		}
		if len(p.Thought) > 2000 || len(p.Prompt) > 600 {
			t.Errorf("%d bytes of prompt, %d of thought", len(p.Prompt), len(p.Thought))
		}
	})
}

func TestWrongAnswersAreWrong(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	each(t, count(), func(t *testing.T, p Problem) {
		wrong := []string{"", "no idea", p.Answer + " or 7", p.Prompt, p.Thought + "\n" + p.Answer, p.Answer + p.Answer + "Q", strings.Repeat(p.Answer, 3000)}
		if p.Task != "countdown" && p.Task != "grid-paths" { // there, other answers are right too
			wrong = append(wrong, perturb(rng, p.Answer))
		}
		for _, w := range wrong {
			if v := p.Verify(w); v.Score >= 1 || v.Reason == "" {
				t.Errorf("%s\n%q, where %q is right, scores %v: %s", p.Prompt, w, p.Answer, v.Score, v.Reason)
			}
		}
	})
}

// perturb changes an answer into another one.
func perturb(rng *rand.Rand, answer string) string {
	switch answer {
	case "true":
		return "false"
	case "false":
		return "true"
	}
	if items := strings.Split(answer, ", "); len(items) > 1 {
		i := rng.IntN(len(items) - 1)
		items[i], items[i+1] = items[i+1], items[i]
		return strings.Join(items, ", ")
	}
	b := []byte(answer)
	for {
		i := rng.IntN(len(b))
		if b[i] >= '0' && b[i] <= '9' {
			b[i] = '0' + (b[i]-'0'+byte(1+rng.IntN(9)))%10
			return string(b)
		}
		if b[i] >= 'A' && b[i] <= 'F' {
			b[i] = 'A' + (b[i]-'A'+byte(1+rng.IntN(5)))%6
			return string(b)
		}
	}
}

func TestSameSeedSameProblem(t *testing.T) {
	for _, task := range All() {
		a, b := NewRand(11), NewRand(11)
		for d := 1; d <= task.Info().Hard; d++ {
			for range 20 {
				p, q := task.Generate(a, d), task.Generate(b, d)
				p.Check, q.Check = nil, nil
				if !reflect.DeepEqual(p, q) {
					t.Fatalf("%s: %+v and %+v from one seed", task.Info().Name, p, q)
				}
			}
		}
	}
}

func TestPromptsVary(t *testing.T) {
	digits := regexp.MustCompile(`[0-9]+`)
	for _, task := range All() {
		rng := NewRand(3)
		shapes := map[string]bool{}
		for range 200 {
			p := task.Generate(rng, task.Info().Default)
			words := strings.Fields(digits.ReplaceAllString(p.Prompt, "0"))
			shapes[words[0]+" "+words[1]] = true
		}
		if len(shapes) < 4 {
			t.Errorf("%s: only %d beginnings of prompts", task.Info().Name, len(shapes))
		}
	}
}

// equationRE finds chains of equal expressions within a thought.
var equationRE = regexp.MustCompile(`[-+*/().\d]+(?:=[-+*/().\d]+)+`)

// comparisonRE finds comparisons within a thought.
var comparisonRE = regexp.MustCompile(`(-?[\d.]+)([<>])(-?[\d.]+)`)

// unknownRE finds an unknown with its factor.
var unknownRE = regexp.MustCompile(`\d*[xynt]`)

// TestThoughtsAreTrue works every equation and every comparison in a thought out by Go's
// own parser.
func TestThoughtsAreTrue(t *testing.T) {
	without := map[string]bool{"chain-sum": true, "sorting": true, "letters": true, "logic": true, "grid-paths": true, "comparing": true}
	each(t, count()/2, func(t *testing.T, p Problem) {
		steps := 0
		thought := p.Thought
		if p.Task == "arithmetic" {
			thought = strings.ReplaceAll(thought, "\n", "")
		}
		if p.Task == "equations" { // every line must hold for the solution
			thought = unknownRE.ReplaceAllStringFunc(thought, func(m string) string {
				return strings.TrimPrefix(m[:len(m)-1]+"*", "*") + "(" + p.Answer + ")"
			})
		}
		for _, chain := range equationRE.FindAllString(thought, -1) {
			sides := strings.Split(chain, "=")
			for _, s := range sides {
				if a, b := byGo(t, s), byGo(t, sides[0]); a.Cmp(b) != 0 {
					t.Errorf("%q in the thought\n%s", chain, p.Thought)
				}
			}
			steps++
		}
		for _, m := range comparisonRE.FindAllStringSubmatch(p.Thought, -1) {
			if c := byGo(t, m[1]).Cmp(byGo(t, m[3])); (c < 0) != (m[2] == "<") || c == 0 {
				t.Errorf("%q in the thought\n%s", m[0], p.Thought)
			}
			steps++
		}
		if steps == 0 && (!without[p.Task] || p.Task == "comparing") {
			t.Errorf("no step to check in\n%s", p.Thought)
		}
	})
}

// byGo works an expression out by go/parser and big.Rat.
func byGo(t *testing.T, s string) *big.Rat {
	e, err := parser.ParseExpr(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return ofExpr(t, e)
}

func ofExpr(t *testing.T, e ast.Expr) *big.Rat {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return ofExpr(t, e.X)
	case *ast.BasicLit:
		r, ok := new(big.Rat).SetString(strings.TrimLeft(e.Value, "0") + "." + map[bool]string{true: "0"}[!strings.Contains(e.Value, ".")])
		if ok {
			return r
		}
		if r, ok = new(big.Rat).SetString(e.Value); ok {
			return r
		}
	case *ast.UnaryExpr:
		if e.Op == token.SUB {
			return new(big.Rat).Neg(ofExpr(t, e.X))
		}
		return ofExpr(t, e.X)
	case *ast.BinaryExpr:
		a, b, r := ofExpr(t, e.X), ofExpr(t, e.Y), new(big.Rat)
		switch e.Op {
		case token.ADD:
			return r.Add(a, b)
		case token.SUB:
			return r.Sub(a, b)
		case token.MUL:
			return r.Mul(a, b)
		case token.QUO:
			return r.Quo(a, b)
		}
	}
	t.Fatalf("cannot work out %T", e)
	return nil
}

// TestThoughtsOfWords checks the thoughts that are no equations.
func TestThoughtsOfWords(t *testing.T) {
	check := map[string]func(p Problem) error{
		"chain-sum":  checkChain,
		"letters":    checkLetters,
		"logic":      checkLogic,
		"sorting":    checkSorting,
		"grid-paths": checkGrid,
	}
	each(t, count()/2, func(t *testing.T, p Problem) {
		if f := check[p.Task]; f != nil {
			if err := f(p); err != nil {
				t.Errorf("%v in\n%s\n%s", err, p.Prompt, p.Thought)
			}
		}
	})
}

func checkChain(p Problem) error {
	numbers := regexp.MustCompile(`\d+`).FindAllString(strings.NewReplacer("modulo 10", "", "mod 10", "", "divided by 10", "", "division by 10", "").Replace(p.Prompt), -1)
	running := strings.Fields(p.Thought)
	if len(numbers) != len(running) {
		return fmt.Errorf("%d terms, %d sums", len(numbers), len(running))
	}
	sum := 0
	for i, n := range numbers {
		sum += int(n[0] - '0')
		if running[i] != fmt.Sprint(sum%10) {
			return fmt.Errorf("sum %d is %s", i, running[i])
		}
	}
	return nil
}

func checkLetters(p Problem) error {
	letter, text, _ := strings.Cut(p.Canonical, " in ")
	seen := ""
	for item := range strings.FieldsSeq(p.Thought) {
		if item == "so" {
			break
		}
		seen += item[:1]
		if item[1:] != fmt.Sprint(strings.Count(seen, letter)) {
			return fmt.Errorf("%s after %s", item, seen)
		}
	}
	if seen != strings.ReplaceAll(text, " ", "") {
		return fmt.Errorf("spelt %s", seen)
	}
	return nil
}

func checkLogic(p Problem) error {
	goLike := strings.NewReplacer("not ", "!", "and", "&&", "xor", "!=", "or", "||")
	for line := range strings.SplitSeq(p.Thought, "\n") {
		e, err := parser.ParseExpr(goLike.Replace(strings.TrimPrefix(line, "= ")))
		if err != nil {
			return err
		}
		if fmt.Sprint(ofClaim(e)) != p.Answer {
			return fmt.Errorf("%s is not %s", line, p.Answer)
		}
	}
	return nil
}

func ofClaim(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return ofClaim(e.X)
	case *ast.Ident:
		return e.Name == "true"
	case *ast.UnaryExpr:
		return !ofClaim(e.X)
	case *ast.BinaryExpr:
		a, b := ofClaim(e.X), ofClaim(e.Y)
		switch e.Op {
		case token.LAND:
			return a && b
		case token.LOR:
			return a || b
		case token.NEQ:
			return a != b
		}
	}
	panic(fmt.Sprintf("unknown %T", e))
}

func checkSorting(p Problem) error {
	lines := strings.Split(p.Thought, "\n")
	items := strings.Split(p.Answer, ", ")
	if len(lines) != len(items)+1 {
		return fmt.Errorf("%d lines for %d items", len(lines), len(items))
	}
	for i, item := range items {
		taken, left, _ := strings.Cut(lines[i], ", left ")
		if taken != item || len(strings.Fields(left)) != len(items)-1-i {
			return fmt.Errorf("line %q", lines[i])
		}
	}
	return nil
}

func checkGrid(p Problem) error {
	rows := strings.Split(p.Canonical, "\n")
	lines := strings.Split(p.Thought, "\n")
	cells := strings.Fields(lines[len(lines)-2])
	at := func(cell string) byte { return rows[cell[0]-'1'][cell[1]-'1'] }
	if at(cells[0]) != 'S' || at(cells[len(cells)-1]) != 'G' {
		return fmt.Errorf("the walk does not lead from S to G")
	}
	for i := 2; i < len(cells); i += 2 {
		a, b := cells[i-2], cells[i]
		want := map[string][2]int{"U": {-1, 0}, "D": {1, 0}, "L": {0, -1}, "R": {0, 1}}[cells[i-1]]
		if int(b[0])-int(a[0]) != want[0] || int(b[1])-int(a[1]) != want[1] || at(b) == '#' {
			return fmt.Errorf("step %s %s %s", a, cells[i-1], b)
		}
		if !strings.Contains(" "+lines[i/2]+" ", " "+b+" ") {
			return fmt.Errorf("%s is not among the cells at distance %d", b, i/2)
		}
	}
	if len(lines) != len(p.Answer)+3 {
		return fmt.Errorf("%d lines for a path of %d", len(lines), len(p.Answer))
	}
	return nil
}

// TestBareChainSum: the running sums lead to the answer, digit by digit.
func TestBareChainSum(t *testing.T) {
	fam := BareChainSum(10)
	for seed := range uint64(50) {
		p := fam.Generate(NewRand(seed), fam.Info().Default)
		terms := strings.TrimRight(p.Prompt, "_")
		if len(p.Prompt) != 16 || len(terms) < 12 || len(p.Thought) != len(terms) {
			t.Fatalf("%q has the thought %q", p.Prompt, p.Thought)
		}
		sum := 0
		for i := range terms {
			if sum = (sum + int(terms[i]-'0')) % 10; int(p.Thought[i]-'0') != sum {
				t.Fatalf("%q has the thought %q", p.Prompt, p.Thought)
			}
		}
		if !p.Score("<think>\n" + p.Thought + "\n</think>\n\n" + p.Thought[len(p.Thought)-1:]).Right() {
			t.Fatalf("%q: %q is not accepted", p.Prompt, p.Answer)
		}
	}
}
