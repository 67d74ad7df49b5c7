package sonde

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/engine"
	"sonde/internal/tiny"
	"sonde/model"
	"sonde/model/deepseek"
	"sonde/text"
)

func openTiny(t *testing.T, o Options) *Model {
	t.Helper()
	m, err := Open(tiny.Folder(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// all joins what a generation yields.
func all(t *testing.T, seq func(func(string, error) bool)) string {
	t.Helper()
	var b strings.Builder
	for piece, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(piece)
	}
	return b.String()
}

func TestGenerate(t *testing.T) {
	ctx := t.Context()
	o := GenerateOptions{Temperature: 1, Seed: 3, MaxTokens: 24}
	var texts []string
	for _, opt := range []Options{{Threads: 1}, {Threads: 2, Limits: engine.Limits{Piece: 1}}, {Limits: engine.Limits{Piece: 5}}} {
		m := openTiny(t, opt)
		texts = append(texts, all(t, m.Generate(ctx, "func Reverse(s string) ", o)))
	}
	if texts[0] == "" || texts[0] != texts[1] || texts[0] != texts[2] {
		t.Errorf("threads or pieces changed the text: %q", texts)
	}
	m := openTiny(t, Options{})
	n := 0
	for range m.Generate(ctx, "func", o) {
		if n++; n == 3 {
			break // frees the sequence
		}
	}
	if a, _ := m.Engine().Load(); a != 0 || n != 3 {
		t.Errorf("%d sequences after leaving the loop at %d", a, n)
	}
	cut, stop := context.WithCancel(ctx)
	stop()
	for _, err := range m.Generate(cut, "func", o) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}

// The log-probabilities are the same to the last bit however the prompt is fed and
// whatever the number of threads, and scoring a text gives those of writing it.
func TestBitwise(t *testing.T) {
	p := GenerateOptions{Temperature: 1, Seed: 9, MaxTokens: 12, LogProbs: true, TopLogProbs: 5, IgnoreEOS: true}
	var first engine.Result
	for i, o := range []Options{{Threads: 1, Limits: engine.Limits{Piece: 1}}, {Threads: 2, Limits: engine.Limits{Piece: 7}}, {Threads: 2}} {
		m := openTiny(t, o)
		prompt, _ := m.Prompt(tiny.Text[:90])
		res, err := m.Engine().Generate(t.Context(), prompt, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = res
		} else if !reflect.DeepEqual(res.LogProbs, first.LogProbs) {
			t.Errorf("%+v: %v, want %v", o, res.LogProbs, first.LogProbs)
		}
		ticket, err := m.Engine().Admit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		scores, err := ticket.Score(t.Context(), append(prompt, res.Tokens...), 5)
		ticket.Release()
		if err != nil || !reflect.DeepEqual(scores[len(prompt)-1:], first.LogProbs) {
			t.Errorf("%+v: scored %v, %v, want %v", o, scores[len(prompt)-1:], err, first.LogProbs)
		}
	}
}

func TestChat(t *testing.T) {
	o := GenerateOptions{MaxTokens: 8}
	talk := []Message{{Role: "user", Content: "func"}, {Role: "assistant", Content: "Reverse"}, {Role: "user", Content: "again"}}
	m := openTiny(t, Options{})
	plain := all(t, m.Chat(t.Context(), talk, o))
	if want := all(t, m.Generate(t.Context(), "func\nReverse\nagain\n", o)); plain != want {
		t.Errorf("the plain template joins the turns by line breaks: %q, want %q", plain, want)
	}
	v3 := openTiny(t, Options{ChatTemplate: "deepseek-v3"})
	p, err := v3.ChatPrompt(talk, ChatOptions{})
	user, _ := v3.Tokenizer().ID(text.UserToken)
	if err != nil || len(p.Stops) != 1 || p.Stops[0] != user || p.IDs[1] != user {
		t.Errorf("%+v, %v", p, err)
	}
	raw, said := all(t, v3.Chat(t.Context(), talk, o)), ""
	for e, err := range v3.Converse(t.Context(), talk, ChatOptions{}, o) {
		if err != nil {
			t.Fatal(err)
		}
		said += e.Text
	}
	if raw != said && !strings.Contains(raw, "think>") {
		t.Errorf("taken apart %q, as it is %q", said, raw)
	}
	for _, err := range m.Chat(t.Context(), []Message{{Role: "wizard"}}, o) {
		if err == nil {
			t.Error("a wizard spoke")
		}
	}
}

func TestConcurrent(t *testing.T) {
	m := openTiny(t, Options{})
	o := GenerateOptions{MaxTokens: 10}
	prompts := []string{"func", "runes", "return", "// Reverse"}
	want := map[string]string{}
	for _, p := range prompts {
		want[p] = all(t, m.Generate(t.Context(), p, o))
	}
	wantP, err := m.Perplexity(t.Context(), tiny.Text, PerplexityOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, p := range prompts {
		wg.Go(func() {
			if got := all(t, m.Generate(t.Context(), p, o)); got != want[p] {
				t.Errorf("%q: %q beside others, %q alone", p, got, want[p])
			}
		})
	}
	wg.Go(func() {
		if got, err := m.Perplexity(t.Context(), tiny.Text, PerplexityOptions{}); err != nil || got != wantP {
			t.Errorf("%v, %v; alone %v", got, err, wantP)
		}
	})
	wg.Wait()
}

func TestPerplexity(t *testing.T) {
	m := openTiny(t, Options{})
	ids := m.Tokenizer().Encode(tiny.Text)
	got, err := m.Perplexity(t.Context(), tiny.Text, PerplexityOptions{Window: 40, CountFrom: 20})
	if err != nil {
		t.Fatal(err)
	}
	// By hand: the logits of a fresh sequence per window, softmax in float64.
	nats, tokens, bytes := 0.0, 0, 0
	for at := 0; at+40 < len(ids); at += 40 {
		logits, err := model.Logits(m.Network(), ids[at:at+40])
		if err != nil {
			t.Fatal(err)
		}
		for i := 20; i < 40; i++ { // the token at place i, from the logits before it
			row, sum := logits[(i-1)*tiny.Vocab:i*tiny.Vocab], 0.0
			for _, l := range row {
				sum += math.Exp(float64(l))
			}
			next := ids[at+i]
			nats += math.Log(sum) - float64(row[next])
			tokens++
			bytes += len(m.Tokenizer().DecodeBytes([]int32{next}))
		}
	}
	want := nats / float64(tokens)
	if got.Tokens != tokens || math.Abs(got.NatsPerToken-want) > 1e-4 ||
		math.Abs(got.Perplexity-math.Exp(want)) > 1e-2 || math.Abs(got.BitsPerByte-nats/math.Ln2/float64(bytes)) > 1e-4 {
		t.Errorf("%+v; by hand %d tokens, %v nats per token, %v bits per byte", got, tokens, want, nats/math.Ln2/float64(bytes))
	}
	whole, err := m.Perplexity(t.Context(), tiny.Text, PerplexityOptions{BOS: true})
	if err != nil || whole.Tokens != len(ids) {
		t.Errorf("after BOS every token counts: %d of %d, %v", whole.Tokens, len(ids), err)
	}
	if _, err := m.Perplexity(t.Context(), "x", PerplexityOptions{}); err == nil {
		t.Error("a text of one token was measured")
	}
}

func TestWindows(t *testing.T) {
	tests := []struct {
		n, span int
		o       PerplexityOptions
		windows int
		counted int
		fails   bool
	}{
		{3017, 1024, PerplexityOptions{Window: 512, CountFrom: 256}, 5, 1280, false},
		{4373, 1024, PerplexityOptions{Window: 512, CountFrom: 256}, 8, 2048, false},
		{1025, 512, PerplexityOptions{Window: 512, CountFrom: 256, BOS: true}, 2, 512, false},
		{1025, 512, PerplexityOptions{Window: 512, BOS: true}, 2, 1024, false},
		{1024, 1024, PerplexityOptions{Window: 512}, 1, 511, false},
		{1025, 1024, PerplexityOptions{Window: 512, CountFrom: 1}, 2, 1022, false},
		{512, 1024, PerplexityOptions{Window: 512}, 0, 0, true},
		{100, 64, PerplexityOptions{Window: 65}, 0, 0, true},
		{100, 64, PerplexityOptions{Window: 8, CountFrom: 8}, 0, 0, true},
		{100, 64, PerplexityOptions{Window: -1}, 0, 0, true},
		{100, 64, PerplexityOptions{Window: 1}, 0, 0, true},
		{100, 64, PerplexityOptions{CountFrom: 64}, 0, 0, true},
		{1, 64, PerplexityOptions{}, 0, 0, true},
		{1, 64, PerplexityOptions{BOS: true}, 1, 1, false},
		{2, 64, PerplexityOptions{}, 1, 1, false},
		{65, 64, PerplexityOptions{}, 1, 64, false},
		{66, 64, PerplexityOptions{}, 2, 65, false},
		{66, 64, PerplexityOptions{BOS: true}, 2, 66, false},
		{1000, 64, PerplexityOptions{CountFrom: 60}, 235, 999, false},
	}
	for _, tc := range tests {
		ids := make([]int32, tc.n)
		for i := range ids {
			ids[i] = int32(i)
		}
		var begin []int32
		if tc.o.BOS {
			begin = []int32{-1}
		}
		ws, err := cut(begin, ids, tc.span, tc.o)
		seen := map[int32]bool{}
		for _, w := range ws {
			if len(w.tokens) > tc.span || len(w.tokens) != len(w.targets) || w.from >= len(w.targets) {
				t.Errorf("%+v: window of %d tokens, %d targets, from %d", tc, len(w.tokens), len(w.targets), w.from)
			}
			for i, id := range w.targets {
				if w.tokens[i] != id-1 && w.tokens[i] != -1 {
					t.Fatalf("%+v: %d is predicted after %d", tc, id, w.tokens[i])
				}
				if i >= w.from {
					if seen[id] || tc.o.Window > 0 && int(id)%tc.o.Window < tc.o.CountFrom {
						t.Fatalf("%+v: %d counts and should not", tc, id)
					}
					seen[id] = true
				}
			}
		}
		if (err != nil) != tc.fails || len(ws) != tc.windows || len(seen) != tc.counted {
			t.Errorf("%+v: %d windows, %d counted, %v", tc, len(ws), len(seen), err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	broken := func(name string, change func([]byte) []byte) string {
		dir := tiny.Folder(t)
		path := filepath.Join(dir, name)
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if raw = change(raw); raw == nil {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, raw, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	gone := func([]byte) []byte { return nil }
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, says string }{
		{"missing", filepath.Join(t.TempDir(), "nowhere"), "does not exist"},
		{"a file", file, "neither a folder nor"},
		{"empty", t.TempDir(), "config.json"},
		{"no tokenizer", broken("tokenizer.json", gone), "tokenizer.json"},
		{"no weights", broken("model.safetensors", gone), "model.safetensors"},
		{"cut short", broken("model.safetensors", func(b []byte) []byte { return b[:len(b)-100] }), "model.safetensors"},
		{"bad config", broken("config.json", func(b []byte) []byte { return []byte(`{"vocab_size":`) }), "config.json"},
		{"too many layers", broken("config.json", func(b []byte) []byte {
			return regexp.MustCompile(`"num_hidden_layers": *2`).ReplaceAll(b, []byte(`"num_hidden_layers":1000000`))
		}), "1000000 layers"},
		{"too wide", broken("config.json", func(b []byte) []byte {
			return regexp.MustCompile(`"intermediate_size": *64`).ReplaceAll(b, []byte(`"intermediate_size":1000000`))
		}), "belong to different models"},
		{"other vocabulary", broken("config.json", func(b []byte) []byte {
			return regexp.MustCompile(`"vocab_size": *320`).ReplaceAll(b, []byte(`"vocab_size":300`))
		}), "vocab_size 300"},
	}
	for _, tc := range tests {
		m, err := Open(tc.path, Options{})
		if err == nil {
			m.Close()
			t.Errorf("%s: opened", tc.name)
		} else if !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if _, err := Open(tiny.Folder(t), Options{ChatTemplate: "poem"}); err == nil || !strings.Contains(err.Error(), "poem") {
		t.Errorf("a template that does not exist: %v", err)
	}
}

func TestClosed(t *testing.T) {
	m := openTiny(t, Options{})
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Error(err)
	}
	for _, err := range m.Generate(t.Context(), "x", GenerateOptions{}) {
		if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if _, err := m.Perplexity(t.Context(), "xyz", PerplexityOptions{}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// Weights run in the folder's own format and memory.
func TestWeightsStayInTheFile(t *testing.T) {
	m := openTiny(t, Options{})
	var _ *deepseek.Config = m.Config().(*deepseek.Config)
	for _, p := range m.Network().Params() {
		if dt := p.T.DType(); dt != compute.F32 {
			t.Errorf("%s: F32 weights became %v", p.Name, dt)
		}
	}
	if copied := m.ar.Bytes(); copied > 32<<20 {
		t.Errorf("%d bytes of weights were copied", copied)
	}
	if m.Decode([]int32{3 + 'a'}) == "" || m.Name() == "" || m.Warnings() != nil {
		t.Errorf("name %q, warnings %v", m.Name(), m.Warnings())
	}
}

// TestT3FileCutShortWhileGenerating cuts the model's file short under a running model:
// the text ends with an error that names the file, and so does the next.
func TestT3FileCutShortWhileGenerating(t *testing.T) {
	dir := tiny.Folder(t)
	m, err := Open(dir, Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	file := filepath.Join(dir, "model.safetensors")
	n := 0
	for _, err = range m.Generate(t.Context(), "abc", GenerateOptions{MaxTokens: 100, Temperature: 0.8}) {
		if n++; n == 3 {
			if err := os.Truncate(file, 4096); err != nil {
				t.Skipf("this system keeps a mapped file whole: %v", err)
			}
		}
		if err != nil {
			break
		}
	}
	for range 2 {
		var format *checkpoint.FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "cut short") {
			t.Fatalf("after %d pieces: %v", n, err)
		}
		_, err = m.Perplexity(t.Context(), "abcdefgh", PerplexityOptions{})
	}
}

// TestImportance: a column that a matrix meets strongly weighs more, every matrix has
// its weights, and the same text gives the same.
func TestImportance(t *testing.T) {
	m := openTiny(t, Options{})
	var last int
	a, err := m.Importance(t.Context(), tiny.Text, func(done, total int) { last = total - done })
	if err != nil {
		t.Fatal(err)
	}
	if last != 0 || a.Tokens == 0 {
		t.Errorf("%d tokens not read of %d", last, a.Tokens)
	}
	for _, p := range m.Network().Params() {
		v, ok := a.Columns[p.Name]
		// Embeddings meet ids, routed experts perhaps nothing, MTP nothing in generation.
		if len(p.Shape) == 2 && !ok && !strings.Contains(p.Name, "embed") && !strings.Contains(p.Name, ".experts.") && !strings.Contains(p.Name, "layers.2.") {
			t.Errorf("%s has no weights", p.Name)
		}
		if ok && len(v) != p.Shape[1] {
			t.Errorf("%s has %d weights, %v", p.Name, len(v), p.Shape)
		}
	}
	b, err := openTiny(t, Options{Threads: 1}).Importance(t.Context(), tiny.Text, nil)
	if err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("another run differs: %v", err)
	}
}

func TestInspect(t *testing.T) {
	i, err := Inspect(tiny.Folder(t), 50, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if i.Memory.Context != 50 || i.Memory.Keys <= 0 || i.Memory.Weights != i.Types[0].Bytes || i.Template != "plain" || !i.Known || len(i.Types) != 1 || i.Types[0].Type != "F32" {
		t.Errorf("%+v", *i)
	}
	for _, c := range []struct {
		path    string
		context int
		o       Options
		says    string
	}{{tiny.Folder(t), 97, Options{}, "1 to 96"}, {tiny.Folder(t), 0, Options{Activations: "int4"}, "int4"}, {t.TempDir(), 0, Options{}, "config.json"}} {
		if _, err := Inspect(c.path, c.context, c.o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v, expected %q", err, c.says)
		}
	}
}
