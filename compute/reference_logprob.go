package compute

import "math"

// VocabBlock is the number of logits that the vocabulary operations hold per row.
const VocabBlock = 512

// logits is the logits of vocabulary entries [from, from+logits.cols), tempered, those
// that are not allowed unlikely.
func (r *Reference) logits(a LogProbArgs, logits Tensor, from int) {
	if a.Logits.IsZero() {
		r.MatMul(MatMulArgs{Form: NT, C: logits, A: a.H, B: a.W.Rows(from, from+logits.cols).WithActivations(ActF32), BF16: a.BF16})
	} else {
		r.Copy(logits, a.Logits.Cols(from, from+logits.cols))
	}
	if a.Temper() != 1 {
		r.Scale(logits, a.Temper())
	}
	for t := range logits.rows {
		a.Forbid(t, from, logits.cols, 1, logits.RowF32(t))
	}
}

// rowStats are a row's running softmax over the vocabulary: the largest logit, the
// sum of exp(logit-largest), the sum of exp(logit-largest)*(logit-largest), and the
// target's logit.
type rowStats struct {
	largest, sum, moment, target float32
}

func (s *rowStats) block(x []float32) {
	largest := s.largest
	for _, v := range x {
		largest = max(largest, v)
	}
	p, d := make([]float32, len(x)), make([]float32, len(x))
	for j, v := range x {
		d[j] = v - largest
		p[j] = exp(d[j])
	}
	if s.sum > 0 {
		shift := s.largest - largest
		fade := exp(shift)
		s.moment = fade * fma(shift, s.sum, s.moment)
		s.sum *= fade
	}
	s.largest, s.sum, s.moment = largest, s.sum+sumLanes(p), s.moment+dotLanes(p, d)
}

func (s *rowStats) logSum() float32 { return float32(math.Log(float64(s.sum))) }

// LogProb is the operation at the vocabulary; see LogProbArgs.
func (r *Reference) LogProb(a LogProbArgs) { r.logProb(a) }

func (r *Reference) logProb(a LogProbArgs) []rowStats {
	a.Check()
	t, v := a.Targets.cols, a.Vocab()
	targets := a.Targets.RowI32(0)
	buf := make([]float32, t*VocabBlock)
	stats := make([]rowStats, t)
	for i := range stats {
		stats[i].largest = float32(math.Inf(-1))
	}
	for from := 0; from < v; from += VocabBlock {
		x := Wrap(buf, t, min(VocabBlock, v-from))
		r.logits(a, x, from)
		for i := range stats {
			stats[i].block(x.RowF32(i))
			if j := int(targets[i]) - from; j >= 0 && j < x.cols {
				stats[i].target = x.RowF32(i)[j]
			}
		}
	}
	for i := range stats {
		s := &stats[i]
		logp, entropy := s.target-s.largest-s.logSum(), s.logSum()-s.moment/s.sum
		if targets[i] < 0 {
			logp, entropy = 0, 0
		}
		a.LogP.RowF32(0)[i] = logp
		if !a.Entropy.IsZero() {
			a.Entropy.RowF32(0)[i] = entropy
		}
	}
	return stats
}

// LogProbBackward is its gradient: the logit of entry j of row t gets
// InvTemp * Coef[t] * ([j is the target] - softmax_j). With BF16, that gradient is rounded to
// bfloat16 like any operand.
func (r *Reference) LogProbBackward(a LogProbBackwardArgs) {
	a.Check()
	stats := r.logProb(a.LogProbArgs)
	clearRows(a.DH)
	buf := make([]float32, a.H.rows*VocabBlock)
	for from := 0; from < a.W.rows; from += VocabBlock {
		x := Wrap(buf, a.H.rows, min(VocabBlock, a.W.rows-from))
		to := from + x.cols
		r.logits(a.LogProbArgs, x, from)
		for i := range stats {
			logitGrads(x.RowF32(i), &stats[i], int(a.Targets.RowI32(0)[i]), from, a.Temper()*a.Coef.RowF32(0)[i])
		}
		r.MatMul(MatMulArgs{Form: NN, C: a.DH, A: x, B: a.W.Rows(from, to), Accumulate: true, BF16: a.BF16})
		if !a.DW.IsZero() {
			r.MatMul(MatMulArgs{Form: TN, C: a.DW.Rows(from, to), A: x, B: a.H, Accumulate: true, BF16: a.W.dtype == BF16 || a.BF16 && a.W.dtype == F32})
		}
	}
}

// logitGrads turns a row's block of logits into gradients.
func logitGrads(x []float32, s *rowStats, target, from int, coef float32) {
	if target < 0 {
		clear(x)
		return
	}
	for j, v := range x {
		p := exp(v-s.largest) / s.sum
		hit := float32(0)
		if from+j == target {
			hit = 1
		}
		x[j] = coef * (hit - p)
	}
}
