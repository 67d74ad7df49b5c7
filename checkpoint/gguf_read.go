package checkpoint

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"
)

// ggufReader reads a header from its beginning. Whatever it is told to read is first
// measured against what is left of the file.
type ggufReader struct {
	r     io.ReaderAt
	size  int64 // of the file
	off   int64 // of the next byte to read
	buf   []byte
	from  int64  // where buf begins in the file
	path  string // for errors
	lists int    // lists within lists so far
}

// ggufWindow is how much of the file is read at a time.
const ggufWindow = 1 << 16

// ggufHead is one file's header.
type ggufHead struct {
	GGUF
	tensors []Info // names and shapes as in the file, outermost dimension first
	data    int64  // where the tensors' data begins
}

// readGGUF reads and checks a header: nothing later needs to doubt it. Errors are
// *FormatErrors.
func readGGUF(path string, r io.ReaderAt, size int64) (*ggufHead, error) {
	g := &ggufReader{r: r, size: size, path: path}
	h := &ggufHead{}
	tensors, keys, err := g.start(h)
	if err != nil {
		return nil, err
	}
	h.Values = make(map[string]any)
	for range keys {
		if err := g.pair(h); err != nil {
			return nil, err
		}
	}
	alignment, err := g.alignment(h)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for range tensors {
		if err := g.tensor(h, seen); err != nil {
			return nil, err
		}
	}
	h.data = (g.off + alignment - 1) / alignment * alignment
	if len(h.tensors) == 0 { // a file of metadata alone need not be padded
		h.data = min(h.data, size)
	}
	return h, g.layout(h, alignment)
}

func (g *ggufReader) refuse(format string, args ...any) error {
	return &FormatError{Path: g.path, Problem: fmt.Sprintf(format, args...), Try: ggufDamaged}
}

// start reads what stands before the metadata and returns the two counts.
func (g *ggufReader) start(h *ggufHead) (tensors, keys uint64, err error) {
	magic, err := g.take(4, "the file's beginning")
	if err != nil {
		return 0, 0, err
	}
	if string(magic) != "GGUF" {
		return 0, 0, g.refuse("begins with %q, expected \"GGUF\"", magic)
	}
	version, err := g.uint32("the version")
	if err != nil {
		return 0, 0, err
	}
	h.Version = int(version)
	switch {
	case version == 2 || version == 3:
	case version&0xffff == 0:
		return 0, 0, &FormatError{Path: g.path, Problem: "is a big-endian GGUF file, expected a little-endian one",
			Try: "fetch the model's little-endian file"}
	default:
		return 0, 0, &FormatError{Path: g.path, Problem: fmt.Sprintf("is GGUF of version %d, expected 2 or 3", version), Try: "fetch a newer file of the model"}
	}
	if tensors, err = g.count("tensors", 24, ggufMaxTensors); err != nil {
		return 0, 0, err
	}
	keys, err = g.count("keys of metadata", 13, ggufMaxKeys)
	return tensors, keys, err
}

// count reads a number of things, each of at least so many bytes.
func (g *ggufReader) count(what string, bytes int64, most uint64) (uint64, error) {
	n, err := g.uint64("the number of " + what)
	if err == nil && (n > most || n > uint64((g.size-g.off)/bytes)) {
		err = g.refuse("claims %d %s; %d bytes are left, and at most %d are allowed", n, what, g.size-g.off, most)
	}
	return n, err
}

// pair reads a key and its value.
func (g *ggufReader) pair(h *ggufHead) error {
	key, err := g.string("a key", ggufMaxKey)
	if err != nil {
		return err
	}
	if key == "" || !utf8.ValidString(key) {
		return g.refuse("a key of the metadata is %s, expected UTF-8 of 1 to %d bytes", quote(key), ggufMaxKey)
	}
	if h.has(key) {
		return g.refuse("the key %s occurs twice", quote(key))
	}
	kind, err := g.uint32("the type of " + quote(key))
	if err != nil {
		return err
	}
	v, err := g.value("the value of "+quote(key), ggufKind(kind), 0)
	if err == nil {
		h.set(key, v)
	}
	return err
}

// value reads a value of the given kind.
func (g *ggufReader) value(what string, kind ggufKind, depth int) (any, error) {
	switch kind {
	case ggufString:
		return g.string(what, math.MaxInt)
	case ggufArray:
		return g.list(what, depth)
	}
	if kind.size() == 0 {
		return nil, g.refuse("%s has type %d, which is not known", what, kind)
	}
	raw, err := g.take(kind.size(), what)
	if err != nil {
		return nil, err
	}
	if kind == ggufBool && raw[0] > 1 {
		return nil, g.refuse("%s is the boolean %d, expected 0 or 1", what, raw[0])
	}
	return ggufScalar(kind, raw), nil
}

// ggufScalar decodes a value of fixed size.
func ggufScalar(kind ggufKind, raw []byte) any {
	le := binary.LittleEndian
	switch kind {
	case ggufUint8:
		return raw[0]
	case ggufInt8:
		return int8(raw[0])
	case ggufBool:
		return raw[0] != 0
	case ggufUint16:
		return le.Uint16(raw)
	case ggufInt16:
		return int16(le.Uint16(raw))
	case ggufUint32:
		return le.Uint32(raw)
	case ggufInt32:
		return int32(le.Uint32(raw))
	case ggufFloat32:
		return math.Float32frombits(le.Uint32(raw))
	case ggufUint64:
		return le.Uint64(raw)
	case ggufInt64:
		return int64(le.Uint64(raw))
	}
	return math.Float64frombits(le.Uint64(raw))
}

// list reads the type, the number and the elements of a list.
func (g *ggufReader) list(what string, depth int) (any, error) {
	n32, err := g.uint32(what)
	if err != nil {
		return nil, err
	}
	kind := ggufKind(n32)
	size := int64(kind.size())
	switch {
	case kind == ggufString:
		size = 8
	case kind == ggufArray:
		size = 12
	case size == 0:
		return nil, g.refuse("%s is a list of type %d, which is not known", what, kind)
	}
	n, err := g.count("elements in "+what, size, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	switch kind {
	case ggufString:
		return g.strings(what, int(n))
	case ggufArray:
		if g.lists += int(n); depth+1 >= ggufMaxDepth || g.lists > ggufMaxLists {
			return nil, g.refuse("%s is nested too deep or has too many lists, expected at most %d levels and %d lists", what, ggufMaxDepth, ggufMaxLists)
		}
		list := make([]any, n)
		for i := range list {
			if list[i], err = g.list(what, depth+1); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return g.scalars(what, kind, int(n))
}

// strings reads n strings. Their text lies in one piece of memory: the first pass
// measures it.
func (g *ggufReader) strings(what string, n int) ([]string, error) {
	begin, total := g.off, 0
	for range n {
		size, err := g.length(what, math.MaxInt)
		if err != nil {
			return nil, err
		}
		total += size
		g.off += int64(size)
	}
	var b strings.Builder
	b.Grow(total)
	list := make([]string, n)
	g.off = begin
	for i := range list {
		size, err := g.length(what, math.MaxInt)
		if err == nil {
			err = g.text(&b, what, size)
		}
		if err != nil {
			return nil, err
		}
		all := b.String()
		list[i] = all[len(all)-size:]
	}
	return list, nil
}

// scalars reads n values of fixed size, a window at a time.
func (g *ggufReader) scalars(what string, kind ggufKind, n int) (any, error) {
	switch kind {
	case ggufUint8:
		return ggufSlice[uint8](g, what, kind, n)
	case ggufInt8:
		return ggufSlice[int8](g, what, kind, n)
	case ggufBool:
		return ggufSlice[bool](g, what, kind, n)
	case ggufUint16:
		return ggufSlice[uint16](g, what, kind, n)
	case ggufInt16:
		return ggufSlice[int16](g, what, kind, n)
	case ggufUint32:
		return ggufSlice[uint32](g, what, kind, n)
	case ggufInt32:
		return ggufSlice[int32](g, what, kind, n)
	case ggufFloat32:
		return ggufSlice[float32](g, what, kind, n)
	case ggufUint64:
		return ggufSlice[uint64](g, what, kind, n)
	case ggufInt64:
		return ggufSlice[int64](g, what, kind, n)
	}
	return ggufSlice[float64](g, what, kind, n)
}

func ggufSlice[T any](g *ggufReader, what string, kind ggufKind, n int) ([]T, error) {
	list := make([]T, n)
	step := ggufWindow / kind.size()
	for i := 0; i < n; i += step {
		part := list[i:min(i+step, n)]
		raw, err := g.take(len(part)*kind.size(), what)
		if err == nil {
			_, err = binary.Decode(raw, binary.LittleEndian, part)
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// alignment reads general.alignment: a zero would divide by zero, and one that is no
// power of two would place tensors where nobody expects them.
func (g *ggufReader) alignment(h *ggufHead) (int64, error) {
	v, ok := h.Values["general.alignment"]
	if !ok {
		return ggufAlignment, nil
	}
	n, ok := ggufInteger(v)
	if !ok || n < 8 || n > 1<<30 || n&(n-1) != 0 {
		return 0, g.refuse("general.alignment is %v, expected a power of two from 8 on", v)
	}
	return n, nil
}

// tensor reads one tensor's name, shape, type and place.
func (g *ggufReader) tensor(h *ggufHead, seen map[string]bool) error {
	name, err := g.string("a tensor's name", maxName)
	if err != nil {
		return err
	}
	if name == "" || !utf8.ValidString(name) {
		return g.refuse("a tensor is called %s, expected UTF-8 of 1 to %d bytes", quote(name), maxName)
	}
	if seen[name] {
		return &FormatError{Path: g.path, Tensor: name, Problem: "the name occurs twice", Try: ggufDamaged}
	}
	seen[name] = true
	x, err := g.info(name)
	if err == nil {
		h.tensors = append(h.tensors, x)
	}
	return err
}

func (g *ggufReader) info(name string) (x Info, err error) {
	refuse := func(format string, args ...any) (Info, error) {
		return x, &FormatError{Path: g.path, Tensor: name, Problem: fmt.Sprintf(format, args...), Try: ggufDamaged}
	}
	what := "the shape of tensor " + quote(name)
	rank, err := g.uint32(what)
	if err != nil {
		return x, err
	}
	if rank == 0 || rank > ggufMaxDims {
		return refuse("has %d dimensions, expected 1 to %d", rank, ggufMaxDims)
	}
	x.Name, x.Shape = name, make([]int, rank)
	elements := uint64(1)
	for i := range x.Shape {
		d, err := g.uint64(what)
		if err != nil {
			return x, err
		}
		hi, lo := bits.Mul64(elements, d)
		if d == 0 || d > math.MaxInt || hi != 0 || lo > math.MaxInt64 {
			return refuse("dimension %d is %d: expected 1 or more, and a product that fits 63 bits", i, int64(d))
		}
		elements = lo
		x.Shape[int(rank)-1-i] = int(d) // the file lists the innermost first
	}
	number, err := g.uint32("the format of tensor " + quote(name))
	if err != nil {
		return x, err
	}
	t := ggufTypeOf(number)
	if t.dtype == "" {
		return x, &FormatError{Path: g.path, Tensor: name, Problem: fmt.Sprintf("has the number format %s: %s", t.name, t.why),
			Try: "fetch or make the model in another quantisation, such as Q8_0 or Q4_K_M"}
	}
	if inner := x.Shape[rank-1]; inner%t.elements != 0 {
		return refuse("has rows of %d elements, expected a multiple of %d for %s", inner, t.elements, t.name)
	}
	hi, lo := bits.Mul64(elements/uint64(t.elements), uint64(t.bytes))
	if hi != 0 || lo > uint64(g.size) {
		return refuse("%s %v takes more bytes than the file's %d", t.name, x.Shape, g.size)
	}
	begin, err := g.uint64("the place of tensor " + quote(name))
	if err != nil {
		return x, err
	}
	if begin > uint64(g.size) {
		return refuse("begins %d bytes into the data, but the file has %d", begin, g.size)
	}
	x.DType, x.Bytes, x.begin = t.dtype, int64(lo), int64(begin)
	return x, nil
}

// layout makes sure that the tensors lie within the file, aligned and apart.
func (g *ggufReader) layout(h *ggufHead, alignment int64) error {
	room := g.size - h.data
	order := slices.Clone(h.tensors)
	slices.SortStableFunc(order, func(a, b Info) int { return cmp.Compare(a.begin, b.begin) })
	at := int64(0)
	for i, x := range order {
		refuse := func(format string, args ...any) error {
			return &FormatError{Path: g.path, Tensor: x.Name, Problem: fmt.Sprintf(format, args...), Try: ggufDamaged}
		}
		if x.begin%alignment != 0 {
			return refuse("begins at %d, expected a multiple of the alignment %d", x.begin, alignment)
		}
		if x.begin < at {
			return refuse("begins at %d, within %s, which ends at %d", x.begin, quote(order[i-1].Name), at)
		}
		if at = x.begin + x.Bytes; at > room {
			return refuse("takes the bytes %d to %d of the data, but the file has %d: it is cut short", x.begin, at, max(room, 0))
		}
	}
	return nil
}

// length reads a string's length.
func (g *ggufReader) length(what string, most int) (int, error) {
	n, err := g.uint64(what)
	if err != nil {
		return 0, err
	}
	if left := g.size - g.off; n > uint64(left) || n > uint64(most) {
		return 0, g.refuse("%s claims %d bytes; %d are left, and at most %d are allowed", what, n, left, most)
	}
	return int(n), nil
}

func (g *ggufReader) string(what string, most int) (string, error) {
	n, err := g.length(what, most)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.Grow(n)
	err = g.text(&b, what, n)
	return b.String(), err
}

// text adds n bytes of the file to b.
func (g *ggufReader) text(b *strings.Builder, what string, n int) error {
	for n > 0 {
		raw, err := g.take(min(n, ggufWindow), what)
		if err != nil {
			return err
		}
		b.Write(raw)
		n -= len(raw)
	}
	return nil
}

func (g *ggufReader) uint32(what string) (uint32, error) {
	raw, err := g.take(4, what)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(raw), nil
}

func (g *ggufReader) uint64(what string) (uint64, error) {
	raw, err := g.take(8, what)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(raw), nil
}

// take is the next n <= ggufWindow bytes, valid until the next call.
func (g *ggufReader) take(n int, what string) ([]byte, error) {
	if int64(n) > g.size-g.off {
		return nil, g.refuse("ends within %s", what)
	}
	at := g.off - g.from
	if at < 0 || at+int64(n) > int64(len(g.buf)) {
		if g.buf == nil {
			g.buf = make([]byte, 0, ggufWindow)
		}
		g.buf, g.from, at = g.buf[:min(ggufWindow, g.size-g.off)], g.off, 0
		if got, err := g.r.ReadAt(g.buf, g.off); got < len(g.buf) {
			g.buf = g.buf[:0]
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, readError(g.path, "", err)
		}
	}
	g.off += int64(n)
	return g.buf[at : at+int64(n)], nil
}
