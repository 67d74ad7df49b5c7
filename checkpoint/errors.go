package checkpoint

import (
	"errors"
	"fmt"
	"strings"
)

// Sentinel errors that callers act on.
var (
	// ErrNoState: the run's folder holds no training state, so a run begins at step 0.
	ErrNoState = errors.New("no training state")
	// ErrLocked: another run works in the folder.
	ErrLocked = errors.New("another run is using the folder")
	// ErrFormat: the state was written in a format this program does not know.
	ErrFormat = errors.New("unknown format")
)

// FormatError says what is wrong inside a file, and what to try.
type FormatError struct {
	Path    string // file
	Tensor  string // tensor concerned, "" when it is the file as a whole
	Problem string // expected and found
	Try     string
	Err     error // cause, where there is one
}

// Error names file, tensor, problem and way out.
func (e *FormatError) Error() string {
	var b strings.Builder
	b.WriteString(e.Path)
	if e.Tensor != "" {
		fmt.Fprintf(&b, ": tensor %s", quote(e.Tensor))
	}
	fmt.Fprintf(&b, ": %s", e.Problem)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Try != "" {
		fmt.Fprintf(&b, " (%s)", e.Try)
	}
	return b.String()
}

// Unwrap is the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// Problem is one tensor that does not fit the model.
type Problem struct {
	File     string // file it is in, or would be in
	Tensor   string
	Expected string // what the model wants: "F32 [64 32]", or "" for nothing
	Found    string // what the file has, or "" for nothing
}

// String is one line of a LoadError.
func (p Problem) String() string {
	switch {
	case p.Found == "":
		return fmt.Sprintf("%s: tensor %s is missing, expected %s", p.File, quote(p.Tensor), p.Expected)
	case p.Expected == "":
		return fmt.Sprintf("%s: tensor %s (%s) is not part of the model", p.File, quote(p.Tensor), p.Found)
	}
	return fmt.Sprintf("%s: tensor %s: expected %s, found %s", p.File, quote(p.Tensor), p.Expected, p.Found)
}

// LoadError lists every tensor that keeps a file of weights from fitting a model.
// Nothing was loaded.
type LoadError struct {
	Path     string
	Problems []Problem
	Try      string
}

// maxProblems is how many problems a message shows; Problems holds all.
const maxProblems = 20

// Error shows the first problems, one a line.
func (e *LoadError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s does not fit the model: %s; tensors that differ: %d", e.Path, e.Try, len(e.Problems))
	for i, p := range e.Problems {
		if i == maxProblems {
			fmt.Fprintf(&b, "\n  and %d more", len(e.Problems)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s", p)
	}
	return b.String()
}

// SaveError says which file could not be written, and what is still safe.
type SaveError struct {
	File     string
	LastGood string // newest whole training state, "" when there is none
	Err      error
}

// Error names the file, the cause and the last good checkpoint.
func (e *SaveError) Error() string {
	if e.LastGood == "" {
		return fmt.Sprintf("saving %s: %v (there was no earlier training state; free space on that disk or save elsewhere)", e.File, e.Err)
	}
	return fmt.Sprintf("saving %s: %v (nothing is lost: the last good checkpoint is %s; free space on that disk and resume)",
		e.File, e.Err, e.LastGood)
}

// Unwrap is the cause, such as ENOSPC.
func (e *SaveError) Unwrap() error { return e.Err }

// quote shows a name from a file, cut where it is absurdly long.
func quote(s string) string {
	const most = 120
	if len(s) > most {
		return fmt.Sprintf("%q... (%d bytes)", s[:most], len(s))
	}
	return fmt.Sprintf("%q", s)
}
