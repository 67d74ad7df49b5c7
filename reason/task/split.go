package task

import (
	"fmt"
	"math/rand/v2"
)

// Split says what a problem may be used for.
type Split int

const (
	// Train problems are for training.
	Train Split = iota
	// HeldOut problems are for evaluation alone: one in eight.
	HeldOut
)

// String returns "train" or "held-out".
func (s Split) String() string {
	if s == HeldOut {
		return "held-out"
	}
	return "train"
}

// heldOutShare of 256 problems are held out.
const heldOutShare = 32

// SplitOf says which split a problem belongs to. It depends on the task's name and the
// problem's canonical form alone: neither on the wording, nor on the difficulty, nor on
// any seed. So a problem is never in both. Of problems read from files the prompt alone
// counts: a file may be moved, renamed or cut in two.
func SplitOf(p Problem) Split {
	// The ID shows the first bytes of the hash; the split takes the last one.
	sum := p.hash()
	if sum[len(sum)-1] < heldOutShare {
		return HeldOut
	}
	return Train
}

// sampleTries bounds the search for a problem of a split; with one in eight held out,
// missing it by chance has a probability of 1e-58.
const sampleTries = 1000

// NewRand returns the generator that a seed stands for.
func NewRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x736f6e6465)) }

// Sample makes problems of t until one belongs to the split. It fails only if the task
// has hardly any problems at this difficulty.
func Sample(t Task, split Split, rng *rand.Rand, difficulty int) (Problem, error) {
	for range sampleTries {
		if p := t.Generate(rng, difficulty); SplitOf(p) == split {
			return p, nil
		}
	}
	return Problem{}, fmt.Errorf("task: %s: no %s problem of difficulty %d among %d; the task needs more different problems", t.Info().Name, split, difficulty, sampleTries)
}

// Set returns n different problems of a split, the same for the same seed: a set to
// evaluate with. It fails if the task has too few different problems at the difficulty.
func Set(t Task, split Split, seed uint64, n, difficulty int) ([]Problem, error) {
	rng := NewRand(seed)
	seen := make(map[string]bool)
	var out []Problem
	for tries := 0; len(out) < n; tries++ {
		if tries > 100*n+sampleTries {
			return nil, fmt.Errorf("task: %s: only %d different %s problems of difficulty %d found, %d asked for; ask for fewer or for a higher difficulty",
				t.Info().Name, len(out), split, difficulty, n)
		}
		p, err := Sample(t, split, rng, difficulty)
		if err != nil {
			return nil, err
		}
		if !seen[p.ID] {
			seen[p.ID] = true
			out = append(out, p)
		}
	}
	return out, nil
}
