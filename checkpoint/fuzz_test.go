package checkpoint

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"sonde/compute"
)

// headerSeeds are headers that are well formed but for one thing each, so that the
// fuzzer starts beyond the first checks.
func headerSeeds() (seeds []string) {
	for _, dt := range []DType{F64, F32, F16, BF16, F8E4M3, F8E5M2, I64, I32, I16, I8, U8, Bool, "F4"} {
		size := dt.Size()
		seeds = append(seeds, `{`+entry("a", dt, "[2,3]", 0, 6*size)+`}`,
			`{"__metadata__":{"format":"pt"},`+entry("a", dt, "[]", 0, size)+`,`+entry("b", dt, "[5]", size, 6*size)+`}`)
	}
	for _, shape := range []string{"[]", "[0]", "[0,9]", "[4,1]", "[-1]", "[4611686018427387904,4]", "[4294967297,4294967297]", "[1,1,1,1,1,1,1,1,1]", "[1.5]", "null"} {
		seeds = append(seeds, `{`+entry("a", U8, shape, 0, 4)+`}`, `{`+entry("a", U8, shape, 0, 0)+`}`)
	}
	for _, offsets := range [][2]int{{0, 0}, {4, 0}, {-4, 0}, {1, 5}, {0, 1 << 62}, {-1 << 63, -1<<63 + 4}} {
		seeds = append(seeds, `{`+entry("a", F32, "[1]", offsets[0], offsets[1])+`}`)
	}
	return append(seeds, `{}`, `{"a":{}}`, `{"a":[]}`, `{"":{}}`, `{"__metadata__":null}`, strings.Repeat(`{"a":`, 100),
		`{`+entry("a", U8, "[2]", 0, 2)+`,`+entry("a", U8, "[2]", 2, 4)+`}`)
}

// FuzzFile feeds the reader whole files. Whatever it accepts must account for every
// byte of the file and be readable to the last.
func FuzzFile(f *testing.F) {
	for _, header := range headerSeeds() {
		for _, n := range []int{0, 4, 6, 24, 48} {
			f.Add(rawFile(header, make([]byte, n)))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := openBytes(raw)
		if err != nil {
			if !isFormatError(err) {
				t.Fatalf("%v is not a *FormatError", err)
			}
			return
		}
		total := file.data
		seen := map[string]bool{}
		for _, x := range file.Tensors() {
			n, ok := elements(x.Shape)
			if !ok || int64(n)*int64(x.DType.Size()) != x.Bytes || seen[x.Name] {
				t.Fatalf("%q: %v takes %d bytes", x.Name, x, x.Bytes)
			}
			seen[x.Name] = true
			total += x.Bytes
			if err := file.Read(x, 0, make([]byte, x.Bytes)); err != nil {
				t.Fatal(err)
			}
		}
		if total != int64(len(raw)) {
			t.Fatalf("%d of %d bytes are accounted for", total, len(raw))
		}
	})
}

// FuzzLoad loads hostile files into a model.
func FuzzLoad(f *testing.F) {
	for _, header := range headerSeeds() {
		f.Add(rawFile(header, make([]byte, 24)))
	}
	f.Add(rawFile(`{`+entry("a", F8E4M3, "[2,3]", 0, 6)+`,`+entry("a_scale_inv", F32, "[1,1]", 6, 10)+`}`, make([]byte, 10)))
	be := compute.NewReference()
	m := maker{be, be.NewArena("fuzz")}
	params := list(m.param("a", compute.F32, 2, 3))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := openBytes(raw)
		if err != nil {
			return
		}
		set := tensorSet{path: "x", block: fp8Block}
		must(t, set.add(file, nil))
		if err := set.load(params, be, false); err == nil && len(file.Tensors()) == 0 {
			t.Fatal("a model was loaded from nothing")
		}
	})
}

// FuzzIndex feeds the reader shard indices: no name it lets through leads elsewhere.
func FuzzIndex(f *testing.F) {
	for _, name := range []string{"model-00001-of-00002.safetensors", "../x.safetensors", "/x.safetensors", `..\x.safetensors`, "x"} {
		f.Add([]byte(fmt.Sprintf(`{"metadata":{"total_size":8},"weight_map":{"a":%q}}`, name)))
	}
	f.Add([]byte(`{"weight_map":{"a":"x.safetensors","a":"x.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{},"weight_map":{}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		index, err := readIndex("i", raw)
		if err == nil && len(index) == 0 {
			t.Fatal("an index without tensors was accepted")
		}
		for _, name := range index {
			if strings.ContainsAny(name, `/\`) || name == ".." || !strings.HasSuffix(name, ".safetensors") {
				t.Fatalf("the name %q was accepted", name)
			}
		}
	})
}

// FuzzManifest feeds the reader manifests: what it accepts says what was written.
func FuzzManifest(f *testing.F) {
	m := manifest{Format: stateFormat, Step: 7, Kernels: "generic", Values: []byte(`{"a":1}`),
		Files: map[string]manifestFile{weightsFile: {8, "00"}}, Tensors: []manifestTensor{{weightsFile, "w", F32, []int{2}}}}
	good, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("1"), []byte("2"), 1))
	f.Add(good[:len(good)-1])
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"format":9223372036854775808}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if m, err := decodeManifest("m", raw); err == nil && m.Format != stateFormat {
			t.Fatalf("format %d was accepted", m.Format)
		}
	})
}

// FuzzFolder opens a folder of an index and two shards that may be anything, and maps
// what it accepts: every tensor's bytes are there, and memory is bounded by the files'.
func FuzzFolder(f *testing.F) {
	one := rawFile(`{`+entry("a", F32, "[2,2]", 0, 16)+`}`, make([]byte, 16))
	two := rawFile(`{`+entry("b", F8E4M3, "[2,3]", 0, 6)+`,`+entry("b_scale_inv", F32, "[1,1]", 6, 10)+`}`, make([]byte, 10))
	index := `{"weight_map":{"a":"x-1.safetensors","b":"x-2.safetensors","b_scale_inv":"x-2.safetensors"}}`
	f.Add([]byte(index), one, two)
	f.Add([]byte(strings.Replace(index, "x-2", "x-1", 1)), one, two)
	f.Add([]byte(strings.Replace(index, `"a":"x-1.safetensors",`, "", 1)), one, two)
	f.Add([]byte(index), two, two)
	f.Add([]byte(index), one, []byte{})
	for _, header := range headerSeeds()[:12] {
		f.Add([]byte(`{"weight_map":{"a":"x-1.safetensors"}}`), rawFile(header, make([]byte, 24)), two)
	}
	f.Fuzz(func(t *testing.T, index, a, b []byte) {
		dir := t.TempDir()
		put(t, dir, "config.json", []byte("{}"))
		put(t, dir, indexName, index)
		put(t, dir, "x-1.safetensors", a)
		put(t, dir, "x-2.safetensors", b)
		s, err := Open(dir)
		if err != nil {
			return
		}
		defer s.Close()
		size := int64(len(a) + len(b))
		for _, x := range s.Tensors() {
			raw, err := s.weights.where[x.Name].file.Bytes(x)
			if err != nil || int64(len(raw)) != x.Bytes {
				t.Fatalf("%s: %d bytes, %v", x.Name, len(raw), err)
			}
			if size -= x.Bytes; size < 0 {
				t.Fatal("the tensors are larger than the files")
			}
			if err := Guard(func() error { bytes.Count(raw, []byte{0}); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.matrices(); err != nil && err.Error() == "" {
			t.Fatal("an error without a word")
		}
	})
}
