package reason

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sonde/engine"
	"sonde/train"
)

// examSeed decides the problems of every exam, so that stages, runs and seeds are compared
// on the same ones.
const examSeed = 1

// exam examines the model of stage i on held-out problems at the recipe's difficulties.
func (r *r1Run) exam(ctx context.Context, i int) (*EvalReport, error) {
	r.p.Show("exam       held-out problems", true)
	sets, err := HeldOutSets(r.recipe.Tasks, examSeed, r.recipe.Problems)
	if err != nil {
		return nil, err
	}
	m, err := Open(r.folder(i), r.c.Backend, OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	const together = 128
	e := engine.NewLimited(m.Net, m.Tok, engine.Limits{Slots: together, Queue: 4 * together})
	return Evaluate(ctx, NewExaminee(e, m.Tok, m.TokCfg), sets, EvalSettings{Seed: examSeed, Samples: 1, Parallel: together})
}

// examLine is a report in one line.
func examLine(e *EvalReport) string {
	greedy, sampled, thought, n := 0.0, 0.0, 0.0, 0
	for _, t := range e.Tasks {
		if t.Greedy == nil || t.Sampled == nil {
			continue
		}
		greedy, sampled, thought, n = greedy+*t.Greedy, sampled+*t.Sampled, thought+t.ThoughtTokens, n+1
	}
	k := float64(max(n, 1))
	return fmt.Sprintf("%d tasks: greedy %.1f %%, sampled %.1f %%, thoughts of %.1f tokens", n, 100*greedy/k, 100*sampled/k, thought/k)
}

// R1Summary is the outcome of a run, as summary.json holds it.
type R1Summary struct {
	Recipe string       `json:"recipe"`
	Seed   uint64       `json:"seed"`
	Stages []stageState `json:"stages"`
}

// modelFolder is the folder of the last stage that has the teacher's architecture.
func (s *R1Summary) modelFolder(out string) string {
	for _, st := range slices.Backward(s.Stages) {
		if st.Exam != nil && st.Kind != "distill" {
			return out + "/" + st.Folder
		}
	}
	return out
}

// examined are the stages with an exam.
func (s *R1Summary) examined() []stageState {
	return slices.DeleteFunc(slices.Clone(s.Stages), func(st stageState) bool { return st.Exam == nil })
}

// scoreRows are the accuracies: a row a task, a column a stage, each cell greedy / sampled /
// mean tokens of thought.
func (s *R1Summary) scoreRows() [][]string {
	stages := s.examined()
	head := []string{"task"}
	for _, st := range stages {
		head = append(head, st.Name)
	}
	rows := [][]string{head}
	if len(stages) == 0 {
		return rows
	}
	for k, t := range stages[0].Exam.Tasks {
		row := []string{t.Task}
		for _, st := range stages {
			row = append(row, scoreCell(st.Exam.Tasks, k))
		}
		rows = append(rows, row)
	}
	return rows
}

func scoreCell(tasks []EvalTask, k int) string {
	if k >= len(tasks) || tasks[k].Greedy == nil || tasks[k].Sampled == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f / %.0f / %.0f", 100**tasks[k].Greedy, 100**tasks[k].Sampled, tasks[k].ThoughtTokens)
}

// costRows are what the stages took, with their sum.
func (s *R1Summary) costRows() [][]string {
	rows := [][]string{{"stage", "kind", "steps", "learned", "read", "written", "PFLOPs", "time", "price"}}
	var sum Cost
	for _, st := range s.Stages {
		if c := st.Cost; c != nil {
			rows = append(rows, costRow(st.Name, st.Kind, fmt.Sprint(st.Steps), c))
			sum = Cost{sum.Learned + c.Learned, sum.Read + c.Read, sum.Written + c.Written, sum.FLOPs + c.FLOPs, sum.Seconds + c.Seconds, sum.Dollars + c.Dollars}
		}
	}
	return append(rows, costRow("all", "", "", &sum))
}

func costRow(name, kind, steps string, c *Cost) []string {
	return []string{name, kind, steps, train.Thousands(float64(c.Learned)), train.Thousands(float64(c.Read)), train.Thousands(float64(c.Written)),
		fmt.Sprintf("%.2f", c.FLOPs/1e15), train.Clock(time.Duration(c.Seconds * float64(time.Second))), fmt.Sprintf("$%.3f", c.Dollars)}
}

// Markdown is the report for people.
func (s *R1Summary) Markdown() string {
	return fmt.Sprintf("# %s, seed %d\n\nHeld-out problems: greedy / sampled accuracy in %% / mean tokens of thought.\n\n%s\nWhat it took (tokens; model FLOPs; exams are part of the time):\n\n%s",
		s.Recipe, s.Seed, table(s.scoreRows()), table(s.costRows()))
}

// Text is the report for a terminal.
func (s *R1Summary) Text() string {
	return "Held-out problems: greedy / sampled accuracy in % / mean tokens of thought\n\n" + columnsOf(s.scoreRows()) + "\n" + columnsOf(s.costRows())
}

// columnsOf sets rows in columns.
func columnsOf(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			width[i] = max(width[i], len(c))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, c := range row {
			if i == 0 {
				fmt.Fprintf(&b, "%-*s", width[i], c)
			} else {
				fmt.Fprintf(&b, "  %*s", width[i], c)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
