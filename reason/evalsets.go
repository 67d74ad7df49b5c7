package reason

import (
	"fmt"
	"slices"
	"strings"

	"sonde/reason/task"
)

// HeldOutSets are n held-out problems of each task of a list such as
// "all" or "chain-sum,countdown@3,letters@1-2": at the given difficulties, or
// else a set at the task's default difficulty and one at its hard one. The same seed gives
// the same problems, those of task.Set. A task that has fewer different problems gives
// all that were found. Answers are drawn at temperature 1, as in training.
func HeldOutSets(list string, seed uint64, n int) ([]EvalSet, error) {
	if n < 1 {
		return nil, fmt.Errorf("%d problems of each task: there must be one at least", n)
	}
	var out []EvalSet
	for item := range strings.SplitSeq(list, ",") {
		mix, err := task.ParseMix(item)
		if err != nil {
			return nil, err
		}
		if strings.Contains(item, ":") {
			return nil, fmt.Errorf("%q: tasks have no weights in an evaluation; leave out what follows the colon", strings.TrimSpace(item))
		}
		for _, part := range mix {
			sets, err := partSets(part, strings.Contains(item, "@"), seed, n)
			if err != nil {
				return nil, err
			}
			out = append(out, sets...)
		}
	}
	return out, checkSets(out)
}

// partSets are the sets of one task: at the part's difficulties where they were named.
func partSets(part task.Part, named bool, seed uint64, n int) ([]EvalSet, error) {
	info := part.Task.Info()
	levels := []int{info.Default}
	if info.Hard > info.Default {
		levels = append(levels, info.Hard)
	}
	if named {
		levels = levels[:0]
		for l := part.Low; l <= part.High; l++ {
			levels = append(levels, l)
		}
	}
	var out []EvalSet
	for _, l := range levels {
		problems, err := differentProblems(part.Task, seed, n, l)
		if err != nil {
			return nil, err
		}
		out = append(out, EvalSet{Task: info.Name, Difficulty: l, Hard: l >= info.Hard && info.Hard > info.Default, Problems: problems, Temperature: 1, TopP: 1})
	}
	return out, nil
}

// differentProblems is task.Set that gives as many problems as there are.
func differentProblems(t task.Task, seed uint64, n, level int) ([]task.Problem, error) {
	problems, err := task.Set(t, task.HeldOut, seed, n, level)
	if err == nil {
		return problems, nil
	}
	rng, seen := task.NewRand(seed), map[string]bool{}
	for range 20 * n {
		p, err := task.Sample(t, task.HeldOut, rng, level)
		if err != nil {
			return nil, err
		}
		if !seen[p.ID] {
			seen[p.ID] = true
			problems = append(problems, p)
		}
	}
	return problems, nil
}

// checkSets refuses a task and difficulty asked for twice.
func checkSets(sets []EvalSet) error {
	for i, a := range sets {
		if slices.ContainsFunc(sets[:i], func(b EvalSet) bool { return a.Task == b.Task && a.Difficulty == b.Difficulty }) {
			return fmt.Errorf("%s of difficulty %d is asked for twice", a.Task, a.Difficulty)
		}
	}
	return nil
}
