package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Limits on what a header may hold.
const (
	maxHeader = 100_000_000 // bytes, the format's own limit
	maxRank   = 8
	maxName   = 4096 // bytes of a tensor's name
)

const damaged = "the file is damaged, or not a safetensors file: fetch or save it again"

// Info is one tensor of a file.
type Info struct {
	Name  string // Hugging Face's, whatever the file's kind
	DType DType
	Shape []int
	Bytes int64
	// Heads, where not 0, says that the rows are those of so many heads in the order of
	// GGUF's llama architecture, in which rotated pairs are adjacent.
	Heads int

	begin int64 // from the start of the file's data
}

// String shows format and shape, for messages.
func (x Info) String() string { return fmt.Sprintf("%s %v", x.DType, x.Shape) }

// parseHeader reads a header's JSON and checks every figure in it against the size
// of the data that follows: nothing later needs to doubt an Info. The tensors come
// in the order of the data.
func parseHeader(raw []byte, dataSize int64) ([]Info, map[string]string, error) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil, nil, &FormatError{Problem: "the header does not begin with {", Try: damaged}
	}
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return nil, nil, &FormatError{Problem: "the header is not JSON", Try: damaged}
	}
	p := &headerParser{dec: json.NewDecoder(bytes.NewReader(raw)), seen: map[string]bool{}}
	p.dec.UseNumber()
	if err := p.object(p.entry); err != nil {
		return nil, nil, err
	}
	if err := checkLayout(p.tensors, dataSize); err != nil {
		return nil, nil, err
	}
	return p.tensors, p.metadata, nil
}

// headerParser walks the tokens instead of unmarshalling, because encoding/json
// merges duplicate keys silently.
type headerParser struct {
	dec      *json.Decoder
	seen     map[string]bool
	tensors  []Info
	metadata map[string]string
}

// object calls each for every key of the object that comes next; each must consume
// the value.
func (p *headerParser) object(each func(key string) error) error {
	if t, err := p.dec.Token(); err != nil || t != json.Delim('{') {
		return &FormatError{Problem: "a value of another kind stands where an object belongs", Try: damaged}
	}
	for p.dec.More() {
		key, err := p.str()
		if err != nil {
			return err
		}
		if err := each(key); err != nil {
			return err
		}
	}
	_, err := p.dec.Token() // }
	return err
}

func (p *headerParser) entry(name string) error {
	if p.seen[name] {
		return &FormatError{Tensor: name, Problem: "the name occurs twice", Try: damaged}
	}
	p.seen[name] = true
	if name == "__metadata__" {
		return p.readMetadata()
	}
	if name == "" || len(name) > maxName {
		return &FormatError{Tensor: name, Problem: fmt.Sprintf("a tensor's name has %d bytes, expected 1 to %d", len(name), maxName), Try: damaged}
	}
	x, err := p.info(name)
	if err != nil {
		if fe, ok := err.(*FormatError); ok {
			fe.Tensor = name
		}
		return err
	}
	p.tensors = append(p.tensors, x)
	return nil
}

func (p *headerParser) readMetadata() error {
	p.metadata = map[string]string{}
	return p.object(func(key string) error {
		value, err := p.str()
		if err != nil {
			return err
		}
		if _, twice := p.metadata[key]; twice {
			return &FormatError{Problem: fmt.Sprintf("the metadata key %s occurs twice", quote(key)), Try: damaged}
		}
		p.metadata[key] = value
		return nil
	})
}

func (p *headerParser) info(name string) (Info, error) {
	x := Info{Name: name}
	var offsets []int64
	var shape []int64
	fields := 0
	err := p.object(func(key string) (err error) {
		switch {
		case key == "dtype" && x.DType == "":
			var s string
			s, err = p.str()
			x.DType = DType(s)
		case key == "shape" && shape == nil:
			shape, err = p.integers(maxRank)
		case key == "data_offsets" && offsets == nil:
			offsets, err = p.integers(2)
		default:
			return &FormatError{Problem: fmt.Sprintf("the field %s is unknown or occurs twice", quote(key)), Try: damaged}
		}
		fields++
		return err
	})
	if err != nil {
		return x, err
	}
	if fields != 3 || len(offsets) != 2 {
		return x, &FormatError{Problem: "expected dtype, shape and two data_offsets", Try: damaged}
	}
	return x, x.set(shape, offsets[0], offsets[1])
}

// set fills in the sizes and checks that they agree.
func (x *Info) set(shape []int64, begin, end int64) error {
	if x.DType.Size() == 0 {
		return &FormatError{Problem: fmt.Sprintf("the number format %s is not known", quote(string(x.DType))),
			Try: "convert the file to F32, F16, BF16 or F8_E4M3"}
	}
	want, ok := byteSize(shape, x.DType.Size())
	if !ok {
		return &FormatError{Problem: fmt.Sprintf("the shape %v overflows", shape), Try: damaged}
	}
	if begin > end || end-begin != want {
		return &FormatError{Problem: fmt.Sprintf("%s %v takes %d bytes, found data_offsets [%d, %d]", x.DType, shape, want, begin, end), Try: damaged}
	}
	x.Shape = make([]int, len(shape))
	for i, d := range shape {
		x.Shape[i] = int(d)
	}
	x.begin, x.Bytes = begin, want
	return nil
}

// byteSize multiplies with overflow checks; ok is false when the product does not
// fit a file's size, or a dimension an int.
func byteSize(shape []int64, elem int) (n int64, ok bool) {
	product := uint64(elem)
	zero := false
	for _, d := range shape {
		if d < 0 || d > math.MaxInt {
			return 0, false
		}
		if d == 0 {
			zero = true
			continue
		}
		// A zero dimension does not excuse the others: [2^62, 2^62, 0] is refused too.
		hi, lo := bits.Mul64(product, uint64(d))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, false
		}
		product = lo
	}
	if zero {
		return 0, true
	}
	return int64(product), true
}

// checkLayout puts the tensors in the order of their data and makes sure that they
// cover it exactly: no hole, no overlap, nothing beyond the end.
func checkLayout(tensors []Info, dataSize int64) error {
	slices.SortStableFunc(tensors, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.Bytes, b.Bytes))
	})
	at := int64(0)
	for _, x := range tensors {
		if x.begin != at {
			what := "a hole"
			if x.begin < at {
				what = "an overlap"
			}
			return &FormatError{Tensor: x.Name, Problem: fmt.Sprintf("its data begins at %d, expected %d: %s", x.begin, at, what), Try: damaged}
		}
		at += x.Bytes // begin+Bytes = end, which fitted an int64
	}
	if at != dataSize {
		return &FormatError{Problem: fmt.Sprintf("the header describes %d bytes of data, the file has %d", at, dataSize),
			Try: "the file is cut short or damaged: fetch or save it again"}
	}
	return nil
}

func (p *headerParser) str() (string, error) {
	t, err := p.dec.Token()
	if s, ok := t.(string); ok && err == nil {
		return s, nil
	}
	return "", &FormatError{Problem: "a value of another kind stands where a string belongs", Try: damaged}
}

// integers reads an array of at most most non-negative integers.
func (p *headerParser) integers(most int) ([]int64, error) {
	bad := func(what string) error {
		return &FormatError{Problem: fmt.Sprintf("expected an array of at most %d non-negative integers, found %s", most, what), Try: damaged}
	}
	if t, err := p.dec.Token(); err != nil || t != json.Delim('[') {
		return nil, bad("another value")
	}
	list := []int64{}
	for p.dec.More() {
		t, err := p.dec.Token()
		n, ok := t.(json.Number)
		if err != nil || !ok {
			return nil, bad("an element of another kind")
		}
		v, err := strconv.ParseUint(n.String(), 10, 63)
		if err != nil {
			return nil, bad(quote(n.String()))
		}
		if len(list) == most {
			return nil, bad("more")
		}
		list = append(list, int64(v))
	}
	_, err := p.dec.Token() // ]
	return list, err
}
