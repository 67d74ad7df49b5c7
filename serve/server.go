// Package serve answers OpenAI's HTTP API over the models it is given: the list of
// models, chat completions and completions, streamed or whole; problems with verifiers
// to try a model on; and a page for all of it in a browser.
//
// Requests are hostile until checked: bodies are bounded, every parameter is either
// obeyed or refused by name, at most so many texts are generated and so many
// callers wait, a client that leaves frees its place within a token, and pages of
// other sites cannot reach a server on a loopback address.
package serve

import (
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/http"
	"time"

	"sonde/engine"
	"sonde/text"
)

// Model is what the server needs of a model; *sonde.Model is one. A model may also have
// the methods About and Sampling of that type.
type Model interface {
	// Name is how requests call the model.
	Name() string
	// Engine generates.
	Engine() *engine.Engine
	// Prompt is a text's tokens, with the beginning-of-text token where the model has
	// one; begin counts such tokens.
	Prompt(text string) (ids []int32, begin int)
	// ChatPrompt is a conversation, ready for the assistant's answer.
	ChatPrompt(messages []text.Message, o text.RenderOptions) (*text.ChatPrompt, error)
	// Decode is the text of tokens.
	Decode(ids []int32) string
}

// Options configure a server. The zero value is good.
type Options struct {
	APIKey  string       // asked for on every /v1 path where set
	MaxBody int64        // bytes of a request; 0: 4 MiB
	Log     *slog.Logger // nil: slog.Default()
}

// server is the handler with what its routes share.
type server struct {
	models  []Model
	started time.Time
	maxBody int64
	log     *slog.Logger
	encode  chan struct{} // permits to tokenize: long texts must not take every core
}

// New makes a handler for models, of which the first is the default. There must be
// at least one.
func New(models []Model, o Options) http.Handler {
	s := &server{models: models, started: time.Now(), maxBody: o.MaxBody, log: o.Log, encode: make(chan struct{}, 2)}
	if s.maxBody <= 0 {
		s.maxBody = 4 << 20
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	api := http.NewServeMux()
	api.HandleFunc("GET /v1/models", s.listModels)
	api.HandleFunc("GET /v1/models/{name}", s.oneModel)
	api.HandleFunc("POST /v1/chat/completions", s.chat)
	api.HandleFunc("POST /v1/completions", s.completions)
	api.HandleFunc("GET /v1/sonde/tasks", s.listTasks)
	api.HandleFunc("GET /v1/sonde/problems", s.problem)
	api.HandleFunc("POST /v1/sonde/verify", s.verify)
	api.HandleFunc("/v1/", s.unknownRoute)

	mux := http.NewServeMux()
	mux.Handle("/v1/", keyed(o.APIKey, api))
	mux.HandleFunc("GET /health", s.health)
	for _, path := range pagePaths {
		mux.Handle("GET "+path, page())
	}
	mux.HandleFunc("/", s.unknownRoute)
	return recovered(s.log, sameSite(mux))
}

// find is the model that a request names; "" is the default one.
func (s *server) find(name string) (Model, error) {
	for _, m := range s.models {
		if name == "" || m.Name() == name {
			return m, nil
		}
	}
	return nil, fail(http.StatusNotFound, "invalid_request_error", "model", "model_not_found",
		"there is no model "+quoteShort(name)+" here; GET /v1/models lists what there is")
}

func quoteShort(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return `"` + s + `"`
}

type modelObject struct {
	ID            string `json:"id"`
	Object        string `json:"object"`
	Created       int64  `json:"created"`
	OwnedBy       string `json:"owned_by"`
	ContextLength int    `json:"context_length"`
	// What follows OpenAI's API does not have: what the model is, and the temperature and
	// top_p that requests without them get.
	About       string  `json:"about,omitempty"`
	Temperature float64 `json:"temperature"`
	TopP        float64 `json:"top_p"`
}

func (s *server) object(m Model) modelObject {
	o := modelObject{ID: m.Name(), Object: "model", Created: s.started.Unix(), OwnedBy: "sonde", ContextLength: m.Engine().Context()}
	if d, ok := m.(interface{ About() string }); ok {
		o.About = d.About()
	}
	o.Temperature, o.TopP = defaultSampling(m)
	return o
}

// defaultSampling is the temperature and top-p of requests that name none: what the
// model's authors want, where its files say so, else the API's own.
func defaultSampling(m Model) (temperature, topP float64) {
	if d, ok := m.(interface {
		Sampling() (temperature, topP float64, known bool)
	}); ok {
		if temperature, topP, known := d.Sampling(); known {
			return temperature, topP
		}
	}
	return 1, 1
}

func (s *server) listModels(w http.ResponseWriter, r *http.Request) {
	list := struct {
		Object string        `json:"object"`
		Data   []modelObject `json:"data"`
	}{Object: "list", Data: []modelObject{}}
	for _, m := range s.models {
		list.Data = append(list.Data, s.object(m))
	}
	writeJSON(w, http.StatusOK, list)
}

func (s *server) oneModel(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	m, err := s.find(name)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s.object(m))
}

// health says that the server is up, and how busy.
func (s *server) health(w http.ResponseWriter, r *http.Request) {
	active, waiting := 0, 0
	for _, m := range s.models {
		a, q := m.Engine().Load()
		active, waiting = active+a, waiting+q
	}
	writeJSON(w, http.StatusOK, map[string]any{"status": "ok", "active": active, "waiting": waiting})
}

func (s *server) unknownRoute(w http.ResponseWriter, r *http.Request) {
	writeError(w, fail(http.StatusNotFound, "invalid_request_error", "", "unknown_url",
		"there is nothing at "+r.Method+" "+quoteShort(r.URL.Path)+"; this server has GET /v1/models, POST /v1/chat/completions, POST /v1/completions, GET /v1/sonde/tasks and /v1/sonde/problems, POST /v1/sonde/verify, GET /health and its page at /"))
}

// encoding runs f, which tokenizes, while at most one other request does.
func (s *server) encoding(f func()) {
	s.encode <- struct{}{}
	defer func() { <-s.encode }()
	f()
}

// newID names an answer.
func newID(prefix string) string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + hex.EncodeToString(b[:])
}
