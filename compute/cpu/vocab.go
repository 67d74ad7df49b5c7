package cpu

import (
	"math"
	"unsafe"

	"sonde/compute"
)

// The operation at the vocabulary works on a block of tokens and blocks of
// vocabBlock entries. Logits are kept transposed, entry by entry with the tokens
// side by side, so that weights are read where they lie and softmax never sums
// across lanes. With gradients, the logits of one block of tokens stay (as
// exponentials) until their gradients are used: they are made once, not twice.
const (
	vocabBlock  = 128     // entries whose maximum and sums are taken together
	vocabTokens = 256     // tokens in a block, fewer for large vocabularies
	vocabFloats = 4 << 20 // about what a block's logits may occupy
	vocabK      = 384     // steps of a product that run at a time: a panel of H fits the first cache
)

// vocab is one block of tokens at work.
type vocab struct {
	b     *Backend
	a     compute.LogProbBackwardArgs
	grads bool
	round bool // operands are rounded to bfloat16

	first, n int // tokens [first, first+n)
	panels   int // of 16 tokens
	d, dpad  int
	blocks   int // of the vocabulary
	ld       int // floats between entries of logits

	ht     *float32 // H transposed: [panel][dpad][16]
	hp     *float32 // H in panels of 16 columns: [panel][n][16]
	logits *float32 // [block][vocabBlock][ld]
	top    *float32 // [block][16*panels]: the maximum of a block's logits, then their factor
	sum    *float32 // the sum of exp(logit-top)
	dot    *float32 // the sum of exp(logit-top)*(logit-top)
	target *float32 // [16*panels]: the target's logit
	m, l   *float32 // [16*panels]
	alpha  *float32
}

// LogProb is the operation at the vocabulary; see compute.LogProbArgs.
func (b *Backend) LogProb(a compute.LogProbArgs) {
	a.Check()
	if b.k.vector {
		b.vocabulary(compute.LogProbBackwardArgs{LogProbArgs: a}, false)
		return
	}
	b.plainLogProb(a)
}

// LogProbBackward is its gradient; see compute.LogProbBackwardArgs.
func (b *Backend) LogProbBackward(a compute.LogProbBackwardArgs) {
	a.Check()
	if b.k.vector {
		b.vocabulary(a, true)
		return
	}
	b.plainLogProbBackward(a)
}

// vocabulary runs all blocks of tokens.
func (b *Backend) vocabulary(a compute.LogProbBackwardArgs, grads bool) {
	b.shared.begin()
	defer b.shared.end()
	entries, rows := a.Vocab(), a.Targets.NumCols()
	tokens := vocabTokens
	if grads {
		tokens = min(vocabTokens, max(64, vocabFloats/entries&^15))
	}
	v := vocab{b: b, a: a, grads: grads, round: a.BF16 && a.W.DType() == compute.F32 || a.W.DType() == compute.BF16,
		d: a.H.NumCols(), dpad: (a.H.NumCols() + 7) &^ 7, blocks: (entries + vocabBlock - 1) / vocabBlock}
	for v.first = 0; v.first < rows; v.first += tokens {
		v.n = min(tokens, rows-v.first)
		v.tokens()
	}
}

// tokens runs one block of tokens.
func (v *vocab) tokens() {
	mark := v.b.shared.arena.Mark()
	defer v.b.shared.arena.Release(mark)
	v.allocate()
	if v.a.Logits.IsZero() {
		v.b.pool.run(v.panels, v.packTokens)
	}
	v.b.pool.run(v.blocks, v.makeLogits)
	v.b.pool.run(v.panels, v.combine)
	if !v.grads {
		return
	}
	if !v.a.DW.IsZero() {
		v.b.pool.run((v.d+15)/16, v.packColumns)
	}
	v.b.pool.run(v.blocks, v.weightGrads)
	cols, rows := v.inputTasks()
	v.b.pool.run(cols*rows, func(w *worker, c int) { v.inputGrads(w, c%cols, c/cols, rows) })
}

func (v *vocab) allocate() {
	s := &v.b.shared
	v.panels = (v.n + 15) / 16
	// An odd number of cache lines between entries spreads a column over all sets.
	v.ld = 16 * (v.panels | 1)
	width := 16 * v.panels
	v.ht = s.floats(v.panels * v.dpad * 16)
	v.top, v.sum, v.dot = s.floats(v.blocks*width), s.floats(v.blocks*width), s.floats(v.blocks*width)
	v.target, v.m, v.l, v.alpha = s.floats(width), s.floats(width), s.floats(width), s.floats(width)
	if v.grads {
		v.logits = s.floats(v.blocks * vocabBlock * v.ld)
		v.hp = s.floats((v.d + 15) / 16 * 16 * v.n)
	}
}

// packTokens transposes panel p of 16 tokens of H.
func (v *vocab) packTokens(w *worker, p int) {
	k, rows := v.b.k, min(16, v.n-16*p)
	src, ld := rowPtr(v.a.H, v.first+16*p), bytes(v.a.H)
	if rows < 16 || v.d%8 != 0 || v.round {
		whole := scratch(w, 16*v.dpad)
		clear(slice(whole, 16*v.dpad))
		k.copyRows(whole, 4*v.dpad, src, ld, rows, v.d)
		if v.round {
			k.roundBF16(16*v.dpad, whole, whole)
		}
		src, ld = whole, 4*v.dpad
	}
	k.transpose(at(v.ht, p*v.dpad*16), 64, src, ld, 16, v.dpad)
}

// packColumns copies columns 16*p to 16*p+15 of H.
func (v *vocab) packColumns(_ *worker, p int) {
	cols := min(16, v.d-16*p)
	dst := at(v.hp, p*16*v.n)
	v.b.k.copyRows(dst, 64, at(rowPtr(v.a.H, v.first), 16*p), bytes(v.a.H), v.n, cols)
	if v.round {
		v.b.k.roundBF16(16*v.n, dst, dst)
	}
}

// entries is how many entries block c has.
func (v *vocab) entries(c int) int { return min(vocabBlock, v.a.Vocab()-c*vocabBlock) }

// weights gives block c of W as float32, rounded if need be.
func (v *vocab) weights(w *worker, c int) (p *float32, ld int) {
	from, n := c*vocabBlock, v.entries(c)
	if !v.round && !isWidened(v.a.W) {
		return rowPtr(v.a.W, from), bytes(v.a.W)
	}
	ld = (v.d + 15) &^ 15
	p = scratch(w, n*ld)
	for i := range n {
		row := at(p, i*ld)
		v.b.widenTo(slice(row, v.d), &v.a.W, from+i, 0)
		if v.a.W.DType() == compute.F32 {
			v.b.k.roundBF16(ld, row, row)
		}
	}
	return p, 4 * ld
}

// makeLogits makes block c of the logits of all tokens, and their statistics.
func (v *vocab) makeLogits(w *worker, c int) {
	var weights *float32
	var ldw int
	if v.a.Logits.IsZero() {
		weights, ldw = v.weights(w, c)
	}
	n, width := v.entries(c), 16*v.panels
	// Without gradients the logits of a panel are forgotten at once.
	ld, step := 16, 0
	var out *float32
	if v.grads {
		out, ld, step = at(v.logits, c*vocabBlock*v.ld), v.ld, 16
	} else {
		out = scratch(w, vocabBlock*16)
	}
	targets := v.a.Targets.RowI32(0)[v.first : v.first+v.n]
	for p := range v.panels {
		s := at(out, step*p)
		if weights == nil {
			v.takeLogits(w, s, c, p)
		}
		for k := 0; weights != nil && k < v.d; k += vocabK {
			v.b.k.panel(n, min(vocabK, v.d-k), at(weights, k), ldw, 4, at(v.ht, (p*v.dpad+k)*16), 64, s, 4*ld, flag(k > 0))
		}
		v.temper(s, ld, n, c*vocabBlock, p)
		for j, t := range targets[16*p : min(16*p+16, v.n)] {
			if e := int(t) - c*vocabBlock; e >= 0 && e < n {
				*at(v.target, 16*p+j) = *at(s, e*ld+j)
			}
		}
		i := c*width + 16*p
		v.b.k.vocabularyCols(s, 4*ld, n, 16, at(v.top, i), at(v.sum, i), at(v.dot, i))
	}
}

// takeLogits transposes those of panel p and block c that were made before.
func (v *vocab) takeLogits(w *worker, s *float32, c, p int) {
	mark := w.scratch.Mark()
	defer w.scratch.Release(mark)
	n, rows, ld := v.entries(c), min(16, v.n-16*p), (v.entries(c)+7)&^7
	whole := scratch(w, 16*ld)
	clear(slice(whole, 16*ld))
	v.b.k.copyRows(whole, 4*ld, at(rowPtr(v.a.Logits, v.first+16*p), c*vocabBlock), bytes(v.a.Logits), rows, n)
	v.b.k.transpose(s, 64, whole, 4*ld, 16, ld)
}

// temper multiplies the logits of panel p for n entries from first on by InvTemp, and
// makes those unlikely that are not allowed.
func (v *vocab) temper(s *float32, ld, n, first, p int) {
	if t := v.a.Temper(); t != 1 {
		var f [16]float32
		for j := range f {
			f[j] = t
		}
		v.b.k.mulCols(s, 4*ld, n, 16, &f[0])
	}
	for j := range min(16, v.n-16*p) {
		v.a.Forbid(v.first+16*p+j, first, n, ld, slice(at(s, j), (n-1)*ld+1))
	}
}

// combine joins the blocks' statistics of panel p, block by block, writes the
// results of its tokens, and turns top into what makes gradients of exponentials.
func (v *vocab) combine(_ *worker, p int) {
	width, from := 16*v.panels, 16*p
	var tops [16]float32
	m, l := slice(at(v.m, from), 16), slice(at(v.l, from), 16)
	for j := range 16 {
		m[j], l[j] = -math.MaxFloat32, 0
	}
	var total, moment [16]float32
	for c := range v.blocks {
		for j, t := range slice(at(v.top, c*width+from), 16) {
			m[j] = max(m[j], t)
		}
	}
	for c := range v.blocks {
		i := c*width + from
		top, sum, dot := slice(at(v.top, i), 16), slice(at(v.sum, i), 16), slice(at(v.dot, i), 16)
		copy(tops[:], top)
		v.fade(top, m)
		for j, f := range top {
			total[j] += f * sum[j]
			moment[j] += f * (dot[j] + (tops[j]-m[j])*sum[j])
		}
	}
	for j := range min(16, v.n-from) {
		v.result(from+j, m[j], total[j], moment[j])
	}
	if v.grads {
		v.factors(p, &total)
	}
}

// fade is top = exp(top - m) for 16 tokens.
func (v *vocab) fade(top, m []float32) {
	for j := range top {
		top[j] -= m[j]
	}
	v.b.k.expMinus(&top[0], 16, 0)
}

// result writes what token i of the block gets.
func (v *vocab) result(i int, m, total, moment float32) {
	logSum := float32(math.Log(float64(total)))
	logp, entropy := *at(v.target, i)-m-logSum, logSum-moment/total
	if v.a.Targets.RowI32(0)[v.first+i] < 0 {
		logp, entropy = 0, 0
	}
	v.a.LogP.RowF32(0)[v.first+i] = logp
	if !v.a.Entropy.IsZero() {
		v.a.Entropy.RowF32(0)[v.first+i] = entropy
	}
}

// factors turns the fading of each block into -coefficient/sum times it.
func (v *vocab) factors(p int, total *[16]float32) {
	var f [16]float32
	for j := range min(16, v.n-16*p) {
		if i := v.first + 16*p + j; v.a.Targets.RowI32(0)[i] >= 0 {
			f[j] = -(v.a.Temper() * v.a.Coef.RowF32(0)[i]) / total[j]
		}
	}
	for c := range v.blocks {
		top := slice(at(v.top, c*16*v.panels+16*p), 16)
		for j := range top {
			top[j] *= f[j]
		}
	}
}

// weightGrads turns block c of the exponentials into the gradients of the logits,
// and adds what they give W.
func (v *vocab) weightGrads(w *worker, c int) {
	k, n := v.b.k, v.entries(c)
	g, ld := at(v.logits, c*vocabBlock*v.ld), 4*v.ld
	k.mulCols(g, ld, n, 16*v.panels, at(v.top, c*16*v.panels))
	for j, t := range v.a.Targets.RowI32(0)[v.first : v.first+v.n] {
		if e := int(t) - c*vocabBlock; t >= 0 && e >= 0 && e < n {
			*at(g, e*v.ld+j) += v.a.Temper() * v.a.Coef.RowF32(0)[v.first+j]
		}
	}
	if v.round {
		for e := range n {
			k.roundBF16(16*v.panels, at(g, e*v.ld), at(g, e*v.ld))
		}
	}
	if v.a.DW.IsZero() {
		return
	}
	dw := rowPtr(v.a.DW, c*vocabBlock)
	for col := 0; col < v.d; col += 16 {
		h := at(v.hp, col*v.n)
		if cols := min(16, v.d-col); cols < 16 {
			k.edge(w, n, cols, v.n, g, ld, 4, h, at(dw, col), bytes(v.a.DW), 1)
		} else {
			k.panel(n, v.n, g, ld, 4, h, 64, at(dw, col), bytes(v.a.DW), 1)
		}
	}
}

// inputCols is how many columns of DH a task takes: a block of logits is read from
// the second-level cache once for each panel of 16. It holds whole blocks of weights.
func (v *vocab) inputCols() int {
	if isWidened(v.a.W) {
		return stripCols
	}
	return 64
}

// inputTasks cuts DH into tasks, by columns and then, if there are too few, by rows.
func (v *vocab) inputTasks() (cols, rows int) {
	cols, rows = (v.d+v.inputCols()-1)/v.inputCols(), 1
	for cols*rows < 2*v.b.pool.threads && rows < (v.n+47)/48 {
		rows++
	}
	return cols, rows
}

// inputGrads writes the columns of part c and the tokens of part r of DH.
func (v *vocab) inputGrads(w *worker, c, r, parts int) {
	k := v.b.k
	per := ((v.n+parts-1)/parts + 5) / 6 * 6
	from, to := min(v.n, r*per), min(v.n, (r+1)*per)
	if from == to {
		return
	}
	panel := scratch(w, vocabBlock*16)
	first := c * v.inputCols()
	end := min(v.d, first+v.inputCols())
	var wide *float32
	if isWidened(v.a.W) {
		wide = scratch(w, vocabBlock*stripLd)
	}
	for block := range v.blocks {
		g := at(v.logits, block*vocabBlock*v.ld+from)
		if wide != nil {
			e := block * vocabBlock
			k.widenPart(wide, 4*stripLd, &v.a.W, span{e, e + v.entries(block)}, span{first, end})
		}
		for col := first; col < end; col += 16 {
			cols := min(16, v.d-col)
			if wide != nil {
				k.copyRows(panel, 64, at(wide, col-first), 4*stripLd, v.entries(block), cols)
			} else {
				v.packWeights(panel, block, col, cols)
			}
			dh := at(rowPtr(v.a.DH, v.first+from), col)
			if cols < 16 {
				k.edge(w, to-from, cols, v.entries(block), g, 4, 4*v.ld, panel, dh, bytes(v.a.DH), flag(block > 0))
			} else {
				k.panel(to-from, v.entries(block), g, 4, 4*v.ld, panel, 64, dh, bytes(v.a.DH), flag(block > 0))
			}
		}
	}
}

// packWeights copies columns [col, col+cols) of a block of W to a panel.
func (v *vocab) packWeights(panel *float32, block, col, cols int) {
	n, w := v.entries(block), v.a.W
	if w.DType() == compute.BF16 {
		for i := range n {
			src := unsafe.Slice((*uint16)(unsafe.Add(unsafe.Pointer(rowPtr16(w, block*vocabBlock+i)), 2*col)), cols)
			v.b.widen(slice(at(panel, 16*i), cols), src)
		}
		return
	}
	v.b.k.copyRows(panel, 64, at(rowPtr(w, block*vocabBlock), col), bytes(w), n, cols)
	if v.round {
		v.b.k.roundBF16(16*n, panel, panel)
	}
}
