package checkpoint

import "sonde/compute"

// pieceBytes is how much of a tensor passes through Go's heap at a time.
const pieceBytes = 2 << 20

// piece is a part of a tensor, in row-major order: rows from row on, or, where a row
// alone is too large, columns from col on of one row.
type piece struct {
	view     compute.Tensor
	row, col int
}

// pieces calls each for one part of t after the other, of at most most elements.
func pieces(t compute.Tensor, most int, each func(p piece) error) error {
	rows, cols := t.NumRows(), t.NumCols()
	if rows == 0 || cols == 0 {
		return nil
	}
	step := max(1, most/cols)
	for r := 0; r < rows; r += step {
		part := t.Rows(r, min(r+step, rows))
		for c := 0; c < cols; c += most { // once, unless a row is larger than most
			if err := each(piece{part.Cols(c, min(c+most, cols)), r, c}); err != nil {
				return err
			}
		}
	}
	return nil
}
