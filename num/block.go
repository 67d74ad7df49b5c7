package num

import "fmt"

// BlockType is a GGUF format whose numbers stand in blocks with common factors. The
// values are GGUF's own type numbers.
type BlockType uint8

// The block formats.
const (
	Q4_0    BlockType = 2
	Q4_1    BlockType = 3
	Q5_0    BlockType = 6
	Q5_1    BlockType = 7
	Q8_0    BlockType = 8
	Q2_K    BlockType = 10
	Q3_K    BlockType = 11
	Q4_K    BlockType = 12
	Q5_K    BlockType = 13
	Q6_K    BlockType = 14
	IQ2_XXS BlockType = 16
	IQ2_XS  BlockType = 17
	IQ3_XXS BlockType = 18
	IQ1_S   BlockType = 19
	IQ4_NL  BlockType = 20
	IQ3_S   BlockType = 21
	IQ2_S   BlockType = 22
	IQ4_XS  BlockType = 23
	IQ1_M   BlockType = 29
	TQ1_0   BlockType = 34
	TQ2_0   BlockType = 35
	MXFP4   BlockType = 39
)

// blockShape is what a format's blocks look like: how many elements and bytes, how
// many consecutive elements share a factor, and whether they share a minimum too.
type blockShape struct {
	name            string
	elements, bytes int
	group           int
	hasMin          bool
}

// blockShapes is indexed by type, so that a look-up costs no more than a load.
var blockShapes = [256]blockShape{
	Q4_0: {"Q4_0", 32, 18, 32, false}, Q4_1: {"Q4_1", 32, 20, 32, true},
	Q5_0: {"Q5_0", 32, 22, 32, false}, Q5_1: {"Q5_1", 32, 24, 32, true},
	Q8_0: {"Q8_0", 32, 34, 32, false},
	Q2_K: {"Q2_K", 256, 84, 16, true}, Q3_K: {"Q3_K", 256, 110, 16, false},
	Q4_K: {"Q4_K", 256, 144, 32, true}, Q5_K: {"Q5_K", 256, 176, 32, true},
	Q6_K:    {"Q6_K", 256, 210, 16, false},
	IQ2_XXS: {"IQ2_XXS", 256, 66, 32, false}, IQ2_XS: {"IQ2_XS", 256, 74, 16, false},
	IQ2_S: {"IQ2_S", 256, 82, 16, false}, IQ3_XXS: {"IQ3_XXS", 256, 98, 32, false},
	IQ3_S: {"IQ3_S", 256, 110, 32, false}, IQ1_S: {"IQ1_S", 256, 50, 32, false},
	IQ1_M:  {"IQ1_M", 256, 56, 16, false},
	IQ4_NL: {"IQ4_NL", 32, 18, 32, false}, IQ4_XS: {"IQ4_XS", 256, 136, 32, false},
	TQ1_0: {"TQ1_0", 256, 54, 32, false}, TQ2_0: {"TQ2_0", 256, 66, 32, false},
	MXFP4: {"MXFP4", 32, 17, 32, false},
}

// Known reports whether b is one of the formats above.
func (b BlockType) Known() bool { return blockShapes[b].elements != 0 }

// Elements is how many numbers a block holds.
func (b BlockType) Elements() int { return b.shape().elements }

// Bytes is the size of a block.
func (b BlockType) Bytes() int { return b.shape().bytes }

// Group is how many consecutive elements, 16 or 32, share a factor (and a minimum).
func (b BlockType) Group() int { return b.shape().group }

// HasMin reports whether groups have a minimum beside their factor.
func (b BlockType) HasMin() bool { return b.shape().hasMin }

// String is GGUF's name.
func (b BlockType) String() string {
	if b.Known() {
		return blockShapes[b].name
	}
	return fmt.Sprintf("BlockType(%d)", uint8(b))
}

func (b BlockType) shape() *blockShape {
	if !b.Known() {
		panic(fmt.Sprintf("num: %v is not a block format", b))
	}
	return &blockShapes[b]
}
