package train

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sonde/engine"
)

// sampleTokens is the length of the texts shown on the way.
const sampleTokens = 80

// sample shows a text that the model writes from nothing but the mark of a beginning.
// It draws from a stream of its own, so that training does not notice.
func (r *run) sample(ctx context.Context) error {
	var b strings.Builder
	defer r.model.Close() // what generation worked in
	e := engine.New(r.model, r.tok)
	p := engine.Params{Temperature: 0.8, TopP: 0.95, MaxTokens: sampleTokens, Seed: *r.o.Seed + uint64(r.step)}
	_, err := e.Generate(ctx, []int32{r.tok.BOS()}, p, func(d engine.Delta) error {
		b.WriteString(d.Text)
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("a sample of text: %w", err)
	}
	r.p.Text(fmt.Sprintf("sample at step %d:", r.step), b.String())
	return nil
}
