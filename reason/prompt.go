package reason

import (
	"fmt"
	"slices"
	"strings"

	"sonde/text"
)

// Think says how the answer to a prompt begins.
type Think string

const (
	// ThinkAuto leaves it to the model whether to think: the prompt ends where the
	// assistant's turn begins, even where the chat template would open a thought.
	ThinkAuto Think = "auto"
	// ThinkForce opens the thought.
	ThinkForce Think = "force"
	// ThinkNever gives the model an empty thought, after which it can only answer.
	ThinkNever Think = "never"
)

// opening and closing are the marks of a thought.
const (
	thinkOpen  = "<think>"
	thinkClose = "</think>"
)

// Prompt is the conversation that asks problem, one message of a user, as the model's
// chat template writes it, and then what t asks for.
func (m *Model) Prompt(problem string, t Think) ([]int32, error) {
	segments, err := text.RenderChat(m.TokCfg, []text.Message{{Role: "user", Content: problem}}, text.RenderOptions{AddGenerationPrompt: true})
	if err != nil {
		return nil, fmt.Errorf("the prompt: %w", err)
	}
	segments = withoutThought(segments)
	switch t {
	case ThinkForce:
		segments = append(segments, m.mark(thinkOpen), text.Segment{Text: "\n"})
	case ThinkNever:
		segments = append(segments, m.mark(thinkOpen), text.Segment{Text: "\n"}, m.mark(thinkClose), text.Segment{Text: "\n\n"})
	}
	return m.Tok.EncodeSegments(segments)
}

// mark is a tag, a control token where the vocabulary has it.
func (m *Model) mark(tag string) text.Segment {
	_, control := m.Tok.ID(tag)
	return text.Segment{Text: tag, Control: control}
}

// withoutThought cuts an opened thought off a prompt's end.
func withoutThought(segments []text.Segment) []text.Segment {
	for i, s := range slices.Backward(segments) {
		if strings.TrimSpace(s.Text) == "" {
			continue
		}
		cut, found := strings.CutSuffix(strings.TrimRight(s.Text, "\n"), thinkOpen)
		if !found {
			break
		}
		if segments = segments[:i]; cut != "" {
			segments = append(segments, text.Segment{Text: cut, Control: s.Control})
		}
		break
	}
	return segments
}
