package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sonde/compute"
	"sonde/model"
)

// gated is a model whose passes wait for the gate to open.
func gated(m *fakeModel) (open func()) {
	gate := make(chan struct{})
	m.step = func() { <-gate }
	return sync.OnceFunc(func() { close(gate) })
}

// until waits for what other goroutines bring about.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatal("never came: " + what)
		}
	}
}

func (b *batch) queued() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// TestTogether: sequences under way meet the model in the same passes.
func TestTogether(t *testing.T) {
	m := &fakeModel{}
	open := gated(m)
	e := fakeEngine(t, m, Limits{Slots: 8})
	const tokens = 40
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			read := 0
			res, err := e.Generate(bg, ids("a prompt"), Params{Temperature: 1, Seed: uint64(i), MaxTokens: tokens}, func(d Delta) error {
				read += len(d.Text)
				return nil
			})
			if err != nil || len(res.Tokens) != tokens || read != len(res.Text) {
				t.Errorf("%d: %d tokens, %v", i, len(res.Tokens), err)
			}
		})
	}
	// The first is in its pass, the others wait for the next.
	until(t, "seven who wait", func() bool { return e.batch.queued() == 8 })
	open()
	wg.Wait()
	parts := 0
	for _, p := range m.passes {
		parts += len(p)
	}
	if mean := float64(parts) / float64(len(m.passes)); mean < 4 {
		t.Errorf("a pass holds %.1f of 8 sequences on average: %v", mean, m.passes)
	}
}

// TestPromptsShareAPass: a long prompt does not keep a short one waiting, nor who is
// writing already.
func TestPromptsShareAPass(t *testing.T) {
	m := &fakeModel{context: 4096}
	open := gated(m)
	e := fakeEngine(t, m, Limits{Piece: 100})
	var wg sync.WaitGroup
	start := func(prompt, waiting int) {
		wg.Go(func() { _, _ = e.Generate(bg, ids(strings.Repeat("x", prompt)), Params{MaxTokens: 3}, nil) })
		until(t, "the next in the queue", func() bool { return e.batch.queued() == waiting })
	}
	start(1, 1) // its pass waits at the gate
	start(1000, 2)
	start(20, 3)
	open()
	wg.Wait()
	if !slices.Equal(m.passes[0], []int{1}) || !slices.Equal(m.passes[1], []int{1, 80, 20}) && !slices.Equal(m.passes[1], []int{80, 20}) {
		t.Errorf("the first passes had %v rows", m.passes[:3])
	}
}

func TestDivideProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		need := rapid.SliceOfN(rapid.IntRange(1, 50), 1, 9).Draw(t, "need")
		most := rapid.IntRange(1, 120).Draw(t, "most")
		got, sum, prompts := divide(need, most), 0, 0
		for i, n := range got {
			if n < 1 || n > need[i] {
				t.Fatalf("%v of %v: part %d", got, need, i)
			}
			if need[i] > 1 {
				sum, prompts = sum+n, prompts+1
			}
			for j := range got {
				if n < need[i] && got[j] > n+1 && need[j] > 1 {
					t.Fatalf("%v of %v: %d has less than %d but needs more", got, need, i, j)
				}
			}
		}
		if sum > max(most, prompts) {
			t.Fatalf("%v of %v: %d in all, above %d", got, need, sum, most)
		}
	})
}

// TestSlowReader: a reader that does not take its text holds up nobody else.
func TestSlowReader(t *testing.T) {
	e := fakeEngine(t, &fakeModel{}, Limits{})
	hold, held := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		first := true
		_, err := e.Generate(bg, ids("slow"), Params{MaxTokens: 5}, func(Delta) error {
			if first {
				close(held)
				<-hold
			}
			first = false
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-held
	if res, err := e.Generate(bg, ids("quick"), Params{MaxTokens: 50}, func(Delta) error { return nil }); err != nil || len(res.Tokens) != 50 {
		t.Errorf("%d tokens, %v", len(res.Tokens), err)
	}
	close(hold)
	wg.Wait()
}

// TestPitfall9CancelWithinAStep: a caller who leaves while its long prompt is being read gives
// its memory back after the pass under way, whatever is left of the prompt.
func TestPitfall9CancelWithinAStep(t *testing.T) {
	m := &fakeModel{context: 1 << 20}
	third, end := make(chan struct{}), make(chan struct{})
	pass := 0
	m.step = func() {
		if pass++; pass == 3 {
			close(third)
			<-end
		}
	}
	e := fakeEngine(t, m, Limits{Piece: 10})
	ctx, cancel := context.WithCancel(bg)
	left := make(chan error, 1)
	go func() {
		_, err := e.Generate(ctx, ids(strings.Repeat("x", 100000)), Params{}, nil)
		left <- err
	}()
	<-third
	cancel()
	close(end)
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if m.open.Load() != 0 || len(m.passes) != 3 {
		t.Errorf("%d sequences are open after %d passes", m.open.Load(), len(m.passes))
	}
}

// scarce has no memory for a pass that holds a sequence of 20 tokens or more.
type scarce struct{ fakeModel }

func (m *scarce) Forward(parts []model.Part) error {
	for _, p := range parts {
		if p.Sequence.Len()+len(p.IDs) >= 20 {
			panic(&compute.OutOfMemory{Arena: "a test"})
		}
	}
	return m.fakeModel.Forward(parts)
}

// TestOneWithoutMemory: of several in one pass only the one that finds no memory ends.
func TestOneWithoutMemory(t *testing.T) {
	m := &scarce{fakeModel{context: 512}}
	open := gated(&m.fakeModel)
	e := Of(m, byteCodec{}, Limits{})
	var wg sync.WaitGroup
	run := func(prompt string, want error) {
		wg.Go(func() {
			_, err := e.Generate(bg, ids(prompt), Params{MaxTokens: 8}, nil)
			if oom := new(compute.OutOfMemory); (want == nil) != (err == nil) || want != nil && !errors.As(err, &oom) {
				t.Errorf("%s: %v", prompt, err)
			}
		})
	}
	run("short", nil)
	until(t, "the first", func() bool { return e.batch.queued() == 1 })
	run("also short", nil)
	run("a prompt of more than twenty tokens", &compute.OutOfMemory{})
	until(t, "the others", func() bool { return e.batch.queued() == 3 })
	open()
	wg.Wait()
}

// TestPanicIsOneCallers: a bug in a shared pass panics in one caller and is an error for
// the others; the engine goes on.
func TestPanicIsOneCallers(t *testing.T) {
	m := &fakeModel{}
	gate := make(chan struct{})
	pass := 0
	m.step = func() {
		<-gate
		if pass++; pass == 2 {
			panic("a bug")
		}
	}
	e := fakeEngine(t, m, Limits{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	panics, broken := 0, 0
	for range 3 {
		wg.Go(func() {
			defer func() {
				if recover() != nil {
					mu.Lock()
					panics++
					mu.Unlock()
				}
			}()
			if _, err := e.Generate(bg, ids("x"), Params{MaxTokens: 9}, nil); errors.Is(err, errBroken) {
				mu.Lock()
				broken++
				mu.Unlock()
			}
		})
	}
	until(t, "all three", func() bool { return e.batch.queued() == 3 })
	close(gate)
	wg.Wait()
	if panics != 1 || broken < 1 {
		t.Errorf("%d panics, %d told of it", panics, broken)
	}
	if _, err := e.Generate(bg, ids("x"), Params{MaxTokens: 2}, nil); err != nil {
		t.Error(err)
	}
}

func TestMeasure(t *testing.T) {
	m := &fakeModel{}
	e := fakeEngine(t, m, Limits{})
	s, err := e.Measure(bg, 3, 5, 2)
	want := [][]int{{5}, {5}, {5}, {1, 1, 1}, {1, 1, 1}}
	if err != nil || s.Read <= 0 || s.Wrote <= 0 || !slices.EqualFunc(m.passes, want, slices.Equal) {
		t.Errorf("passes %v took %+v, %v", m.passes, s, err)
	}
}
