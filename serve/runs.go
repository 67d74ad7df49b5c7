package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path"
	"strconv"
	"time"
)

// RunsOptions configure the page of runs. The zero value is good.
type RunsOptions struct {
	APIKey string       // asked for on every /api path where set
	Log    *slog.Logger // nil: slog.Default()
}

// runsServer is the handler of NewRuns.
type runsServer struct {
	shelf *shelf
}

// NewRuns makes a handler that shows runs of training, while they go on or later: a
// page at / and, for it and for others,
//
//	GET /api/runs                       what runs there are, each with its state and newest numbers
//	GET /api/runs/{id}                  one of them, with its run.json and summary.json
//	GET /api/runs/{id}/log              its curves, as many points as asked for
//	GET /api/runs/{id}/loads            how many tokens each expert of a layer got
//	GET /api/runs/{id}/rollouts         the steps whose rollouts were kept
//	GET /api/runs/{id}/rollouts/{step}  the samples of one step
//
// Each folder is a run's or holds runs, at most two folders deep; one that does not
// exist yet is looked for again. The handler reads run.json, log.jsonl, summary.json,
// stages.json and rollouts/, writes nothing, and follows no link out of a folder.
// A run's id is its path below the folder with ":" for "/". Errors have the shape
// that New's have.
func NewRuns(folders []string, o RunsOptions) http.Handler {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &runsServer{newShelf(folders)}
	api := http.NewServeMux()
	api.HandleFunc("GET /api/runs", s.list)
	api.HandleFunc("GET /api/runs/{id}", s.one)
	api.HandleFunc("GET /api/runs/{id}/log", s.log)
	api.HandleFunc("GET /api/runs/{id}/loads", s.loads)
	api.HandleFunc("GET /api/runs/{id}/rollouts", s.rolloutSteps)
	api.HandleFunc("GET /api/runs/{id}/rollouts/{step}", s.rollouts)
	api.HandleFunc("/api/", unknownRunsRoute)

	mux := http.NewServeMux()
	mux.Handle("/api/", keyed(o.APIKey, noStore(api)))
	files := filesOf("web/run")
	mux.Handle("GET /{$}", files)
	for _, name := range folderOf("web/run") {
		mux.Handle("GET /"+name, files)
	}
	mux.HandleFunc("/", unknownRunsRoute)
	return recovered(o.Log, sameSite(mux))
}

func unknownRunsRoute(w http.ResponseWriter, r *http.Request) {
	writeError(w, fail(http.StatusNotFound, "invalid_request_error", "", "unknown_url",
		"there is nothing at "+r.Method+" "+quoteShort(r.URL.Path)+"; this server has GET /api/runs, /api/runs/{id}, its /log, /loads and /rollouts, and its page at /"))
}

// noStore keeps what changes from second to second out of caches.
func noStore(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// runSummary is one run in the answer of GET /api/runs.
type runSummary struct {
	ID          string             `json:"id"`
	Name        string             `json:"name"`
	Parent      string             `json:"parent,omitempty"` // the run of which this is a stage
	Kind        string             `json:"kind"`             // of run.json; "train" where it names none
	State       string             `json:"state"`            // waiting, running, stopped or done
	Step        int                `json:"step"`
	Steps       int                `json:"steps,omitempty"` // 0: not known
	Updated     float64            `json:"updated"`         // unix seconds of the log's last change
	Latest      map[string]float64 `json:"latest,omitempty"`
	Rollouts    bool               `json:"rollouts,omitempty"` // whether there are any
	Stages      []stageSummary     `json:"stages,omitempty"`
	Problem     string             `json:"problem,omitempty"`      // what could not be read
	StepSeconds float64            `json:"step_seconds,omitempty"` // of the last steps, on average
}

// stageSummary is one stage of a run that has several.
type stageSummary struct {
	Name    string  `json:"name"`
	Kind    string  `json:"kind,omitempty"`
	About   string  `json:"about,omitempty"` // what happens in it
	ID      string  `json:"id,omitempty"`    // the stage's own run, once there is one
	State   string  `json:"state"`
	Step    int     `json:"step,omitempty"`
	Steps   int     `json:"steps,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
}

// list answers GET /api/runs: {"runs":[...]}, a run's stages after it.
func (s *runsServer) list(w http.ResponseWriter, r *http.Request) {
	out := struct {
		Runs []runSummary `json:"runs"`
	}{Runs: []runSummary{}}
	for _, d := range s.shelf.scan() {
		out.Runs = append(out.Runs, d.summary())
	}
	writeJSON(w, http.StatusOK, out)
}

// one answers GET /api/runs/{id}: the summary with the run's own files, each as it
// is or absent: {..., "run":{run.json}, "summary":{summary.json}, "record":{stages.json}}.
func (s *runsServer) one(w http.ResponseWriter, r *http.Request) {
	d, err := s.shelf.find(r.PathValue("id"))
	if err != nil {
		writeError(w, err)
		return
	}
	out := struct {
		runSummary
		Run     json.RawMessage `json:"run,omitempty"`
		Summary json.RawMessage `json:"summary,omitempty"`
		Record  json.RawMessage `json:"record,omitempty"`
	}{runSummary: d.summary()}
	if root, err := d.open(); err == nil {
		defer root.Close()
		out.Run, _ = readObject(root, "run.json")
		out.Summary, _ = readObject(root, "summary.json")
		out.Record, _ = readObject(root, "stages.json")
	}
	writeJSON(w, http.StatusOK, out)
}

// maxObject bounds run.json, summary.json and stages.json.
const maxObject = 4 << 20 // bytes

// readObject is a small JSON file, checked to be one object.
func readObject(root *os.Root, name string) (json.RawMessage, error) {
	raw, err := readSmall(root, name, maxObject)
	if err != nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, raw)
	return compact.Bytes(), err
}

// intParam is a number of the query between low and high, def where it is absent.
func intParam(r *http.Request, name string, def, low, high int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return def, nil
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < low || v > high {
		return 0, invalid(name, "%s must be an integer between %d and %d, not %s", name, low, high, quoteShort(text))
	}
	return v, nil
}

// runFolder is a folder that holds a run: base is a folder the user named, sub the way
// from there, "." where it is that folder itself.
type runFolder struct {
	id, name, parent string
	base, sub        string
	stage            *stageSummary // as the parent's stages.json has it; nil for others
}

// open opens the folder; nothing outside it can be reached through the result.
func (d runFolder) open() (*os.Root, error) {
	root, err := os.OpenRoot(d.base)
	if err != nil || d.sub == "." {
		return root, err
	}
	defer root.Close()
	return root.OpenRoot(d.sub)
}

// runFile is what is read of run.json.
type runFile struct {
	Format     int
	Kind       string
	TotalSteps int `json:"total_steps"`
	Options    struct{ Steps int }
}

const runFormat = 1

// summary reads what GET /api/runs says of the run. A damaged file is told of, not an
// error: the rest still shows.
func (d runFolder) summary() runSummary {
	out := runSummary{ID: d.id, Name: d.name, Parent: d.parent, Kind: "train", State: "waiting"}
	if d.stage != nil {
		out.Kind, out.State, out.Steps = orElse(d.stage.Kind, out.Kind), d.stage.State, d.stage.Steps
	}
	root, err := d.open()
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			out.Problem = "the folder cannot be opened"
		}
		return out
	}
	defer root.Close()
	out.readRunFile(root)
	out.readTail(root)
	info, err := root.Stat("rollouts")
	out.Rollouts = err == nil && info.IsDir()
	for _, st := range readStages(root) {
		st.ID = d.id + ":" + stageID(st.ID)
		out.Stages = append(out.Stages, st)
	}
	if d.stage != nil && d.stage.Kind != "" {
		out.Kind = d.stage.Kind // the recipe's word: pre-training may be a run of SFT
	}
	out.settle(root, d.stage)
	return out
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (s *runSummary) readRunFile(root *os.Root) {
	raw, err := readObject(root, "run.json")
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.Problem = "run.json is damaged or too large to be shown"
		}
		return
	}
	var f runFile
	if err := json.Unmarshal(raw, &f); err != nil {
		s.Problem = "run.json is damaged: " + err.Error()
		return
	}
	if f.Format != runFormat {
		s.Problem = "run.json has format " + strconv.Itoa(f.Format) + ", this program knows " + strconv.Itoa(runFormat) + ": what it shows may be incomplete"
	}
	if f.Kind != "" {
		s.Kind = f.Kind
	}
	if n := max(f.TotalSteps, f.Options.Steps); n > 0 && n < maxStep {
		s.Steps = n
	}
}

// settle decides on the run's state from its files: no process is asked.
func (s *runSummary) settle(root *os.Root, stage *stageSummary) {
	if len(s.Stages) > 0 {
		s.settleStages()
		return
	}
	_, err := root.Lstat("summary.json")
	switch {
	case err == nil, s.Steps > 0 && s.Step >= s.Steps:
		s.State = "done"
	case stage != nil && s.State != "running":
	case s.Updated == 0:
		s.State = "waiting"
	case time.Since(unixTime(s.Updated)) < s.patience():
		s.State = "running"
	default:
		s.State = "stopped"
	}
}

// settleStages is the state of a run with stages: that of the first that is not done.
func (s *runSummary) settleStages() {
	s.State = "done"
	for _, st := range s.Stages {
		if st.State != "done" {
			s.State = st.State
			if s.State == "waiting" && s.Stages[0].State == "done" {
				s.State = "running" // between two stages
			}
			return
		}
	}
}

// patience is how long after its last line a run is taken to go on.
func (s *runSummary) patience() time.Duration {
	const least, most = 2 * time.Minute, 24 * time.Hour
	return min(max(least, time.Duration(4*s.StepSeconds*float64(time.Second))), most)
}

func unixTime(seconds float64) time.Time { return time.UnixMicro(int64(seconds * 1e6)) }

// maxStages bounds what is read of stages.json.
const maxStages = 64

// readStages reads stages.json; ID holds the stage's folder, which lies below the
// run's. What cannot be used is left out.
func readStages(root *os.Root) []stageSummary {
	raw, err := readSmall(root, "stages.json", maxObject)
	if err != nil {
		return nil
	}
	var file struct {
		Stages []struct {
			stageSummary
			Folder string
		}
	}
	if json.Unmarshal(raw, &file) != nil {
		return nil
	}
	var out []stageSummary
	for _, st := range file.Stages[:min(len(file.Stages), maxStages)] {
		folder := path.Clean(st.Folder)
		if !fs.ValidPath(folder) || folder == "." {
			continue
		}
		st.stageSummary.ID = folder
		out = append(out, st.stageSummary)
	}
	return out
}
