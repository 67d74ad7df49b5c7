package serve

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"sonde/engine"
	"sonde/reason/task"
)

// get returns the status and the body at a path.
func get(t *testing.T, srv *httptest.Server, path string) (int, string) {
	t.Helper()
	return fetch(t, srv.URL+path)
}

func decode[T any](t *testing.T, raw string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(raw), &v); err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	return v
}

// TestProblemsOfEveryTask: every family has a problem that is held out, is the same for the
// same seed, does not tell its answer, and is judged by its own verifier.
func TestProblemsOfEveryTask(t *testing.T) {
	srv := startFake(t, &fakeModel{}, Options{})
	status, raw := get(t, srv, "/v1/sonde/tasks")
	list := decode[struct{ Tasks []taskObject }](t, raw).Tasks
	if status != 200 || len(list) != len(task.All())+1 {
		t.Fatalf("%d %s", status, raw)
	}
	for _, info := range list {
		path := "/v1/sonde/problems?seed=7&task=" + url.QueryEscape(info.Name)
		_, raw := get(t, srv, path)
		p := decode[problemObject](t, raw)
		if p.Task != info.Name || p.Seed != 7 || p.Difficulty != info.Default || p.Split != "held-out" || p.ID == "" || strings.Contains(raw, `"answer"`) {
			t.Errorf("%s: %s", path, raw)
		}
		if _, again := get(t, srv, path); again != raw {
			t.Errorf("%s: %s and %s", path, raw, again)
		}
		if _, other := get(t, srv, path+"8"); other == raw {
			t.Errorf("%s: seed 78 makes the same problem", path)
		}
		known, _ := task.ByName(info.Name)
		want, err := task.Sample(known, task.HeldOut, task.NewRand(7), info.Default)
		if err != nil || want.ID != p.ID || task.SplitOf(want) != task.HeldOut {
			t.Errorf("%s: %v, %v", path, want.ID, err)
		}
		for output, right := range map[string]bool{"<think>\nhm\n</think>\n\n" + want.Answer: true, want.Answer: true, "": false, "<think>\nhm": false, "no idea": false} {
			q, _ := json.Marshal(map[string]any{"task": p.Task, "seed": p.Seed, "difficulty": p.Difficulty, "split": p.Split, "output": output})
			status, raw, _ := post(t, srv.URL+"/v1/sonde/verify", string(q))
			v := decode[verdictObject](t, raw)
			if status != 200 || v.Right != right || v.Right != (v.Score == 1) || v.Reason == "" || v.Answer != want.Answer {
				t.Errorf("%s: %q: %s", p.Task, output, raw)
			}
		}
	}
}

func TestProblemsRefuse(t *testing.T) {
	srv := startFake(t, &fakeModel{}, Options{MaxBody: 1000})
	for _, c := range []struct{ query, want string }{
		{"", "there is no task"},
		{"task=nope", "GET /v1/sonde/tasks lists them"},
		{"task=letters&seed=-1", "seed is"},
		{"task=letters&seed=99999999999999999999999", "seed is"},
		{"task=letters&difficulty=x", "difficulty is"},
		{"task=letters&difficulty=17", "between 1 and 16"},
		{"task=letters&difficulty=-1", "between 1 and 16"},
		{"task=letters&split=all", "split is"},
		{"task=letters&sed=3", "not a parameter"},
		{"task=letters&task=units", "given 2 times"},
	} {
		if status, raw := get(t, srv, "/v1/sonde/problems?"+c.query); status != 400 || !strings.Contains(raw, c.want) {
			t.Errorf("%s: %d %s", c.query, status, raw)
		}
	}
	for body, want := range map[string]string{
		`{"task":"letters"}`:                          "output is missing",
		`{"task":"letters","seed":-1,"output":""}`:    "seed must be",
		`{"task":"letters","seed":"1","output":""}`:   "seed must be",
		`{"task":"nope","output":""}`:                 "there is no task",
		`{"task":"letters","output":"","answer":"3"}`: "not a parameter",
		`[]`: "not a JSON object",
		`{"task":"letters","output":"` + strings.Repeat("x", 2000) + `"}`: "larger than",
	} {
		if status, raw, _ := post(t, srv.URL+"/v1/sonde/verify", body); status < 400 || status > 413 || !strings.Contains(raw, want) {
			t.Errorf("%.80s: %d %s", body, status, raw)
		}
	}
	if status, _ := get(t, startFake(t, &fakeModel{}, Options{APIKey: "k"}), "/v1/sonde/tasks"); status != 401 {
		t.Errorf("%d without the key", status)
	}
}

// TestPageHasProblems: the page loads what offers them.
func TestPageHasProblems(t *testing.T) {
	srv := startFake(t, &fakeModel{}, Options{})
	for path, want := range map[string]string{"/": `<script src="problems.js"`, "/problems.js": "v1/sonde/verify"} {
		if status, raw := get(t, srv, path); status != 200 || !strings.Contains(raw, want) {
			t.Errorf("%s: %d, no %s", path, status, want)
		}
	}
}

// described is a model that says what it is and how it wants its tokens chosen.
type described struct {
	*fakeModel
	temperature, topP float64
}

func (d described) About() string                      { return "counts sheep" }
func (d described) Sampling() (float64, float64, bool) { return d.temperature, d.topP, true }

// TestModelsOwnSampling: a request that names no temperature gets the model's.
func TestModelsOwnSampling(t *testing.T) {
	m := described{&fakeModel{name: "fake", script: "x"}, 0.25, 0.5}
	m.eng = engine.Of(m, m, m.lim)
	srv := httptest.NewServer(New([]Model{m}, Options{Log: quiet()}))
	t.Cleanup(srv.Close)
	_, raw := get(t, srv, "/v1/models/fake")
	if o := decode[modelObject](t, raw); o.About != "counts sheep" || o.Temperature != 0.25 || o.TopP != 0.5 {
		t.Error(raw)
	}
	half := 0.5
	for _, c := range []struct {
		q    sampling
		want string
	}{
		{sampling{}, "0.25 0.5"},
		{sampling{Temperature: &half}, "0.5 0.5"},
		{sampling{TopP: new(float64)}, "0.25 1e-12"},
	} {
		p, err := c.q.params(m)
		if got := fmt.Sprint(p.Temperature, " ", p.TopP); err != nil || strings.Join(strings.Fields(got), " ") != c.want {
			t.Errorf("%+v: %s, %v, want %s", c.q, got, err, c.want)
		}
	}
	p, err := new(sampling).params(m.fakeModel)
	if err != nil || p.Temperature != 1 || p.TopP != 1 {
		t.Errorf("a model that says nothing: %+v, %v", p, err)
	}
}
