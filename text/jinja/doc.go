// Package jinja renders chat templates of model files: the part of Jinja2 that they
// use, set up as Hugging Face's transformers does (trim_blocks, lstrip_blocks, loop
// controls, an immutable sandbox), in an interpreter that counts every step, so that a
// hostile template ends with an error and nothing else.
//
// A template reaches nothing but the values that it is given: there are no imports, no
// attributes of the host language's objects, no files, no clock but the one passed in.
//
// The result is told apart by origin: what the template wrote, and what came from the
// values. So the caller can read control tokens in the first and never in the second.
package jinja

import "fmt"

// Limits bound a rendering. A zero field takes the default.
type Limits struct {
	Steps  int // evaluated nodes and, per 64 bytes, text that was worked on; default 2,000,000
	Output int // bytes of the result, and of any text on the way; default 16 MiB
}

const (
	defaultSteps  = 2_000_000
	defaultOutput = 16 << 20

	maxSource    = 1 << 20 // bytes of a template
	maxNesting   = 100     // of blocks and expressions in the source, of macros in use
	maxRange     = 100_000
	maxOperators = 20_000
)

// Error is what is wrong with a template, or what it found wrong with its values.
type Error struct {
	Line   int    // of the template, 0 where unknown
	What   string // in words
	Raised bool   // the template itself refused, by raise_exception
}

// Error names the line and the fault.
func (e *Error) Error() string {
	switch {
	case e.Raised:
		return "the chat template refuses: " + e.What
	case e.Line > 0:
		return fmt.Sprintf("line %d of the chat template: %s", e.Line, e.What)
	}
	return "the chat template: " + e.What
}

// failure carries an Error up through the interpreter.
type failure struct{ err *Error }

func fail(line int, format string, args ...any) {
	panic(failure{&Error{Line: line, What: fmt.Sprintf(format, args...)}})
}

// caught turns a failure into an error.
func caught(err *error) {
	switch r := recover().(type) {
	case nil:
	case failure:
		*err = r.err
	default:
		panic(r)
	}
}
