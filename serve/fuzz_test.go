package serve

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"sonde/engine"
)

// Whatever a body holds, the answer is JSON (or a stream) with a status that fits: the
// server never fails on it.
func FuzzBody(f *testing.F) {
	for _, s := range []string{
		`{"messages":[{"role":"user","content":"hi"}],"max_tokens":3}`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"stream":true,"n":2}`,
		`{"prompt":["a","b"],"max_tokens":2,"echo":true,"logprobs":1,"stop":["x"]}`,
		`{"prompt":[[1,2],[3]],"seed":-9223372036854775808,"top_p":0,"stream_options":null}`,
		`{"prompt":"x","n":null,"stop":null,"logit_bias":{},"temperature":1e-300}`,
		`[]`, `{`, `{"prompt":{}}`, "\xff", `{"messages":[null]}`, `{"messages":[{}],"stop":[[]]}`,
	} {
		f.Add(s)
	}
	m := &fakeModel{name: "fake", script: "ok"}
	m.eng = engine.Of(m, m, engine.Limits{Context: 64}) // hot temperatures write to its end
	h := New([]Model{m}, Options{Log: quiet()})
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{"/v1/chat/completions", "/v1/completions"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(body)))
			if w.Code >= 500 {
				t.Fatalf("%s %q: %d %s", path, body, w.Code, w.Body)
			}
			if w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%s %q: not JSON: %s", path, body, w.Body)
			}
		}
	})
}
