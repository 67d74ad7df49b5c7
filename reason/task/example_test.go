package task_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"sonde/reason/task"
)

// A task of one's own: the largest of three digits.
func Example() {
	largest := task.Family{
		About: task.Info{Name: "largest", Description: "the largest of three digits", Default: 1, Hard: 2},
		Make: func(rng *rand.Rand, difficulty int) task.Problem {
			a, b, c := rng.IntN(10), rng.IntN(10), rng.IntN(10)
			best := strconv.Itoa(max(a, b, c))
			return task.Problem{
				Prompt:  fmt.Sprintf("Which is the largest of %d, %d and %d?", a, b, c),
				Answer:  best,
				Thought: fmt.Sprintf("%d, %d, so %s", a, max(a, b), best),
			}
		},
	}
	p, err := task.Sample(largest, task.HeldOut, task.NewRand(1), 1)
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Score("<think>"+p.Thought+"</think>\nAnswer: "+p.Answer).Score, p.Score("Answer: 99").Score)
	// Output: 1 0
}
