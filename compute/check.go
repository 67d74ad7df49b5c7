package compute

import "fmt"

// mismatch panics with the operation, what it needs, and the shapes it was given.
func mismatch(op, what string, ts ...Tensor) {
	panic(fmt.Sprintf("compute: %s: %s, but the tensors are %v", op, what, ts))
}

func is(t Tensor, d DType, rows, cols int) bool {
	return t.dtype == d && t.rows == rows && t.cols == cols
}

func floating(t Tensor) bool { return t.dtype == F32 || t.dtype == BF16 }

// Dims is the product's size: C is m x n, the sum runs over k. It panics when the
// operands do not fit together; every backend calls it first.
func (a MatMulArgs) Dims() (m, n, k int) {
	var fit bool
	m, n = a.C.rows, a.C.cols
	switch a.Form {
	case NN:
		k = a.A.cols
		fit = a.A.rows == m && a.B.rows == k && a.B.cols == n
	case NT:
		k = a.A.cols
		fit = a.A.rows == m && a.B.cols == k && a.B.rows == n
	case TN:
		k = a.A.rows
		fit = a.A.cols == m && a.B.rows == k && a.B.cols == n
	}
	if !fit {
		mismatch("MatMul "+a.Form.String(), "C = op(A) op(B) needs matching shapes", a.C, a.A, a.B)
	}
	if !(a.C.dtype == F32 && a.A.dtype == F32 && (a.B.dtype == F32 || readable(a.B) && a.Form != TN)) {
		mismatch("MatMul "+a.Form.String(), "C and A must be F32, B F32 or (NN, NT) a format of weights", a.C, a.A, a.B)
	}
	a.B.CheckScales("MatMul")
	return m, n, k
}

// int8 tells whether A's rows are to be quantised; see MatMulArgs.
func (a MatMulArgs) int8() bool {
	_, block := a.B.dtype.Block()
	return block && a.Form == NT && a.B.act == ActInt8
}

// Weights is B, or the first expert's matrix where they do not lie together.
func (a GroupedMatMulArgs) Weights() Tensor {
	if len(a.Bs) > 0 {
		return a.Bs[0]
	}
	return a.B
}

// Expert is the matrix of expert e (NN and NT).
func (a GroupedMatMulArgs) Expert(e int) Tensor {
	if len(a.Bs) > 0 {
		return a.Bs[e]
	}
	per := a.B.rows / a.Experts
	return a.B.Rows(e*per, (e+1)*per)
}

// checkWeights panics unless every expert's matrix is rows x cols.
func (a GroupedMatMulArgs) checkWeights(op string, rows, cols int) {
	if len(a.Bs) == 0 {
		if !(a.B.rows == a.Experts*rows && a.B.cols == cols) {
			mismatch(op, fmt.Sprintf("B must be [%d*%d,%d]", a.Experts, rows, cols), a.C, a.A, a.B)
		}
		a.B.CheckScales(op)
		return
	}
	if len(a.Bs) != a.Experts || !a.B.IsZero() {
		mismatch(op, fmt.Sprintf("Bs must be the %d experts' matrices, in B's place, but are %d", a.Experts, len(a.Bs)), a.C, a.A, a.B)
	}
	first := a.Bs[0]
	for e, b := range a.Bs {
		if !(b.rows == rows && b.cols == cols && b.dtype == first.dtype && b.act == first.act) {
			mismatch(op, fmt.Sprintf("expert %d must be [%d,%d] of the first one's format", e, rows, cols), first, b, a.C, a.A)
		}
		b.CheckScales(op)
	}
}

// Dims is the number of rows sorted by expert and the width of the operands: n
// columns of C, and the sum runs over k (for TN, C has m rows per expert and the sum
// runs over the expert's rows; then k is 0). It panics when the operands do not fit.
func (a GroupedMatMulArgs) Dims() (rows, m, n, k int) {
	e := a.Experts
	n = a.C.cols
	op := [...]string{NN: "GroupedMatMul NN", NT: "GroupedMatMul NT", TN: "GroupedMatMul TN"}[a.Form]
	if !(e > 0 && is(a.Offsets, I32, 1, e+1)) {
		mismatch(op, fmt.Sprintf("Offsets must be I32[1,%d]", e+1), a.Offsets)
	}
	if w := a.Weights(); !(a.C.dtype == F32 && a.A.dtype == F32 && readable(w)) {
		mismatch(op, "C and A must be F32, B F32 or a format of weights", a.C, a.A, w)
	}
	rows = a.C.rows
	if a.Form == TN {
		rows = indexed(a.A, a.AIndex)
		m = a.A.cols
		if !(len(a.Bs) == 0 && a.B.dtype == F32 && a.C.rows == e*m && a.B.cols == n && indexed(a.B, a.BIndex) == rows) {
			mismatch(op, "C must be [E*M,N], A [R,M], B [R,N], all F32", a.C, a.A, a.B, a.AIndex, a.BIndex)
		}
		return rows, m, n, 0
	}
	k = a.A.cols
	brows, bcols := n, k
	if a.Form == NN {
		brows, bcols = k, n
	}
	a.checkWeights(op, brows, bcols)
	if !(indexed(a.A, a.AIndex) == rows && a.BIndex.IsZero()) {
		mismatch(op, fmt.Sprintf("A must have %d rows", rows), a.C, a.A, a.AIndex, a.BIndex)
	}
	return rows, 0, n, k
}

func indexed(t, index Tensor) int {
	if index.IsZero() {
		return t.rows
	}
	if !(index.dtype == I32 && index.rows == 1) {
		mismatch("GroupedMatMul", "an index must be I32[1,R]", index)
	}
	return index.cols
}

// Check panics when the slices do not lie within the tensors.
func (a HeadMatMulArgs) Check() {
	inner, cols := a.BCount, a.CWidth
	if a.Form == NT {
		inner, cols = a.AWidth, a.BCount
	}
	last := a.Heads - 1
	if !(a.Form != TN && a.Heads > 0 && inner == a.AWidth && cols == a.CWidth &&
		(a.Form == NN && a.B.cols == a.CWidth || a.Form == NT && a.B.cols == a.AWidth) &&
		a.C.rows == a.A.rows && last*a.CCols+a.CWidth <= a.C.cols &&
		last*a.ACols+a.AOff+a.AWidth <= a.A.cols && last*a.BRows+a.BOff+a.BCount <= a.B.rows &&
		a.C.dtype == F32 && a.A.dtype == F32 && readable(a.B)) {
		mismatch("HeadMatMul "+a.Form.String(), fmt.Sprintf("%d heads do not fit: %+v", a.Heads, a), a.C, a.A, a.B)
	}
	a.B.CheckScales("HeadMatMul")
}

// Check panics when the rotated columns do not lie within X.
func (a RopeArgs) Check() {
	if !(a.X.dtype == F32 && a.Dim%2 == 0 && a.Heads > 0 && (a.Heads-1)*a.HeadStride+a.Offset+a.Dim <= a.X.cols &&
		is(a.Pos, I32, 1, a.X.rows) && a.Table.dtype == F32 && a.Table.cols == a.Dim) {
		mismatch("Rope", fmt.Sprintf("%d heads every %d columns, %d columns from %d, do not fit X, Pos and Table", a.Heads, a.HeadStride, a.Dim, a.Offset), a.X, a.Pos, a.Table)
	}
}

// Check panics when the tensors do not have the shapes the type's comment gives.
func (a MLAArgs) Check() {
	n, h := a.Q.rows, a.Heads
	if !(is(a.Q, F32, n, h*(a.Nope+a.Rope)) && is(a.O, F32, n, h*a.V) && (a.LSE.IsZero() || is(a.LSE, F32, n, h)) &&
		(a.Picks.IsZero() || is(a.Picks, I32, n, a.Picks.cols)) &&
		(a.KV.IsZero() && a.KR.IsZero() || is(a.KV, F32, n, h*(a.Nope+a.V)) && is(a.KR, F32, n, a.Rope))) {
		mismatch("MLA", fmt.Sprintf("%d rows, %d heads of %d+%d (v %d) do not fit", n, h, a.Nope, a.Rope, a.V), a.Q, a.O, a.LSE, a.Picks, a.KV, a.KR)
	}
	for i, s := range a.Seqs {
		if !(within(s.Row, s.Rows, s.Start, n) && keyed(s.KV, s.Start+s.Rows, h*(a.Nope+a.V)) && keyed(s.KR, s.Start+s.Rows, a.Rope)) {
			mismatch("MLA", fmt.Sprintf("sequence %d with rows %d to %d from position %d on, %d heads of %d+%d (v %d), does not fit",
				i, s.Row, s.Row+s.Rows, s.Start, h, a.Nope, a.Rope, a.V), a.Q, s.KV, s.KR)
		}
	}
}

// within tells whether a sequence's rows lie within n and its positions are some.
func within(row, rows, start, n int) bool {
	return start >= 0 && rows >= 0 && row >= 0 && row+rows <= n
}

// keyed tells whether t can be the keys of n places.
func keyed(t Tensor, n, cols int) bool { return t.dtype == F32 && t.rows >= n && t.cols == cols }

// Check panics when a gradient does not have the shape that its type's comment gives, or
// a sequence does not begin at its start.
func (g MLAGrads) Check(a MLAArgs) {
	n := a.Q.rows
	if !(is(g.DO, F32, n, a.O.cols) && is(g.DQ, F32, n, a.Q.cols) && is(g.DKV, F32, n, a.Heads*(a.Nope+a.V)) && is(g.DKR, F32, n, a.Rope) &&
		is(a.LSE, F32, n, a.Heads)) {
		mismatch("MLABackward", fmt.Sprintf("LSE must be there, gradients must fit Q and O, and DKV and DKR have %d rows of %d heads of %d+%d and of %d",
			n, a.Heads, a.Nope, a.V, a.Rope), g.DO, a.O, g.DQ, a.Q, g.DKV, g.DKR, a.LSE)
	}
	for i, s := range a.Seqs {
		if s.Start != 0 {
			mismatch("MLABackward", fmt.Sprintf("sequence %d has rows from position %d on", i, s.Start), a.Q, s.KV, s.KR)
		}
	}
}

// Check panics when the tensors do not have the shapes the type's comment gives.
func (a LatentArgs) Check() {
	m := a.Q.rows
	if !(is(a.Q, F32, m, a.Heads*(a.Latent+a.Rope)) && is(a.O, F32, m, a.Heads*a.Latent) && (a.Picks.IsZero() || is(a.Picks, I32, m, a.Picks.cols))) {
		mismatch("LatentAttention", fmt.Sprintf("%d heads of %d+%d do not fit", a.Heads, a.Latent, a.Rope), a.Q, a.O, a.Picks)
	}
	for i, s := range a.Seqs {
		if !(within(s.Row, s.Rows, s.Start, m) && keyed(s.Cache, s.Start+s.Rows, a.Latent+a.Rope)) {
			mismatch("LatentAttention", fmt.Sprintf("sequence %d with rows %d to %d from position %d on, %d heads of %d+%d, does not fit",
				i, s.Row, s.Row+s.Rows, s.Start, a.Heads, a.Latent, a.Rope), a.Q, s.Cache)
		}
	}
}

// Check panics when the tensors do not have the shapes the type's comment gives.
func (a RouteArgs) Check() {
	t, e, k := a.Logits.rows, a.Logits.cols, a.TopK
	g := max(a.Groups, 1)
	if !(k >= 1 && k <= e && e%g == 0 && (g == 1 || a.TopGroups >= 1 && a.TopGroups <= g)) {
		mismatch("Route", fmt.Sprintf("cannot choose %d experts from %d of %d groups", k, a.TopGroups, g), a.Logits)
	}
	if !(is(a.Logits, F32, t, e) && (a.Bias.IsZero() || is(a.Bias, F32, 1, e)) && is(a.Scores, F32, t, e) && is(a.Experts, I32, t, k) &&
		is(a.Weights, F32, t, k) && is(a.Offsets, I32, 1, e+1) && is(a.Token, I32, 1, t*k) && is(a.Slot, I32, t, k) &&
		is(a.RowW, F32, 1, t*k)) {
		mismatch("Route", fmt.Sprintf("%d tokens, %d experts, top %d do not fit", t, e, k), a.Logits, a.Bias, a.Scores, a.Experts, a.Weights, a.Offsets, a.Token, a.Slot, a.RowW)
	}
	for i := 0; a.Given && i < t; i++ {
		for j, x := range a.Experts.RowI32(i) {
			if x < 0 || int(x) >= e || j > 0 && x <= a.Experts.RowI32(i)[j-1] {
				panic(fmt.Sprintf("compute: Route: token %d is given the experts %v, which must ascend and be below %d", i, a.Experts.RowI32(i), e))
			}
		}
	}
}

// Check panics when the tensors do not fit each other.
func (a RouteBackwardArgs) Check() {
	t, e, k := a.Logits.rows, a.Logits.cols, a.TopK
	if !(is(a.Scores, F32, t, e) && is(a.Experts, I32, t, k) && is(a.Slot, I32, t, k) && is(a.DRowW, F32, 1, t*k) &&
		is(a.DLogits, F32, t, e)) {
		mismatch("RouteBackward", fmt.Sprintf("%d tokens, %d experts, top %d do not fit", t, e, k), a.Scores, a.Experts, a.Slot, a.DRowW, a.DLogits)
	}
	if a.AuxAlpha == 0 {
		return
	}
	sum := 0
	for _, n := range a.Lens {
		sum += max(n, 0)
	}
	if sum != t {
		mismatch("RouteBackward", fmt.Sprintf("the balance loss needs the sequences' Lens, which are %d tokens", sum), a.DLogits)
	}
}

// Check panics when the tensors do not have the shapes the type's comment gives.
func (a LogProbArgs) Check() {
	t, v := a.Targets.cols, a.Vocab()
	if a.Logits.IsZero() {
		if !(is(a.H, F32, t, a.W.cols) && readable(a.W) && v > 0) {
			mismatch("LogProb", "H[T,D], W[V,D] and Targets[1,T] must fit", a.H, a.W, a.Targets)
		}
		a.W.CheckScales("LogProb")
	} else if !(is(a.Logits, F32, t, v) && v > 0 && a.H.IsZero() && a.W.IsZero()) {
		mismatch("LogProb", "Logits[T,V] stand in place of H and W and must fit Targets[1,T]", a.Logits, a.H, a.W, a.Targets)
	}
	if !(is(a.Targets, I32, 1, t) && is(a.LogP, F32, 1, t) && (a.Entropy.IsZero() || is(a.Entropy, F32, 1, t))) {
		mismatch("LogProb", "Targets, LogP and Entropy [1,T] must fit", a.Targets, a.LogP, a.Entropy)
	}
	for i, id := range a.Targets.RowI32(0) {
		if int(id) >= v {
			panic(fmt.Sprintf("compute: LogProb: target %d of row %d is outside a vocabulary of %d", id, i, v))
		}
	}
	if !a.Allowed.IsZero() {
		a.checkAllowed()
	}
}

// checkAllowed panics unless each row's ids ascend within the vocabulary and its target
// is one of them.
func (a LogProbArgs) checkAllowed() {
	s := a.Allowed
	if !(is(s.Offsets, I32, 1, a.Targets.cols+1) && (s.IDs.IsZero() || is(s.IDs, I32, 1, s.IDs.cols))) {
		mismatch("LogProb", fmt.Sprintf("Allowed needs Offsets I32[1,%d] and IDs I32[1,n]", a.Targets.cols+1), s.Offsets, s.IDs)
	}
	off := s.Offsets.RowI32(0)
	for t, target := range a.Targets.RowI32(0) {
		if off[t] < 0 || off[t] > off[t+1] || int(off[t+1]) > s.IDs.cols {
			panic(fmt.Sprintf("compute: LogProb: the allowed ids of row %d are %d to %d of %d", t, off[t], off[t+1], s.IDs.cols))
		}
		ids, found := s.Row(t), false
		for j, id := range ids {
			if id < 0 || int(id) >= a.Vocab() || j > 0 && id <= ids[j-1] {
				panic(fmt.Sprintf("compute: LogProb: id %d of row %d's allowed ones is %d; they must ascend within a vocabulary of %d", j, t, id, a.Vocab()))
			}
			found = found || id == target
		}
		if len(ids) > 0 && target >= 0 && !found {
			panic(fmt.Sprintf("compute: LogProb: target %d of row %d is not among the ids that it is allowed", target, t))
		}
	}
}

// Check panics when the tensors do not have the shapes the type's comment gives.
func (a LogProbBackwardArgs) Check() {
	a.LogProbArgs.Check()
	if !a.Logits.IsZero() {
		mismatch("LogProbBackward", "gradients need H and W, not Logits", a.Logits)
	}
	t, d := a.H.rows, a.H.cols
	if !(is(a.Coef, F32, 1, t) && is(a.DH, F32, t, d) && (a.DW.IsZero() || is(a.DW, F32, a.W.rows, d))) {
		mismatch("LogProbBackward", "Coef[1,T], DH[T,D], DW[V,D] must fit", a.Coef, a.DH, a.DW, a.H, a.W)
	}
}

// Check panics when the tensors differ in shape.
func (a AdamWArgs) Check() {
	r, c := a.P.rows, a.P.cols
	if !(is(a.P, F32, r, c) && is(a.G, F32, r, c) && is(a.M, F32, r, c) && is(a.V, F32, r, c) &&
		(a.Working.IsZero() || is(a.Working, BF16, r, c))) {
		mismatch("AdamW", "P, G, M, V (F32) and Working (BF16) must have one shape", a.P, a.G, a.M, a.V, a.Working)
	}
}
