package compute

import "fmt"

// Check panics when the tensors do not have the shapes the type's comment gives.
func (a IndexArgs) Check() {
	m := a.Q.rows
	if !(a.Heads > 0 && a.Dim > 0 && a.TopK > 0 && a.Start >= 0 && is(a.Q, F32, m, a.Heads*a.Dim) && is(a.W, F32, m, a.Heads) &&
		is(a.K, F32, a.K.rows, a.Dim) && a.K.rows >= a.Start+m && is(a.Picks, I32, m, a.TopK)) {
		mismatch("Index", fmt.Sprintf("%d heads of %d, top %d, from position %d on do not fit", a.Heads, a.Dim, a.TopK, a.Start),
			a.Q, a.W, a.K, a.Picks)
	}
}

// Index picks the keys that a row's attention reads; see IndexArgs.
func (*Reference) Index(a IndexArgs) {
	a.Check()
	scores, taken := make([]float32, a.Start+a.Q.rows), make([]bool, a.Start+a.Q.rows)
	for i := range a.Q.rows {
		n := a.Start + i + 1
		for t := range n {
			scores[t] = a.score(i, t)
		}
		best(scores[:n], min(a.TopK, n), taken[:n])
		picks := a.Picks.RowI32(i)
		k := 0
		for t, yes := range taken[:n] {
			if yes {
				picks[k] = int32(t)
				k++
			}
		}
		for ; k < len(picks); k++ {
			picks[k] = -1
		}
	}
}

// score is how much row i wants key t; heads are added in their order.
func (a IndexArgs) score(i, t int) (sum float32) {
	q, w, k := a.Q.RowF32(i), a.W.RowF32(i), a.K.RowF32(t)
	for h := range a.Heads {
		sum = fma(w[h], max(0, dot(0, q[h*a.Dim:(h+1)*a.Dim], k)), sum)
	}
	return sum
}

// picked is the places in a row of picks, which must be ascending and below n.
func picked(op string, row []int32, n int) []int32 {
	for j, p := range row {
		if p < 0 {
			return row[:j]
		}
		if int(p) >= n || j > 0 && p <= row[j-1] {
			panic(fmt.Sprintf("compute: %s: pick %d is key %d after %v, where %d keys are seen and picks ascend", op, j, p, row[:j], n))
		}
	}
	return row
}

// everyKey is the picks of a row that sees n keys and has none of its own.
func everyKey(n int) []int32 {
	all := make([]int32, n)
	for i := range all {
		all[i] = int32(i)
	}
	return all
}

// seen is the keys of a row that sees n: those picked, or all.
func seen(op string, picks Tensor, row, n int) []int32 {
	if picks.IsZero() {
		return everyKey(n)
	}
	return picked(op, picks.RowI32(row), n)
}
