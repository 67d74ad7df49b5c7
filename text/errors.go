package text

import (
	"errors"
	"strings"
)

// ErrUnsupported marks what a file asks for and this package does not build:
// test with errors.Is.
var ErrUnsupported = errors.New("not supported")

// FileError says what is wrong with a tokenizer's file. Part is the place in the
// file, as a path of JSON keys.
type FileError struct {
	File, Part, What, Hint string
	Unsupported            bool // the file may be right, but asks for what is not built
}

// Error gives file, part, what is wrong, and the way out.
func (e *FileError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Part != "" {
		b.WriteString(": ")
		b.WriteString(e.Part)
	}
	b.WriteString(": ")
	b.WriteString(e.What)
	if e.Hint != "" {
		b.WriteString(" (")
		b.WriteString(e.Hint)
		b.WriteString(")")
	}
	return b.String()
}

// Is reports ErrUnsupported for errors of that kind.
func (e *FileError) Is(target error) bool { return target == ErrUnsupported && e.Unsupported }

const (
	tokenizerFile = "tokenizer.json"
	configFile    = "tokenizer_config.json"
)

// damaged is the error of a tokenizer.json that contradicts itself.
func damaged(part, what string) error {
	return &FileError{File: tokenizerFile, Part: part, What: what,
		Hint: "the file is damaged: copy it again from where the model came from"}
}

// unsupported is the error of a tokenizer.json that asks for what is not built.
func unsupported(part, what, hint string) error {
	return &FileError{File: tokenizerFile, Part: part, What: what, Hint: hint, Unsupported: true}
}
