package sonde

import (
	"context"
	"fmt"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/model"
)

// importanceWindow is how many tokens the model reads at a time for an importance
// matrix: enough that most of them have a past.
const importanceWindow = 512

// Importance reads text with the model and measures how much each column of each
// matrix matters, for Source.Quantize. progress, where not nil, is called with the
// tokens read so far and their total.
func (m *Model) Importance(ctx context.Context, text string, progress func(done, total int)) (*checkpoint.Importance, error) {
	leave, err := m.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	ids := m.tok.Encode(text)
	var begin []int32
	if m.tokCfg.AddBOS && m.tok.BOS() >= 0 {
		begin = []int32{m.tok.BOS()}
	}
	const least = 32
	if len(ids) < least {
		return nil, fmt.Errorf("the text for the importance matrix has %d tokens; give one of thousands, of the kind that the model will meet", len(ids))
	}
	t := &importanceTap{be: m.be, squares: map[string]*squares{}}
	size := min(importanceWindow, m.cfg.Context()) - len(begin)
	for at := 0; at < len(ids); at += size {
		part := append(begin[:len(begin):len(begin)], ids[at:min(at+size, len(ids))]...)
		if err := m.eng.Use(ctx, func() error { return m.tapped(t, part) }); err != nil {
			return nil, err
		}
		if progress != nil {
			progress(min(at+size, len(ids)), len(ids))
		}
	}
	return t.importance(len(ids)), nil
}

// tapped runs one text through the model and shows t what crosses it.
func (m *Model) tapped(t model.Tap, ids []int32) error {
	m.net.SetTap(t)
	defer m.net.SetTap(nil)
	s := m.net.NewSequence(len(ids))
	defer s.Close()
	return m.net.Forward([]model.Part{{Sequence: s, IDs: ids, Want: model.WantAll}})
}

// importanceTap adds up the squares of what each matrix meets, by columns.
type importanceTap struct {
	model.NoTap
	be      compute.Backend
	squares map[string]*squares
	row     []float32
}

type squares struct {
	sum  []float64
	rows int
}

// Linear adds the rows of x.
func (t *importanceTap) Linear(name string, x compute.Tensor) {
	if x.IsZero() || x.NumRows() == 0 {
		return
	}
	s := t.squares[name]
	if s == nil {
		s = &squares{sum: make([]float64, x.NumCols())}
		t.squares[name] = s
	}
	if len(t.row) < x.NumCols() {
		t.row = make([]float32, x.NumCols())
	}
	row := t.row[:x.NumCols()]
	for i := range x.NumRows() {
		t.be.DownloadF32(row, x.Rows(i, i+1))
		for c, v := range row {
			s.sum[c] += float64(v) * float64(v)
		}
	}
	s.rows += x.NumRows()
}

// importance is the mean of the squares.
func (t *importanceTap) importance(tokens int) *checkpoint.Importance {
	m := &checkpoint.Importance{Columns: map[string][]float32{}, Tokens: tokens}
	for name, s := range t.squares {
		v := make([]float32, len(s.sum))
		for c, sum := range s.sum {
			v[c] = float32(sum / float64(s.rows))
		}
		m.Columns[name] = v
	}
	return m
}
