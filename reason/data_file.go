package reason

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"sonde/text"
)

// Bounds of a file of examples.
const (
	maxDataLine = 16 << 20 // bytes of a line
	maxExamples = 1 << 26
)

// dataLine is a line of a file of examples: a conversation in OpenAI's form, or a prompt
// with its completion, which stand for a message of the user and one of the assistant.
type dataLine struct {
	messages []text.Message
	tools    []json.RawMessage
}

// dataError is what is wrong with a field.
func dataError(field, format string, a ...any) error {
	return fmt.Errorf("the field %q %w", field, fmt.Errorf(format, a...))
}

// parseLine reads a line.
func parseLine(raw []byte) (d dataLine, err error) {
	if !utf8.Valid(raw) {
		return d, errors.New("it is not UTF-8")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return d, fmt.Errorf("not a JSON object: %w", err)
	}
	if tools, ok := fields["tools"]; ok && string(tools) != "null" {
		if json.Unmarshal(tools, &d.tools) != nil {
			return d, dataError("tools", "is no list of functions")
		}
	}
	_, prompted := fields["prompt"]
	messages, talked := fields["messages"]
	switch {
	case talked && prompted:
		return d, errors.New(`it has both "messages" and "prompt": one example a line`)
	case talked:
		d.messages, err = parseMessages(messages)
	case prompted:
		d.messages, err = parsePrompt(fields)
	default:
		return d, fmt.Errorf(`it needs "messages", or "prompt" and "completion"; it has %q`, slices.Sorted(maps.Keys(fields)))
	}
	return d, err
}

func parsePrompt(fields map[string]json.RawMessage) ([]text.Message, error) {
	out := []text.Message{{Role: "user"}, {Role: "assistant"}}
	for i, name := range []string{"prompt", "completion"} {
		raw, ok := fields[name]
		if !ok {
			return nil, dataError(name, "is missing")
		}
		if json.Unmarshal(raw, &out[i].Content) != nil || out[i].Content == "" {
			return nil, dataError(name, "is %s, it must be a text that is not empty", kindOf(raw))
		}
	}
	return out, nil
}

func parseMessages(raw json.RawMessage) ([]text.Message, error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
		return nil, dataError("messages", "is %s, it must be a list of messages", kindOf(raw))
	}
	out := make([]text.Message, len(list))
	said := false
	for i, m := range list {
		name := fmt.Sprintf("messages[%d]", i)
		if err := json.Unmarshal(m, &out[i]); err != nil {
			var kind *json.UnmarshalTypeError
			if errors.As(err, &kind) && kind.Field != "" {
				return nil, dataError(name+"."+kind.Field, "is a %s", kind.Value)
			}
			return nil, dataError(name, "is no message: %w", err)
		}
		switch out[i].Role {
		case "system", "user", "tool":
		case "assistant":
			said = true
			if out[i].NoContent && len(out[i].ToolCalls) == 0 {
				return nil, dataError(name+".content", "is missing")
			}
		default:
			return nil, dataError(name+".role", "is %q, it must be system, user, assistant or tool", clip(out[i].Role))
		}
	}
	if !said {
		return nil, dataError("messages", "has no message of an assistant: there is nothing to learn")
	}
	return out, nil
}

// clip shortens what an error quotes.
func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "..."
	}
	return s
}

// kindOf names a JSON value.
func kindOf(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0:
		return "missing"
	case raw[0] == '"' && len(raw) == 2:
		return "an empty text"
	case raw[0] == '"':
		return "a text"
	case raw[0] == '{':
		return "an object"
	case raw[0] == '[' && len(raw) == 2:
		return "an empty list"
	case raw[0] == '[':
		return "a list"
	case raw[0] == 'n':
		return "null"
	case raw[0] == 't' || raw[0] == 'f':
		return "true or false"
	}
	return "a number"
}

// eachLine calls f for every line of a JSONL file that is not empty, with its place.
func eachLine(path string, f func(line []byte, where string) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("the data: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 0, 64<<10), maxDataLine)
	n := 0
	for lines.Scan() {
		n++
		line := lines.Bytes()
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if err := f(line, fmt.Sprintf("%s, line %d", path, n)); err != nil {
			return err
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%s, line %d: it is longer than %d MiB", path, n+1, maxDataLine>>20)
	} else if err != nil {
		return fmt.Errorf("%s, line %d: %w", path, n+1, err)
	}
	return nil
}

// readFiles reads examples from JSONL files into train and, by a hash of their lines,
// the share that is held out.
func readFiles(ctx context.Context, paths []string, enc *encoder, fit *fitter, share float64, train, heldout *listSource) error {
	for _, path := range paths {
		err := eachLine(path, func(line []byte, where string) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			d, err := parseLine(line)
			if err != nil {
				return fmt.Errorf("%s: %w", where, err)
			}
			examples, err := enc.encode(d.messages, text.RenderOptions{Tools: d.tools})
			if err != nil {
				return fmt.Errorf("%s: %w", where, err)
			}
			to := train
			if heldOut(line, share) {
				to = heldout
			}
			for _, e := range examples {
				e, ok, err := fit.fit(e, where)
				if err != nil {
					return err
				}
				if ok {
					to.add(e)
				}
			}
			if train.Len()+heldout.Len() > maxExamples {
				return fmt.Errorf("%s: more than %d examples: split the data", where, maxExamples)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// heldOut decides by a hash of the line, so that equal lines fall on one side and no
// other line matters.
func heldOut(line []byte, share float64) bool {
	sum := sha256.Sum256(line)
	return float64(binary.LittleEndian.Uint64(sum[:])) < share*(1<<64)
}
