package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxNesting bounds how deeply JSON is nested, in schemas and in answers.
const maxNesting = 200

// noLoader refuses every schema that is not part of the given one: a reference must
// neither read files nor fetch.
type noLoader struct{}

// Load refuses.
func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("the schema refers to %s; only references within it are followed", url)
}

// JSONSchema verifies that an answer is a JSON value that satisfies a schema (any draft
// from 4 to 2020-12). References out of the schema are refused.
func JSONSchema(schema []byte) (Verifier, error) {
	if len(schema) > MaxCode {
		return nil, fmt.Errorf("the schema has %d bytes, at most %d are read", len(schema), MaxCode)
	}
	if err := checkNesting(string(schema)); err != nil {
		return nil, err
	}
	compiled, err := compileSchema(schema)
	if err != nil {
		return nil, fmt.Errorf("the schema is not usable: %w", err)
	}
	return func(_ context.Context, answer string) Verdict {
		if err := checkNesting(answer); err != nil {
			return wrong("%v", err)
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(answer))
		if err != nil {
			return wrong("not a JSON value: %.100v", err)
		}
		if err := compiled.Validate(value); err != nil {
			return wrong("%s", firstCause(err))
		}
		return right()
	}, nil
}

// compileSchema compiles; a panic of the library becomes an error.
func compileSchema(schema []byte) (s *jsonschema.Schema, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	if !json.Valid(schema) {
		return nil, errors.New("not JSON")
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(schema)))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	if err := c.AddResource("reference:", doc); err != nil {
		return nil, err
	}
	return c.Compile("reference:")
}

// checkNesting refuses JSON that is nested too deeply, by its brackets outside strings.
func checkNesting(s string) error {
	depth, inString := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxNesting {
				return fmt.Errorf("JSON nested more than %d deep", maxNesting)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// firstCause is the first violation, in a line.
func firstCause(err error) string {
	var v *jsonschema.ValidationError
	if !errors.As(err, &v) {
		return fmt.Sprintf("%.200v", err)
	}
	for len(v.Causes) > 0 {
		v = v.Causes[0]
	}
	at := "/" + strings.Join(v.InstanceLocation, "/")
	lines := strings.Split(v.Error(), "\n")
	return fmt.Sprintf("at %.60s: %.200s", at, lines[len(lines)-1])
}
