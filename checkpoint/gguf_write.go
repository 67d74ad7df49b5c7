package checkpoint

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
)

// saveGGUF writes a model as a GGUF file of version 3, or, where its tensors take more
// than splitBytes > 0, as parts called after path. The metadata are those of s, where
// it is a GGUF file, corrected by its config, otherwise made of config and tokenizer.
// All files are written beside the old ones and put in their places at the end.
func saveGGUF(path string, s *Source, fileType uint32, tensors []outTensor, splitBytes int64) error {
	list, err := ggufTensors(s, tensors)
	if err != nil {
		return err
	}
	meta, err := ggufMetadata(s, fileType, tensors)
	if err != nil {
		return err
	}
	if splitBytes <= 0 {
		splitBytes = math.MaxInt64
	}
	parts := splitGGUF(list, splitBytes)
	r := &replacement{dir: filepath.Dir(path)}
	for i, part := range parts {
		name := filepath.Base(path)
		if len(parts) > 1 {
			name = partName(strings.TrimSuffix(name, filepath.Ext(name)), i, len(parts))
		}
		head := meta
		if len(parts) > 1 {
			head = partMeta(meta, i, len(parts), len(list))
		}
		err := r.write(name, func(w io.Writer) error { return writeGGUF(w, head, part) })
		if err != nil {
			r.discard()
			return saveFailed(filepath.Join(r.dir, name), err)
		}
	}
	if err := r.commit(); err != nil {
		return &SaveError{File: path, Err: err}
	}
	return nil
}

// saveFailed tells what went wrong with the new file from what was wrong with the
// model's.
func saveFailed(file string, err error) error {
	var fe *FormatError
	if errors.As(err, &fe) {
		return err
	}
	return &SaveError{File: file, Err: err}
}

// ggufTensor is a tensor by llama.cpp's name, its shape's outermost dimension first.
type ggufTensor struct {
	name   string
	number uint32 // of the format
	shape  []int
	size   int64
	write  func(io.Writer) error
}

// ggufTensors gives tensors the names and shapes of a GGUF file and adds the factors
// of rotations, which Hugging Face has in the config.
func ggufTensors(s *Source, tensors []outTensor) ([]ggufTensor, error) {
	c, err := readHFConfig(s)
	if err != nil {
		return nil, err
	}
	var list []ggufTensor
	if factors := c.factors(); factors != nil {
		raw := make([]byte, 0, 4*len(factors))
		for _, f := range factors {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(f)))
		}
		list = append(list, ggufTensor{ropeFactorsName, 0, []int{len(factors)}, int64(len(raw)), writeBytes(raw)})
	}
	for _, t := range tensors {
		name, number, ok := ggufName(t.name), uint32(0), false
		if number, ok = ggufNumber(t.dtype); !ok {
			return nil, fmt.Errorf("tensor %s: a GGUF file has no format %s: convert to BF16", quote(t.name), t.dtype)
		}
		if name == "" {
			return nil, &FormatError{Path: s.Path, Tensor: t.name, Problem: "llama.cpp has no name for it", Try: "write the model as a folder"}
		}
		shape, err := c.ggufShape(t)
		if err != nil {
			return nil, err
		}
		list = append(list, ggufTensor{name, number, shape, t.size(), t.write})
	}
	return list, nil
}

// splitGGUF cuts the tensors, in order, into parts of at most most bytes, more only
// where one tensor alone has more.
func splitGGUF(list []ggufTensor, most int64) (parts [][]ggufTensor) {
	begin, size := 0, int64(0)
	for i, t := range list {
		if i > begin && size+t.size > most {
			parts = append(parts, list[begin:i])
			begin, size = i, 0
		}
		size += t.size
	}
	return append(parts, list[begin:])
}

// partMeta is the metadata of part i of n: the first has everything.
func partMeta(meta *GGUF, i, n, tensors int) *GGUF {
	part := &GGUF{Values: map[string]any{}}
	if i == 0 {
		for _, k := range meta.Keys {
			part.set(k, meta.Values[k])
		}
	}
	part.set(splitNo, uint16(i))
	part.set(splitCount, uint16(n))
	part.set(splitTensors, int32(tensors))
	return part
}

// writeGGUF writes one file.
func writeGGUF(w io.Writer, meta *GGUF, list []ggufTensor) error {
	head, err := appendGGUFHead(nil, meta, list)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, 1<<20)
	if _, err := b.Write(head); err != nil {
		return err
	}
	var zeros [ggufAlignment]byte
	for _, t := range list {
		counted := &countWriter{w: b}
		if err := t.write(counted); err != nil {
			return err
		}
		if counted.n != t.size {
			return fmt.Errorf("tensor %s: %d bytes were written, expected %d", quote(t.name), counted.n, t.size)
		}
		if _, err := b.Write(zeros[:aligned(t.size)-t.size]); err != nil {
			return err
		}
	}
	return b.Flush()
}

// countWriter counts what goes through it.
type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// aligned rounds up to where a tensor may begin.
func aligned(n int64) int64 { return (n + ggufAlignment - 1) / ggufAlignment * ggufAlignment }

// appendGGUFHead appends everything before the tensors' data, padded.
func appendGGUFHead(b []byte, meta *GGUF, list []ggufTensor) ([]byte, error) {
	le := binary.LittleEndian
	b = append(b, "GGUF"...)
	b = le.AppendUint32(b, 3)
	b = le.AppendUint64(b, uint64(len(list)))
	b = le.AppendUint64(b, uint64(len(meta.Keys)))
	for _, k := range meta.Keys {
		b = appendGGUFString(b, k)
		var err error
		if b, err = appendGGUFValue(b, meta.Values[k], true); err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
	}
	at := int64(0)
	for _, t := range list {
		b = appendGGUFString(b, t.name)
		b = le.AppendUint32(b, uint32(len(t.shape)))
		for _, d := range slices.Backward(t.shape) {
			b = le.AppendUint64(b, uint64(d))
		}
		b = le.AppendUint32(b, t.number)
		b = le.AppendUint64(b, uint64(at))
		at += aligned(t.size)
	}
	return append(b, make([]byte, aligned(int64(len(b)))-int64(len(b)))...), nil
}

func appendGGUFString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendGGUFValue appends a value, after its kind where tagged.
func appendGGUFValue(b []byte, v any, tagged bool) ([]byte, error) {
	kind, ok := ggufKindOf(v)
	if !ok {
		return nil, fmt.Errorf("a GGUF file cannot hold a %T", v)
	}
	if tagged {
		b = binary.LittleEndian.AppendUint32(b, uint32(kind))
	}
	switch x := v.(type) {
	case string:
		return appendGGUFString(b, x), nil
	case []string:
		b = appendGGUFList(b, ggufString, len(x))
		for _, s := range x {
			b = appendGGUFString(b, s)
		}
		return b, nil
	case []any:
		b = appendGGUFList(b, ggufArray, len(x))
		for _, list := range x {
			var err error
			if k, _ := ggufKindOf(list); k != ggufArray {
				return nil, fmt.Errorf("a list of lists holds a %T", list)
			}
			if b, err = appendGGUFValue(b, list, false); err != nil {
				return nil, err
			}
		}
		return b, nil
	}
	if kind == ggufArray {
		element, n := ggufElement(v)
		b = appendGGUFList(b, element, n)
	}
	return binary.Append(b, binary.LittleEndian, v)
}

func appendGGUFList(b []byte, kind ggufKind, n int) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(kind))
	return binary.LittleEndian.AppendUint64(b, uint64(n))
}

// ggufKindOf is the kind of a Go value.
func ggufKindOf(v any) (ggufKind, bool) {
	switch v.(type) {
	case uint8:
		return ggufUint8, true
	case int8:
		return ggufInt8, true
	case uint16:
		return ggufUint16, true
	case int16:
		return ggufInt16, true
	case uint32:
		return ggufUint32, true
	case int32:
		return ggufInt32, true
	case float32:
		return ggufFloat32, true
	case bool:
		return ggufBool, true
	case string:
		return ggufString, true
	case uint64:
		return ggufUint64, true
	case int64:
		return ggufInt64, true
	case float64:
		return ggufFloat64, true
	case []string, []any:
		return ggufArray, true
	}
	_, n := ggufElement(v)
	return ggufArray, n >= 0
}

// ggufElement is the kind and number of a slice's elements, -1 for anything else.
func ggufElement(v any) (ggufKind, int) {
	switch x := v.(type) {
	case []uint8:
		return ggufUint8, len(x)
	case []int8:
		return ggufInt8, len(x)
	case []uint16:
		return ggufUint16, len(x)
	case []int16:
		return ggufInt16, len(x)
	case []uint32:
		return ggufUint32, len(x)
	case []int32:
		return ggufInt32, len(x)
	case []float32:
		return ggufFloat32, len(x)
	case []bool:
		return ggufBool, len(x)
	case []uint64:
		return ggufUint64, len(x)
	case []int64:
		return ggufInt64, len(x)
	case []float64:
		return ggufFloat64, len(x)
	}
	return 0, -1
}
