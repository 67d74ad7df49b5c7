package task

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// All returns every built-in task, in a fixed order. The slice is the caller's.
func All() []Task {
	return []Task{
		ChainSum(10), Addition(), Multiplication(), Arithmetic(), Countdown(), Bases(), Units(),
		Sorting(), Letters(), Comparing(), Equations(), WordProblems(), Logic(), GridPaths(),
	}
}

// Names lists the names of the built-in tasks, in All's order.
func Names() []string {
	var out []string
	for _, t := range All() {
		out = append(out, t.Info().Name)
	}
	return out
}

// ByName returns the built-in task of that name, OffTopic and
// BareChainSum among them; the error lists the
// names there are.
func ByName(name string) (Task, error) {
	for _, t := range append(All(), OffTopic(), BareChainSum(10)) {
		if t.Info().Name == name {
			return t, nil
		}
	}
	return nil, fmt.Errorf("task: no task is named %q; there are: %s, off-topic and chain-sum-bare", name, strings.Join(Names(), ", "))
}

// Part is a task's place in a mix.
type Part struct {
	// Task makes the problems.
	Task Task
	// Weight is how often it is drawn, against the other parts' weights.
	Weight float64
	// Low and High bound the difficulty, which is drawn evenly between them, both
	// included.
	Low, High int
}

// Mix draws problems from several tasks.
type Mix []Part

// MaxDifficulty is the highest difficulty that ParseMix takes: problems grow with it, and
// so must their prompts fit into a context.
const MaxDifficulty = 16

// ParseMix reads a mix from a list such as "chain-sum, countdown@3:2, letters@1-2": a
// task's name, after @ its difficulty or a range of them (else its default), after : its
// weight (else 1). "all" stands for every task of All.
func ParseMix(list string) (Mix, error) {
	var m Mix
	for item := range strings.SplitSeq(list, ",") {
		parts, err := parseItem(strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		m = append(m, parts...)
	}
	return m, nil
}

// parseItem reads one item of a mix.
func parseItem(item string) ([]Part, error) {
	name, weightText, weighted := strings.Cut(item, ":")
	name, levelText, levelled := strings.Cut(name, "@")
	weight := 1.0
	if weighted {
		w, err := strconv.ParseFloat(weightText, 64)
		if err != nil || !(w > 0) || w > 1e6 {
			return nil, fmt.Errorf("task: %q: the weight %q is not a number above 0", item, weightText)
		}
		weight = w
	}
	tasks := All()
	if name != "all" {
		t, err := ByName(name)
		if err != nil {
			return nil, err
		}
		tasks = []Task{t}
	}
	var out []Part
	for _, t := range tasks {
		p := Part{t, weight, t.Info().Default, t.Info().Default}
		if levelled {
			low, high, err := parseLevels(levelText)
			if err != nil {
				return nil, fmt.Errorf("task: %q: %w", item, err)
			}
			p.Low, p.High = low, high
		}
		out = append(out, p)
	}
	return out, nil
}

// parseLevels reads "3" or "1-3".
func parseLevels(s string) (low, high int, err error) {
	a, b, ranged := strings.Cut(s, "-")
	if !ranged {
		b = a
	}
	low, errLow := strconv.Atoi(a)
	high, errHigh := strconv.Atoi(b)
	if errLow != nil || errHigh != nil || low < 1 || high < low || high > MaxDifficulty {
		return 0, 0, fmt.Errorf("the difficulty %q is neither a number from 1 to %d nor a range such as 1-3", s, MaxDifficulty)
	}
	return low, high, nil
}

// Draw makes a problem of the split from a task drawn by weight.
func (m Mix) Draw(rng *rand.Rand, split Split) (Problem, error) {
	if len(m) == 0 {
		return Problem{}, fmt.Errorf("task: the mix is empty")
	}
	total := 0.0
	for _, p := range m {
		total += p.Weight
	}
	at := rng.Float64() * total
	i := slices.IndexFunc(m, func(p Part) bool { at -= p.Weight; return at < 0 })
	if i < 0 {
		i = len(m) - 1 // rounding
	}
	p := m[i]
	return Sample(p.Task, split, rng, p.Low+rng.IntN(max(p.High-p.Low, 0)+1))
}
