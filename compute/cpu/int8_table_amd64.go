package cpu

import "sonde/num"

// avx2Int8 is the set for AVX2, which AVX-512 machines use too.
func avx2Int8() int8Kernels {
	return int8Kernels{
		quantise: int8QuantiseAVX2,
		panelNib: int8PanelNibAVX2, panelNibMin: int8PanelNibMinAVX2,
		panelWide: int8PanelWideAVX2, panelWideMin: int8PanelWideMinAVX2,
		panelWide16: int8PanelWide16AVX2, panelWide16Min: int8PanelWide16MinAVX2,
		formats: map[num.BlockType]*int8Format{
			num.Q4_0: {pack: int8PackQ40AVX2, row: int8RowQ40AVX2, nib: true, offset: 8},
			num.Q4_1: {pack: int8PackQ41AVX2, row: int8RowQ41AVX2, nib: true},
			num.Q8_0: {pack: int8PackQ80AVX2, row: int8RowQ80AVX2},
		},
	}
}
