package checkpoint

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/nn"
	"sonde/num"
)

// testTensor is one tensor of a file made up for a test.
type testTensor struct {
	name  string
	dtype DType
	shape []int
	raw   []byte
}

// fill draws bytes that are finite numbers in every format.
func fill(dt DType, shape []int, seed uint64) []byte {
	n, _ := elements(shape)
	size, _ := dt.RowBytes(n)
	r := rand.New(rand.NewPCG(seed, 7))
	raw := make([]byte, size)
	for i := range raw {
		raw[i] = byte(r.Uint32()) & 0x3f // small exponents everywhere, no NaN
	}
	if dt == F8E8M0 {
		for i := range raw {
			raw[i] = 120 + raw[i]%10
		}
	}
	return raw
}

func made(name string, dt DType, shape ...int) testTensor {
	return testTensor{name, dt, shape, fill(dt, shape, uint64(len(name)))}
}

// source writes the tensors to a file of their own and opens it, block formats too,
// which safetensors cannot hold. pad bytes stand before the data.
func madeSource(t *testing.T, pad int, tensors ...testTensor) *Source {
	t.Helper()
	all := make([]byte, pad)
	f := &File{data: int64(pad)}
	for _, x := range tensors {
		f.tensors = append(f.tensors, Info{Name: x.name, DType: x.dtype, Shape: x.shape, Bytes: int64(len(x.raw)), begin: int64(len(all) - pad)})
		all = append(all, x.raw...)
	}
	f.path, f.size = put(t, t.TempDir(), "weights", all), int64(len(all))
	file, err := os.Open(f.path)
	must(t, err)
	f.f, f.close = file, file.Close
	s := &Source{Path: f.path, weights: tensorSet{path: f.path, block: fp8Block}}
	must(t, s.weights.add(f, nil))
	t.Cleanup(func() { s.Close() })
	return s
}

// place makes a slot whose tensor has addresses and no memory.
func slotFor(name string, field *compute.Tensor, shape ...int) nn.Slot {
	space := compute.NewArena("places", compute.AddressSpace{})
	rows, cols := 1, shape[0]
	if len(shape) == 2 {
		rows, cols = shape[0], shape[1]
	}
	*field = space.F32(rows, cols)
	return nn.Slot{Param: nn.Param{Name: name, T: *field, Shape: shape}, Field: field, Experts: 1}
}

func bindAll(t *testing.T, s *Source, m maker, slots ...nn.Slot) {
	t.Helper()
	must(t, s.Bind(slots, m.be, m.ar, BindOptions{Activations: compute.ActInt8}))
}

// mapped reports whether t lies in the source's files.
func mapped(s *Source, t compute.Tensor) bool {
	for _, f := range s.weights.files {
		start := uintptr(unsafe.Pointer(&f.mem.bytes[0]))
		if p := uintptr(t.Ptr()); p >= start && p < start+uintptr(len(f.mem.bytes)) {
			return true
		}
	}
	return false
}

// values widens a whole tensor.
func values(t compute.Tensor) []float32 {
	v := make([]float32, t.Len())
	for r := range t.NumRows() {
		t.Widen(v[r*t.NumCols():(r+1)*t.NumCols()], r, 0)
	}
	return v
}

func equalBits(a, b []float32) bool {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

func widened(x testTensor) []float32 {
	n, _ := elements(x.shape)
	v := make([]float32, n)
	widen(v, x.dtype, x.raw)
	return v
}

// TestBindRunsEveryFormatAsItIs binds a matrix of every format that operations read:
// nothing is copied, and its elements are the file's.
func TestBindRunsEveryFormatAsItIs(t *testing.T) {
	formats := []DType{F32, BF16, F16}
	for d := range blockNames {
		formats = append(formats, d)
	}
	for _, dt := range formats {
		m := newMaker(t)
		x := made("w", dt, 3, 512)
		s := madeSource(t, 32, x)
		var w compute.Tensor
		bindAll(t, s, m, slotFor("w", &w, 3, 512))
		if !mapped(s, w) || m.ar.Bytes() != 0 || w.DType().String() != string(dt) {
			t.Errorf("%s became %v, %d bytes beside it", dt, w, m.ar.Bytes())
		}
		if !equalBits(values(w), widened(x)) {
			t.Errorf("%s: other values", dt)
		}
		if _, block := dt.Block(); block != (w.Activations() == compute.ActInt8) {
			t.Errorf("%s meets activations %v", dt, w.Activations())
		}
	}
}

// TestPitfall4FP8Factors binds FP8 weights with factors in each form that checkpoints have.
func TestPitfall4FP8Factors(t *testing.T) {
	const n, k = 200, 300
	w := made("w", F8E4M3, n, k)
	for _, c := range []struct {
		suffix string
		scale  DType
		shape  []int
		rows   int // of a block
		cols   int
	}{
		{"_scale_inv", F32, []int{2, 3}, 128, 128}, {"_scale_inv", BF16, []int{2, 3}, 128, 128},
		{"_scale_inv", F8E8M0, []int{2, 3}, 128, 128}, {"_scale", F32, []int{n, 1}, 1, k}, {"_scale", F32, []int{1}, n, k}, {"_scale", BF16, []int{}, n, k},
	} {
		m := newMaker(t)
		scale := made("w"+c.suffix, c.scale, c.shape...)
		s := madeSource(t, 3, scale, w) // an FP8 weight may begin anywhere
		var got compute.Tensor
		bindAll(t, s, m, slotFor("w", &got, n, k))
		factors := widenedScale(scale)
		want := widened(w)
		for i := range want {
			want[i] *= factors[i/k/c.rows*ceilDiv(k, c.cols)+i%k/c.cols]
		}
		if !mapped(s, got) || !equalBits(values(got), want) {
			t.Errorf("%s %v: %v, in the file %v", c.scale, c.shape, got, mapped(s, got))
		}
	}
}

func widenedScale(x testTensor) []float32 {
	if x.dtype != F8E8M0 {
		return widened(x)
	}
	v := make([]float32, len(x.raw))
	num.UE8M0SliceToF32(v, x.raw)
	return v
}

// TestBindCopiesWhatItMust: vectors, FP32 and plain weights, misaligned ones, and
// formats that no operation reads.
func TestBindCopiesWhatItMust(t *testing.T) {
	for _, c := range []struct {
		what        string
		dtype       DType
		shape       []int
		plain, fp32 bool
		pad         int
		to          compute.DType
		copied      bool
	}{
		{"vector", F32, []int{64}, false, false, 0, compute.F32, true},
		{"vector", F16, []int{64}, false, false, 0, compute.F32, true},
		{"router", BF16, []int{2, 64}, true, true, 0, compute.F32, true},
		{"router", F32, []int{2, 64}, true, true, 0, compute.F32, false},
		{"plain", BF16, []int{2, 64}, true, false, 0, compute.BF16, false},
		{"plain", F16, []int{2, 64}, true, false, 0, compute.F32, true},
		{"plain", "Q8_0", []int{2, 64}, true, false, 0, compute.F32, true},
		{"misaligned", F32, []int{2, 64}, false, false, 2, compute.F32, true},
		{"misaligned", BF16, []int{2, 64}, false, false, 1, compute.BF16, true},
		{"blocks anywhere", "Q8_0", []int{2, 64}, false, false, 1, compute.BlockDType(num.Q8_0), false},
		{"double", F64, []int{2, 64}, false, false, 0, compute.F32, true},
		{"plain K", "Q4_K", []int{300, 4096}, true, false, 0, compute.F32, true}, // several pieces
	} {
		m := newMaker(t)
		x := made("w", c.dtype, c.shape...)
		s := madeSource(t, c.pad, x)
		var w compute.Tensor
		slot := slotFor("w", &w, c.shape...)
		slot.Plain, slot.FP32 = c.plain, c.fp32
		bindAll(t, s, m, slot)
		if w.DType() != c.to || mapped(s, w) == c.copied || !equalBits(values(w), widened(x)) {
			t.Errorf("%s %s: became %v, copied %v", c.what, c.dtype, w, !mapped(s, w))
		}
	}
}

// TestBindExperts binds experts that lie one by one, and experts in one tensor.
func TestBindExperts(t *testing.T) {
	type layer struct {
		Up      compute.Tensor
		UpParts []compute.Tensor
	}
	slots := func(l *layer) (out []nn.Slot) {
		whole := slotFor("", &l.Up, 6, 64)
		for e := range 3 {
			s := whole
			s.Param = nn.Param{Name: fmt.Sprintf("l.experts.%d.up", e), T: l.Up.Rows(2*e, 2*e+2), Shape: []int{2, 64}}
			s.Expert, s.Experts, s.Parts = e, 3, &l.UpParts
			out = append(out, s)
		}
		return out
	}
	m := newMaker(t)
	one := []testTensor{made("l.experts.1.up", "Q8_0", 2, 64), made("l.experts.0.up", "Q8_0", 2, 64), made("l.experts.2.up", "Q8_0", 2, 64)}
	one[1].raw[5]++
	var l layer
	bindAll(t, madeSource(t, 0, one...), m, slots(&l)...)
	if len(l.UpParts) != 3 || !l.Up.IsZero() {
		t.Fatalf("bound as %v and %v", l.Up, l.UpParts)
	}
	for e, x := range []testTensor{one[1], one[0], one[2]} {
		if !equalBits(values(l.UpParts[e]), widened(x)) {
			t.Errorf("expert %d has other values", e)
		}
	}
	all := made("l.experts.*.up", "Q8_0", 6, 64)
	l = layer{}
	bindAll(t, madeSource(t, 0, all), m, slots(&l)...)
	if len(l.UpParts) != 0 || !equalBits(values(l.Up), widened(all)) {
		t.Errorf("bound as %v and %v", l.Up, l.UpParts)
	}
	one[2] = made("l.experts.2.up", F16, 2, 64)
	err := madeSource(t, 0, one...).Bind(slots(&layer{}), m.be, m.ar, BindOptions{})
	if !isFormatError(err) || !strings.Contains(err.Error(), "F16") {
		t.Errorf("experts of two formats: %v", err)
	}
}

// TestBindJoinsKVB puts kv_b together from GGUF's halves.
func TestBindJoinsKVB(t *testing.T) {
	const heads, nope, v, c = 2, 32, 5, 64
	m := newMaker(t)
	k, vb := made("a.k_b_proj.weight", "Q8_0", heads*c, nope), made("a.v_b_proj.weight", F16, heads*v, c)
	var w compute.Tensor
	bindAll(t, madeSource(t, 0, k, vb), m, slotFor("a.kv_b_proj.weight", &w, heads*(nope+v), c))
	kf, vf, got := widened(k), widened(vb), values(w)
	for h := range heads {
		for i := range nope + v {
			for j := range c {
				want := kf[(h*c+j)*nope+i%nope]
				if i >= nope {
					want = vf[(h*v+i-nope)*c+j]
				}
				if at := (h*(nope+v)+i)*c + j; got[at] != want {
					t.Fatalf("head %d row %d column %d is %v, expected %v", h, i, j, got[at], want)
				}
			}
		}
	}
}

func TestBindShared(t *testing.T) {
	m := newMaker(t)
	var embed, head compute.Tensor
	a := slotFor("embed", &embed, 4, 64)
	b := nn.Slot{Param: nn.Param{Name: "head", T: embed, Shape: []int{4, 64}, Shared: true}, Field: &head, Experts: 1}
	bindAll(t, madeSource(t, 0, made("embed", BF16, 4, 64)), m, a, b)
	if head != embed {
		t.Errorf("the head is %v, the embedding %v", head, embed)
	}
	a = slotFor("embed", &embed, 4, 64)
	b.T = embed
	s := madeSource(t, 0, made("embed", BF16, 4, 64), made("head", F16, 4, 64))
	bindAll(t, s, m, a, b)
	if head.DType() != compute.F16 {
		t.Errorf("a head of its own was bound as %v", head)
	}
}

func TestBindRefusals(t *testing.T) {
	m := newMaker(t)
	for _, c := range []struct {
		what    string
		tensors []testTensor
		want    string
	}{
		{"missing", nil, `tensor "w" is missing, expected [2 64]`},
		{"another shape", []testTensor{made("w", F32, 64, 2)}, "expected weights [2 64], found F32 [64 2]"},
		{"a vector", []testTensor{made("w", F32, 128)}, "found F32 [128]"},
		{"integers", []testTensor{made("w", I8, 2, 64)}, "found I8 [2 64]"},
		{"no factors", []testTensor{made("w", F8E4M3, 2, 64)}, `tensor "w_scale_inv" is missing, expected F32 [1 1]`},
		{"integer factors", []testTensor{made("w", F8E4M3, 2, 64), made("w_scale_inv", I32, 1, 1)}, "found I32 [1 1]"},
		{"other factors", []testTensor{made("w", F8E4M3, 2, 64), made("w_scale_inv", F32, 1, 2)}, "found F32 [1 2]"},
		{"more", []testTensor{made("w", F32, 2, 64), made("x", F16, 2)}, `tensor "x" (F16 [2]) is not part of the model`},
	} {
		s := madeSource(t, 0, c.tensors...)
		var w compute.Tensor
		slot := slotFor("w", &w, 2, 64)
		before := w
		err := s.Bind([]nn.Slot{slot}, m.be, m.ar, BindOptions{})
		var le *LoadError
		if !errors.As(err, &le) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), s.Path) || w != before {
			t.Errorf("%s: got %v, expected %q", c.what, err, c.want)
		}
	}
}

// TestT3MappedFileCutShort cuts a file short while its weights run: the product is that
// file's error, on the caller's thread and on the workers', and the process lives on.
func TestT3MappedFileCutShort(t *testing.T) {
	be, err := cpu.New(cpu.Options{Threads: 3})
	must(t, err)
	defer be.Close()
	ar := be.NewArena("test")
	defer ar.Free()
	const n, k = 4096, 1024
	s := madeSource(t, 0, made("w", F32, n, k))
	var w compute.Tensor
	must(t, s.Bind([]nn.Slot{slotFor("w", &w, n, k)}, be, ar, BindOptions{}))
	x, y := ar.F32(1, k), ar.F32(1, n)
	be.Zero(x)
	product := func() error {
		return Guard(func() error {
			be.MatMul(compute.MatMulArgs{Form: compute.NT, C: y, A: x, B: w})
			return nil
		})
	}
	if err := product(); err != nil {
		if strings.Contains(err.Error(), "not supported") {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	if err := os.Truncate(s.Path, 4096); err != nil {
		t.Skipf("this system keeps a mapped file whole: %v", err)
	}
	for range 3 { // the workers must have survived
		err := product()
		if !isFormatError(err) || !strings.Contains(err.Error(), s.Path) || !strings.Contains(err.Error(), "cut short") {
			t.Fatalf("got %v", err)
		}
	}
	if err := Guard(func() error { _ = w.RowF32(n - 1)[0]; return touch(w) }); !isFormatError(err) {
		t.Errorf("on the caller's own thread: %v", err)
	}
}

func touch(w compute.Tensor) error {
	if math.IsNaN(float64(w.RowF32(w.NumRows() - 1)[0])) {
		return errors.New("not a number")
	}
	return nil
}

// TestGuardPassesOtherPanicsOn: only faults in files are errors.
func TestGuardPassesOtherPanicsOn(t *testing.T) {
	defer func() {
		if r := recover(); r != "bug" {
			t.Errorf("recovered %v", r)
		}
	}()
	Guard(func() error { panic("bug") })
}

// TestOpenTakesAnyFileOfAModel opens a model by its folder, by its only file and by one
// of its shards.
func TestOpenTakesAnyFileOfAModel(t *testing.T) {
	m := newMaker(t)
	for _, shard := range []int64{0, 1000} {
		dir := t.TempDir()
		params := list(m.param("a", compute.F32, 16, 16), m.param("b", compute.F32, 16, 16))
		m.random(params, 1)
		must(t, SaveHF(dir, smallHF, params, m.be, shard))
		files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
		must(t, err)
		for _, path := range append(files, dir) {
			s, err := Open(path)
			must(t, err)
			if len(s.Tensors()) != 2 || s.Kind != KindSafetensors || s.Config == nil {
				t.Errorf("%s: %v", path, s.Tensors())
			}
			s.Close()
		}
	}
}

// TestMappedAfterCut maps a file that was cut short after it was opened.
func TestT3CutShortBeforeMapping(t *testing.T) {
	m := newMaker(t)
	s := madeSource(t, 0, made("w", F32, 64, 64))
	must(t, os.Truncate(s.Path, 100))
	var w compute.Tensor
	err := s.Bind([]nn.Slot{slotFor("w", &w, 64, 64)}, m.be, m.ar, BindOptions{})
	if !isFormatError(err) || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("got %v", err)
	}
}

// TestBindTouchesNothing binds a file of a gigabyte, which has no blocks on the disk
// until it is read: in no time, in no memory, and without reading it.
func TestBindTouchesNothing(t *testing.T) {
	const n, k, matrices = 4096, 4096, 16 // 64 MiB each
	header, at := "{", 0
	for i := range matrices {
		if i > 0 {
			header += ","
		}
		header += entry(fmt.Sprintf("w%d", i), F32, fmt.Sprintf("[%d,%d]", n, k), at, at+4*n*k)
		at += 4 * n * k
	}
	dir := t.TempDir()
	path := put(t, dir, singleName, rawFile(header+"}", nil))
	put(t, dir, "config.json", []byte("{}"))
	info, err := os.Stat(path)
	must(t, err)
	if err := os.Truncate(path, info.Size()+int64(at)); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	s, err := Open(dir)
	must(t, err)
	defer s.Close()
	m := newMaker(t)
	var w [matrices]compute.Tensor
	var slots []nn.Slot
	for i := range w {
		slots = append(slots, slotFor(fmt.Sprintf("w%d", i), &w[i], n, k))
	}
	bindAll(t, s, m, slots...)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if heap := after.TotalAlloc - before.TotalAlloc; heap > uint64(at)/20 || m.ar.Bytes() != 0 {
		t.Errorf("%d bytes of heap, %d copied", heap, m.ar.Bytes())
	}
	if took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	t.Logf("%d MB bound in %v, %d kB of heap", at>>20, took, (after.TotalAlloc-before.TotalAlloc)>>10)
}
