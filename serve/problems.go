package serve

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"sonde/reason/task"
)

// taskObject is a family of problems.
type taskObject struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Default     int    `json:"default"`
	Hard        int    `json:"hard"`
}

// problemRef names a problem: who knows these four can make it again.
type problemRef struct {
	Task       string `json:"task"`
	Seed       uint64 `json:"seed"`
	Difficulty int    `json:"difficulty"` // 0: the task's default
	Split      string `json:"split"`      // "": held-out
}

// problemObject is a problem without its answer.
type problemObject struct {
	problemRef
	ID     string `json:"id"`
	Prompt string `json:"prompt"`
}

// verifyRequest is the body of POST /v1/sonde/verify.
type verifyRequest struct {
	problemRef
	Output *string `json:"output"` // what the model wrote
}

var verifyNames = names("task seed difficulty split output")

// verdictObject is what the verifier says of an output.
type verdictObject struct {
	Score  float64 `json:"score"`
	Right  bool    `json:"right"`
	Reason string  `json:"reason"`
	Answer string  `json:"answer"` // one right answer
}

// problemTasks are the families that problems are made of.
func problemTasks() []task.Task { return append(task.All(), task.OffTopic()) }

// listTasks answers GET /v1/sonde/tasks.
func (s *server) listTasks(w http.ResponseWriter, r *http.Request) {
	list := []taskObject{}
	for _, t := range problemTasks() {
		i := t.Info()
		list = append(list, taskObject{i.Name, i.Description, i.Default, i.Hard})
	}
	writeJSON(w, http.StatusOK, map[string]any{"tasks": list})
}

// problem answers GET /v1/sonde/problems?task=NAME&seed=N: a problem, held out from
// training unless split=train asks for another.
func (s *server) problem(w http.ResponseWriter, r *http.Request) {
	ref, err := problemQuery(r.URL.Query())
	var p task.Problem
	if err == nil {
		s.encoding(func() { p, err = ref.again() })
	}
	if err != nil {
		s.answerError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, problemObject{ref, p.ID, p.Prompt})
}

// verify answers POST /v1/sonde/verify: it makes the problem again and judges an output.
func (s *server) verify(w http.ResponseWriter, r *http.Request) {
	var q verifyRequest
	body, err := readBody(w, r, s.maxBody)
	if err == nil {
		err = decodeBody(body, &q, verifyNames)
	}
	if err == nil && q.Output == nil {
		err = invalid("output", "output is missing: give what the model wrote")
	}
	var p task.Problem
	var v task.Verdict
	if err == nil {
		s.encoding(func() {
			if p, err = q.again(); err == nil {
				v = p.ScoreContext(r.Context(), *q.Output)
			}
		})
	}
	if err != nil {
		s.answerError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, verdictObject{v.Score, v.Right(), v.Reason, p.Answer})
}

// problemQuery reads the query of GET /v1/sonde/problems.
func problemQuery(q url.Values) (ref problemRef, err error) {
	for name, values := range q {
		if len(values) > 1 {
			return ref, invalid(name, "%s is given %d times", name, len(values))
		}
		value := values[0]
		switch name {
		case "task":
			ref.Task = value
		case "split":
			ref.Split = value
		case "seed":
			if ref.Seed, err = strconv.ParseUint(value, 10, 64); err != nil {
				return ref, invalid(name, "seed is %s; it must be a whole number from 0 up", quoteShort(value))
			}
		case "difficulty":
			if ref.Difficulty, err = strconv.Atoi(value); err != nil {
				return ref, invalid(name, "difficulty is %s; it must be a whole number", quoteShort(value))
			}
		default:
			return ref, invalid("", "%s is not a parameter that this path knows; it knows task, seed, difficulty and split", quoteShort(name))
		}
	}
	return ref, nil
}

// again makes the problem and fills in what was left to the task.
func (ref *problemRef) again() (task.Problem, error) {
	var none task.Problem
	i := slices.IndexFunc(problemTasks(), func(t task.Task) bool { return t.Info().Name == ref.Task })
	if i < 0 {
		return none, invalid("task", "there is no task %s; GET /v1/sonde/tasks lists them", quoteShort(ref.Task))
	}
	t := problemTasks()[i]
	switch {
	case ref.Difficulty == 0:
		ref.Difficulty = t.Info().Default
	case ref.Difficulty < 0 || ref.Difficulty > task.MaxDifficulty:
		return none, invalid("difficulty", "difficulty is %d; it must lie between 1 and %d", ref.Difficulty, task.MaxDifficulty)
	}
	split := task.HeldOut
	switch ref.Split {
	case "":
		ref.Split = split.String()
	case task.HeldOut.String():
	case task.Train.String():
		split = task.Train
	default:
		return none, invalid("split", "split is %s; it must be %s or %s", quoteShort(ref.Split), task.HeldOut, task.Train)
	}
	p, err := task.Sample(t, split, task.NewRand(ref.Seed), ref.Difficulty)
	if err != nil {
		return none, fmt.Errorf("making a problem: %w", err)
	}
	return p, nil
}
