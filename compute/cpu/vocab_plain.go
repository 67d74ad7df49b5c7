package cpu

import "sonde/compute"

// plainLogProb is LogProb in plain Go: the logits are this processor's own products,
// whose roundings may differ from the reference's, and the rest is the reference's.
func (b *Backend) plainLogProb(a compute.LogProbArgs) {
	if !a.Logits.IsZero() {
		b.rowChunks(a.Targets.NumCols(), a.Vocab(), func(from, to int) { b.Reference.LogProb(a.Rows(from, to)) })
		return
	}
	ar := compute.NewArena("logits", compute.HostMemory{})
	defer ar.Free()
	per := max(1, vocabFloats/a.Vocab())
	for from := 0; from < a.H.NumRows(); from += per {
		ar.Reset()
		p := a.Rows(from, min(a.H.NumRows(), from+per))
		p.Logits = ar.F32(p.H.NumRows(), a.Vocab())
		b.MatMul(compute.MatMulArgs{Form: compute.NT, C: p.Logits, A: p.H, B: p.W.WithActivations(compute.ActF32), BF16: p.BF16})
		p.H, p.W = compute.Tensor{}, compute.Tensor{}
		b.plainLogProb(p)
	}
}

// plainLogProbBackward is LogProbBackward in plain Go. Log-probabilities and entropy are
// found as plainLogProb finds them, so that they do not depend on what was asked for.
func (b *Backend) plainLogProbBackward(a compute.LogProbBackwardArgs) {
	b.Reference.LogProbBackward(a)
	b.plainLogProb(a.LogProbArgs)
}
