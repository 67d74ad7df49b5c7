package serve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sonde/engine"
)

func TestBadRequests(t *testing.T) {
	srv := startFake(t, &fakeModel{}, Options{MaxBody: 10000})
	chat, comp := "/v1/chat/completions", "/v1/completions"
	msg := `"messages":[{"role":"user","content":"hi"}]`
	tests := []struct {
		path, body string
		status     int
		param      any // of the error; nil: none
		says       string
	}{
		{chat, ``, 400, nil, "empty"},
		{chat, `not JSON`, 400, nil, "not a JSON object"},
		{chat, `[1,2]`, 400, nil, "array"},
		{chat, `null`, 400, nil, "null"},
		{chat, `{"messages":[]} {}`, 400, nil, "goes on"},
		{chat, `{` + msg + `,"temperature":NaN}`, 400, nil, "not a JSON object"},
		{chat, strings.Repeat("x", 10001), 413, nil, "10000 bytes"},
		{chat, `{` + strings.Repeat(`"a":{`, 1500), 400, nil, "not a JSON object"},
		{chat, `{}`, 400, "messages", "at least one"},
		{chat, `{"messages":"hi"}`, 400, "messages", "list"},
		{chat, `{"messages":[{"role":"wizard","content":"hi"}]}`, 400, "messages", "wizard"},
		{chat, `{"messages":[{"role":"user","content":7}]}`, 400, "messages", "string"},
		{chat, `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://127.0.0.1/"}}]}]}`, 400, "messages", "image_url"},
		{chat, `{"messages":[{"role":"user","content":"refuse"}]}`, 400, "messages", "template"},
		{chat, `{` + msg + `,"model":"gpt-4"}`, 404, "model", "gpt-4"},
		{chat, `{` + msg + `,"model":4}`, 400, "model", "string"},
		{chat, `{` + msg + `,"temperature":"hot"}`, 400, "temperature", "number"},
		{chat, `{` + msg + `,"temperature":-1}`, 400, "temperature", "-1"},
		{chat, `{` + msg + `,"temperature":1e999}`, 400, "temperature", "number"},
		{chat, `{` + msg + `,"top_p":1.5}`, 400, "top_p", "between"},
		{chat, `{` + msg + `,"min_p":-0.5}`, 400, "min_p", "between"},
		{chat, `{` + msg + `,"top_k":-7}`, 400, "top_k", "-7"},
		{chat, `{` + msg + `,"max_tokens":-5}`, 400, "max_tokens", "negative"},
		{chat, `{` + msg + `,"max_tokens":1e30}`, 400, "max_tokens", "integer"},
		{chat, `{` + msg + `,"max_tokens":2.5}`, 400, "max_tokens", "integer"},
		{chat, `{` + msg + `,"max_completion_tokens":-5}`, 400, "max_completion_tokens", "negative"},
		{chat, `{` + msg + `,"n":0}`, 400, "n", "between"},
		{chat, `{` + msg + `,"n":1000000}`, 400, "n", "between"},
		{chat, `{` + msg + `,"seed":1.5}`, 400, "seed", "integer"},
		{chat, `{` + msg + `,"stop":5}`, 400, "stop", "string"},
		{chat, `{` + msg + `,"stop":[""]}`, 400, "stop", "bytes"},
		{chat, `{` + msg + `,"top_logprobs":3}`, 400, "top_logprobs", "logprobs"},
		{chat, `{` + msg + `,"logprobs":true,"top_logprobs":100}`, 400, "top_logprobs", "between"},
		{chat, `{` + msg + `,"stream":"yes"}`, 400, "stream", "true or false"},
		{chat, `{` + msg + `,"tools":[{"type":"function"}]}`, 400, "tools", "must be"},
		{chat, `{` + msg + `,"tools":[` + strings.Repeat(`{},`, 200) + `{}]}`, 400, "tools", "at most"},
		{chat, `{` + msg + `,"tool_choice":"required"}`, 400, "tool_choice", "cannot force"},
		{chat, `{` + msg + `,"thinking":{"type":"maybe"}}`, 400, "thinking", "enabled or disabled"},
		{chat, `{` + msg + `,"chat_template_kwargs":{"bos_token":"x"}}`, 400, "chat_template_kwargs", "cannot set"},
		{chat, `{` + msg + `,"response_format":{"type":"json_object"}}`, 400, "response_format", "not supported"},
		{chat, `{` + msg + `,"frequency_penalty":0.5}`, 400, "frequency_penalty", "not supported"},
		{chat, `{` + msg + `,"temprature":1}`, 400, "temprature", "not a parameter"},
		{comp, `{}`, 400, "prompt", "missing"},
		{comp, `{"prompt":null}`, 400, "prompt", "missing"},
		{comp, `{"prompt":{"a":1}}`, 400, "prompt", "must be"},
		{comp, `{"prompt":[1,-2]}`, 400, "prompt", "vocabulary"},
		{comp, `{"prompt":[1,99999999999]}`, 400, "prompt", "must be"},
		{comp, `{"prompt":[[]]}`, 400, "prompt", "empty"},
		{comp, `{"prompt":["a","b","c","d","e","f","g","h","i"]}`, 400, "prompt", "9 texts"},
		{comp, `{"prompt":"x","logprobs":-1}`, 400, "logprobs", "between"},
		{comp, `{"prompt":"x","suffix":"y"}`, 400, "suffix", "not supported"},
		{comp, `{"prompt":"` + strings.Repeat("x", 5000) + `"}`, 400, nil, "4096"},
		{"/v1/embeddings", `{}`, 404, nil, "nothing at"},
	}
	for _, tc := range tests {
		status, raw, _ := post(t, srv.URL+tc.path, tc.body)
		body := tc.body
		if len(body) > 150 {
			body = body[:150]
		}
		if status != tc.status {
			t.Errorf("%s: status %d, want %d: %s", body, status, tc.status, raw)
			continue
		}
		e := at(t, parse(t, raw), "error").(anyMap)
		if e["param"] != tc.param || !strings.Contains(e["message"].(string), tc.says) {
			t.Errorf("%s: %v", body, e)
		}
	}
	// A refusal of a stream has its status too.
	if status, raw, _ := post(t, srv.URL+comp, `{"prompt":"x","stream":true,"temperature":-1}`); status != 400 {
		t.Errorf("%d %s", status, raw)
	}
}

func TestBusy(t *testing.T) {
	gate := make(chan struct{})
	m := &fakeModel{lim: engine.Limits{Slots: 1, Queue: 1}, step: func() { <-gate }}
	srv := startFake(t, m, Options{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if status, raw, _ := post(t, srv.URL+"/v1/completions", `{"prompt":"x"}`); status != 200 {
				t.Errorf("%d %s", status, raw)
			}
		})
	}
	for a, w := 0, 0; a+w < 2; a, w = m.eng.Load() {
		time.Sleep(time.Millisecond)
	}
	for _, stream := range []string{"false", "true"} {
		status, raw, head := post(t, srv.URL+"/v1/completions", `{"prompt":"x","stream":`+stream+`}`)
		if status != 429 || head.Get("Retry-After") == "" {
			t.Errorf("%d %v %s", status, head, raw)
		}
	}
	close(gate)
	wg.Wait()
}

// A client that leaves frees its sequence within a step, whether it streams or not.
func TestClientLeaves(t *testing.T) {
	var steps atomic.Int32
	m := &fakeModel{endless: true, step: func() { steps.Add(1); time.Sleep(2 * time.Millisecond) }}
	srv := startFake(t, m, Options{})
	for _, stream := range []string{"false", "true"} {
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "POST", srv.URL+"/v1/completions",
			strings.NewReader(`{"prompt":"x","max_tokens":4000,"stream":`+stream+`}`))
		go func() {
			for steps.Load() < 10 {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
			}
			resp.Body.Close()
		}
		deadline := time.Now().Add(5 * time.Second)
		for a := 1; a > 0; a, _ = m.eng.Load() {
			if time.Now().After(deadline) {
				t.Fatalf("stream %s: the sequence goes on after the client left", stream)
			}
			time.Sleep(time.Millisecond)
		}
		if n := steps.Load(); n > 500 {
			t.Errorf("stream %s: %d steps", stream, n)
		}
		steps.Store(0)
	}
}

func TestHostAndOrigin(t *testing.T) {
	srv := startFake(t, &fakeModel{}, Options{})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(srv.URL, "http://"))
	tests := []struct {
		host, origin string
		want         int
	}{
		{"", "", 200},
		{"localhost:" + port, "", 200},
		{"LOCALHOST", "", 200},
		{"[::1]:" + port, "", 200},
		{"127.0.0.1:" + port, "http://127.0.0.1:" + port, 200},
		{"evil.example:" + port, "", 403},
		{"127.0.0.1.evil.example", "", 403},
		{"localhost.evil.example", "", 403},
		{"evil.example", "http://evil.example", 403},
		{"", "https://evil.example", 403},
		{"", "null", 403},
		{"127.0.0.1:" + port, "http://127.0.0.1:1", 403},
	}
	for _, tc := range tests {
		for _, path := range []string{"/v1/models", "/", "/health"} {
			req, _ := http.NewRequest("GET", srv.URL+path, nil)
			req.Host = tc.host
			if tc.origin != "" {
				req.Header.Set("Origin", tc.origin)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tc.want {
				t.Errorf("host %q, origin %q, %s: %d, want %d", tc.host, tc.origin, path, resp.StatusCode, tc.want)
			}
		}
	}
}

func TestAPIKey(t *testing.T) {
	srv := startFake(t, &fakeModel{}, Options{APIKey: "secret"})
	for key, want := range map[string]int{"": 401, "Bearer ": 401, "Bearer secre": 401, "Bearer secret2": 401, "secret": 200, "Bearer secret": 200} {
		for _, path := range []string{"/v1/models", "/v1/chat/completions", "/v1/nothing"} {
			req, _ := http.NewRequest("GET", srv.URL+path, nil)
			req.Header.Set("Authorization", key)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if (resp.StatusCode == 401) != (want == 401) {
				t.Errorf("key %q, %s: %d", key, path, resp.StatusCode)
			}
		}
	}
}

func TestPanicsAreContained(t *testing.T) {
	var steps atomic.Int32
	m := &fakeModel{step: func() {
		if n := steps.Add(1); n == 1 || n == 4 {
			panic("a bug")
		}
	}}
	srv := startFake(t, m, Options{})
	if status, raw, _ := post(t, srv.URL+"/v1/completions", `{"prompt":"x"}`); status != 500 || strings.Contains(raw, "a bug") {
		t.Errorf("%d %s", status, raw)
	}
	// In the middle of a stream the connection is cut: no [DONE] pretends it was whole.
	resp, err := http.Post(srv.URL+"/v1/completions", "application/json", strings.NewReader(`{"prompt":"x","stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	sc := bufio.NewScanner(resp.Body)
	for sc.Scan() {
		if strings.Contains(sc.Text(), "[DONE]") {
			t.Error("the stream looks whole")
		}
	}
	if sc.Err() == nil {
		t.Error("the connection was not cut")
	}
	if status, raw, _ := post(t, srv.URL+"/v1/completions", `{"prompt":"x"}`); status != 200 {
		t.Errorf("afterwards: %d %s", status, raw)
	}
}

func TestSlowReaderIsCut(t *testing.T) {
	// The deadline that is set for every event ends a write that nobody reads.
	server, client := net.Pipe()
	defer client.Close()
	w := &pipeWriter{conn: server}
	e := newEvents(w)
	e.begun = true
	began := time.Now()
	w.deadline = 50 * time.Millisecond
	if err := e.send("x"); err == nil {
		t.Error("a write that nobody reads succeeded")
	}
	if time.Since(began) > 5*time.Second {
		t.Error("the writer hung")
	}
	if !w.asked {
		t.Error("no deadline was set")
	}
}

// pipeWriter answers over a pipe, with deadlines scaled down.
type pipeWriter struct {
	httptest.ResponseRecorder
	conn     net.Conn
	deadline time.Duration
	asked    bool
}

func (w *pipeWriter) Write(b []byte) (int, error) { return w.conn.Write(b) }
func (w *pipeWriter) SetWriteDeadline(d time.Time) error {
	w.asked = time.Until(d) <= slowReader
	return w.conn.SetWriteDeadline(time.Now().Add(w.deadline))
}

func TestListen(t *testing.T) {
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for addr, says := range map[string]string{
		ln.Addr().String(): "port " + port + " on 127.0.0.1 is in use",
		"nonsense":         "HOST:PORT",
		"127.0.0.1:99999":  "cannot listen",
		"192.0.2.1:8080":   "cannot listen",
	} {
		l, err := Listen(addr)
		if err == nil {
			l.Close()
			t.Errorf("%s: no error", addr)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// A shutdown lets answers under way finish and takes no new ones.
func TestDrain(t *testing.T) {
	started := make(chan struct{})
	var once sync.Once
	m := &fakeModel{name: "fake", script: "a long answer", step: func() {
		once.Do(func() { close(started) })
		time.Sleep(5 * time.Millisecond)
	}}
	m.eng = engine.Of(m, m, engine.Limits{})
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, ln, New([]Model{m}, Options{Log: quiet()}), quiet()) }()
	url := fmt.Sprintf("http://%s/v1/completions", ln.Addr())
	answer := make(chan string, 1)
	go func() {
		_, raw, _ := post(t, url, `{"prompt":"x"}`)
		answer <- raw
	}()
	<-started
	stop()
	if raw := <-answer; !strings.Contains(raw, "a long answer") {
		t.Errorf("the answer under way: %s", raw)
	}
	if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if _, err := http.Get(url); err == nil {
		t.Error("the server still listens")
	}
}

// The page is self-contained and never makes HTML of what a model writes.
func TestPage(t *testing.T) {
	srv := startFake(t, &fakeModel{}, Options{})
	resp, err := http.Get(srv.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if p := resp.Header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") {
		t.Errorf("policy %q", p)
	}
	for _, name := range []string{"index.html", "app.js", "problems.js", "style.css"} {
		raw, err := web.ReadFile("web/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://", "style=\""} {
			if strings.Contains(string(raw), bad) {
				t.Errorf("%s contains %s", name, bad)
			}
		}
	}
}
