package reason

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sonde/reason/task"
)

// heldoutExamples is how many examples of tasks, and of files at most, are looked at to
// measure the held-out loss.
const heldoutExamples = 256

// material is what a run learns from and what it measures itself with.
type material struct {
	train   Source
	heldout []Source // finite, not empty
	note    string   // on examples left out, "" for none
}

// gather reads and draws the data.
func (o *SFTOptions) gather(ctx context.Context, enc *encoder, own task.Mix) (*material, error) {
	if len(o.Data) == 0 && o.Tasks == "" && len(o.TaskFiles) == 0 && len(own) == 0 {
		return nil, errors.New("what is to be learned? Name a file with --data or --task-file, or tasks with --tasks (such as chain-sum)")
	}
	list, held := newList(names(o.Data, o.TaskFiles)), newList("held out")
	fit := &fitter{room: o.MaxLen, long: o.Long}
	if err := readFiles(ctx, o.Data, enc, fit, *o.Heldout, list, held); err != nil {
		return nil, err
	}
	if err := readTasks(o.TaskFiles, enc, fit, *o.Thoughts, list, held); err != nil {
		return nil, err
	}
	files := len(o.Data)+len(o.TaskFiles) > 0
	if files && list.Len() == 0 {
		return nil, fmt.Errorf("%s: no example is left to learn from (%s)", list.name, fit.report())
	}
	m := &material{note: fit.report()}
	if list.Len() > 0 {
		m.train = list
	}
	if held.Len() > 0 {
		m.heldout = append(m.heldout, held)
	}
	return m, o.addTasks(m, enc, own)
}

func names(lists ...[]string) string {
	out := ""
	for _, l := range lists {
		for _, n := range l {
			if out != "" {
				out += " "
			}
			out += n
		}
	}
	return out
}

// addTasks adds the problems of tasks.
func (o *SFTOptions) addTasks(m *material, enc *encoder, own task.Mix) error {
	if o.Tasks == "" && len(own) == 0 {
		return nil
	}
	mix, err := mixOf(o.Tasks, own)
	if err != nil {
		return err
	}
	s := &mixSource{enc: enc, mix: mix, name: mixName(mix), split: task.Train, seed: *o.Seed, thoughts: *o.Thoughts, n: o.TaskExamples, room: o.MaxLen}
	h := *s
	h.split, h.n = task.HeldOut, heldoutExamples
	m.heldout = append(m.heldout, &h)
	if m.train == nil {
		m.train = s
		return nil
	}
	if s.n == 0 {
		s.n = m.train.Len()
	}
	m.train = joined{m.train, s}
	return nil
}

// mixOf is the tasks of a list and one's own.
func mixOf(list string, own task.Mix) (task.Mix, error) {
	if list == "" {
		return own, nil
	}
	mix, err := task.ParseMix(list)
	return append(mix, own...), err
}

// mixName tells one mix from others.
func mixName(m task.Mix) string {
	out := make([]string, len(m))
	for i, p := range m {
		out[i] = fmt.Sprintf("%s@%d-%d:%g", p.Task.Info().Name, p.Low, p.High, p.Weight)
	}
	return strings.Join(out, ",")
}

// readTasks adds the problems of files of tasks that have an answer; which are held out
// is decided as everywhere, by task.SplitOf.
func readTasks(paths []string, enc *encoder, fit *fitter, thoughts float64, list, held *listSource) error {
	for _, path := range paths {
		c, err := task.Load(path)
		if err != nil {
			return err
		}
		answered := 0
		for i, p := range c.Problems() {
			if p.Answer == "" {
				continue
			}
			answered++
			where := fmt.Sprintf("%s, problem %d", path, i+1)
			think := task.NewRand(mixSeeds(seedExamples, uint64(i))).Float64() < thoughts
			e, err := enc.problem(p, think)
			if err != nil {
				return fmt.Errorf("%s: %w", where, err)
			}
			e, ok, err := fit.fit(e, where)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if task.SplitOf(p) == task.HeldOut {
				held.add(e)
			} else {
				list.add(e)
			}
		}
		if answered == 0 {
			return fmt.Errorf("%s: none of its %d problems has an \"answer\" to learn: add the field, or sample answers with a model that knows them", path, len(c.Problems()))
		}
	}
	return nil
}

// joined is two finite sources, one after the other.
type joined struct{ a, b Source }

// Len is the examples of both.
func (j joined) Len() int64 { return j.a.Len() + j.b.Len() }

// Name names both.
func (j joined) Name() string { return j.a.Name() + "; " + j.b.Name() }

// At is an example of the first, or of the second behind it.
func (j joined) At(i int64) (Example, error) {
	if n := j.a.Len(); i >= n {
		return j.b.At(i - n)
	}
	return j.a.At(i)
}
