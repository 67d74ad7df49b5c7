package checkpoint

// DType is the number format of a tensor in a safetensors file, spelt as there.
type DType string

// The formats that files may hold. Load turns the floating ones into a parameter's
// own format; the others are read as raw bytes.
const (
	F64    DType = "F64"
	F32    DType = "F32"
	F16    DType = "F16"
	BF16   DType = "BF16"
	F8E4M3 DType = "F8_E4M3"
	F8E5M2 DType = "F8_E5M2"
	I64    DType = "I64"
	I32    DType = "I32"
	I16    DType = "I16"
	I8     DType = "I8"
	U8     DType = "U8"
	Bool   DType = "BOOL"
)

// Size is the width of one element in bytes, 0 for a format that is not known.
func (d DType) Size() int {
	switch d {
	case F64, I64:
		return 8
	case F32, I32:
		return 4
	case F16, BF16, I16:
		return 2
	case F8E4M3, F8E5M2, I8, U8, Bool:
		return 1
	}
	return 0
}

// IsFP8 reports whether d is one of the two 8-bit floating formats, whose weights
// carry a scale per block.
func (d DType) IsFP8() bool { return d == F8E4M3 || d == F8E5M2 }
