package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// bodyTime is how long a client may take to send its request.
const bodyTime = 60 * time.Second

// readBody reads a request's body of at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	tooLarge := fail(http.StatusRequestEntityTooLarge, "invalid_request_error", "", "body_too_large",
		fmt.Sprintf("the request's body is larger than the %d bytes this server takes", limit))
	if r.ContentLength > limit { // known before a byte of it has come
		return nil, tooLarge
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTime)) // a recorder in tests has no deadline
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		return nil, tooLarge
	case err != nil:
		return nil, invalid("", "the request's body broke off: %v", err)
	}
	// From here on the connection is read only to notice that the client left.
	_ = rc.SetReadDeadline(time.Time{})
	return body, nil
}

// fields is a request's top level.
type fields map[string]json.RawMessage

// decodeBody reads one JSON object into v, whose fields' names are known. Names in
// neutral hold what is not supported, with the values that ask for nothing.
func decodeBody(body []byte, v any, known []string) error {
	var keys fields
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&keys); err != nil {
		return invalid("", "the request's body is not a JSON object: %v", jsonProblem(err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return invalid("", "the request's body goes on after its JSON object")
	}
	if keys == nil {
		return invalid("", "the request's body is null; expected a JSON object")
	}
	for _, name := range sortedKeys(keys) {
		if err := checkKey(name, keys[name], known); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(body, v); err != nil {
		return typeProblem(err)
	}
	return nil
}

func sortedKeys(m fields) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// harmless parameters of OpenAI's API change nothing that this server computes.
var harmless = strings.Fields(`user store metadata service_tier safety_identifier prompt_cache_key
	prompt_cache_retention parallel_tool_calls`)

// neutral are parameters that are not supported, with the values (beside null) that
// ask for nothing.
var neutral = map[string][]string{
	"tools": {"[]"}, "tool_choice": {`"none"`, `"auto"`}, "thinking": {}, "chat_template_kwargs": {"{}"}, "functions": {"[]"}, "function_call": {`"none"`, `"auto"`},
	"response_format": {`{"type":"text"}`}, "logit_bias": {"{}"}, "best_of": {"1"}, "suffix": {`""`},
	"presence_penalty": {"0", "0.0"}, "frequency_penalty": {"0", "0.0"}, "repetition_penalty": {"1", "1.0"},
	"modalities": {`["text"]`}, "audio": {}, "prediction": {}, "reasoning_effort": {`"none"`}, "web_search_options": {},
	"verbosity": {`"medium"`},
}

// checkKey refuses what would be silently ignored.
func checkKey(name string, raw json.RawMessage, known []string) error {
	if slices.Contains(known, name) || slices.Contains(harmless, name) || string(raw) == "null" {
		return nil
	}
	var compact bytes.Buffer
	_ = json.Compact(&compact, raw)
	values, ok := neutral[name]
	if ok && slices.Contains(values, compact.String()) {
		return nil
	}
	if ok {
		return fail(http.StatusBadRequest, "invalid_request_error", name, "unsupported_parameter",
			name+" is not supported by this server; leave it out")
	}
	if len(name) > 64 {
		name = name[:64] + "..."
	}
	return fail(http.StatusBadRequest, "invalid_request_error", name, "unknown_parameter",
		fmt.Sprintf("%q is not a parameter that this server knows; leave it out", name))
}

// jsonProblem says where JSON is broken.
func jsonProblem(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("%v, at byte %d", syntax, syntax.Offset)
	case errors.As(err, &kind):
		return "found " + kind.Value
	case errors.Is(err, io.EOF):
		return "it is empty"
	}
	return err.Error()
}

// typeProblem names the field whose value has the wrong type.
func typeProblem(err error) error {
	var api *apiError
	if errors.As(err, &api) {
		return api
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		// A field of an embedded struct carries the struct's name in front.
		field := strings.TrimPrefix(strings.TrimPrefix(kind.Field, "sampling."), "problemRef.")
		want := map[string]string{"int": "an integer", "int64": "an integer", "float64": "a number", "bool": "true or false",
			"string": "a string", "slice": "a list", "struct": "an object", "ptr": "another value"}[kind.Type.Kind().String()]
		param, _, _ := strings.Cut(field, ".")
		return invalid(param, "%s must be %s, found %s", field, want, kind.Value)
	}
	return invalid("", "the request's body cannot be read: %v", err)
}

// names are the JSON names of a request's fields.
func names(list string) []string { return strings.Fields(list) }
