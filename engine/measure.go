package engine

import (
	"context"
	"time"

	"sonde/model"
)

// Speed is what a model takes to read prompts and to write after them.
type Speed struct{ Read, Wrote time.Duration }

// Measure has the model to itself, reads seqs prompts of so many tokens, one after the
// other, and writes tokens to each, all sequences together in every pass, always the
// most probable token. No text is made of them.
func (e *Engine) Measure(ctx context.Context, seqs, prompt, tokens int) (s Speed, err error) {
	err = e.Use(ctx, func() error {
		parts := make([]model.Part, seqs)
		for i := range parts {
			parts[i] = model.Part{Sequence: e.model.NewSequence(prompt + tokens), IDs: e.filler(prompt, i), Want: model.WantLast}
			defer parts[i].Sequence.Close()
		}
		began := time.Now()
		for i := range parts {
			if err := e.model.Forward(parts[i : i+1]); err != nil {
				return err
			}
		}
		read := time.Now()
		for range tokens {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := greedy(parts); err != nil {
				return err
			}
			if err := e.model.Forward(parts); err != nil {
				return err
			}
		}
		s = Speed{read.Sub(began), time.Since(read)}
		return nil
	})
	return s, err
}

// filler is a prompt whose tokens spread over the vocabulary.
func (e *Engine) filler(n, seed int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i + 1 + seed*31) * 7919 % e.model.Vocab())
	}
	return ids
}

// greedy makes each part's next token its most probable one.
func greedy(parts []model.Part) error {
	for i := range parts {
		id, err := argmax(parts[i].Logits)
		if err != nil {
			return err
		}
		parts[i].IDs = []int32{id}
	}
	return nil
}
