package compute

import (
	"fmt"

	"sonde/num"
)

// DType is the number format of a tensor's elements.
type DType uint8

// The formats that operations know. F32 holds activations, gradients and master
// weights; BF16 holds working copies of weights; I32 holds ids and routes. Weights
// from files may also be F16, E4M3 (FP8 with a factor per block, see [Scales]) or one
// of GGUF's block formats (see [BlockDType]): such tensors are only read.
const (
	F32 DType = iota
	BF16
	I32
	F16
	E4M3

	firstBlock DType = 64
)

// BlockDType is the format of tensors whose rows are blocks of type b.
func BlockDType(b num.BlockType) DType { return firstBlock + DType(b) }

// Block is the block type of a block format, and whether d is one.
func (d DType) Block() (num.BlockType, bool) {
	if d < firstBlock {
		return 0, false
	}
	return num.BlockType(d - firstBlock), true
}

// Size is the width of one element in bytes; 0 for block formats, see RowBytes.
func (d DType) Size() int {
	switch d {
	case F32, I32:
		return 4
	case BF16, F16:
		return 2
	case E4M3:
		return 1
	}
	return 0
}

// RowBytes is the size of n elements of a row. For block formats n is a multiple of
// the block's elements.
func (d DType) RowBytes(n int) int {
	b, ok := d.Block()
	if !ok {
		return n * d.Size()
	}
	if n%b.Elements() != 0 {
		panic(fmt.Sprintf("compute: %d elements are not whole blocks of %v", n, d))
	}
	return n / b.Elements() * b.Bytes()
}

// String names the format as safetensors and GGUF do.
func (d DType) String() string {
	switch d {
	case F32:
		return "F32"
	case BF16:
		return "BF16"
	case I32:
		return "I32"
	case F16:
		return "F16"
	case E4M3:
		return "F8_E4M3"
	}
	if b, ok := d.Block(); ok {
		return b.String()
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// Scales are the factors of an FP8 matrix [N, K]: element (n, k) stands for its code's
// value times T[n/BlockRows, k/BlockCols] (V3 report, section 3.3.2). Blocks at the
// edges may be ragged.
type Scales struct {
	T                    Tensor // F32 [ceil(N/BlockRows), ceil(K/BlockCols)]
	BlockRows, BlockCols int
}

// FP8 makes an E4M3 tensor [rows, cols] over memory at t's place with its factors.
func FP8(t Tensor, s *Scales) Tensor {
	t.check(E4M3)
	t.scales, t.row0, t.col0 = s, 0, 0
	return t
}

// Scales are the factors of an E4M3 tensor and the place of t's first element in the
// matrix that they cover; nil for other formats.
func (t Tensor) Scales() (s *Scales, row0, col0 int) {
	return t.scales, int(t.row0), int(t.col0)
}

// Activations says what the rows that meet a block-format weight are turned into
// before they are multiplied.
type Activations uint8

const (
	// ActF32 leaves them as they are: weights are dequantised in registers, and the
	// product is what a dequantised F32 weight gives, bit for bit.
	ActF32 Activations = iota
	// ActInt8 quantises a row per 32 elements to int8 codes with an F32 factor
	// amax/127 and takes integer dot products; see MatMulArgs.
	ActInt8
)

// WithActivations is t as a weight that rows meet in format a. It only matters for
// block formats.
func (t Tensor) WithActivations(a Activations) Tensor {
	t.act = a
	return t
}

// Activations is what WithActivations set.
func (t Tensor) Activations() Activations { return t.act }
