package cpu

import "sonde/compute"

// gemvFactors are the factors of an E4M3 matrix as gemvTE4M3 reads them: for each piece
// of 64 columns those of a chain's rows, side by side, times 2^120.
type gemvFactors struct {
	scales     *compute.Scales
	row0, col0 int
	table      [chainCount]*float32
	at         [chainCount]*float32 // where in its table a chain stands
	held       [chainCount]int      // the block of rows whose factors a table has, or -1-its first row
}

// direct tells whether the outputs cols can be made from weights as they lie, by kernels
// for their format, and prepares that.
func (g *gemv) direct(w *worker, cols span) bool {
	if g.t.fileLanes == 0 {
		return false // no kernels
	}
	switch g.b.w.DType() {
	case compute.F16:
		g.lanes = g.t.fileLanes
		return true
	case compute.E4M3:
		g.lanes = g.t.fileLanes
		return g.prepareFactors(w, cols)
	}
	return false
}

// prepareFactors makes room for factors, if every piece of 64 columns has one factor and
// all factors of the outputs cols are moderate numbers.
func (g *gemv) prepareFactors(w *worker, cols span) bool {
	s, row0, col0 := g.b.w.Scales()
	if s == nil {
		s = &noScales
	}
	if (s.BlockCols%64 != 0 || col0%64 != 0) && col0/s.BlockCols != (col0+g.k-1)/s.BlockCols {
		return false
	}
	for r := (row0 + cols.from) / s.BlockRows; r <= (row0+cols.to-1)/s.BlockRows; r++ {
		for _, f := range s.T.RowF32(r)[col0/s.BlockCols : (col0+g.k-1)/s.BlockCols+1] {
			if !finite(factorUnit * f) {
				return false
			}
		}
	}
	f := &w.factors
	*f = gemvFactors{scales: s, row0: row0, col0: col0}
	for c := range f.table {
		f.table[c], f.held[c] = scratch(w, (g.k/64+1)*g.lanes), none
	}
	g.factors = f
	return true
}

// factorUnit is what gemvTE4M3 wants factors multiplied by.
const factorUnit = 0x1p120

// none is no block of rows.
const none = -1 << 62

// of is the table of chain c for the rows of w from j on.
func (f *gemvFactors) of(g *gemv, c, j, lines int) *float32 {
	s, lanes := f.scales, g.lanes
	first, last := (f.row0+j)/s.BlockRows, (f.row0+j+lanes-1)/s.BlockRows
	what := first
	if first != last {
		what = -1 - j
	}
	if f.held[c] == what {
		return f.table[c]
	}
	f.held[c] = what
	table := slice(f.table[c], lines*lanes)
	for lane := range lanes {
		row := s.T.RowF32((f.row0 + j + lane) / s.BlockRows)
		for line := range lines {
			table[line*lanes+lane] = factorUnit * row[(f.col0+64*line)/s.BlockCols]
		}
	}
	return f.table[c]
}
