package cpu

import "sonde/num"

// int8Kernels are the parts of products of rows quantised to int8 with weights in
// blocks; their meaning is in the generated declarations (int8_avx2_amd64.go). All are
// nil in the generic set, where the plain-Go reference does the work.
type int8Kernels struct {
	quantise func(blocks int, x *float32, codes *int8, pairs *int16, aux *float32, halves, times int)
	// The panel kernels: of bytes, without and with minima; of int16, groups of 32,
	// without and with; the same of groups of 16.
	panelNib, panelNibMin       int8Panel
	panelWide, panelWideMin     int8Panel
	panelWide16, panelWide16Min int8Panel
	// loop runs n rounds of loopOps operations on registers.
	loop    func(n int)
	loopOps int
	// formats are those with kernels of their own.
	formats map[num.BlockType]*int8Format
}

// int8Panel multiplies up to int8PanelRows rows of A with int8PanelCols rows of weights.
type int8Panel = func(m, groups int, a *byte, lda int, aux *float32, ldx int, panel *byte, f, c *float32, ldc, acc int)

const (
	int8PanelRows = 6
	int8PanelCols = 16
	int8Strip     = 8 // rows of weights that a kernel of a format takes side by side
	int8FewMost   = 8 // rows of A that a kernel for few takes
)

// int8Format is how one format of blocks is read.
type int8Format struct {
	// pack takes blocks of eight rows apart into half a panel.
	pack func(blocks int, w *byte, ld int, panel *byte, f *float32, next *byte)
	// row multiplies one row of A with strips of eight rows.
	row func(strips, blocks int, w *byte, ld int, a *byte, aux, y *float32, next *byte)
	// few multiplies 2 to int8FewMost rows of A with strips of eight rows; may be nil.
	few func(m, strips, blocks int, w *byte, ld int, a *byte, aux *float32, lda int, y *float32, ldy int, next *byte)
	// nib says that panels hold codes 0 to 15 in bytes, offset what is to be taken off
	// the codes that row and a panel of bytes hold.
	nib    bool
	offset int
}
