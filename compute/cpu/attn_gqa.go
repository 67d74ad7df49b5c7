package cpu

import "sonde/compute"

// Attention is causal grouped-query attention; see compute.AttentionArgs.
func (b *Backend) Attention(a compute.AttentionArgs) {
	a.Check()
	b.pool.run(a.Q.NumRows(), func(_ *worker, row int) {
		for _, s := range a.Seqs {
			if row < s.Row || row >= s.Row+s.Rows {
				continue
			}
			p := a
			s.Start, s.Row, s.Rows = s.Start+row-s.Row, row, 1
			p.Seqs = []compute.AttentionSeq{s}
			b.Reference.Attention(p)
		}
	})
}
