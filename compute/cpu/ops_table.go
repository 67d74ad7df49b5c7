package cpu

// opKernels are the kernels of everything but matrix products; their meaning is in
// the generated declarations (ops_avx2_amd64.go). All are nil in the generic set,
// where the plain-Go reference does the work, cut over the pool by rows.
type opKernels struct {
	vector bool // the kernels are there

	add        func(dst, src *float32, n int)
	scale      func(dst *float32, n int, s float32)
	sigmoid    func(dst, src *float32, n int)
	expMinus   func(dst *float32, n int, s float32)
	sumSquares func(x *float32, n int) float64
	sumRows    func(y, rows *float32, ldrows int, slot *int32, k, d, acc int)

	rmsNorm           func(y *float32, ldy int, x *float32, ldx int, w, rstd *float32, rows, d int, eps float32)
	rmsNormBackInput  func(dx *float32, lddx int, dy *float32, lddy int, x *float32, ldx int, w, rstd *float32, rows, d, acc int)
	rmsNormBackWeight func(dw, dy *float32, lddy int, x *float32, ldx int, rstd *float32, rows, d int)
	rowDots           func(out *float32, ldout int, a *float32, lda int, b *float32, ldb int, rows, d int)

	swiglu     func(y *float32, ldy int, gate *float32, ldgate int, up *float32, ldup int, scale *float32, step, rows, d int)
	swigluBack func(dgate *float32, lddgate int, dup *float32, lddup int, dy *float32, lddy int, gate *float32, ldgate int, up *float32, ldup int, scale, dscale *float32, step, rows, d int)
	rope       func(x *float32, ldx int, cos, sin *float32, heads, dim, inverse int)
	adamW      func(p, g, m, v *float32, working *uint16, n int, k *float32)

	transpose func(dst *float32, lddst int, src *float32, ldsrc int, rows, cols int)
	scaleRows func(dst *float32, lddst int, src *float32, ldsrc int, f *float32, rows, d int)
	copyRows  func(dst *float32, lddst int, src *float32, ldsrc int, rows, d int)
	mergeRows func(dst *float32, lddst int, src *float32, ldsrc int, f, g *float32, rows, d int)
	toBF16    func(dst *uint16, src *float32, n int)
	fromBF16  func(dst *float32, src *uint16, n int)

	attnKernels

	maskCols          func(s *float32, lds, rows, n int, limit *int32, first int)
	softmaxCols       func(s *float32, lds, rows, n int, scale float32, m, l, alpha *float32)
	attentionBackCols func(s, dp *float32, lds, rows, n int, scale float32, lse, delta *float32)
	vocabularyCols    func(s *float32, lds, rows, n int, top, sum, dot *float32)
	mulCols           func(s *float32, lds, rows, n int, f *float32)
}

// genericOps is the plain-Go set.
func genericOps() opKernels { return opKernels{} }

// attnKernels are those that AVX2 and AVX-512 machines share.
type attnKernels struct {
	attnScores  [2][9]func(groups, d8 int, k *float32, ldk int, q, s *float32, acc int)      // of float32 and float16 keys, by heads
	attnMix     [2][5]func(n, d16 int, s, v *float32, ldv int, out *float32, ldout, acc int) // likewise
	toHalf      func(dst *uint16, lddst int, src *float32, ldsrc, rows, d8 int)
	attnFetch   func(p *float32, lines int)
	attnSoftmax func(s *float32, lds, heads, n int, scale float32, m, l, alpha *float32)
	indexSum    func(out, s *float32, lds, heads int, w *float32)
	ropeHalves  func(x *float32, ldx int, cos, sin *float32, heads, half, inverse int)
	layerNorm   func(y *float32, ldy int, x *float32, ldx int, w, bias *float32, rows, d int, eps float32)
}
