package serve

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

type anyMap = map[string]any

func parse(t *testing.T, raw string) anyMap {
	t.Helper()
	var v anyMap
	if err := json.Unmarshal([]byte(raw), &v); err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	return v
}

// at walks objects by key and lists by number.
func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch k := p.(type) {
		case string:
			m, ok := v.(anyMap)
			if !ok {
				t.Fatalf("%v: no object at %v: %v", path, p, v)
			}
			v = m[k]
		case int:
			l, ok := v.([]any)
			if !ok || k >= len(l) {
				t.Fatalf("%v: no item %v: %v", path, p, v)
			}
			v = l[k]
		}
	}
	return v
}

// events are the data of a stream's events.
func eventsOf(t *testing.T, raw string) (list []anyMap, done bool) {
	t.Helper()
	for e := range strings.SplitSeq(strings.TrimSpace(raw), "\n\n") {
		data, ok := strings.CutPrefix(e, "data: ")
		if !ok {
			t.Fatalf("not an event: %q", e)
		}
		if data == "[DONE]" {
			done = true
			continue
		}
		list = append(list, parse(t, data))
	}
	return list, done
}

func TestModels(t *testing.T) {
	srv := startFake(t, &fakeModel{}, Options{})
	for _, path := range []string{"/v1/models", "/v1/models/fake", "/health", "/"} {
		resp, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", path, resp.StatusCode, raw)
		}
		if path == "/v1/models" {
			if id := at(t, parse(t, string(raw)), "data", 0, "id"); id != "fake" {
				t.Errorf("model %v", id)
			}
		}
	}
	resp, err := http.Get(srv.URL + "/v1/models/other")
	if err != nil || resp.StatusCode != 404 {
		t.Errorf("an unknown model: %v %v", resp, err)
	}
}

func TestChat(t *testing.T) {
	srv := startFake(t, &fakeModel{}, Options{})
	status, raw, _ := post(t, srv.URL+"/v1/chat/completions",
		`{"model":"fake","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"user":"me","tools":[],"presence_penalty":0}`)
	if status != 200 {
		t.Fatal(status, raw)
	}
	v := parse(t, raw)
	if got := at(t, v, "choices", 0, "message", "content"); got != "Hello, 世界!" {
		t.Errorf("content %q", got)
	}
	if got := at(t, v, "choices", 0, "finish_reason"); got != "stop" {
		t.Errorf("finish_reason %v", got)
	}
	if p, c := at(t, v, "usage", "prompt_tokens"), at(t, v, "usage", "completion_tokens"); p != 10.0 || c != 14.0 {
		t.Errorf("usage %v", v["usage"])
	}
}

func TestChatStream(t *testing.T) {
	srv := startFake(t, &fakeModel{}, Options{})
	status, raw, head := post(t, srv.URL+"/v1/chat/completions",
		`{"messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true},"n":2,"max_completion_tokens":9,"logprobs":true,"top_logprobs":2}`)
	if status != 200 || head.Get("Content-Type") != "text/event-stream" {
		t.Fatal(status, head, raw)
	}
	list, done := eventsOf(t, raw)
	if !done {
		t.Error("no [DONE]")
	}
	texts := map[float64]string{}
	tokens := map[float64]int{}
	for _, e := range list[:len(list)-1] {
		i := at(t, e, "choices", 0, "index").(float64)
		if c := at(t, e, "choices", 0, "delta", "content"); c != nil {
			if (texts[i] == "") != (at(t, e, "choices", 0, "delta", "role") == "assistant") {
				t.Errorf("the role belongs to the first part alone: %v", e)
			}
			texts[i] += c.(string)
			tokens[i] += len(at(t, e, "choices", 0, "logprobs", "content").([]any))
		} else if f := at(t, e, "choices", 0, "finish_reason"); f != "length" {
			t.Errorf("finish_reason %v", f)
		}
	}
	// Nine bytes end within the first Chinese character.
	if texts[0] != "Hello, \uFFFD" || texts[1] != texts[0] || tokens[0] != 9 {
		t.Errorf("texts %v, tokens %v", texts, tokens)
	}
	last := list[len(list)-1]
	if at(t, last, "usage", "completion_tokens") != 18.0 || len(at(t, last, "choices").([]any)) != 0 {
		t.Errorf("the last event: %v", last)
	}
}

func TestStop(t *testing.T) {
	srv := startFake(t, &fakeModel{}, Options{})
	for _, stop := range []string{`"o, "`, `["zz","o, "]`} {
		_, raw, _ := post(t, srv.URL+"/v1/completions", `{"prompt":"x","stop":`+stop+`}`)
		v := parse(t, raw)
		if at(t, v, "choices", 0, "text") != "Hell" || at(t, v, "choices", 0, "finish_reason") != "stop" {
			t.Errorf("stop %s: %v", stop, raw)
		}
	}
}

func TestCompletionForms(t *testing.T) {
	srv := startFake(t, &fakeModel{endless: true, script: "ab"}, Options{})
	for body, want := range map[string][]string{
		`{"prompt":"x","max_tokens":3}`:                            {"aba"},
		`{"prompt":["x","y"],"max_tokens":2,"n":2}`:                {"ab", "ab", "ab", "ab"},
		`{"prompt":[120,121],"max_tokens":2,"echo":true}`:          {"xyab"},
		`{"prompt":[[120],[121]],"max_tokens":1,"echo":true}`:      {"xa", "ya"},
		`{"prompt":"x","max_tokens":0}`:                            {""},
		`{"prompt":"xyz","max_tokens":0,"echo":true,"logprobs":1}`: {"xyz"},
		`{"prompt":"x"}`: {"abababababababab"},
		`{"prompt":"","max_tokens":1,"logprobs":null,"seed":-3,"top_p":0}`: {"a"},
	} {
		status, raw, _ := post(t, srv.URL+"/v1/completions", body)
		if status != 200 {
			t.Errorf("%s: %d %s", body, status, raw)
			continue
		}
		choices := at(t, parse(t, raw), "choices").([]any)
		if len(choices) != len(want) {
			t.Errorf("%s: %d choices", body, len(choices))
			continue
		}
		for i, w := range want {
			if got := at(t, choices[i], "text"); got != w {
				t.Errorf("%s: choice %d is %q, want %q", body, i, got, w)
			}
		}
	}
}

func TestCompletionLogProbs(t *testing.T) {
	srv := startFake(t, &fakeModel{endless: true, script: "ab"}, Options{})
	for _, stream := range []string{"", `,"stream":true`} {
		_, raw, _ := post(t, srv.URL+"/v1/completions", `{"prompt":"xyz","max_tokens":2,"echo":true,"logprobs":2`+stream+`}`)
		var tokens, offsets []any
		nulls := 0
		add := func(choice any) {
			lp := at(t, choice, "logprobs")
			if lp == nil {
				return
			}
			tokens = append(tokens, at(t, lp, "tokens").([]any)...)
			offsets = append(offsets, at(t, lp, "text_offset").([]any)...)
			for _, v := range at(t, lp, "token_logprobs").([]any) {
				if v == nil {
					nulls++
				}
			}
		}
		if stream == "" {
			add(at(t, parse(t, raw), "choices", 0))
		} else {
			list, _ := eventsOf(t, raw)
			for _, e := range list {
				add(at(t, e, "choices", 0))
			}
		}
		if len(tokens) != 5 || tokens[0] != "x" || tokens[4] != "b" || offsets[4] != 4.0 || nulls != 0 {
			t.Errorf("tokens %v, offsets %v, %d nulls", tokens, offsets, nulls)
		}
	}
	_, raw, _ := post(t, srv.URL+"/v1/completions", `{"prompt":[120,121],"max_tokens":0,"echo":true,"logprobs":0}`)
	lps := at(t, parse(t, raw), "choices", 0, "logprobs", "token_logprobs").([]any)
	if len(lps) != 2 || lps[0] != nil || lps[1] == nil {
		t.Errorf("nothing stands before the first token: %v", raw)
	}
}
