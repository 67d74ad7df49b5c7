package model

import (
	"fmt"
	"slices"

	"sonde/compute"
)

// Vocabulary is the end of a Pass: those of its rows that have a target meet the head.
// It is what architectures build their Pass from.
type Vocabulary struct {
	be   compute.Backend
	ar   *compute.Arena
	p    *Packed
	rows []int32              // those with a target
	args compute.LogProbArgs  // over these rows alone
	pick compute.Tensor       // I32 [1, rows]
	show func(compute.Tensor) // rows that meet the head, once

	known         bool // logp and entropy are
	done          bool // Backward was called
	logp, entropy []float32
}

// NewVocabulary prepares the rows h [T, D], those after the final norm, of a pass over p
// that have a target to meet head [V, D]. show is shown the rows that do.
func NewVocabulary(be compute.Backend, ar *compute.Arena, p *Packed, h, head compute.Tensor, show func(compute.Tensor)) *Vocabulary {
	if len(p.Targets) != h.NumRows() {
		panic(fmt.Sprintf("model: %d targets for %d tokens", len(p.Targets), h.NumRows()))
	}
	v := &Vocabulary{be: be, ar: ar, p: p, show: show}
	var targets []int32
	for i, t := range p.Targets {
		if t >= 0 {
			v.rows, targets = append(v.rows, int32(i)), append(targets, t)
		}
	}
	n := len(v.rows)
	if n == 0 {
		return v
	}
	v.pick = ar.I32(1, n)
	be.UploadI32(v.pick, v.rows)
	v.args = compute.LogProbArgs{H: ar.F32(n, h.NumCols()), W: head, Targets: ar.I32(1, n), LogP: ar.F32(1, n), Entropy: ar.F32(1, n),
		BF16: head.DType() == compute.BF16}
	if p.Temperature > 0 {
		v.args.InvTemp = 1 / p.Temperature
	}
	if p.Allowed != nil {
		some := make([][]int32, n)
		for i, row := range v.rows {
			some[i] = p.Allowed[row]
		}
		v.args.Allowed = IDSets(be, ar, some)
	}
	be.UploadI32(v.args.Targets, targets)
	be.Embed(v.args.H, h, v.pick) // gathers rows
	show(v.args.H)
	return v
}

// IDSets uploads the ids of each row, ascending, nil for all, as LogProb takes them.
func IDSets(be compute.Backend, ar *compute.Arena, rows [][]int32) compute.IDSets {
	off, n := make([]int32, 1, len(rows)+1), 0
	for _, r := range rows {
		n += len(r)
		off = append(off, int32(n))
	}
	s := compute.IDSets{Offsets: ar.I32(1, len(off))}
	be.UploadI32(s.Offsets, off)
	if n > 0 {
		s.IDs = ar.I32(1, n)
		be.UploadI32(s.IDs, slices.Concat(rows...))
	}
	return s
}

// LogProbs is Pass's.
func (v *Vocabulary) LogProbs() (logp, entropy []float32) {
	if !v.known && len(v.rows) > 0 {
		v.be.LogProb(v.args)
	}
	v.read()
	return v.logp, v.entropy
}

// read fetches what LogProb or its backward found.
func (v *Vocabulary) read() {
	if v.known {
		return
	}
	v.known = true
	v.logp, v.entropy = v.spread(v.args.LogP), v.spread(v.args.Entropy)
}

// spread is a number for each of the pass's rows, 0 where there is no target.
func (v *Vocabulary) spread(t compute.Tensor) []float32 {
	out := make([]float32, len(v.p.Targets))
	if len(v.rows) == 0 {
		return out
	}
	some := make([]float32, len(v.rows))
	v.be.DownloadF32(some, t)
	for i, row := range v.rows {
		out[row] = some[i]
	}
	return out
}

// Backward writes dh [T, D], the gradient of sum over t of coef[t]*log p[t] to the rows
// after the final norm, and adds to dhead, the head's, where that is trained.
func (v *Vocabulary) Backward(coef []float32, dh, dhead compute.Tensor) {
	if v.done {
		panic("model: a Pass goes backward once")
	}
	if len(coef) != len(v.p.Targets) {
		panic(fmt.Sprintf("model: %d coefficients for %d tokens", len(coef), len(v.p.Targets)))
	}
	v.done = true
	v.be.Zero(dh)
	n := len(v.rows)
	if n == 0 {
		return
	}
	some := make([]float32, n)
	for i, row := range v.rows {
		some[i] = coef[row]
	}
	mark := v.ar.Mark()
	defer v.ar.Release(mark)
	c, d := v.ar.F32(1, n), v.ar.F32(n, dh.NumCols())
	v.be.UploadF32(c, some)
	v.be.LogProbBackward(compute.LogProbBackwardArgs{LogProbArgs: v.args, Coef: c, DH: d, DW: dhead})
	v.be.EmbedBackward(dh, d, v.pick) // scatters rows
	v.read()
}
