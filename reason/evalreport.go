package reason

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// EvalReport is what an evaluation found. Every interval is one of 95 %, Wilson's, with
// the answers to one problem counted as one cluster.
type EvalReport struct {
	// Tasks has an entry for each task, in the order asked for.
	Tasks []EvalTask `json:"tasks"`
}

// EvalTask is what was found for one task.
type EvalTask struct {
	Task string `json:"task"`
	// EvalScore is of the problems that are not marked hard, or of all where all are.
	EvalScore
	// Difficulties are the scores of each difficulty where there are several beside the
	// hard one.
	Difficulties []EvalScore `json:"difficulties,omitempty"`
	// Hard is of problems beyond those that the task is trained at.
	Hard *EvalScore `json:"hard,omitempty"`
}

// EvalScore is how a model does at some problems. Shares are from 0 to 1.
type EvalScore struct {
	Difficulty int `json:"difficulty,omitempty"`
	// N is the number of problems, Samples that of answers drawn for each.
	N       int `json:"n"`
	Samples int `json:"samples"`
	// Greedy is the share of problems whose most probable answer is right, Sampled that of
	// drawn answers that are (pass@1); null where none was asked for.
	Greedy          *float64    `json:"greedy"`
	GreedyInterval  *[2]float64 `json:"greedy_ci95,omitempty"`
	Sampled         *float64    `json:"sampled"`
	SampledInterval *[2]float64 `json:"sampled_ci95,omitempty"`
	// Pass and Maj are pass@k and maj@k by k.
	Pass map[int]Proportion `json:"pass_at,omitempty"`
	Maj  map[int]Proportion `json:"maj_at,omitempty"`
	// ThoughtTokens and Tokens are the mean lengths of the thought and of the whole
	// output, of drawn answers or, where there are none, of greedy ones.
	ThoughtTokens float64 `json:"thought_tokens"`
	Tokens        float64 `json:"tokens"`
	// Answers counts them; of them CutShort met the limit on length, Unread had no
	// readable answer, TooLong had a prompt that does not fit into the context. All of these
	// are wrong.
	Answers  int `json:"answers"`
	CutShort int `json:"cut_short"`
	Unread   int `json:"unread"`
	TooLong  int `json:"too_long"`
}

// evalAnswers are the answers to one problem.
type evalAnswers struct {
	greedy *EvalSample
	drawn  []EvalSample // in order
	votes  bool         // whether answers can be compared with each other
}

// newEvalReport counts the answers to all problems of sets.
func newEvalReport(sets []EvalSet, all map[evalKey]EvalSample, s EvalSettings) *EvalReport {
	r := &EvalReport{}
	ks := s.ks()
	var names []string
	for _, set := range sets {
		if !slices.Contains(names, set.Task) {
			names = append(names, set.Task)
		}
	}
	for _, name := range names {
		var plain, hard [][]evalAnswers
		var levels, hardLevels []int
		for i := range sets {
			switch a := sets[i].answers(all, s); {
			case sets[i].Task != name:
			case sets[i].Hard:
				hard, hardLevels = append(hard, a), append(hardLevels, sets[i].Difficulty)
			default:
				plain, levels = append(plain, a), append(levels, sets[i].Difficulty)
			}
		}
		if plain == nil {
			plain, levels, hard = hard, hardLevels, nil
		}
		r.Tasks = append(r.Tasks, evalTask(name, plain, levels, hard, hardLevels, ks))
	}
	return r
}

func evalTask(name string, plain [][]evalAnswers, levels []int, hard [][]evalAnswers, hardLevels, ks []int) EvalTask {
	t := EvalTask{Task: name, EvalScore: evalScore(slices.Concat(plain...), ks)}
	if len(levels) == 1 {
		t.Difficulty = levels[0]
	} else {
		for i, a := range plain {
			s := evalScore(a, ks)
			s.Difficulty = levels[i]
			t.Difficulties = append(t.Difficulties, s)
		}
	}
	if hard != nil {
		s := evalScore(slices.Concat(hard...), ks)
		s.Difficulty = hardLevels[0]
		t.Hard = &s
	}
	return t
}

// ks are the k of pass@k and maj@k.
func (s EvalSettings) ks() []int {
	ks := s.Ks
	if ks == nil {
		ks = []int{s.Samples}
	}
	ks = slices.DeleteFunc(slices.Clone(ks), func(k int) bool { return k < 2 || k > s.Samples })
	slices.Sort(ks)
	return slices.Compact(ks)
}

// answers are those to each problem of the set.
func (set *EvalSet) answers(all map[evalKey]EvalSample, s EvalSettings) []evalAnswers {
	out := make([]evalAnswers, len(set.Problems))
	for p := range set.Problems {
		out[p].votes = !set.NoVote
		for k := 0; k <= s.Samples; k++ {
			a, ok := all[evalKey{set.Task, set.Difficulty, p, k}]
			switch {
			case !ok || k == 0 && s.NoGreedy:
			case k == 0:
				out[p].greedy = &a
			default:
				out[p].drawn = append(out[p].drawn, a)
			}
		}
	}
	return out
}

// evalScore counts.
func evalScore(problems []evalAnswers, ks []int) EvalScore {
	s := EvalScore{N: len(problems)}
	var greedy, sampled []float64
	var thought, tokens [2]float64 // of greedy answers, of drawn ones
	var count [2]int
	add := func(kind int, a *EvalSample) {
		count[kind]++
		thought[kind] += float64(a.ThoughtTokens)
		tokens[kind] += float64(a.Tokens)
		s.count(a)
	}
	for _, p := range problems {
		if p.greedy != nil {
			greedy = append(greedy, rightness(p.greedy.Right))
			add(0, p.greedy)
		}
		for i := range p.drawn {
			add(1, &p.drawn[i])
		}
		if len(p.drawn) > 0 {
			s.Samples = max(s.Samples, len(p.drawn))
			sampled = append(sampled, float64(countRight(p.drawn))/float64(len(p.drawn)))
		}
	}
	s.Greedy, s.GreedyInterval = sharePointers(greedy, len(greedy))
	s.Sampled, s.SampledInterval = sharePointers(sampled, count[1])
	kind := min(count[1], 1)
	if n := count[kind]; n > 0 {
		s.ThoughtTokens, s.Tokens = thought[kind]/float64(n), tokens[kind]/float64(n)
	}
	s.atK(problems, ks)
	return s
}

// count notes what was special about an answer.
func (s *EvalScore) count(a *EvalSample) {
	s.Answers++
	switch {
	case a.Finish == finishTooLong:
		s.TooLong++
	case a.Finish == "length":
		s.CutShort++
		fallthrough
	default:
		if a.Answer == "" {
			s.Unread++
		}
	}
}

// atK fills in pass@k and maj@k. maj@k is the mean over the disjoint groups of k that the
// answers to a problem make in their order.
func (s *EvalScore) atK(problems []evalAnswers, ks []int) {
	for _, k := range ks {
		var pass, maj []float64
		answers := 0
		for _, p := range problems {
			n := len(p.drawn)
			if n < k {
				continue
			}
			answers += n / k
			pass = append(pass, PassAtK(n, countRight(p.drawn), k))
			if p.votes {
				sum := 0.0
				for g := 0; g+k <= n; g += k {
					sum += rightness(majority(context.Background(), p.drawn[g:g+k]))
				}
				maj = append(maj, sum/float64(n/k))
			}
		}
		if len(pass) > 0 {
			s.Pass = with(s.Pass, k, proportionOf(pass, answers))
		}
		if len(maj) > 0 {
			s.Maj = with(s.Maj, k, proportionOf(maj, answers))
		}
	}
}

func with(m map[int]Proportion, k int, p Proportion) map[int]Proportion {
	if m == nil {
		m = map[int]Proportion{}
	}
	m[k] = p
	return m
}

func rightness(right bool) float64 {
	if right {
		return 1
	}
	return 0
}

func countRight(samples []EvalSample) (n int) {
	for i := range samples {
		if samples[i].Right {
			n++
		}
	}
	return n
}

// sharePointers are a share and its interval, nil where there is nothing to share.
func sharePointers(scores []float64, answers int) (*float64, *[2]float64) {
	if len(scores) == 0 {
		return nil, nil
	}
	p := proportionOf(scores, answers)
	return &p.Value, &[2]float64{p.Low, p.High}
}

// WriteJSON writes the report as one JSON object.
func (r *EvalReport) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteMarkdown writes the report as a table and what there is to say about it.
func (r *EvalReport) WriteMarkdown(w io.Writer) error {
	ks := r.ks()
	head := []string{"task", "difficulty", "problems", "greedy", "sampled"}
	for _, k := range ks {
		head = append(head, fmt.Sprintf("pass@%d", k), fmt.Sprintf("maj@%d", k))
	}
	rows := [][]string{append(head, "thought", "output")}
	for _, t := range r.Tasks {
		rows = append(rows, t.EvalScore.row(t.Task, "", ks))
		for i := range t.Difficulties {
			rows = append(rows, t.Difficulties[i].row("", "", ks))
		}
		if t.Hard != nil {
			rows = append(rows, t.Hard.row("", " (hard)", ks))
		}
	}
	_, err := io.WriteString(w, table(rows)+r.notes())
	return err
}

// ks are the k that any task has.
func (r *EvalReport) ks() []int {
	var ks []int
	for _, t := range r.Tasks {
		for k := range t.Pass {
			ks = append(ks, k)
		}
	}
	slices.Sort(ks)
	return slices.Compact(ks)
}

// row is a line of the table.
func (s *EvalScore) row(name, mark string, ks []int) []string {
	level := "all"
	if s.Difficulty > 0 {
		level = fmt.Sprint(s.Difficulty)
	}
	row := []string{name, level + mark, fmt.Sprint(s.N), shareText(s.Greedy, s.GreedyInterval), shareText(s.Sampled, s.SampledInterval)}
	at := func(m map[int]Proportion, k int) string {
		p, ok := m[k]
		if !ok {
			return "–"
		}
		return shareText(&p.Value, &[2]float64{p.Low, p.High})
	}
	for _, k := range ks {
		row = append(row, at(s.Pass, k), at(s.Maj, k))
	}
	return append(row, fmt.Sprintf("%.1f", s.ThoughtTokens), fmt.Sprintf("%.1f", s.Tokens))
}

// shareText shows a share with its interval, in percent.
func shareText(p *float64, ci *[2]float64) string {
	if p == nil {
		return "–"
	}
	return fmt.Sprintf("%.1f (%.1f–%.1f)", 100**p, 100*ci[0], 100*ci[1])
}

// table lays out rows, the first of which is the head, as Markdown whose columns are
// aligned.
func table(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	var b strings.Builder
	for n, r := range rows {
		for i, c := range r {
			fmt.Fprintf(&b, "| %s%s ", c, strings.Repeat(" ", width[i]-len([]rune(c))))
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, w := range width {
				b.WriteString("|" + strings.Repeat("-", w+2))
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}

// notes say how to read the table and what went wrong.
func (r *EvalReport) notes() string {
	var b strings.Builder
	b.WriteString("\nPercent of answers that the verifier accepts, with 95 % confidence intervals (Wilson's score interval; answers to one problem count as one cluster). Lengths are mean numbers of tokens. What has no answer counts as wrong.\n")
	for _, t := range r.Tasks {
		scores := []*EvalScore{&t.EvalScore}
		if t.Hard != nil {
			scores = append(scores, t.Hard)
		}
		for _, s := range scores {
			for _, c := range []struct {
				n    int
				what string
			}{
				{s.TooLong, "had a prompt that does not fit into the context"},
				{s.CutShort, "were cut short by the limit on length"},
				{s.Unread, "had no answer that could be read"},
			} {
				if c.n > 0 {
					which := t.Task
					if s.Difficulty > 0 {
						which += fmt.Sprintf(", difficulty %d", s.Difficulty)
					}
					fmt.Fprintf(&b, "- %s: %d of %d answers %s.\n", which, c.n, s.Answers, c.what)
				}
			}
		}
	}
	return b.String()
}
