package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"sonde/compute"
	"sonde/nn"
)

// paramBytes is the size of a parameter in a file.
func paramBytes(p nn.Param) int64 { return int64(p.T.Len()) * int64(p.T.DType().Size()) }

// checkParams refuses what cannot be written: names that are empty or occur twice,
// shapes that disagree with the memory.
func checkParams(params []nn.Param) error {
	seen := make(map[string]bool, len(params))
	for _, p := range params {
		if p.Name == "" || len(p.Name) > maxName || p.Name == "__metadata__" || !utf8.ValidString(p.Name) || seen[p.Name] {
			return fmt.Errorf("a tensor is called %s: names must be unique UTF-8 of 1 to %d bytes", quote(p.Name), maxName)
		}
		seen[p.Name] = true
		if n, ok := elements(p.Shape); !ok || n != p.T.Len() || len(p.Shape) > maxRank {
			return fmt.Errorf("tensor %s: shape %v does not describe its memory, %v", quote(p.Name), p.Shape, p.T)
		}
	}
	return nil
}

// outTensor is a tensor to be written: its name and shape as Hugging Face has them,
// experts in one tensor under their merged name, and what writes its bytes.
type outTensor struct {
	name  string
	dtype DType
	shape []int
	write func(io.Writer) error
}

// size is the tensor's bytes.
func (t outTensor) size() int64 {
	n, last := 1, 1
	for i, d := range t.shape {
		if last = d; i < len(t.shape)-1 {
			n *= d
		}
	}
	per, _ := t.dtype.RowBytes(last)
	return int64(n) * int64(per)
}

// outTensors are params in their tensors' formats. Only a piece of one is on Go's heap
// at a time: buf, which has pieceBytes.
func outTensors(params []nn.Param, be compute.Backend, buf []byte) []outTensor {
	list := make([]outTensor, len(params))
	for i, p := range params {
		size := p.T.DType().Size()
		list[i] = outTensor{p.Name, DType(p.T.DType().String()), p.Shape, func(w io.Writer) error {
			return pieces(p.T, len(buf)/size, func(part piece) error {
				raw := buf[:part.view.Len()*size]
				be.Download(raw, part.view)
				_, err := w.Write(raw)
				return err
			})
		}}
	}
	return list
}

// fileOrder is the order of data in a file: wide elements first, so that each
// tensor is aligned to its element, otherwise as given.
func fileOrder(tensors []outTensor) []outTensor {
	sorted := slices.Clone(tensors)
	slices.SortStableFunc(sorted, func(a, b outTensor) int {
		return cmp.Compare(b.dtype.Size(), a.dtype.Size())
	})
	return sorted
}

type headerEntry struct {
	DType   DType    `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// header is the length and JSON that precede the data of tensors, padded with spaces
// so that the data begins at a multiple of 8.
func header(tensors []outTensor, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	add := func(lead, name string, value any) error {
		b.WriteString(lead)
		if err := enc.Encode(name); err != nil {
			return err
		}
		b.Truncate(b.Len() - 1) // the encoder ends every value with a newline
		b.WriteByte(':')
		err := enc.Encode(value)
		b.Truncate(b.Len() - 1)
		return err
	}
	lead := "{"
	if metadata != nil {
		if err := add(lead, "__metadata__", metadata); err != nil {
			return nil, err
		}
		lead = ","
	}
	at := int64(0)
	for _, t := range tensors {
		shape := t.shape
		if shape == nil {
			shape = []int{}
		}
		end := at + t.size()
		if err := add(lead, t.name, headerEntry{t.dtype, shape, [2]int64{at, end}}); err != nil {
			return nil, err
		}
		at, lead = end, ","
	}
	if lead == "{" {
		b.WriteString(lead)
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	if b.Len()-8 > maxHeader {
		return nil, fmt.Errorf("%d tensors make a header of %d bytes, more than the %d a file may have: save in shards", len(tensors), b.Len()-8, maxHeader)
	}
	raw := b.Bytes()
	binary.LittleEndian.PutUint64(raw, uint64(len(raw)-8))
	return raw, nil
}

// writeTensors writes a whole safetensors file.
func writeTensors(w io.Writer, tensors []outTensor, metadata map[string]string) error {
	tensors = fileOrder(tensors)
	head, err := header(tensors, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, t := range tensors {
		if err := t.write(w); err != nil {
			return err
		}
	}
	return nil
}
