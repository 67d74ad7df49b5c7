package reason

import (
	"fmt"

	"sonde/reason/task"
	"sonde/text"
)

// mixSource is problems of tasks with their answers, without end: number i is drawn from
// the seed and i alone.
type mixSource struct {
	enc      *encoder
	mix      task.Mix
	name     string
	split    task.Split
	seed     uint64
	thoughts float64 // share of the answers that are written with their thought
	n        int64   // 0: without end
	room     int     // tokens of an example at most
}

// Len is the number of examples, 0 where there is no end.
func (s *mixSource) Len() int64 { return s.n }

// Name describes the source.
func (s *mixSource) Name() string {
	return fmt.Sprintf("%s, seed %d, thoughts %g, learn %s, prompts %g", s.name, s.seed, s.thoughts, s.enc.learn, s.enc.promptWeight)
}

// At draws example i. One that is longer than there is room gives way to the next draw of
// the same stream.
func (s *mixSource) At(i int64) (Example, error) {
	rng := task.NewRand(mixSeeds(s.seed, seedExamples, uint64(i)))
	for range 100 {
		p, err := s.mix.Draw(rng, s.split)
		if err != nil {
			return Example{}, err
		}
		e, err := s.enc.problem(p, rng.Float64() < s.thoughts)
		if err != nil {
			return Example{}, err
		}
		if len(e.Tokens) <= s.room {
			return e, nil
		}
	}
	return Example{}, fmt.Errorf("%s: problem %d is longer than %d tokens a hundred times over: lower the difficulty, or raise --max-len", s.name, i, s.room)
}

// problem is a problem with its answer, thought about or not.
func (e *encoder) problem(p task.Problem, think bool) (Example, error) {
	out, err := e.encode(asMessages(p, think), text.RenderOptions{})
	if err != nil {
		return Example{}, fmt.Errorf("%s: %w", p.ID, err)
	}
	return out[0], nil
}

// asMessages is a problem as a conversation.
func asMessages(p task.Problem, think bool) []text.Message {
	m := text.Message{Role: "assistant", Content: p.Answer}
	if think && p.Thought != "" {
		m.Reasoning = &p.Thought
	}
	return []text.Message{{Role: "user", Content: p.Prompt}, m}
}
