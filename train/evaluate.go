package train

import (
	"context"
	"math"

	"sonde/compute"
	"sonde/model"
)

// evaluator measures the bits per byte of the held-out text. Windows of the sequence
// length overlap by a quarter: a window scores what its predecessors have not, so that
// every token but the very first is scored once and, past the first window, with at
// least a quarter of a window before it. The marks of documents' ends are paid for too.
type evaluator struct {
	model   model.Trainer
	tokens  *tokenFile
	bytes   int64
	seqLen  int
	seqs    int
	ids     []int32
	targets []int32
	window  []int32
}

func newEvaluator(m model.Trainer, tokens *tokenFile, bytes int64, seqLen, seqs int) *evaluator {
	return &evaluator{model: m, tokens: tokens, bytes: bytes, seqLen: seqLen, seqs: seqs,
		ids: make([]int32, seqLen*seqs), targets: make([]int32, seqLen*seqs), window: make([]int32, seqLen+1)}
}

func (e *evaluator) stride() int64 { return int64(max(e.seqLen*3/4, 1)) }

// windows is the number of windows of the whole held-out text.
func (e *evaluator) windows() int64 {
	rest := e.tokens.n - 1 - int64(e.seqLen)
	if rest <= 0 {
		return 1
	}
	return 1 + (rest+e.stride()-1)/e.stride()
}

// passes is the number of passes of a whole evaluation.
func (e *evaluator) passes() int64 { return (e.windows() + int64(e.seqs) - 1) / int64(e.seqs) }

// fill lays window w into place i of the batch.
func (e *evaluator) fill(i int, w int64) error {
	ids, targets := e.ids[i*e.seqLen:(i+1)*e.seqLen], e.targets[i*e.seqLen:(i+1)*e.seqLen]
	for j := range ids {
		ids[j], targets[j] = 0, -1
	}
	if w >= e.windows() {
		return nil
	}
	from := w * e.stride()
	n := min(int64(e.seqLen), e.tokens.n-1-from)
	if err := e.tokens.read(e.window[:n+1], from); err != nil {
		return err
	}
	copy(ids, e.window[:n])
	copy(targets, e.window[1:n+1])
	if w > 0 {
		for j := range int64(e.seqLen) - e.stride() {
			targets[j] = -1
		}
	}
	return nil
}

// heldoutResult is what an evaluation found.
type heldoutResult struct {
	bpb   float64
	loads [][]int64
}

// run evaluates one pass in every; 1 means all of the text.
func (e *evaluator) run(ctx context.Context, ar *compute.Arena, every int64) (heldoutResult, error) {
	var res heldoutResult
	nats, scored := 0.0, 0
	for pass := int64(0); pass < e.passes(); pass += every {
		if err := ctx.Err(); err != nil {
			return res, err
		}
		for i := range e.seqs {
			if err := e.fill(i, pass*int64(e.seqs)+int64(i)); err != nil {
				return res, err
			}
		}
		r := e.model.Loss(ar, model.Batch{Seqs: e.seqs, SeqLen: e.seqLen, Tokens: e.ids, Targets: [][]int32{e.targets}}, model.StepOptions{Scale: 1})
		nats += r.Loss * float64(r.Tokens)
		scored += r.Tokens
		res.loads = AddLoads(res.loads, r.Loads)
	}
	perToken := nats / float64(max(scored, 1))
	res.bpb = perToken * float64(e.tokens.n-1) / float64(e.bytes) / math.Ln2
	return res, nil
}
