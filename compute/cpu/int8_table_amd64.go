package cpu

import "sonde/num"

// avx2Int8 is the set for AVX2, which AVX-512 machines use too.
func avx2Int8() int8Kernels {
	return int8Kernels{
		quantise: int8QuantiseAVX2, loop: int8LoopAVX2, loopOps: 12 * 32 * 2,
		panelNib: int8PanelNibAVX2, panelNibMin: int8PanelNibMinAVX2,
		panelWide: int8PanelWideAVX2, panelWideMin: int8PanelWideMinAVX2,
		panelWide16: int8PanelWide16AVX2, panelWide16Min: int8PanelWide16MinAVX2,
		formats: map[num.BlockType]*int8Format{
			num.Q4_0:   {pack: int8PackQ40AVX2, row: int8RowQ40AVX2, few: int8FewQ40AVX2, nib: true, offset: 8},
			num.Q4_1:   {pack: int8PackQ41AVX2, row: int8RowQ41AVX2, few: int8FewQ41AVX2, nib: true},
			num.Q5_0:   {pack: int8PackQ50AVX2, row: int8RowQ50AVX2, offset: 16},
			num.Q5_1:   {pack: int8PackQ51AVX2, row: int8RowQ51AVX2},
			num.Q8_0:   {pack: int8PackQ80AVX2, row: int8RowQ80AVX2, few: int8FewQ80AVX2},
			num.Q2_K:   {pack: int8PackQ2KAVX2, row: int8RowQ2KAVX2},
			num.Q3_K:   {pack: int8PackQ3KAVX2, row: int8RowQ3KAVX2, offset: 4},
			num.Q4_K:   {pack: int8PackQ4KAVX2, row: int8RowQ4KAVX2, nib: true},
			num.Q5_K:   {pack: int8PackQ5KAVX2, row: int8RowQ5KAVX2},
			num.Q6_K:   {pack: int8PackQ6KAVX2, row: int8RowQ6KAVX2, offset: 32},
			num.IQ4_NL: {pack: int8PackIQ4NLAVX2, row: int8RowIQ4NLAVX2},
			num.IQ4_XS: {pack: int8PackIQ4XSAVX2, row: int8RowIQ4XSAVX2},
			num.MXFP4:  {pack: int8PackMXFP4AVX2, row: int8RowMXFP4AVX2},
		},
	}
}
