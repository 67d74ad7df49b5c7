package cpu

// avx2Ops fills o with the kernels for AVX2 and FMA.
func avx2Ops(o *opKernels) {
	*o = opKernels{
		vector: true,

		add: addAVX2, scale: scaleAVX2, sigmoid: sigmoidAVX2, expMinus: expMinusAVX2,
		sumSquares: sumSquaresAVX2, sumRows: sumRowsAVX2,

		rmsNorm: rmsNormAVX2, rmsNormBackInput: rmsNormBackInputAVX2,
		rmsNormBackWeight: rmsNormBackWeightAVX2, rowDots: rowDotsAVX2,

		swiglu: swigluAVX2, swigluBack: swigluBackAVX2, rope: ropeAVX2, adamW: adamWAVX2,

		transpose: transposeAVX2, scaleRows: scaleRowsAVX2, copyRows: copyRowsAVX2,
		mergeRows: mergeRowsAVX2, toBF16: toBF16AVX2, fromBF16: fromBF16AVX2,

		maskCols: maskColsAVX2, softmaxCols: softmaxColsAVX2,
		attentionBackCols: attentionBackColsAVX2,
		vocabularyCols:    vocabularyColsAVX2, mulCols: mulColsAVX2,

		attnKernels: avx2Attn(),
	}
}

// avx512Ops fills o with the kernels for AVX-512.
func avx512Ops(o *opKernels) {
	*o = opKernels{
		vector: true,

		add: addAVX512, scale: scaleAVX512, sigmoid: sigmoidAVX512, expMinus: expMinusAVX512,
		sumSquares: sumSquaresAVX512, sumRows: sumRowsAVX512,

		rmsNorm: rmsNormAVX512, rmsNormBackInput: rmsNormBackInputAVX512,
		rmsNormBackWeight: rmsNormBackWeightAVX512, rowDots: rowDotsAVX512,

		swiglu: swigluAVX512, swigluBack: swigluBackAVX512, rope: ropeAVX512, adamW: adamWAVX512,

		transpose: transposeAVX512, scaleRows: scaleRowsAVX512, copyRows: copyRowsAVX512,
		mergeRows: mergeRowsAVX512, toBF16: toBF16AVX512, fromBF16: fromBF16AVX512,

		maskCols: maskColsAVX512, softmaxCols: softmaxColsAVX512,
		attentionBackCols: attentionBackColsAVX512,
		vocabularyCols:    vocabularyColsAVX512, mulCols: mulColsAVX512,

		attnKernels: avx2Attn(),
	}
}

// avx2Attn are kernels for AVX2 that AVX-512 machines use, too.
func avx2Attn() attnKernels {
	k := attnKernels{attnFetch: attnFetchAVX2, attnSoftmax: attnSoftmaxAVX2, indexSum: indexSumAVX2, ropeHalves: ropeHalvesAVX2, layerNorm: layerNormAVX2, toHalf: toHalfAVX2}
	k.attnScores[0][1], k.attnScores[0][2] = attnScores1AVX2, attnScores2AVX2
	k.attnScores[0][3], k.attnScores[0][4] = attnScores3AVX2, attnScores4AVX2
	k.attnScores[0][5], k.attnScores[0][6] = attnScores5AVX2, attnScores6AVX2
	k.attnScores[0][7], k.attnScores[0][8] = attnScores7AVX2, attnScores8AVX2
	k.attnMix[0][1], k.attnMix[0][2], k.attnMix[0][3], k.attnMix[0][4] = attnMix1AVX2, attnMix2AVX2, attnMix3AVX2, attnMix4AVX2
	k.attnScores[1][1], k.attnScores[1][2] = attnScoresHalf1AVX2, attnScoresHalf2AVX2
	k.attnScores[1][3], k.attnScores[1][4] = attnScoresHalf3AVX2, attnScoresHalf4AVX2
	k.attnScores[1][5], k.attnScores[1][6] = attnScoresHalf5AVX2, attnScoresHalf6AVX2
	k.attnScores[1][7], k.attnScores[1][8] = attnScoresHalf7AVX2, attnScoresHalf8AVX2
	k.attnMix[1][1], k.attnMix[1][2], k.attnMix[1][3], k.attnMix[1][4] = attnMixHalf1AVX2, attnMixHalf2AVX2, attnMixHalf3AVX2, attnMixHalf4AVX2
	return k
}
