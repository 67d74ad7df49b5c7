package sonde

import (
	"reflect"
	"sync"
	"testing"

	"sonde/engine"
	"sonde/internal/tiny"
)

// TestTogetherSameBits: what a caller gets, log-probabilities to the last bit, does not
// depend on who else goes through the model with it.
func TestTogetherSameBits(t *testing.T) {
	m := openTiny(t, Options{Threads: 2, Limits: engine.Limits{Slots: 6, Piece: 13}})
	ask := func(i int) (engine.Result, error) {
		prompt, _ := m.Prompt(tiny.Text[7*i : 20+25*i])
		p := GenerateOptions{Temperature: 1, TopP: 0.9, Seed: uint64(i), MaxTokens: 5 + 4*i, LogProbs: true, TopLogProbs: 3, IgnoreEOS: true}
		return m.Engine().Generate(t.Context(), prompt, p, func(engine.Delta) error { return nil })
	}
	const callers = 6
	var alone [callers]engine.Result
	for i := range alone {
		var err error
		if alone[i], err = ask(i); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i := range alone {
		wg.Go(func() {
			got, err := ask(i)
			if err != nil || !reflect.DeepEqual(got.LogProbs, alone[i].LogProbs) || got.Text != alone[i].Text {
				t.Errorf("caller %d: %q, %v; alone %q", i, got.Text, err, alone[i].Text)
			}
		})
	}
	wg.Wait()
}
