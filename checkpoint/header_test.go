package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"sonde/compute"
)

func openBytes(raw []byte) (*File, error) {
	return readFile("x.safetensors", bytes.NewReader(raw), int64(len(raw)))
}

// refused is hostile input that must end in a *FormatError that says what.
type refused struct {
	name, header string
	data         int
	want         string // part of the message
}

func checkRefused(t *testing.T, cases []refused) {
	t.Helper()
	for _, c := range cases {
		_, err := openBytes(rawFile(c.header, make([]byte, c.data)))
		if !isFormatError(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, expected a *FormatError with %q", c.name, err, c.want)
		}
	}
}

func tensor(shape, offsets string) string {
	return fmt.Sprintf(`{"w":{"dtype":"F32","shape":%s,"data_offsets":%s}}`, shape, offsets)
}

func TestT1SizesSignsAndOverflows(t *testing.T) {
	checkRefused(t, []refused{
		{"negative dimension", tensor("[-1,4]", "[0,16]"), 16, "non-negative"},
		{"minus zero", tensor("[-0]", "[0,0]"), 0, "non-negative"},
		{"negative offset", tensor("[4]", "[-16,0]"), 16, "non-negative"},
		{"dimension beyond int64", tensor("[9223372036854775808]", "[0,0]"), 0, "non-negative"},
		{"dimension beyond uint64", tensor("[99999999999999999999999]", "[0,0]"), 0, "non-negative"},
		{"product overflows to zero", tensor("[4611686018427387904,4]", "[0,0]"), 0, "overflows"},
		{"product overflows to the right size", tensor("[4294967297,4294967297]", "[0,16]"), 16, "overflows"},
		{"element size overflows", tensor("[4611686018427387904]", "[0,0]"), 0, "overflows"},
		{"zero does not hide an overflow", tensor("[4611686018427387904,4611686018427387904,0]", "[0,0]"), 0, "overflows"},
		{"begin beyond end", tensor("[4]", "[16,0]"), 16, "takes 16 bytes"},
		{"end beyond the file", tensor("[1000]", "[0,4000]"), 16, "the file has 16"},
		{"offsets near int64's end", tensor("[4]", "[9223372036854775791,9223372036854775807]"), 16, "begins at"},
		{"fraction", tensor("[4.0]", "[0,16]"), 16, "non-negative"},
		{"exponent", tensor("[4e0]", "[0,16]"), 16, "non-negative"},
		{"string", tensor(`["4"]`, "[0,16]"), 16, "another kind"},
		{"rank", tensor("[1,1,1,1,1,1,1,1,4]", "[0,16]"), 16, "at most 8"},
		{"three offsets", tensor("[4]", "[0,16,16]"), 16, "at most 2"},
		{"one offset", tensor("[4]", "[0]"), 16, "two data_offsets"},
	})
}

func TestT1HeaderLength(t *testing.T) {
	for _, n := range []uint64{1, 9, maxHeader + 1, 1 << 62, 1 << 63, 1<<64 - 1, 1<<64 - 8} {
		raw := append(binary.LittleEndian.AppendUint64(nil, n), "{}      "[:8]...)
		if n == 1 {
			raw = raw[:8]
		}
		if _, err := openBytes(raw); !isFormatError(err) {
			t.Errorf("length %d: got %v", n, err)
		}
	}
	// A header within the limit by its claim, but beyond the file, allocates nothing.
	raw := binary.LittleEndian.AppendUint64(nil, maxHeader)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	openBytes(raw)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<16 {
		t.Errorf("a file of 8 bytes made the reader allocate %d bytes", got)
	}
}

func TestT2EmptyStringsAndUnknownNames(t *testing.T) {
	checkRefused(t, []refused{
		{"empty name", `{` + entry("", F32, "[1]", 0, 4) + `}`, 4, "0 bytes"},
		{"long name", `{` + entry(strings.Repeat("x", maxName+1), F32, "[1]", 0, 4) + `}`, 4, "4097 bytes"},
		{"empty dtype", `{` + entry("w", "", "[1]", 0, 4) + `}`, 4, "not known"},
		{"unknown dtype", `{` + entry("w", "F4", "[1]", 0, 4) + `}`, 4, `"F4" is not known`},
		{"lower case dtype", `{` + entry("w", "f32", "[1]", 0, 4) + `}`, 4, "not known"},
		{"null entry", `{"w":null}`, 0, "object belongs"},
		{"empty entry", `{"w":{}}`, 0, "expected dtype"},
		{"shape is null", `{"w":{"dtype":"F32","shape":null,"data_offsets":[0,4]}}`, 4, "array"},
		{"nested shape", tensor("[[[[[[1]]]]]]", "[0,4]"), 4, "another kind"},
		{"unknown field", `{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[1]}}`, 4, `"strides"`},
		{"metadata of numbers", `{"__metadata__":{"a":1}}`, 0, "string belongs"},
		{"metadata is a string", `{"__metadata__":"a"}`, 0, "object belongs"},
	})
}

func TestT3DataBeyondTheFile(t *testing.T) {
	f, err := openBytes(rawFile(tensor("[4]", "[0,16]"), make([]byte, 16)))
	must(t, err)
	x := f.Tensors()[0]
	for _, r := range []struct {
		off int64
		n   int
	}{{-1, 4}, {13, 4}, {0, 17}, {1 << 62, 4}, {-1 << 63, 16}} {
		if err := f.Read(x, r.off, make([]byte, r.n)); !isFormatError(err) {
			t.Errorf("reading [%d, +%d) of 16 bytes: %v", r.off, r.n, err)
		}
	}
}

func TestT4HolesOverlapsEndsAndDuplicates(t *testing.T) {
	a, b := entry("a", F32, "[1]", 0, 4), entry("b", F32, "[1]", 4, 8)
	checkRefused(t, []refused{
		{"hole", `{` + a + `,` + entry("b", F32, "[1]", 8, 12) + `}`, 12, "a hole"},
		{"hole at the start", `{` + entry("a", F32, "[1]", 4, 8) + `}`, 8, "a hole"},
		{"overlap", `{` + a + `,` + entry("b", F32, "[1]", 2, 6) + `}`, 6, "an overlap"},
		{"same place twice", `{` + a + `,` + entry("b", F32, "[1]", 0, 4) + `}`, 4, "an overlap"},
		{"data left over", `{` + a + `,` + b + `}`, 9, "the file has 9"},
		{"data missing", `{` + a + `,` + b + `}`, 7, "the file has 7"},
		{"data without tensors", `{}`, 1, "the file has 1"},
		{"duplicate tensor", `{` + a + `,` + entry("a", F32, "[1]", 4, 8) + `}`, 8, "twice"},
		{"duplicate by escape", `{` + a + `,"\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8, "twice"},
		{"duplicate field", `{"w":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4, `"dtype"`},
		{"duplicate metadata", `{"__metadata__":{},"__metadata__":{}}`, 0, "twice"},
		{"duplicate metadata key", `{"__metadata__":{"a":"1","a":"2"}}`, 0, "twice"},
		{"not JSON", `{"w":`, 0, "not JSON"},
		{"two documents", `{}{}`, 0, "not JSON"},
		{"leading space", ` {}`, 0, "begin with {"},
		{"array", `[]`, 0, "begin with {"},
		{"invalid UTF-8", "{\"\xff\":1}", 0, "not JSON"},
		{"deep nesting", `{"w":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`, 0, "JSON"},
		{"empty header", "", 0, "begin with {"},
	})
}

func TestHeaderReads(t *testing.T) {
	f, err := openBytes(rawFile(`{"__metadata__":{"format":"pt"},`+entry("b", BF16, "[2,3]", 8, 20)+`,`+
		entry("s", F64, "[]", 0, 8)+`,`+entry("z", I8, "[0,5]", 8, 8)+`}    `, make([]byte, 20)))
	must(t, err)
	if got := fmt.Sprint(f.Tensors(), f.Metadata()); got != "[F64 [] I8 [0 5] BF16 [2 3]] map[format:pt]" {
		t.Error(got)
	}
}

// others are what a byte is changed to: every single bit flipped, all of them, and
// the characters that mean something in a header.
func others(b byte) (list []byte) {
	for bit := range 8 {
		list = append(list, b^1<<bit)
	}
	for _, c := range []byte("0123456789{}[]\",:- EFIU") {
		if c != b {
			list = append(list, c)
		}
	}
	return append(list, ^b)
}

// TestHeaderEveryByteFlipped changes every byte of a header in turn: the file is refused, or the model is, or its weights are the same as before.
func TestHeaderEveryByteFlipped(t *testing.T) {
	m := newMaker(t)
	params := m.small()
	m.random(params, 3)
	want := m.contents(params)
	var b bytes.Buffer
	must(t, writeTensors(&b, outTensors(params, m.be, make([]byte, pieceBytes)), ptMetadata))
	raw := b.Bytes()
	n := 8 + int(binary.LittleEndian.Uint64(raw))
	loaded := 0
	for i := range n {
		old := raw[i]
		for _, x := range others(old) {
			raw[i] = x
			f, err := openBytes(raw)
			if err != nil {
				if !isFormatError(err) {
					t.Fatalf("byte %d as %#x: %v is not a *FormatError", i, x, err)
				}
				continue
			}
			set := tensorSet{path: "x"}
			must(t, set.add(f, nil))
			err = set.load(params, m.be, false)
			var le *LoadError
			if err != nil && !errors.As(err, &le) {
				t.Fatalf("byte %d as %#x: %v is not a *LoadError", i, x, err)
			}
			if err == nil {
				loaded++
				if m.contents(params) != want {
					t.Fatalf("byte %d as %#x: other weights were loaded without a word", i, x)
				}
			}
		}
		raw[i] = old
	}
	if loaded == 0 {
		t.Error("not even a flip in the metadata was let through: does the file load at all?")
	}
}

func TestTruncatedAtEveryLength(t *testing.T) {
	m := newMaker(t)
	params := m.small()
	var b bytes.Buffer
	must(t, writeTensors(&b, outTensors(params, m.be, make([]byte, pieceBytes)), ptMetadata))
	for n := range b.Len() {
		if _, err := openBytes(b.Bytes()[:n]); !isFormatError(err) {
			t.Fatalf("cut to %d of %d bytes: %v", n, b.Len(), err)
		}
	}
}

// TestCutShortInUse cuts a file between opening and loading.
func TestCutShortInUse(t *testing.T) {
	m := newMaker(t)
	p := m.param("w", compute.F32, 64, 64)
	dir := t.TempDir()
	must(t, SaveHF(dir, HF{ConfigJSON: []byte("{}")}, list(p), m.be, 0))
	f, err := Open(dir)
	must(t, err)
	defer f.Close()
	must(t, os.Truncate(f.weights.files[0].path, 9000))
	err = f.Load(list(p), m.be)
	if !isFormatError(err) || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), `"w"`) {
		t.Errorf("got %v", err)
	}
}
