// Package task holds problems whose answers a program can check: families that make
// them by seed and difficulty, their verifiers, the way an answer is read out of what a
// model wrote, and tasks of one's own read from JSONL.
//
// A [Task] makes a [Problem]: a prompt in plain English, the answer, a written-out chain
// of thought that leads to it, and a verifier that accepts every right answer, not just
// the one stored. [Problem.Score] judges a model's whole output, [Problem.Verify] an
// answer already read out of it.
//
// Which problems are for training and which are held out is decided by a hash of the
// problem's canonical form ([SplitOf]), so that the two can never overlap, whatever the
// seeds. Problems of a task's Hard difficulty are larger than any of its default one:
// they measure generalisation by length.
//
// The package promises stability: names, meanings and the problem that a seed makes stay
// within a major version.
package task

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Info describes a task.
type Info struct {
	// Name is short, lower case, with hyphens: "chain-sum".
	Name string
	// Description is one line for people.
	Description string
	// Default is the difficulty that the task is trained and tested at, Hard one beyond
	// it, whose problems are larger than any of the default's. Difficulties start at 1.
	Default, Hard int
}

// Task makes problems of one kind.
type Task interface {
	// Info describes the task; it always returns the same.
	Info() Info
	// Generate makes a problem from rng alone: the same state of rng and the same
	// difficulty give the same problem. A difficulty outside 1 to MaxDifficulty counts as the
	// nearest within.
	Generate(rng *rand.Rand, difficulty int) Problem
}

// Problem is one question with what is needed to judge answers to it.
type Problem struct {
	// ID names the problem, whatever its wording: the task's name and a hash of
	// Canonical. Family fills it in.
	ID string
	// Task is the name of the task that made it, Difficulty the difficulty asked for.
	// Family fills both in.
	Task       string
	Difficulty int
	// Canonical says what is asked, without the wording and in a fixed order: two
	// problems that are the same question have the same one. The split depends on it.
	Canonical string
	// Prompt is the question in plain English.
	Prompt string
	// Answer is one right answer, as the family writes it.
	Answer string
	// Thought is a chain of thought that leads to Answer and ends with it; "" if the
	// task has none.
	Thought string
	// Check judges an answer; nil asks for equality with Answer.
	Check Verifier
	// Read takes the answer out of a model's output; nil means Extract.
	Read func(output string) (string, error)
	// Limit is the longest time that one check may take; 0 means CheckLimit.
	Limit time.Duration
	// origin takes the place of Task in hashes where the task's name is not its own.
	origin string
}

// Verdict is what a verifier says of an answer.
type Verdict struct {
	// Score is between 0, wrong, and 1, right; between them for an answer that is right
	// in part.
	Score float64
	// Reason says in a few words why the score is what it is.
	Reason string
}

// Right says whether the verdict is a full score.
func (v Verdict) Right() bool { return v.Score == 1 }

// Verifier judges an answer. It should give up when ctx ends.
type Verifier func(ctx context.Context, answer string) Verdict

// CheckLimit is how long a verifier may take where a problem sets no other limit.
const CheckLimit = 10 * time.Second

// right and wrong are the two ends of the scale.
func right() Verdict { return Verdict{1, "right"} }

// wrong is a score of 0 with a reason made as fmt.Sprintf does.
func wrong(format string, a ...any) Verdict { return Verdict{0, fmt.Sprintf(format, a...)} }

// Verify judges an answer that was read out of a model's output. It never panics and
// always returns a score in [0, 1]: a verifier that crashes, hangs or answers NaN gives 0,
// and the reason says so.
func (p Problem) Verify(answer string) Verdict {
	return p.VerifyContext(context.Background(), answer)
}

// VerifyContext is Verify that gives up, with a score of 0, when ctx ends.
func (p Problem) VerifyContext(ctx context.Context, answer string) Verdict {
	if len(answer) > MaxCode {
		return wrong("%v: the answer has %d bytes", ErrTooLong, len(answer))
	}
	check := p.Check
	if check == nil {
		check = Exact(p.Answer)
	}
	limit := p.Limit
	if limit <= 0 {
		limit = CheckLimit
	}
	return Guard(check, limit)(ctx, answer)
}

// Score judges a model's whole output: it reads the answer out of it and verifies that.
// An output without a readable answer scores 0.
func (p Problem) Score(output string) Verdict {
	return p.ScoreContext(context.Background(), output)
}

// ScoreContext is Score that gives up, with a score of 0, when ctx ends.
func (p Problem) ScoreContext(ctx context.Context, output string) Verdict {
	read := p.Read
	if read == nil {
		read = Extract
	}
	answer, err := read(output)
	if err != nil {
		return wrong("%v", err)
	}
	return p.VerifyContext(ctx, answer)
}

// Guard wraps a verifier so that it cannot harm its caller: a panic, no verdict within
// limit, and a score that is NaN or outside [0, 1] all become a score of 0 with the
// reason. A verifier that does not heed its context keeps its goroutine until it returns.
func Guard(v Verifier, limit time.Duration) Verifier {
	return func(ctx context.Context, answer string) Verdict {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		done := make(chan Verdict, 1)
		go func() {
			defer func() {
				if r := recover(); r != nil {
					done <- wrong("the verifier crashed: %.200s", fmt.Sprint(r))
				}
			}()
			done <- v(ctx, answer)
		}()
		select {
		case got := <-done:
			return checkScore(got)
		case <-ctx.Done():
			return wrong("the verifier gave no verdict within %v: %v", limit, ctx.Err())
		}
	}
}

// checkScore refuses scores that are no scores.
func checkScore(v Verdict) Verdict {
	if math.IsNaN(v.Score) || v.Score < 0 || v.Score > 1 {
		return wrong("the verifier's score %v is not between 0 and 1", v.Score)
	}
	return v
}

// Family is a Task made of a function: the short way to a task of one's own.
type Family struct {
	// About describes the task.
	About Info
	// Make makes a problem; it leaves ID, Task and Difficulty alone. If it leaves
	// Canonical empty, the prompt takes its place. difficulty is from 1 to MaxDifficulty.
	Make func(rng *rand.Rand, difficulty int) Problem
}

// Info returns f.About.
func (f Family) Info() Info { return f.About }

// Generate makes a problem by f.Make and fills in what all problems have.
func (f Family) Generate(rng *rand.Rand, difficulty int) Problem {
	difficulty = min(max(difficulty, 1), MaxDifficulty)
	p := f.Make(rng, difficulty)
	p.Task, p.Difficulty = f.About.Name, difficulty
	if p.Canonical == "" {
		p.Canonical = p.Prompt
	}
	sum := p.hash()
	p.ID = p.Task + "/" + hex.EncodeToString(sum[:8])
	return p
}

// hash is what IDs and splits come from.
func (p Problem) hash() [sha256.Size]byte {
	return sha256.Sum256([]byte(cmp.Or(p.origin, p.Task) + "\x00" + p.Canonical))
}
