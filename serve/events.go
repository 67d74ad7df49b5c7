package serve

import (
	"encoding/json"
	"net/http"
	"time"
)

// slowReader is how long a client may leave what was sent unread before it is cut.
const slowReader = 30 * time.Second

// events is an answer as server-sent events. Nothing is written before the first
// one, so that an error until then still has its status.
type events struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool
}

func newEvents(w http.ResponseWriter) *events {
	return &events{w: w, rc: http.NewResponseController(w)}
}

// send writes one event.
func (e *events) send(v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return e.raw(body)
}

func (e *events) raw(body []byte) error {
	if !e.begun {
		e.begun = true
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no") // proxies should not collect events
		e.w.WriteHeader(http.StatusOK)
	}
	_ = e.rc.SetWriteDeadline(time.Now().Add(slowReader)) // a recorder in tests has no deadline
	line := make([]byte, 0, len(body)+8)
	line = append(append(append(line, "data: "...), body...), "\n\n"...)
	if _, err := e.w.Write(line); err != nil {
		return err
	}
	return e.rc.Flush()
}

// end closes the stream: with the mark of a complete one, or with an error.
func (e *events) end(err error) {
	defer func() { _ = e.rc.SetWriteDeadline(time.Time{}) }()
	if err == nil {
		_ = e.raw([]byte("[DONE]"))
		return
	}
	if !e.begun {
		writeError(e.w, err)
		return
	}
	_ = e.send(errorBody{asAPI(err)})
}
