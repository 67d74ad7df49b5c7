package engine

import (
	"context"

	"sonde/model"
)

// scorePiece bounds the logits held at a time: so many positions of V numbers.
const scorePiece = 32

// Score gives the log-probability of every token of ids but the first, given those
// before it, each with top alternatives. Position i of the result is ids[i+1].
func (t *Ticket) Score(ctx context.Context, ids []int32, top int) ([]TokenLogProb, error) {
	if err := t.e.Check(ids, Params{TopLogProbs: top}); err != nil {
		return nil, err
	}
	g := &generation{e: t.e, m: t.e.batch.join(t.order, len(ids))}
	defer g.close()
	out := make([]TokenLogProb, 0, len(ids)-1)
	for at := 0; at < len(ids)-1; at += scorePiece {
		piece := ids[at:min(at+scorePiece, len(ids)-1)]
		logits, err := t.e.forward(ctx, g.m, piece, model.WantAll)
		if err != nil {
			return nil, err
		}
		v := t.e.model.Vocab()
		for i := range piece {
			out = append(out, t.e.logProb(logits[i*v:(i+1)*v], ids[at+i+1], top))
		}
	}
	return out, nil
}
