package checkpoint

import (
	"fmt"
	"math"
	"slices"

	"sonde/num"
)

// GGUF is what the header of a GGUF file says beside its tensors. Of a model in
// several files it is the first one's.
type GGUF struct {
	Version int
	Keys    []string // of the metadata, in the file's order
	// Values are the metadata: uint8 to uint64, int8 to int64, float32, float64, bool,
	// string, slices of these, and []any for lists of lists.
	Values map[string]any
	Parts  []string // the model's files, in order
}

// Limits on what a GGUF header may hold: what files are known to have, times ten or
// more. They keep the memory of reading in proportion to the file.
const (
	ggufMaxKeys    = 1 << 16
	ggufMaxTensors = 1 << 17
	ggufMaxKey     = 1<<16 - 1 // bytes of a key, the format's own limit
	ggufMaxDims    = 4
	ggufMaxDepth   = 4       // of lists within lists
	ggufMaxLists   = 1 << 16 // lists within lists, all together
	ggufMaxParts   = 1 << 12
	ggufAlignment  = 32 // where general.alignment does not say otherwise
)

const ggufDamaged = "the file is damaged, or not a GGUF file: fetch it again"

// ggufKind is the type of a value in the metadata, by the format's numbers.
type ggufKind uint32

const (
	ggufUint8 ggufKind = iota
	ggufInt8
	ggufUint16
	ggufInt16
	ggufUint32
	ggufInt32
	ggufFloat32
	ggufBool
	ggufString
	ggufArray
	ggufUint64
	ggufInt64
	ggufFloat64
)

// size is the width of a value of fixed size, 0 for strings, lists and unknown kinds.
func (k ggufKind) size() int {
	switch k {
	case ggufUint8, ggufInt8, ggufBool:
		return 1
	case ggufUint16, ggufInt16:
		return 2
	case ggufUint32, ggufInt32, ggufFloat32:
		return 4
	case ggufUint64, ggufInt64, ggufFloat64:
		return 8
	}
	return 0
}

// ggufType is a tensor's number format in a GGUF file.
type ggufType struct {
	dtype           DType // "" where it cannot be read
	elements, bytes int   // of a block
	name, why       string
}

// ggufPlain are the formats without blocks.
var ggufPlain = map[uint32]DType{0: F32, 1: F16, 24: I8, 25: I16, 26: I32, 27: I64, 28: F64, 30: BF16}

// ggufForeign are the formats by name that are not read, and why.
var ggufForeign = map[uint32][2]string{
	4: {"Q4_2", "the format was given up long ago"}, 5: {"Q4_3", "the format was given up long ago"},
	9: {"Q8_1", "it is a format of activations"}, 15: {"Q8_K", "it is a format of activations"},
	31: {"Q4_0_4_4", "the format was given up; a Q4_0 file is as fast"}, 32: {"Q4_0_4_8", "the format was given up; a Q4_0 file is as fast"},
	33: {"Q4_0_8_8", "the format was given up; a Q4_0 file is as fast"}, 36: {"IQ4_NL_4_4", "the format was given up; an IQ4_NL file is as fast"},
	37: {"IQ4_NL_4_8", "the format was given up; an IQ4_NL file is as fast"}, 38: {"IQ4_NL_8_8", "the format was given up; an IQ4_NL file is as fast"},
	40: {"NVFP4", "the format is not built"},
}

// ggufTypeOf looks a format up by its number.
func ggufTypeOf(n uint32) ggufType {
	if d, ok := ggufPlain[n]; ok {
		return ggufType{dtype: d, elements: 1, bytes: d.Size(), name: string(d)}
	}
	if b := num.BlockType(n); n <= math.MaxUint8 && b.Known() {
		return ggufType{dtype: DType(b.String()), elements: b.Elements(), bytes: b.Bytes(), name: b.String()}
	}
	if f, ok := ggufForeign[n]; ok {
		return ggufType{name: f[0], why: f[1]}
	}
	return ggufType{name: fmt.Sprintf("number %d", n), why: "the format is not known"}
}

// ggufNumber is a format's number in a GGUF file; ok is false where it has none.
func ggufNumber(d DType) (n uint32, ok bool) {
	for n, plain := range ggufPlain {
		if plain == d {
			return n, true
		}
	}
	if b, ok := d.Block(); ok {
		return uint32(b), true
	}
	return 0, false
}

// has reports whether a key is there.
func (g *GGUF) has(key string) bool { _, ok := g.Values[key]; return ok }

// set adds or replaces a value.
func (g *GGUF) set(key string, value any) {
	if !g.has(key) {
		g.Keys = append(g.Keys, key)
	}
	g.Values[key] = value
}

// drop removes a value.
func (g *GGUF) drop(key string) {
	if g.has(key) {
		delete(g.Values, key)
		g.Keys = slices.DeleteFunc(g.Keys, func(k string) bool { return k == key })
	}
}

// ggufInteger reads a value of any integer kind.
func ggufInteger(v any) (int64, bool) {
	switch x := v.(type) {
	case uint8:
		return int64(x), true
	case int8:
		return int64(x), true
	case uint16:
		return int64(x), true
	case int16:
		return int64(x), true
	case uint32:
		return int64(x), true
	case int32:
		return int64(x), true
	case uint64:
		return int64(x), x <= math.MaxInt64
	case int64:
		return x, true
	}
	return 0, false
}

// ggufFloat reads a value of any numeric kind; a float32 as the shortest decimal that
// stands for it, so that 1e-6 is 1e-6 again in a config.json.
func ggufFloat(v any) (float64, bool) {
	switch x := v.(type) {
	case float32:
		return shortest(x), !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0)
	case float64:
		return x, !math.IsNaN(x) && !math.IsInf(x, 0)
	}
	n, ok := ggufInteger(v)
	return float64(n), ok
}
