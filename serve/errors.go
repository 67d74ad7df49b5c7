package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"sonde/compute"
	"sonde/engine"
)

// apiError is an error in OpenAI's shape with its HTTP status.
type apiError struct {
	status  int
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// Error is the message.
func (e *apiError) Error() string { return e.Message }

// invalid is a 400 about one parameter, or about the request where param is "".
func invalid(param, format string, args ...any) *apiError {
	return fail(http.StatusBadRequest, "invalid_request_error", param, "", fmt.Sprintf(format, args...))
}

func fail(status int, kind, param, code, message string) *apiError {
	e := &apiError{status: status, Type: kind, Message: message}
	if param != "" {
		e.Param = &param
	}
	if code != "" {
		e.Code = &code
	}
	return e
}

// statusClientGone is nginx's number for a client that left; only logs see it.
const statusClientGone = 499

// asAPI turns any error into one that a client can use. What is not the client's
// doing stays vague: details are for the log.
func asAPI(err error) *apiError {
	var api *apiError
	var param *engine.ParamError
	var oom *compute.OutOfMemory
	switch {
	case errors.As(err, &api):
		return api
	case errors.As(err, &param):
		return invalid(param.Name, "%v", param)
	case errors.Is(err, engine.ErrBusy):
		return fail(http.StatusTooManyRequests, "rate_limit_error", "", "queue_full", "the server is busy: "+err.Error())
	case errors.Is(err, engine.ErrContext):
		return fail(http.StatusBadRequest, "invalid_request_error", "", "context_length_exceeded", err.Error())
	case errors.Is(err, engine.ErrEmpty), errors.Is(err, engine.ErrToken):
		return invalid("prompt", "%v", err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fail(statusClientGone, "server_error", "", "cancelled", "the request was cancelled: the client left or the server is shutting down")
	case errors.As(err, &oom):
		return fail(http.StatusServiceUnavailable, "server_error", "", "out_of_memory", "the server is out of memory; try a shorter prompt or fewer max_tokens")
	case errors.Is(err, engine.ErrNotFinite):
		return fail(http.StatusInternalServerError, "server_error", "", "model_damaged", err.Error())
	}
	return fail(http.StatusInternalServerError, "server_error", "", "", "the server failed on this request; its log says why")
}

// writeError answers with err.
func writeError(w http.ResponseWriter, err error) {
	e := asAPI(err)
	if e.status == http.StatusTooManyRequests || e.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, e.status, errorBody{e})
}

type errorBody struct {
	Error *apiError `json:"error"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":{"message":"the answer could not be written as JSON","type":"server_error","param":null,"code":null}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
