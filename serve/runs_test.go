package serve

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// put writes a file of a run's folder.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// logOf is a log of steps from..to with a loss of 1/step.
func logOf(from, to int) string {
	var b strings.Builder
	for s := from; s <= to; s++ {
		fmt.Fprintf(&b, `{"step":%d,"time":%d,"tokens":%d,"loss":%g,"loads":[[1,3],[2,2]]}`+"\n", s, 1000+2*s, 100*s, 1/float64(s))
	}
	return b.String()
}

func startRunsServer(t *testing.T, folders ...string) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(NewRuns(folders, RunsOptions{}))
	t.Cleanup(srv.Close)
	return srv
}

func startRuns(t *testing.T, folders ...string) string { return startRunsServer(t, folders...).URL }

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// object is the answer to a request that succeeds.
func object(t *testing.T, url string) anyMap {
	t.Helper()
	status, raw := fetch(t, url)
	if status != 200 {
		t.Fatalf("%s: %d %s", url, status, raw)
	}
	return parse(t, raw)
}

func TestRunsList(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/a/run.json", `{"format":1,"options":{"steps":7}}`)
	put(t, dir+"/a/log.jsonl", logOf(1, 3)+`{"step":4,"los`)
	put(t, dir+"/b/run.json", `{"format":1,"kind":"grpo","options":{},"total_steps":9}`)
	put(t, dir+"/b/summary.json", `{"steps":9}`)
	put(t, dir+"/deep/er/c/run.json", `{"format":1}`) // below what is searched
	put(t, dir+"/new/d/run.json", `{"format":7}`)
	put(t, dir+"/r1/stages.json", `{"stages":[{"name":"Pre","folder":"1-pre","state":"done"},{"name":"Out","folder":"../a","state":"done"},
		{"name":"RL","kind":"grpo","folder":"2-rl","state":"running","step":1,"steps":5}]}`)
	put(t, dir+"/r1/1-pre/log.jsonl", logOf(1, 2))
	list := at(t, object(t, startRuns(t, dir)+"/api/runs"), "runs").([]any)
	var got []string
	for _, r := range list {
		m := r.(anyMap)
		got = append(got, fmt.Sprint(m["id"], " ", m["kind"], " ", m["state"], " ", m["step"], " ", m["steps"]))
	}
	want := []string{"a train running 3 7", "b grpo done 0 9", "new:d train waiting 0 <nil>", "r1 train running 0 <nil>",
		"r1:1-pre train done 2 <nil>", "r1:2-rl grpo running 0 5"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("runs\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if loss := at(t, list[0], "latest", "loss"); loss != 1.0/3 {
		t.Errorf("the newest loss of a is %v", loss)
	}
	if p := list[2].(anyMap)["problem"]; p == nil || !strings.Contains(p.(string), "format 7") {
		t.Errorf("a format of another program: %v", p)
	}
	if s := at(t, list[3], "stages", 1, "id"); s != "r1:2-rl" {
		t.Errorf("the stage that leads out of the folder was not left out: %v", list[3])
	}
}

func TestRunFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/run.json", `{"format":1,"kind":"sft","options":{"lr":0.1}}`)
	put(t, dir+"/summary.json", `{"steps":2}`)
	url := startRuns(t, dir) + "/api/runs/" + filepath.Base(dir)
	one := object(t, url)
	if lr := at(t, one, "run", "options", "lr"); lr != 0.1 {
		t.Errorf("lr %v", lr)
	}
	if n := at(t, one, "summary", "steps"); n != 2.0 {
		t.Errorf("summary %v", one)
	}
	put(t, dir+"/run.json", `{"format":1,`)
	put(t, dir+"/summary.json", strings.Repeat(" ", maxObject)+`{}`)
	one = object(t, url)
	if one["run"] != nil || one["summary"] != nil || !strings.Contains(one["problem"].(string), "damaged") {
		t.Errorf("damaged files: %v", one)
	}
}

// numbers are a list of numbers of an answer; nil stands for null.
func numbers(t *testing.T, v any, path ...any) []any {
	t.Helper()
	list, ok := at(t, v, path...).([]any)
	if !ok {
		t.Fatalf("no list at %v in %v", path, v)
	}
	return list
}

func TestRunCurves(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/log.jsonl", logOf(1, 1000)+"not JSON\n"+`{"step":0,"loss":1}`+"\n"+`{"step":1001,"loss":null,"heldout":2,"name":"x"}`+"\n"+`{"step":1002,"lo`)
	url := startRuns(t, dir) + "/api/runs/" + filepath.Base(dir) + "/log"
	v := object(t, url+"?points=100")
	if v["every"] != 16.0 || v["skipped"] != 2.0 || v["more"] != false {
		t.Errorf("every %v, skipped %v, more %v", v["every"], v["skipped"], v["more"])
	}
	steps := numbers(t, v, "x", "step")
	if len(steps) != 63 || steps[0] != 16.0 || steps[62] != 1001.0 {
		t.Errorf("%d points from %v to %v", len(steps), steps[0], steps[len(steps)-1])
	}
	mean := 0.0
	for s := 17; s <= 32; s++ {
		mean += 1 / float64(s) / 16
	}
	loss := at(t, v, "series", "loss")
	lo, hi, avg := at(t, loss, "min", 1).(float64), at(t, loss, "max", 1).(float64), at(t, loss, "mean", 1).(float64)
	if near := func(a, b float64) bool { return a-b < 1e-5 && b-a < 1e-5 }; !near(lo, 1.0/32) || !near(hi, 1.0/17) || !near(avg, mean) {
		t.Errorf("steps 17 to 32: %v %v %v", lo, avg, hi)
	}
	if held := numbers(t, v, "series", "heldout", "mean"); held[61] != nil || held[62] != 2.0 {
		t.Errorf("held out: %v", held[60:])
	}
	if e := numbers(t, v, "x", "elapsed"); e[0] != 30.0 || e[61] != 2*991.0 {
		t.Errorf("elapsed: %v", e)
	}
	fine := object(t, url+"?points=4000")
	if fine["every"] != 1.0 || at(t, fine, "series", "loss").(anyMap)["min"] != nil || len(numbers(t, fine, "x", "step")) != 1001 {
		t.Errorf("every %v with %d points", fine["every"], len(numbers(t, fine, "x", "step")))
	}
}

// TestRunGrows follows a log as its run writes it, is stopped, and goes on from a
// checkpoint.
func TestRunGrows(t *testing.T) {
	dir := t.TempDir()
	url := startRuns(t, dir) + "/api/runs/" + filepath.Base(dir) + "/log"
	name := dir + "/log.jsonl"
	put(t, dir+"/run.json", `{"format":1}`)
	v := object(t, url)
	if len(numbers(t, v, "x", "step")) != 0 {
		t.Errorf("before the first step: %v", v)
	}
	put(t, name, logOf(1, 10))
	first := object(t, url)
	rest := fmt.Sprintf("?every=1&from=10&generation=%v", first["generation"])
	put(t, name, logOf(1, 12))
	v = object(t, url+rest)
	if got := fmt.Sprint(numbers(t, v, "x", "step")); got != "[10 11 12]" || v["from"] != 10.0 {
		t.Errorf("grown: %v from %v", got, v["from"])
	}
	// Cut to step 5 and written on, longer than before: all is sent again.
	put(t, name, logOf(1, 5)+strings.ReplaceAll(logOf(6, 20), `"loss":`, `"loss":7`))
	v = object(t, url+rest)
	if n := len(numbers(t, v, "x", "step")); n != 20 || v["from"] != 1.0 || v["generation"] == first["generation"] {
		t.Errorf("after a restart: %d steps from %v, generation %v", n, v["from"], v["generation"])
	}
	// One that was not cut says steps again: the later word holds.
	put(t, name, logOf(1, 20)+`{"step":15,"loss":9}`+"\n")
	v = object(t, url)
	if got := numbers(t, v, "series", "loss", "mean"); len(got) != 15 || got[14] != 9.0 {
		t.Errorf("a step said again: %v", got)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if v = object(t, url); len(numbers(t, v, "x", "step")) != 0 {
		t.Errorf("the log is gone: %v", v)
	}
}

// TestLongLog wants the memory of a log bounded whatever its length, and its ends kept.
func TestLongLog(t *testing.T) {
	l := newRunLog()
	const steps = 3*maxBuckets + 17
	for s := 1; s <= steps; s++ {
		l.add(fmt.Appendf(nil, `{"step":%d,"loss":%d,"loads":[[1,2]]}`, s, s%1000))
	}
	if n := len(l.columns["loss"]); n > maxBuckets || l.every != 4 {
		t.Errorf("%d buckets of %d", n, l.every)
	}
	sum, n := 0.0, 0
	for _, b := range l.columns["loss"] {
		sum, n = sum+b.sum, n+int(b.n)
	}
	want := 0.0
	for s := 1; s <= steps; s++ {
		want += float64(s % 1000)
	}
	if n != steps || sum != want {
		t.Errorf("%d values with a sum of %v, want %d and %v", n, sum, steps, want)
	}
	if m := &l.loads; len(m.sums) > maxLoadGroups || m.last[len(m.last)-1] != steps {
		t.Errorf("%d groups of loads up to step %d", len(m.sums), m.last[len(m.last)-1])
	}
	l.add([]byte(`{"step":1000000000,"loss":1}`))
	if len(l.columns["loss"]) > maxBuckets {
		t.Errorf("a leap in the steps: %d buckets", len(l.columns["loss"]))
	}
	for i := range 200 {
		l.add(fmt.Appendf(nil, `{"step":%d,"c%d":1}`, 2000000000+i, i))
	}
	if len(l.columns) > maxColumns {
		t.Errorf("%d columns", len(l.columns))
	}
}

// TestGiantLine passes over a line longer than any step's, whole or still being
// written.
func TestGiantLine(t *testing.T) {
	dir := t.TempDir()
	giant := `{"step":2,"x":"` + strings.Repeat("a", 3*maxLine) + `"}` + "\n"
	put(t, dir+"/log.jsonl", logOf(1, 1)+giant[:2*maxLine])
	url := startRuns(t, dir) + "/api/runs/" + filepath.Base(dir) + "/log"
	if v := object(t, url); len(numbers(t, v, "x", "step")) != 1 {
		t.Errorf("within a giant line: %v", v["x"])
	}
	put(t, dir+"/log.jsonl", logOf(1, 1)+giant+logOf(3, 3))
	if v := object(t, url); fmt.Sprint(numbers(t, v, "x", "step")) != "[1 3]" || v["skipped"] != 1.0 {
		t.Errorf("after a giant line: %v, skipped %v", v["x"], v["skipped"])
	}
}

func TestRunLoads(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/log.jsonl", logOf(1, 300))
	url := startRuns(t, dir) + "/api/runs/" + filepath.Base(dir) + "/loads"
	v := object(t, url)
	if v["layers"] != 2.0 || v["experts"] != 2.0 {
		t.Errorf("shape %v x %v", v["layers"], v["experts"])
	}
	share := numbers(t, v, "share")
	if n := len(share); n != len(numbers(t, v, "step")) || n > maxLoadGroups || n < maxLoadGroups/2 || fmt.Sprint(share[n-1]) != "[0.5 1.5]" {
		t.Errorf("%d groups, the last %v", n, share[n-1])
	}
	if last := numbers(t, object(t, url+"?layer=1"), "share", 0); fmt.Sprint(last) != "[1 1]" {
		t.Errorf("layer 1: %v", last)
	}
	if status, raw := fetch(t, url+"?layer=2"); status != 400 {
		t.Errorf("layer 2 of 2: %d %s", status, raw)
	}
	for _, bad := range []string{`[[]]`, `[[1],[1,2]]`, `[[-1,2]]`, `"x"`, `[1,2]`} {
		l := newRunLog()
		l.add([]byte(`{"step":1,"loss":2,"loads":` + bad + `}`))
		if l.step != 1 || l.loads.layers != 0 {
			t.Errorf("loads %s: step %d, %d layers", bad, l.step, l.loads.layers)
		}
	}
}

func TestRollouts(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/run.json", `{"format":1}`)
	line := `{"step":3,"group":1,"sample":2,"task":"sum","prompt":"1+1","text":"t","thought":"<b>","answer":"2","reference":"2","right":true,"score":1,"reward":1.5,"advantage":-0.5,"length":4,"finish":"stop","verdict":{"ok":true}}`
	put(t, dir+"/rollouts/00000003.jsonl", line+"\n{]\n\n"+line+"\n"+line[:40])
	put(t, dir+"/rollouts/00000012.jsonl", `{"prompt":"`+strings.Repeat("é", maxField)+`"}`+"\n"+strings.Repeat("x", maxRolloutLine+5)+"\n{}\n")
	put(t, dir+"/rollouts/3.jsonl", line)
	put(t, dir+"/rollouts/notes.txt", line)
	url := startRuns(t, dir) + "/api/runs/" + filepath.Base(dir) + "/rollouts"
	if got := fmt.Sprint(numbers(t, object(t, url), "steps")); got != "[3 12]" {
		t.Errorf("steps %v", got)
	}
	v := object(t, url+"/3")
	if n := len(numbers(t, v, "samples")); n != 2 || v["skipped"] != 1.0 || v["next"] != 0.0 {
		t.Errorf("%d samples, skipped %v, next %v", n, v["skipped"], v["next"])
	}
	if s := at(t, v, "samples", 0); at(t, s, "advantage") != -0.5 || at(t, s, "verdict", "ok") != true || at(t, s, "thought") != "<b>" {
		t.Errorf("sample %v", s)
	}
	v = object(t, url+"/12")
	if p := at(t, v, "samples", 0, "prompt").(string); len(p) > maxField || strings.Trim(p, "é") != "" || at(t, v, "samples", 0, "cut") != true {
		t.Errorf("a long text: %d bytes", len(p))
	}
	if n := len(numbers(t, v, "samples")); n != 2 || v["skipped"] != 1.0 {
		t.Errorf("%d samples, skipped %v", n, v["skipped"])
	}
	if status, raw := fetch(t, url+"/4"); status != 404 || !strings.Contains(raw, "no rollouts of step 4") {
		t.Errorf("step 4: %d %s", status, raw)
	}
}

// TestManyRollouts pages through a step with more samples than one answer holds.
func TestManyRollouts(t *testing.T) {
	dir := t.TempDir()
	var b bytes.Buffer
	const n = maxSamples + 100
	for i := range n {
		fmt.Fprintf(&b, `{"group":0,"sample":%d}`+"\n", i)
	}
	put(t, dir+"/run.json", `{"format":1}`)
	put(t, dir+"/rollouts/00000001.jsonl", b.String())
	url := startRuns(t, dir) + "/api/runs/" + filepath.Base(dir) + "/rollouts/1"
	first := object(t, url)
	rest := object(t, fmt.Sprintf("%s?at=%.0f", url, first["next"]))
	if a, b := len(numbers(t, first, "samples")), len(numbers(t, rest, "samples")); a != maxSamples || b != 100 || rest["next"] != 0.0 {
		t.Errorf("%d and %d samples, then %v", a, b, rest["next"])
	}
	if s := at(t, rest, "samples", 99, "sample"); s != float64(n-1) {
		t.Errorf("the last sample is %v", s)
	}
}

// TestRunsStayInside wants nothing outside the folders read: not by the names in a
// request, not by links, not by what a run's own files say; and no pipe waited for.
func TestRunsStayInside(t *testing.T) {
	outside := t.TempDir()
	put(t, outside+"/secret/run.json", `{"format":1,"options":{"steps":77}}`)
	put(t, outside+"/secret/log.jsonl", logOf(1, 9))
	put(t, outside+"/secret/rollouts/00000001.jsonl", `{"prompt":"secret"}`+"\n")
	dir := t.TempDir()
	put(t, dir+"/a/run.json", `{"format":1}`)
	put(t, dir+"/a/stages.json", `{"stages":[{"name":"x","folder":"/etc","state":"done"},{"name":"y","folder":"link","state":"done"},{"name":"z","folder":"../../`+filepath.Base(outside)+`/secret","state":"done"}]}`)
	for link, target := range map[string]string{
		"link": "secret", "a/link": "secret", "a/log.jsonl": "secret/log.jsonl", "a/summary.json": "secret/run.json", "a/rollouts": "secret/rollouts",
	} {
		if err := os.Symlink(filepath.Join(outside, target), filepath.Join(dir, link)); err != nil {
			t.Skip("no links here:", err)
		}
	}
	url := startRuns(t, dir)
	_, list := fetch(t, url+"/api/runs")
	for _, path := range []string{"/api/runs/a", "/api/runs/a/log", "/api/runs/a/rollouts", "/api/runs/a/rollouts/1", "/api/runs/a:link", "/api/runs/a:link/log", "/api/runs/link",
		"/api/runs/..%2f" + filepath.Base(outside) + "%2fsecret", "/api/runs/a%2f..%2f..%2fsecret/log", "/api/runs/a/rollouts/..%2f..%2frun.json", "/api/runs/a/rollouts/-1",
		"/..%2frun.json", "/run.json", "/%2e%2e/page.go"} {
		status, raw := fetch(t, url+path)
		if strings.Contains(raw+list, "77") || strings.Contains(raw, `"prompt":"secret"`) || strings.Contains(raw, `"step":[1`) || strings.Contains(raw, "package serve") {
			t.Errorf("%s: %d %s", path, status, raw)
		}
	}
}

func TestRunsRefuse(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/a/run.json", `{"format":1}`)
	url := startRuns(t, dir)
	for path, want := range map[string]int{
		"/": 200, "/page.js": 200, "/uplot.js": 200, "/api/runs": 200, "/api/runs/a": 200, "/api/runs/b": 404, "/api/runs/a/log?points=0": 400, "/api/runs/a/log?points=1e9": 400,
		"/api/runs/a/log?from=-1": 400, "/api/runs/a/loads?layer=x": 400, "/api/runs/a/rollouts/x": 400, "/api/runs/a/rollouts/99999999999999999999": 400,
		"/api/runs/a/rollouts/1?at=-5": 400, "/api/other": 404, "/v1/models": 404, "/app.js": 404,
	} {
		if status, raw := fetch(t, url+path); status != want {
			t.Errorf("%s: %d, want %d: %.200s", path, status, want, raw)
		}
	}
	resp, err := http.Post(url+"/api/runs", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 404 && resp.StatusCode != 405 {
		t.Errorf("a POST: %d", resp.StatusCode)
	}
	for name, value := range map[string]string{"Host": "evil.example", "Origin": "http://evil.example"} {
		req, _ := http.NewRequest("GET", url+"/api/runs", nil)
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 403 {
			t.Errorf("a foreign %s: %d", name, resp.StatusCode)
		}
	}
	keyed := httptest.NewServer(NewRuns([]string{dir}, RunsOptions{APIKey: "k"}))
	defer keyed.Close()
	for path, want := range map[string]int{"/": 200, "/api/runs": 401, "/api/runs/a/log": 401} {
		if status, _ := fetch(t, keyed.URL+path); status != want {
			t.Errorf("%s without the key: %d", path, status)
		}
	}
}

// TestRunsOfTwoFolders tells runs of one name apart, and finds what is made later.
func TestRunsOfTwoFolders(t *testing.T) {
	a, b, none := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "later")
	put(t, a+"/x/run.json", `{"format":1,"kind":"sft"}`)
	put(t, b+"/x/run.json", `{"format":1,"kind":"grpo"}`)
	url := startRuns(t, a, b, none)
	for id, kind := range map[string]string{"x": "sft", "x~2": "grpo"} {
		if got := at(t, object(t, url+"/api/runs/"+id), "kind"); got != kind {
			t.Errorf("%s is of kind %v", id, got)
		}
	}
	put(t, none+"/log.jsonl", logOf(1, 1))
	for range 100 {
		if status, _ := fetch(t, url+"/api/runs/later"); status == 200 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("a folder made later is not found")
}
