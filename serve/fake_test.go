package serve

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"sonde/engine"
	"sonde/model"
	chat "sonde/text"
)

const (
	fakeBOS = 257
	fakeEOS = 256
	fakeV   = 258
)

// fakeModel has bytes for tokens and answers script, over and over where endless.
type fakeModel struct {
	name    string
	script  string
	endless bool
	thought chat.Thought
	step    func() // called within every step
	lim     engine.Limits
	eng     *engine.Engine
	open    atomic.Int32
}

func (m *fakeModel) Name() string           { return m.name }
func (m *fakeModel) Engine() *engine.Engine { return m.eng }
func (m *fakeModel) Decode(ids []int32) string {
	return strings.ToValidUTF8(string(m.DecodeBytes(ids)), "\uFFFD")
}

func (m *fakeModel) Prompt(text string) ([]int32, int) {
	out := []int32{fakeBOS}
	for _, b := range []byte(text) {
		out = append(out, int32(b))
	}
	return out, 1
}

func (m *fakeModel) ChatPrompt(messages []chat.Message, o chat.RenderOptions) (*chat.ChatPrompt, error) {
	var b strings.Builder
	for _, msg := range messages {
		if msg.Content == "refuse" {
			return nil, errors.New("the template refuses this")
		}
		b.WriteString(msg.Role + ": " + msg.Content + "\n")
	}
	ids, _ := m.Prompt(b.String())
	cfg := &chat.TokenizerConfig{}
	return &chat.ChatPrompt{IDs: ids, Stops: []int32{0}, Config: cfg, Thought: m.thought, Tools: len(o.Tools) > 0}, cfg.UseTemplate("qwen3")
}

func (m *fakeModel) NewSequence(maxLen int) model.Sequence {
	m.open.Add(1)
	return &fakeSequence{m: m, max: maxLen}
}
func (m *fakeModel) Context() int               { return 4096 }
func (m *fakeModel) Vocab() int                 { return fakeV }
func (m *fakeModel) NewDecoder() engine.Decoder { return &fakeDecoder{m: m} }
func (m *fakeModel) EOS() int32                 { return fakeEOS }

// Forward runs the parts one after the other.
func (m *fakeModel) Forward(parts []model.Part) error {
	if m.step != nil {
		m.step()
	}
	for i := range parts {
		p := &parts[i]
		row := p.Sequence.(*fakeSequence).extend(p)
		p.Logits = append(make([]float32, max(0, len(p.IDs)-1)*fakeV), row...)
		if p.Want == model.WantLast {
			p.Logits = row
		}
	}
	return nil
}
func (m *fakeModel) DecodeBytes(ids []int32) (b []byte) {
	for _, id := range ids {
		if id < 256 {
			b = append(b, byte(id))
		}
	}
	return b
}

type fakeSequence struct {
	m    *fakeModel
	said int
	fed  bool // the prompt's end was met
	len  int
	max  int
}

// extend gives the logits after a part.
func (s *fakeSequence) extend(p *model.Part) []float32 {
	s.len += len(p.IDs)
	if s.fed {
		s.said++
	}
	s.fed = p.Want == model.WantLast
	row := make([]float32, fakeV)
	want := fakeEOS
	if s.said < len(s.m.script) {
		want = int(s.m.script[s.said])
	} else if s.m.endless {
		want = int(s.m.script[s.said%len(s.m.script)])
	}
	row[want] = 40
	return row
}

func (s *fakeSequence) Len() int     { return s.len }
func (s *fakeSequence) Max() int     { return s.max }
func (s *fakeSequence) Truncate(int) { panic("not needed here") }
func (s *fakeSequence) Close()       { s.m.open.Add(-1) }

type fakeDecoder struct {
	m       *fakeModel
	pending []byte
}

func (d *fakeDecoder) Next(id int32) string {
	d.pending = append(d.pending, d.m.DecodeBytes([]int32{id})...)
	if !utf8.FullRune(d.pending) {
		return ""
	}
	return d.Flush()
}

func (d *fakeDecoder) Flush() string {
	s := strings.ToValidUTF8(string(d.pending), "\uFFFD")
	d.pending = nil
	return s
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// startFake serves m on a loopback port.
func startFake(t *testing.T, m *fakeModel, o Options) *httptest.Server {
	t.Helper()
	if m.name == "" {
		m.name = "fake"
	}
	if m.script == "" {
		m.script = "Hello, 世界!"
	}
	m.eng = engine.Of(m, m, m.lim)
	if o.Log == nil {
		o.Log = quiet()
	}
	srv := httptest.NewServer(New([]Model{m}, o))
	t.Cleanup(func() {
		srv.Close()
		if n := m.open.Load(); n != 0 {
			t.Errorf("%d sequences were never closed", n)
		}
	})
	return srv
}

// post sends body and returns the status and the answer.
func post(t *testing.T, url, body string) (int, string, http.Header) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw), resp.Header
}
