package model

import (
	"errors"
	"fmt"
	"slices"

	"sonde/compute"
	"sonde/nn"
)

// ErrPart says that a part cannot be appended to its sequence.
var ErrPart = errors.New("the tokens cannot be appended")

// CheckParts refuses parts that do not fit a model with that vocabulary; own says
// whether a sequence is that model's. What it accepts gets room for its logits.
func CheckParts(parts []Part, vocab int, own func(Sequence) bool) error {
	seen := make(map[Sequence]bool, len(parts))
	for i := range parts {
		p := &parts[i]
		switch {
		case p.Sequence == nil || !own(p.Sequence):
			return fmt.Errorf("%w: part %d's sequence is not one of this model", ErrPart, i)
		case seen[p.Sequence]:
			return fmt.Errorf("%w: part %d has the sequence of an earlier part", ErrPart, i)
		case len(p.IDs) == 0:
			return fmt.Errorf("%w: part %d has no tokens", ErrPart, i)
		case len(p.IDs) > p.Sequence.Max()-p.Sequence.Len():
			return fmt.Errorf("%w: %d tokens after %d do not fit a sequence of at most %d", ErrPart, len(p.IDs), p.Sequence.Len(), p.Sequence.Max())
		}
		seen[p.Sequence] = true
		if err := p.checkIDs(vocab); err != nil {
			return err
		}
	}
	for i := range parts {
		p := &parts[i]
		n := p.wanted() * vocab
		p.Logits = slices.Grow(p.Logits[:0], n)[:n]
		if p.Want == WantLogProbs {
			p.LogP = slices.Grow(p.LogP[:0], len(p.IDs))[:len(p.IDs)]
			clear(p.LogP)
		}
	}
	return nil
}

func (p *Part) checkIDs(vocab int) error {
	for _, id := range p.IDs {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("%w: token id %d is outside the vocabulary of %d", ErrPart, id, vocab)
		}
	}
	if p.Want != WantLogProbs {
		return nil
	}
	if len(p.Targets) != len(p.IDs) {
		return fmt.Errorf("%w: %d targets for %d tokens", ErrPart, len(p.Targets), len(p.IDs))
	}
	for _, id := range p.Targets {
		if int(id) >= vocab {
			return fmt.Errorf("%w: target %d is outside the vocabulary of %d", ErrPart, id, vocab)
		}
	}
	return nil
}

func (p *Part) wanted() int {
	switch p.Want {
	case WantLast:
		return 1
	case WantAll:
		return len(p.IDs)
	}
	return 0
}

// Chunk is one pass over rows of several sequences.
type Chunk struct {
	IDs, Pos []int32 // the rows' tokens and positions
	Spans    []Span
}

// Span is a part's share of a chunk: the tokens from place From of its IDs on, which
// are Rows rows of the chunk from Row on and stand at positions Start, Start+1, ...
type Span struct{ Part, From, Rows, Row, Start int }

// Chunks cuts the parts' tokens, in order, into passes of at most rows rows.
func Chunks(parts []Part, rows int) []Chunk {
	var out []Chunk
	var c Chunk
	for i, p := range parts {
		for at := 0; at < len(p.IDs); {
			n, start := min(len(p.IDs)-at, rows-len(c.IDs)), p.Sequence.Len()+at
			c.Spans = append(c.Spans, Span{Part: i, From: at, Rows: n, Row: len(c.IDs), Start: start})
			c.IDs = append(c.IDs, p.IDs[at:at+n]...)
			for j := range n {
				c.Pos = append(c.Pos, int32(start+j))
			}
			if at += n; len(c.IDs) == rows {
				out, c = append(out, c), Chunk{}
			}
		}
	}
	if len(c.IDs) > 0 {
		out = append(out, c)
	}
	return out
}

// headRows bounds the rows whose logits are made at a time, and with it the memory.
const headRows = 128

// Head meets those of the chunk's rows h [rows, D] that a part wants something of with
// head [V, D], some at a time, and writes the parts' logits or log-probabilities. show
// sees them first.
func (c Chunk) Head(be compute.Backend, ar *compute.Arena, parts []Part, h, head compute.Tensor, show func(rows compute.Tensor)) {
	c.logProbs(be, ar, parts, h, head, show)
	var rows []int32
	var out [][]float32
	v := head.NumRows()
	for _, s := range c.Spans {
		p := &parts[s.Part]
		for j := range s.Rows {
			k := s.From + j
			if p.Want == WantLast && k == len(p.IDs)-1 {
				k = 0
			} else if p.Want != WantAll {
				continue
			}
			rows, out = append(rows, int32(s.Row+j)), append(out, p.Logits[k*v:(k+1)*v])
		}
	}
	for at := 0; at < len(rows); at += headRows {
		mark := ar.Mark()
		n := min(headRows, len(rows)-at)
		pick, picked, l := ar.I32(1, n), ar.F32(n, h.NumCols()), ar.F32(n, v)
		be.UploadI32(pick, rows[at:at+n])
		be.Embed(picked, h, pick) // gathers rows
		show(picked)
		nn.Linear(be, l, picked, head, false)
		handOut(be, out[at:at+n], l)
		ar.Release(mark)
	}
}

// oneDownload is how many numbers are fetched at once and copied from there, rather than
// fetched row by row where they belong: what costs the ado of some fetches.
const oneDownload = 1 << 18

// handOut fetches the rows of l.
func handOut(be compute.Backend, rows [][]float32, l compute.Tensor) {
	if l.Len() > oneDownload {
		for i, r := range rows {
			be.DownloadF32(r, l.Rows(i, i+1))
		}
		return
	}
	all := make([]float32, l.Len())
	be.DownloadF32(all, l)
	for i, r := range rows {
		copy(r, all[i*l.NumCols():])
	}
}

// logProbs is Head for the parts that want log-probabilities.
func (c Chunk) logProbs(be compute.Backend, ar *compute.Arena, parts []Part, h, head compute.Tensor, show func(rows compute.Tensor)) {
	var rows, targets []int32
	var out []*float32
	for _, s := range c.Spans {
		p := &parts[s.Part]
		for j := range s.Rows {
			if k := s.From + j; p.Want == WantLogProbs && p.Targets[k] >= 0 {
				rows, targets, out = append(rows, int32(s.Row+j)), append(targets, p.Targets[k]), append(out, &p.LogP[k])
			}
		}
	}
	n := len(rows)
	if n == 0 {
		return
	}
	pick, picked, ids, logp := ar.I32(1, n), ar.F32(n, h.NumCols()), ar.I32(1, n), ar.F32(1, n)
	be.UploadI32(pick, rows)
	be.UploadI32(ids, targets)
	be.Embed(picked, h, pick) // gathers rows
	show(picked)
	be.LogProb(compute.LogProbArgs{H: picked, W: head, Targets: ids, LogP: logp, BF16: head.DType() == compute.BF16})
	v := make([]float32, n)
	be.DownloadF32(v, logp)
	for i := range out {
		*out[i] = v[i]
	}
}
