package opcheck

import (
	"encoding/binary"
	"math"

	"sonde/compute"
	"sonde/num"
)

// file is what a weight in a format that only files have consists of: its rows'
// bytes, and for E4M3 the factors of the matrix that it is a part of.
type file struct {
	raw                  []byte
	above, skip          int // rows and columns of that matrix before it
	factors              []float32
	blockRows, blockCols int
}

// formats are the formats to try, common ones and one of every shape of block.
var formats = []compute.DType{compute.F16, compute.E4M3, compute.BlockDType(num.Q4_0), compute.BlockDType(num.Q4_1),
	compute.BlockDType(num.Q5_0), compute.BlockDType(num.Q5_1), compute.BlockDType(num.Q8_0), compute.BlockDType(num.Q2_K),
	compute.BlockDType(num.Q3_K), compute.BlockDType(num.Q4_K), compute.BlockDType(num.Q5_K), compute.BlockDType(num.Q6_K),
	compute.BlockDType(num.IQ4_NL), compute.BlockDType(num.IQ4_XS), compute.BlockDType(num.IQ2_XS), compute.BlockDType(num.MXFP4)}

// unit is how many columns a block of dt has.
func unit(dt compute.DType) int {
	if b, ok := dt.Block(); ok {
		return b.Elements()
	}
	return 1
}

// weights adds an operand of format dt.
func (p *problem) weights(name string, dt compute.DType, rows, cols int) {
	o := &operand{name: name, dt: dt, rows: rows, cols: cols, file: new(file)}
	p.add(o)
	o.left, o.gap = o.left*unit(dt), o.gap*unit(dt)
	if p.skipped {
		return
	}
	o.file.raw = make([]byte, rows*dt.RowBytes(cols))
	switch dt {
	case compute.F16:
		for i := 0; i < len(o.file.raw); i += 2 {
			binary.LittleEndian.PutUint16(o.file.raw[i:], num.F16FromF32(float32(p.rng.NormFloat64()*math.Exp2(float64(-p.rng.IntN(20))))))
		}
	case compute.E4M3:
		p.fp8(o)
	default:
		p.blocks(o)
	}
}

// fp8 fills o with codes of numbers and makes it part of a larger matrix whose factors
// stand for ragged blocks.
func (p *problem) fp8(o *operand) {
	f := o.file
	for i := range f.raw {
		for f.raw[i] = byte(p.rng.Uint32()); f.raw[i]&0x7f == 0x7f; {
			f.raw[i] = byte(p.rng.Uint32())
		}
	}
	f.blockRows, f.blockCols = []int{128, 16, 5}[p.rng.IntN(3)], []int{128, 64, 24}[p.rng.IntN(3)]
	f.above, f.skip = p.rng.IntN(2*f.blockRows), p.rng.IntN(2*f.blockCols)
	o.left = 0
	down, across := (f.above+o.rows-1)/f.blockRows+1, (f.skip+o.cols-1)/f.blockCols+1
	f.factors = make([]float32, down*across)
	for i := range f.factors {
		f.factors[i] = float32(p.rng.NormFloat64() / 100)
	}
}

// blocks fills o with random blocks of moderate numbers.
func (p *problem) blocks(o *operand) {
	b, _ := o.dt.Block()
	v := make([]float32, b.Elements())
	for raw := o.file.raw; len(raw) > 0; raw = raw[b.Bytes():] {
		for largest := math.Inf(1); !(largest > 1e-3 && largest < 8); {
			for i := range b.Bytes() {
				raw[i] = byte(p.rng.Uint32())
			}
			b.Decode(v, raw[:b.Bytes()])
			largest = 0
			for _, x := range v {
				largest = max(largest, math.Abs(float64(x)))
			}
		}
	}
}

// fileImage is the parent's contents: what surrounds the weight is not a number.
func (o *operand) fileImage() []byte {
	f := o.file
	per, width := o.dt.RowBytes(o.cols), o.dt.RowBytes(f.skip+o.left+o.cols+o.gap)
	raw := make([]byte, (f.above+o.rows)*width)
	for i := range raw {
		raw[i] = 0xff
	}
	for r := range o.rows {
		copy(raw[(f.above+r)*width+o.dt.RowBytes(f.skip+o.left):], f.raw[r*per:(r+1)*per])
	}
	return raw
}

// upload makes the parent and the weight in it.
func (o *operand) upload(be compute.Backend, ar *compute.Arena) (parent, view compute.Tensor) {
	f := o.file
	parent = ar.Alloc(o.dt, f.above+o.rows, f.skip+o.left+o.cols+o.gap)
	be.Upload(parent, o.dt, o.fileImage())
	view = parent
	if o.dt == compute.E4M3 {
		across := (f.skip+o.cols-1)/f.blockCols + 1
		s := &compute.Scales{T: ar.F32(len(f.factors)/across, across), BlockRows: f.blockRows, BlockCols: f.blockCols}
		be.UploadF32(s.T, f.factors)
		view = compute.FP8(parent, s)
	}
	return parent, view.Cols(f.skip+o.left, f.skip+o.left+o.cols).Rows(f.above, f.above+o.rows)
}

func formatProducts() (ps []*problem) {
	for _, form := range []compute.Form{compute.NN, compute.NT} {
		for _, dt := range formats {
			for _, strided := range layouts {
				for i, s := range [][3]int{{1, 2, 1}, {1, 40, 300}, {1, 515, 260}, {3, 24, 7}, {20, 17, 256}, {70, 130, 515}} { // m, n, k
					ps = append(ps, formatProduct(form, dt, strided, i%2 == 1, s[0], s[1], s[2]))
				}
			}
		}
	}
	return ps
}

// formatProduct has B's columns rounded up to whole blocks.
func formatProduct(form compute.Form, dt compute.DType, strided, accumulate bool, m, n, k int) *problem {
	if u := unit(dt); form == compute.NN {
		n = (n + u - 1) / u * u
	} else {
		k = (k + u - 1) / u * u
	}
	p := newProblem(strided, "%v %v %dx%dx%d add=%v", form, dt, m, n, k, accumulate).oneIn(8)
	rows, cols := n, k
	if form == compute.NN {
		rows, cols = k, n
	}
	p.in("A", m, k, 1)
	p.weights("B", dt, rows, cols)
	p.in("C", m, n, 1).result(exact).isProduct()
	p.call = func(be compute.Backend, t tensors) {
		be.MatMul(compute.MatMulArgs{Form: form, C: t["C"], A: t["A"], B: t["B"], Accumulate: accumulate})
	}
	return p
}

func formatGroups() (ps []*problem) {
	for _, form := range []compute.Form{compute.NN, compute.NT} {
		for _, dt := range append([]compute.DType{compute.F32, compute.BF16}, formats...) {
			for i, counts := range groups {
				for _, strided := range layouts {
					ps = append(ps, formatGroup(form, dt, strided, i%2 == 0, counts, []int{1, 24, 40, 33}[i], []int{7, 20, 72, 64}[i]))
				}
			}
		}
	}
	return ps
}

// formatGroup multiplies with the experts together and with the same in another order,
// one by one.
func formatGroup(form compute.Form, dt compute.DType, strided, index bool, counts []int, n, k int) *problem {
	if u := unit(dt); form == compute.NN {
		n = (n + u - 1) / u * u
	} else {
		k = (k + u - 1) / u * u
	}
	p := newProblem(strided, "%v %v %v n%d k%d index=%v", form, dt, counts, n, k, index).oneIn(8)
	off, rows := offsets(counts)
	e := len(counts)
	p.given("off", 1, e+1, off)
	have := rows
	if index {
		have = rows + 6
		p.ids("AIndex", 1, rows, 0, have)
	}
	per, cols := n, k
	if form == compute.NN {
		per, cols = k, n
	}
	p.in("A", have, k, 1)
	tol := float64(exact)
	switch dt {
	case compute.F32:
		p.in("B", e*per, cols, 1)
	case compute.BF16:
		p.inBF16("B", e*per, cols, 1)
		tol = bf16Product
	default:
		p.weights("B", dt, e*per, cols)
	}
	p.in("C", rows, n, 1).result(tol).isProduct()
	p.in("C2", rows, n, 1).result(tol).isProduct()
	p.call = func(be compute.Backend, t tensors) {
		a := compute.GroupedMatMulArgs{Form: form, C: t["C"], A: t["A"], B: t["B"], Experts: e, Offsets: t["off"], AIndex: t["AIndex"]}
		be.GroupedMatMul(a)
		a.C, a.B, a.Accumulate = t["C2"], compute.Tensor{}, true
		for i := range e {
			i = e - 1 - i
			a.Bs = append(a.Bs, t["B"].Rows(i*per, (i+1)*per))
		}
		be.GroupedMatMul(a)
	}
	return p
}

func formatHeads() (ps []*problem) {
	for _, dt := range formats {
		for _, h := range [][5]int{{1, 7, 2, 5, 9}, {3, 20, 4, 24, 40}} {
			for _, strided := range layouts {
				for _, m := range []int{1, 30} {
					h[4] = (h[4] + unit(dt) - 1) / unit(dt) * unit(dt)
					ps = append(ps, formatHead(dt, h, strided, m))
				}
			}
		}
	}
	return ps
}

func formatHead(dt compute.DType, h [5]int, strided bool, m int) *problem {
	n, nope, rope, v, latent := h[0], h[1], h[2], h[3], h[4]
	p := newProblem(strided, "%v %v m%d", dt, h, m).oneIn(4)
	p.in("Q", m, n*(nope+rope), 1)
	p.in("O", m, n*latent, 1)
	p.weights("B", dt, n*(nope+v), latent)
	p.in("QL", m, n*(latent+rope), 1).result(exact).isProduct()
	p.in("OV", m, n*v, 1).result(exact).isProduct()
	p.call = func(be compute.Backend, t tensors) {
		b := t["B"].WithActivations(compute.ActInt8) // which must not matter here
		be.HeadMatMul(compute.HeadMatMulArgs{Form: compute.NN, C: t["QL"], A: t["Q"], B: b, Heads: n, CCols: latent + rope,
			CWidth: latent, ACols: nope + rope, AWidth: nope, BRows: nope + v, BCount: nope})
		be.HeadMatMul(compute.HeadMatMulArgs{Form: compute.NT, C: t["OV"], A: t["O"], B: b, Heads: n, CCols: v,
			CWidth: v, ACols: latent, AWidth: latent, BRows: nope + v, BOff: nope, BCount: v})
	}
	return p
}

func formatReads() (ps []*problem) {
	for _, dt := range formats {
		for _, strided := range layouts {
			for _, s := range [][3]int{{1, 3, 1}, {7, 5, 270}, {130, 7, 1030}} { // tokens, vocabulary, width
				ps = append(ps, formatRead(dt, strided, s[0], s[1], (s[2]+unit(dt)-1)/unit(dt)*unit(dt)))
			}
		}
	}
	return ps
}

func formatRead(dt compute.DType, strided bool, tokens, v, d int) *problem {
	p := newProblem(strided, "%v T%d V%d D%d", dt, tokens, v, d)
	p.ids("ids", 1, tokens, 0, v)
	p.weights("w", dt, v, d)
	p.in("rows", tokens, d, 1).result(exact)
	p.in("copy", v, d, 1).result(exact)
	p.inBF16("narrow", v, d, 1).result(exact)
	p.in("down", v, d, 1).result(exact)
	p.call = func(be compute.Backend, t tensors) {
		be.Embed(t["rows"], t["w"], t["ids"])
		be.Copy(t["copy"], t["w"])
		be.Copy(t["narrow"], t["w"])
		values := make([]float32, v*d)
		be.DownloadF32(values, t["w"])
		be.UploadF32(t["down"], values)
	}
	return p
}

func formatLogProbs() (ps []*problem) {
	for _, dt := range formats {
		for _, strided := range layouts {
			for _, s := range [][3]int{{1, 20, 1}, {3, 300, 513}, {40, 70, 300}} { // rows, width, vocabulary
				ps = append(ps, formatLogProb(dt, strided, s[0], (s[1]+unit(dt)-1)/unit(dt)*unit(dt), s[2]))
			}
		}
	}
	return ps
}

func formatLogProb(dt compute.DType, strided bool, rows, d, v int) *problem {
	p := newProblem(strided, "%v T%d D%d V%d", dt, rows, d, v).oneIn(4)
	p.in("h", rows, d, 1/math.Sqrt(float64(d)))
	p.weights("w", dt, v, d)
	p.ids("targets", 1, rows, 0, v)
	p.in("coef", 1, rows, 1)
	p.in("logp", 1, rows, 1).result(4e-6)
	p.in("entropy", 1, rows, 1).result(1e-5)
	p.in("dh", rows, d, 1).result(2e-5)
	p.in("logp2", 1, rows, 1).result(4e-6)
	if v == 1 { // the only entry has probability 1: all is 0, give or take rounding
		for _, o := range p.operands {
			if o.out {
				o.tol = math.Inf(1)
			}
		}
	}
	p.call = func(be compute.Backend, t tensors) {
		a := compute.LogProbArgs{H: t["h"], W: t["w"], Targets: t["targets"], LogP: t["logp"], Entropy: t["entropy"]}
		be.LogProb(a)
		a.LogP, a.Entropy = t["logp2"], compute.Tensor{}
		be.LogProbBackward(compute.LogProbBackwardArgs{LogProbArgs: a, Coef: t["coef"], DH: t["dh"]})
	}
	return p
}
