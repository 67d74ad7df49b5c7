package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
	"unsafe"

	"sonde/compute"
	"sonde/model"
)

var bg = context.Background()

func TestScript(t *testing.T) {
	e := fakeEngine(t, &fakeModel{script: "Grüße, 世界! \U0001F40B"}, Limits{})
	var parts []string
	res, err := e.Generate(bg, ids("hi"), Params{}, func(d Delta) error {
		if !utf8.ValidString(d.Text) {
			t.Errorf("a character was split: %q", d.Text)
		}
		parts = append(parts, d.Text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "Grüße, 世界! \U0001F40B"
	if res.Text != want || strings.Join(parts, "") != want {
		t.Errorf("got %q, streamed %q", res.Text, parts)
	}
	if res.Finish != FinishStop || res.PromptTokens != 2 || res.CompletionTokens != len(want) {
		t.Errorf("%+v", res)
	}
}

func TestStopStringNeverLeaks(t *testing.T) {
	e := fakeEngine(t, &fakeModel{script: "one two ENDE three"}, Limits{})
	var out strings.Builder
	res, err := e.Generate(bg, ids("x"), Params{Stop: []string{"ENDE", "zzz"}, LogProbs: true}, func(d Delta) error {
		out.WriteString(d.Text)
		if strings.Contains(out.String(), "E") {
			t.Errorf("part of the stop string got out: %q", out.String())
		}
		return nil
	})
	if err != nil || res.Text != "one two " || res.StopString != "ENDE" || res.Finish != FinishStop {
		t.Errorf("%+v, %v", res, err)
	}
	if len(res.LogProbs) != len("one two ") {
		t.Errorf("log-probabilities of %d tokens for 8 tokens of text", len(res.LogProbs))
	}
}

func TestMaxTokensCutsACharacter(t *testing.T) {
	e := fakeEngine(t, &fakeModel{script: "aü"}, Limits{})
	res, err := e.Generate(bg, ids("x"), Params{MaxTokens: 2}, nil)
	if err != nil || res.Text != "a\uFFFD" || res.Finish != FinishLength {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestStopTokens(t *testing.T) {
	e := fakeEngine(t, &fakeModel{script: "ab#cd"}, Limits{})
	res, err := e.Generate(bg, ids("x"), Params{StopTokens: []int32{'#'}}, nil)
	if err != nil || res.Text != "ab" || res.Finish != FinishStop {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestPiecesAndSeedsDoNotMatter(t *testing.T) {
	prompt := ids(strings.Repeat("The same text, whatever the piece. ", 8))
	var first Result
	for _, piece := range []int{1, 7, 256} {
		e := fakeEngine(t, &fakeModel{}, Limits{Piece: piece})
		res, err := e.Generate(bg, prompt, Params{Temperature: 1, Seed: 5, MaxTokens: 20}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if piece == 1 {
			first = res
		} else if !slices.Equal(first.Tokens, res.Tokens) {
			t.Errorf("piece %d: %v, want %v", piece, res.Tokens, first.Tokens)
		}
	}
}

func TestIgnoreEOS(t *testing.T) {
	e := fakeEngine(t, &fakeModel{script: "ab"}, Limits{})
	res, err := e.Generate(bg, ids("x"), Params{IgnoreEOS: true, MaxTokens: 5}, nil)
	if err != nil || res.Finish != FinishLength || res.CompletionTokens != 5 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestContext(t *testing.T) {
	m := &fakeModel{context: 16}
	e := fakeEngine(t, m, Limits{})
	_, err := e.Generate(bg, ids(strings.Repeat("x", 16)), Params{}, nil)
	if !errors.Is(err, ErrContext) || !strings.Contains(err.Error(), "16 tokens") {
		t.Errorf("a full context: %v", err)
	}
	res, err := e.Generate(bg, ids(strings.Repeat("x", 10)), Params{MaxTokens: 100}, nil)
	if err != nil || res.Finish != FinishLength || res.CompletionTokens != 6 {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := e.Generate(bg, nil, Params{}, nil); !errors.Is(err, ErrEmpty) {
		t.Errorf("an empty prompt: %v", err)
	}
	if _, err := e.Generate(bg, []int32{257}, Params{}, nil); err == nil {
		t.Error("a token outside the vocabulary passed")
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(bg)
	m := &fakeModel{}
	e := fakeEngine(t, m, Limits{})
	n := 0
	res, err := e.Generate(ctx, ids("x"), Params{}, func(Delta) error {
		if n++; n == 5 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || res.Text == "" || res.CompletionTokens > 40 {
		t.Errorf("%+v, %v", res, err)
	}
	if m.open.Load() != 0 {
		t.Error("the sequence was not freed")
	}
}

func TestEmitError(t *testing.T) {
	e := fakeEngine(t, &fakeModel{}, Limits{})
	broken := errors.New("the pipe is broken")
	if _, err := e.Generate(bg, ids("x"), Params{}, func(Delta) error { return broken }); err != broken {
		t.Error(err)
	}
}

func TestQueue(t *testing.T) {
	gate := make(chan struct{})
	m := &fakeModel{script: "ok", step: func() { <-gate }}
	e := fakeEngine(t, m, Limits{Slots: 1, Queue: 2})
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	start := func(ctx context.Context) {
		wg.Go(func() {
			_, err := e.Generate(ctx, ids("x"), Params{}, nil)
			errs <- err
		})
	}
	wait := func(active, waiting int) {
		for {
			if a, w := e.Load(); a == active && w == waiting {
				return
			}
		}
	}
	start(bg)
	wait(1, 0)
	ctx, cancel := context.WithCancel(bg)
	start(ctx)
	start(bg)
	wait(1, 2)
	if _, err := e.Generate(bg, ids("x"), Params{}, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("a fourth caller: %v", err)
	}
	cancel() // one who waits leaves at once
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(gate)
	wg.Wait()
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// Sequences side by side give what each gives alone.
func TestConcurrent(t *testing.T) {
	p := func(i int) ([]int32, Params) {
		return ids(fmt.Sprintf("prompt %d", i)), Params{Temperature: 1, Seed: uint64(i), MaxTokens: 30}
	}
	e := fakeEngine(t, &fakeModel{}, Limits{Slots: 3})
	var want [8]string
	for i := range want {
		prompt, params := p(i)
		res, err := e.Generate(bg, prompt, params, nil)
		if err != nil {
			t.Fatal(err)
		}
		want[i] = res.Text
	}
	var wg sync.WaitGroup
	for i := range want {
		wg.Go(func() {
			prompt, params := p(i)
			res, err := e.Generate(bg, prompt, params, nil)
			if err != nil || res.Text != want[i] {
				t.Errorf("%d: %q, %v; alone %q", i, res.Text, err, want[i])
			}
		})
	}
	wg.Wait()
}

func TestLogProbs(t *testing.T) {
	e := fakeEngine(t, &fakeModel{}, Limits{})
	var streamed []TokenLogProb
	res, err := e.Generate(bg, ids("abc"), Params{MaxTokens: 12, LogProbs: true, TopLogProbs: 3}, func(d Delta) error {
		streamed = append(streamed, d.Tokens...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.LogProbs) != 12 || len(streamed) != 12 {
		t.Fatalf("%d log-probabilities, %d streamed, want 12", len(res.LogProbs), len(streamed))
	}
	for i, lp := range res.LogProbs {
		if lp.ID != res.Tokens[i] || lp.LogProb >= 0 || len(lp.Top) != 3 || lp.Top[0].ID != lp.ID ||
			lp.Top[1].LogProb > lp.Top[0].LogProb {
			t.Errorf("token %d: %+v", i, lp)
		}
	}
	// Scoring the same text gives the same numbers.
	all := append(ids("abc"), res.Tokens...)
	ticket, err := e.Admit(bg)
	if err != nil {
		t.Fatal(err)
	}
	defer ticket.Release()
	scores, err := ticket.Score(bg, all, 1)
	if err != nil || len(scores) != len(all)-1 {
		t.Fatalf("%d scores, %v", len(scores), err)
	}
	for i, lp := range res.LogProbs {
		if got := scores[2+i]; got.ID != lp.ID || math.Abs(got.LogProb-lp.LogProb) > 1e-12 {
			t.Errorf("token %d: scored %v, generated %v", i, got, lp)
		}
	}
}

type noMemory struct{ fakeModel }

func (*noMemory) NewSequence(int) model.Sequence {
	compute.NewArena("a test", refusing{}).F32(1, 1)
	return nil
}

type refusing struct{}

func (refusing) Map(int) (unsafe.Pointer, error) { return nil, errors.New("no") }
func (refusing) Unmap(unsafe.Pointer, int)       {}

func TestOutOfMemory(t *testing.T) {
	e := Of(&noMemory{fakeModel{context: 10}}, byteCodec{}, Limits{})
	for range 2 { // the permit and the slot come back
		var oom *compute.OutOfMemory
		if _, err := e.Generate(bg, ids("x"), Params{}, nil); !errors.As(err, &oom) {
			t.Errorf("%v", err)
		}
	}
}

func TestPanicFreesTheModel(t *testing.T) {
	m := &fakeModel{step: func() { panic("a bug") }}
	e := fakeEngine(t, m, Limits{})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = e.Generate(bg, ids("x"), Params{}, nil)
	}()
	m.step = nil
	if _, err := e.Generate(bg, ids("x"), Params{MaxTokens: 2}, nil); err != nil {
		t.Error(err)
	}
}
