package checkpoint

import "sonde/num"

// DType is the number format of a tensor in a file, spelt as safetensors and GGUF do.
type DType string

// The formats that safetensors files may hold. Load turns the floating ones into a
// parameter's own format; the others are read as raw bytes. GGUF files also hold the
// block formats of package num, called by their names there ("Q4_K").
const (
	F64    DType = "F64"
	F32    DType = "F32"
	F16    DType = "F16"
	BF16   DType = "BF16"
	F8E4M3 DType = "F8_E4M3"
	F8E5M2 DType = "F8_E5M2"
	F8E8M0 DType = "F8_E8M0"
	I64    DType = "I64"
	I32    DType = "I32"
	I16    DType = "I16"
	I8     DType = "I8"
	U64    DType = "U64"
	U32    DType = "U32"
	U16    DType = "U16"
	U8     DType = "U8"
	Bool   DType = "BOOL"
)

// Size is the width of one element in bytes, 0 for a format that is not known and for
// block formats.
func (d DType) Size() int {
	switch d {
	case F64, I64, U64:
		return 8
	case F32, I32, U32:
		return 4
	case F16, BF16, I16, U16:
		return 2
	case F8E4M3, F8E5M2, F8E8M0, I8, U8, Bool:
		return 1
	}
	return 0
}

// IsFP8 reports whether d is one of the two 8-bit floating formats, whose weights
// carry a scale per block.
func (d DType) IsFP8() bool { return d == F8E4M3 || d == F8E5M2 }

// blockNames finds block types by name.
var blockNames = func() map[DType]num.BlockType {
	names := map[DType]num.BlockType{}
	for b := range num.BlockType(255) {
		if b.Known() {
			names[DType(b.String())] = b
		}
	}
	return names
}()

// Block is the block type of a block format, and whether d is one.
func (d DType) Block() (num.BlockType, bool) {
	b, ok := blockNames[d]
	return b, ok
}

// RowBytes is the size of n elements of a row; ok is false for formats that are not
// known and for rows that are not whole blocks.
func (d DType) RowBytes(n int) (bytes int, ok bool) {
	b, block := d.Block()
	switch {
	case !block:
		return n * d.Size(), d.Size() > 0
	case n%b.Elements() != 0:
		return 0, false
	}
	return n / b.Elements() * b.Bytes(), true
}
