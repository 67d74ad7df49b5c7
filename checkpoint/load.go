package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"sonde/compute"
	"sonde/nn"
	"sonde/num"
)

// scaleSuffix follows the name of an FP8 weight: the factors of its blocks.
const scaleSuffix = "_scale_inv"

// fp8Block is the block of FP8 weights, rows by columns, that shares a factor where
// the config does not say otherwise (V3 report, 3.3.2).
var fp8Block = [2]int{128, 128}

// readBlock finds the block in a config.json. A block of zero rows would divide by
// zero later.
func readBlock(path string, config []byte) ([2]int, error) {
	var c struct {
		Quantization struct {
			Block []int `json:"weight_block_size"`
		} `json:"quantization_config"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return fp8Block, &FormatError{Path: path, Problem: "is not a config", Try: "fetch it again", Err: err}
	}
	b := c.Quantization.Block
	if b == nil {
		return fp8Block, nil
	}
	const most = 1 << 20
	if len(b) != 2 || b[0] < 1 || b[1] < 1 || b[0] > most || b[1] > most {
		return fp8Block, &FormatError{Path: path, Problem: fmt.Sprintf("quantization_config.weight_block_size is %v, expected two positive numbers", b),
			Try: "fetch it again"}
	}
	return [2]int(b), nil
}

const tryLoad = "the config must be the one the weights were saved with"

// Load fills params from the model's weights, converting F64, F32, F16, BF16 and
// block-scaled FP8 to each parameter's own format (to nearest, ties to even). Names
// and shapes must agree exactly; where they do not, a *LoadError lists every
// difference and no parameter is touched. When reading fails half-way the parameters'
// contents are undefined.
func (s *Source) Load(params []nn.Param, be compute.Backend) error {
	return s.weights.load(params, be, false)
}

// load is Load; exact also demands the parameter's own format, so that a training
// state comes back bit for bit.
func (s *tensorSet) load(params []nn.Param, be compute.Backend, exact bool) error {
	sources, problems := s.match(params, exact)
	if len(problems) > 0 {
		return s.misfit(problems)
	}
	l := newLoader(be)
	for i, p := range params {
		var err error
		switch first := holder(params, i); {
		case first < 0:
			err = l.load(p.T, sources[i])
		case sources[i].file != nil:
			err = l.same(sources[first], sources[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// misfit is the error of a file that does not fit a model.
func (s *tensorSet) misfit(problems []Problem) error {
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Tensor, b.Tensor) })
	return &LoadError{Path: s.path, Problems: problems, Try: tryLoad}
}

// holder finds the parameter whose memory the shared parameter i names a second
// time, or -1.
func holder(params []nn.Param, i int) int {
	if !params[i].Shared {
		return -1
	}
	return slices.IndexFunc(params, func(q nn.Param) bool { return !q.Shared && q.T == params[i].T })
}

// source is where a parameter's values come from.
type source struct {
	place
	scale place  // FP8: factors per block
	block [2]int // FP8: rows and columns of a block
}

// match finds a source for every parameter and lists what does not fit.
func (s *tensorSet) match(params []nn.Param, exact bool) ([]source, []Problem) {
	var problems []Problem
	used := make(map[string]bool, len(params))
	sources := make([]source, len(params))
	for i, p := range params {
		want := fmt.Sprintf("%v %v", p.T.DType(), p.Shape)
		if n, ok := elements(p.Shape); !ok || n != p.T.Len() {
			problems = append(problems, Problem{"the model", p.Name, want, fmt.Sprintf("memory for %v", p.T)})
			continue
		}
		at, ok := s.where[p.Name]
		if !ok && holder(params, i) >= 0 {
			continue // exporters may leave out what the first name holds
		}
		if !ok {
			problems = append(problems, Problem{s.fileFor(), p.Name, want, ""})
			continue
		}
		used[p.Name] = true
		if !fits(at.info, p, exact) {
			problems = append(problems, Problem{at.file.path, p.Name, want, at.info.String()})
			continue
		}
		sources[i].place = at
		if at.info.DType.IsFP8() {
			var problem *Problem
			if sources[i].scale, sources[i].block, problem = s.matchScale(at, used); problem != nil {
				problems = append(problems, *problem)
			}
		}
	}
	for name, at := range s.where {
		if !used[name] && !harmless(name) {
			problems = append(problems, Problem{at.file.path, name, "", at.info.String()})
		}
	}
	return sources, problems
}

// harmless names what some exporters write although it follows from the config.
func harmless(name string) bool { return strings.HasSuffix(name, ".rotary_emb.inv_freq") }

// fileFor is the best guess at the file a missing tensor belongs in.
func (s *tensorSet) fileFor() string {
	if len(s.files) == 1 {
		return s.files[0].path
	}
	return filepath.Join(s.path, indexName)
}

func fits(x Info, p nn.Param, exact bool) bool {
	if !slices.Equal(x.Shape, p.Shape) {
		return false
	}
	if own := DType(p.T.DType().String()); exact || own == I32 {
		return x.DType == own
	}
	switch x.DType {
	case F64, F32, F16, BF16:
		return true
	}
	return x.DType.IsFP8() && len(x.Shape) == 2
}

// matchScale finds the factors of an FP8 weight [N, K]: one per block, ragged blocks
// at the edges included, or one per row, or a single one; in F32, BF16, or bare
// exponents (UE8M0).
func (s *tensorSet) matchScale(weight place, used map[string]bool) (at place, block [2]int, problem *Problem) {
	n, k := weight.info.Shape[0], weight.info.Shape[1]
	shape := []int{ceilDiv(n, s.block[0]), ceilDiv(k, s.block[1])}
	name, want := weight.info.Name+scaleSuffix, fmt.Sprintf("F32 %v, a factor per %dx%d block of the FP8 weight", shape, s.block[0], s.block[1])
	at, ok := s.where[name]
	if !ok {
		if at, ok = s.where[strings.TrimSuffix(name, "_inv")]; !ok {
			return place{}, block, &Problem{weight.file.path, name, want, ""}
		}
	}
	used[at.info.Name] = true
	switch at.info.DType {
	case F32, BF16, F8E8M0, U8:
		switch {
		case slices.Equal(at.info.Shape, shape):
			return at, s.block, nil
		case slices.Equal(at.info.Shape, []int{n, 1}):
			return at, [2]int{1, max(1, k)}, nil
		case len(at.info.Shape) == 0 || slices.Equal(at.info.Shape, []int{1}):
			return at, [2]int{max(1, n), max(1, k)}, nil
		}
	}
	return place{}, block, &Problem{at.file.path, at.info.Name, want, at.info.String()}
}

// loader moves tensors from files into a device's memory, a piece at a time.
type loader struct {
	be   compute.Backend
	raw  []byte    // a piece as it is in the file
	wide []float32 // a piece converted, where the backend cannot do it
}

func newLoader(be compute.Backend) loader { return loader{be: be, raw: make([]byte, pieceBytes)} }

func (l *loader) load(t compute.Tensor, src source) error {
	x := src.info
	direct := deviceType(x.DType)
	var scales []float32
	if x.DType.IsFP8() {
		var err error
		if scales, err = l.readScales(src.scale); err != nil {
			return err
		}
	}
	rowBytes, _ := x.DType.RowBytes(t.NumCols())
	return pieces(t, pieceElements(x.DType), func(p piece) error {
		n := p.view.Len()
		size, _ := x.DType.RowBytes(n)
		before, _ := x.DType.RowBytes(p.col)
		raw := l.raw[:size]
		if err := src.file.Read(x, int64(p.row)*int64(rowBytes)+int64(before), raw); err != nil {
			return err
		}
		if direct >= 0 {
			l.be.Upload(p.view, compute.DType(direct), raw)
			return nil
		}
		if l.wide == nil {
			l.wide = make([]float32, pieceBytes)
		}
		wide := l.wide[:n]
		inParallel(p, func(q piece, from, to int) {
			start, _ := x.DType.RowBytes(from)
			end, _ := x.DType.RowBytes(to)
			widen(wide[from:to], x.DType, raw[start:end])
			if scales != nil {
				applyScales(wide[from:to], q, t.NumCols(), scales, src.block)
			}
		})
		l.be.UploadF32(p.view, wide)
		return nil
	})
}

// pieceElements is how many elements of a format, in whole blocks, a piece holds.
func pieceElements(d DType) int {
	if _, block := d.Block(); block {
		return pieceBytes / 2 // no block takes two bytes an element
	}
	return pieceBytes / d.Size()
}

// inParallel divides a piece's rows among the processors: each gets its rows as a
// piece, and where they begin and end among the elements.
func inParallel(p piece, each func(q piece, from, to int)) {
	rows, cols := p.view.NumRows(), p.view.NumCols()
	step := ceilDiv(rows, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for r := 0; r < rows; r += step {
		end := min(r+step, rows)
		wg.Go(func() { each(piece{p.view.Rows(r, end), p.row + r, p.col}, r*cols, end*cols) })
	}
	wg.Wait()
}

// same makes sure that b, a second name of a, has a's values in the file too: one
// memory cannot hold two.
func (l *loader) same(a, b source) error {
	differ := &FormatError{Path: b.file.path, Tensor: b.info.Name, Problem: fmt.Sprintf("differs from %s, which it must equal", quote(a.info.Name)),
		Try: "models that do not share these weights cannot be run"}
	if a.info.DType != b.info.DType || a.info.Bytes != b.info.Bytes {
		return differ
	}
	half := pieceBytes / 2
	for off := int64(0); off < a.info.Bytes; off += int64(half) {
		n := int(min(int64(half), a.info.Bytes-off))
		x, y := l.raw[:n], l.raw[half:half+n]
		if err := errors.Join(a.file.Read(a.info, off, x), b.file.Read(b.info, off, y)); err != nil {
			return err
		}
		if !bytes.Equal(x, y) {
			return differ
		}
	}
	return nil
}

// deviceType is the format of compute that equals d, or -1.
func deviceType(d DType) int {
	for _, c := range []compute.DType{compute.F32, compute.BF16, compute.I32} {
		if c.String() == string(d) {
			return int(c)
		}
	}
	return -1
}

// readScales reads all the factors of one weight.
func (l *loader) readScales(at place) ([]float32, error) {
	raw := make([]byte, at.info.Bytes)
	if err := at.file.Read(at.info, 0, raw); err != nil {
		return nil, err
	}
	scales := make([]float32, len(raw)/at.info.DType.Size())
	if at.info.DType == F8E8M0 || at.info.DType == U8 {
		num.UE8M0SliceToF32(scales, raw)
		return scales, nil
	}
	widen(scales, at.info.DType, raw)
	return scales, nil
}

// widen converts a piece of a file to float32.
func widen(dst []float32, d DType, raw []byte) {
	le := binary.LittleEndian
	switch d {
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(le.Uint64(raw[8*i:])))
		}
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(raw[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = num.F16ToF32(le.Uint16(raw[2*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = num.BF16ToF32(le.Uint16(raw[2*i:]))
		}
	case F8E4M3:
		num.E4M3SliceToF32(dst, raw)
	case F8E5M2:
		num.E5M2SliceToF32(dst, raw)
	default:
		if b, ok := d.Block(); ok {
			b.Decode(dst, raw)
		}
	}
}

// applyScales multiplies a piece by its blocks' factors: w[n][k] = q[n][k] *
// scale_inv[n/block][k/block].
func applyScales(dst []float32, p piece, cols int, scales []float32, block [2]int) {
	perRow := ceilDiv(cols, block[1])
	width := p.view.NumCols()
	for r := range p.view.NumRows() {
		row := scales[(p.row+r)/block[0]*perRow:][:perRow]
		line := dst[r*width : (r+1)*width]
		for k := 0; k < width; {
			b := (p.col + k) / block[1]
			end := min(width, (b+1)*block[1]-p.col)
			for s := row[b]; k < end; k++ {
				line[k] *= s
			}
		}
	}
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// elements is the product of a shape; ok is false when it overflows.
func elements(shape []int) (int, bool) {
	wide := make([]int64, len(shape))
	for i, d := range shape {
		wide[i] = int64(d)
	}
	n, ok := byteSize(wide, 1)
	return int(n), ok && n <= math.MaxInt
}
