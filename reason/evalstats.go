package reason

import (
	"context"
	"math"
	"slices"
	"strings"

	"sonde/reason/task"
)

// PassAtK is the chance that at least one of k answers is right, estimated without bias
// from n of which c are right: 1 - C(n-c, k)/C(n, k) (Chen et al., arXiv 2107.03374, eq.
// 1). It is NaN unless 1 <= k <= n and 0 <= c <= n.
func PassAtK(n, c, k int) float64 {
	if k < 1 || k > n || c < 0 || c > n {
		return math.NaN()
	}
	if n-c < k {
		return 1
	}
	none := 1.0 // C(n-c, k)/C(n, k)
	for i := n - c + 1; i <= n; i++ {
		none *= 1 - float64(k)/float64(i)
	}
	return 1 - none
}

// z95 is the standard normal distribution's 97.5 % point.
const z95 = 1.959963984540054

// Wilson is the 95 % score interval of a proportion p seen in n trials (Wilson 1927). n
// need not be whole.
func Wilson(p, n float64) (low, high float64) {
	if !(n > 0) {
		return 0, 1
	}
	z2 := z95 * z95
	mid := (p + z2/(2*n)) / (1 + z2/n)
	half := z95 / (1 + z2/n) * math.Sqrt(p*(1-p)/n+z2/(4*n*n))
	return max(0, mid-half), min(1, mid+half)
}

// Proportion is a share with its 95 % confidence interval.
type Proportion struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// proportionOf is the mean of what each problem scored, between 0 and 1, over so many
// answers in all. The answers to one problem are no independent trials: problems are.
// So the interval is Wilson's for the number of independent trials whose mean would vary
// as the mean over problems does, v = s^2/N: n = p(1-p)/v, at least the number of problems
// and at most that of answers. Where every problem has one answer that is N.
func proportionOf(scores []float64, answers int) Proportion {
	n := float64(len(scores))
	if n == 0 {
		return Proportion{math.NaN(), 0, 1}
	}
	sum := 0.0
	for _, s := range scores {
		sum += s
	}
	p, squares := sum/n, 0.0
	for _, s := range scores {
		squares += (s - p) * (s - p)
	}
	trials := n
	if v := squares / (n - 1) / n; n > 1 && v > 0 {
		trials = min(max(p*(1-p)/v, n), max(float64(answers), n))
	}
	low, high := Wilson(p, trials)
	return Proportion{p, min(low, p), max(high, p)} // rounding must not put p outside
}

// majority says whether the most frequent of answers to a problem is right. Answers that
// the verifier accepts count as one; wrong ones count as one where they are the same
// mathematically or word for word. Answers that could not be read have no vote; of equally
// frequent ones the one that came first counts.
func majority(ctx context.Context, samples []EvalSample) bool {
	var firsts []EvalSample // one of each kind
	var votes []int
	for _, s := range samples {
		if s.Answer == "" {
			continue
		}
		i := slices.IndexFunc(firsts, func(f EvalSample) bool {
			return f.Right == s.Right && (s.Right || sameAnswer(ctx, f.Answer, s.Answer))
		})
		if i < 0 {
			i = len(firsts)
			firsts, votes = append(firsts, s), append(votes, 0)
		}
		votes[i]++
	}
	return len(votes) > 0 && firsts[slices.Index(votes, slices.Max(votes))].Right
}

// sameAnswer says whether two wrong answers are one.
func sameAnswer(ctx context.Context, a, b string) bool {
	a, b = strings.ToLower(strings.Join(strings.Fields(a), " ")), strings.ToLower(strings.Join(strings.Fields(b), " "))
	return a == b || task.Guard(task.Math(a), task.CheckLimit)(ctx, b).Right()
}
