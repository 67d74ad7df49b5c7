package compute

import "sonde/num"

// MatMul is one product; see MatMulArgs.
func (*Reference) MatMul(a MatMulArgs) {
	m, n, k := a.Dims()
	if a.int8() {
		int8MatMul(a)
		return
	}
	round := a.B.dtype == BF16 || a.BF16 && a.B.dtype == F32
	if !a.Accumulate {
		clearRows(a.C)
	}
	// Both operands as plain matrices, op(A) [m,k] and op(B) [k,n].
	left := gather(a.A, a.Form == TN, round)
	right := gather(a.B, a.Form == NT, round)
	for i := range m {
		c := a.C.RowF32(i)
		for l := range k {
			axpy(c, left[i*k+l], right[l*n:(l+1)*n])
		}
	}
}

// axpy is c += a*b, fused.
func axpy(c []float32, a float32, b []float32) {
	b = b[:len(c)]
	for j, old := range c { // fma, written out because it is too long to be inlined
		p := float64(a) * float64(b[j])
		if s := p + float64(old); delicate(s) {
			c[j] = roundOnce(p, float64(old), s)
		} else {
			c[j] = float32(s)
		}
	}
}

func clearRows(t Tensor) {
	for r := range t.rows {
		clear(t.RowF32(r))
	}
}

// gather copies t, transposed if asked, rounded to bfloat16 if asked.
func gather(t Tensor, transpose, round bool) []float32 {
	out := make([]float32, t.Len())
	if !transpose {
		for r := range t.rows {
			t.readRow(out[r*t.cols:(r+1)*t.cols], r, round)
		}
		return out
	}
	row := make([]float32, t.cols)
	for r := range t.rows {
		t.readRow(row, r, round)
		for c, v := range row {
			out[c*t.rows+r] = v
		}
	}
	return out
}

// readRow reads row r of a tensor of numbers, rounded to bfloat16 if asked.
func (t Tensor) readRow(dst []float32, r int, round bool) {
	t.Widen(dst, r, 0)
	if round {
		for c, v := range dst {
			dst[c] = num.RoundBF16(v)
		}
	}
}

// GroupedMatMul is one product per expert; see GroupedMatMulArgs.
func (r *Reference) GroupedMatMul(a GroupedMatMulArgs) {
	rows, m, _, _ := a.Dims()
	off := a.Offsets.RowI32(0)
	if !(off[0] == 0 && int(off[a.Experts]) == rows) {
		mismatch("GroupedMatMul", "Offsets must run from 0 to the number of rows", a.Offsets, a.A, a.C)
	}
	for e := range a.Experts {
		from, to := int(off[e]), int(off[e+1])
		if from == to {
			continue
		}
		p := MatMulArgs{Form: a.Form, BF16: a.BF16, Accumulate: a.Accumulate || a.Form == TN}
		p.A = pick(a.A, a.AIndex, from, to)
		if a.Form == TN {
			p.B = pick(a.B, a.BIndex, from, to)
			p.C = a.C.Rows(e*m, (e+1)*m)
		} else {
			p.B = a.Expert(e)
			p.C = a.C.Rows(from, to)
		}
		r.MatMul(p)
	}
}

// pick is rows [from, to) of t, or those that index names, copied.
func pick(t, index Tensor, from, to int) Tensor {
	if index.IsZero() {
		return t.Rows(from, to)
	}
	out := Wrap(make([]float32, (to-from)*t.cols), to-from, t.cols)
	for i, row := range index.RowI32(0)[from:to] {
		copy(out.RowF32(i), t.RowF32(int(row)))
	}
	return out
}

// MatMuls is several products one after the other.
func (r *Reference) MatMuls(as []MatMulArgs) {
	for _, a := range as {
		r.MatMul(a)
	}
}

// HeadMatMul is one product per head; see HeadMatMulArgs.
func (r *Reference) HeadMatMul(a HeadMatMulArgs) {
	a.Check()
	for h := range a.Heads {
		c, from, b := h*a.CCols, h*a.ACols+a.AOff, h*a.BRows+a.BOff
		r.MatMul(MatMulArgs{Form: a.Form, BF16: a.BF16,
			C: a.C.Cols(c, c+a.CWidth), A: a.A.Cols(from, from+a.AWidth), B: a.B.Rows(b, b+a.BCount).WithActivations(ActF32)})
	}
}
