package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Rollout is a text that a model wrote to learn from, with what was thought of it: a line
// of rollouts/00000012.jsonl, the file of the step that learned from it.
type Rollout struct {
	Step      int     `json:"step"`   // from 1
	Group     int     `json:"group"`  // texts with the same prompt are a group, from 0
	Sample    int     `json:"sample"` // within the group, from 0
	Task      string  `json:"task"`
	Prompt    string  `json:"prompt"`
	Text      string  `json:"text"` // all that was written
	Thought   string  `json:"thought"`
	Answer    string  `json:"answer"`
	Reference string  `json:"reference"` // one right answer
	Right     bool    `json:"right"`
	Score     float64 `json:"score"`     // the verifier's, 0 to 1
	Reward    float64 `json:"reward"`    // with format and length
	Advantage float64 `json:"advantage"` // within the group
	Length    int     `json:"length"`    // tokens written
	Finish    string  `json:"finish"`    // "stop" or "length"
	Verdict   string  `json:"verdict"`   // the verifier's reason
}

func rolloutsDir(run string) string { return filepath.Join(run, "rollouts") }

// RolloutsPath is the file of a step's rollouts in a run's folder.
func RolloutsPath(run string, step int) string {
	return filepath.Join(rolloutsDir(run), fmt.Sprintf("%08d.jsonl", step))
}

// WriteRollouts stores the texts that a step learned from, as a whole or not at all.
func (j *Journal) WriteRollouts(step int, texts []Rollout) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, t := range texts {
		if err := enc.Encode(t); err != nil {
			return fmt.Errorf("the rollouts of step %d: %w", step, err)
		}
	}
	if err := os.MkdirAll(rolloutsDir(j.folder), 0o777); err != nil {
		return fmt.Errorf("the run's rollouts: %w", err)
	}
	return WriteFile(RolloutsPath(j.folder, step), b.Bytes())
}

// cutRollouts removes the rollouts of steps after step, and halves of files.
func cutRollouts(run string, step int) error {
	entries, err := os.ReadDir(rolloutsDir(run))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the run's rollouts: %w", err)
	}
	for _, e := range entries {
		digits, whole := strings.CutSuffix(e.Name(), ".jsonl")
		n, err := strconv.Atoi(digits)
		if whole && err == nil && n > step || strings.HasSuffix(e.Name(), tmpSuffix) {
			if err := os.Remove(filepath.Join(rolloutsDir(run), e.Name())); err != nil {
				return fmt.Errorf("the run's rollouts: %w", err)
			}
		}
	}
	return nil
}
