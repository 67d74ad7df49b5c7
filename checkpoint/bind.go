package checkpoint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unsafe"

	"sonde/compute"
	"sonde/nn"
)

// BindOptions say how weights over a file's memory are used.
type BindOptions struct {
	// Activations is what the rows that meet block formats are turned into.
	Activations compute.Activations
	// FetchAhead asks the system to read the files in the background; otherwise it reads
	// what is touched.
	FetchAhead bool
}

// Bind puts the model's weights in the places slots: matrices as tensors over the
// file's own memory, in its own format, nothing of which is read. What no operation
// takes as it lies in the file is copied to ar: vectors and other FP32 weights as F32,
// Plain ones in formats but F32 and BF16, misaligned ones, F64 and E5M2. Names and
// shapes must agree; where they do not, a *LoadError lists every difference and
// nothing was bound. The tensors are valid until Close, and what touches them runs
// inside Guard, see Guarded. be computes in this process's memory.
func (s *Source) Bind(slots []nn.Slot, be compute.Backend, ar *compute.Arena, o BindOptions) error {
	b := &binder{set: &s.weights, loader: newLoader(be), ar: ar, act: o.Activations, used: map[string]bool{}}
	plans := make([]plan, len(slots))
	for i, slot := range slots {
		plans[i] = b.match(slot)
	}
	b.aliases(slots, plans)
	b.unused()
	if len(b.problems) > 0 {
		return s.weights.misfit(b.problems)
	}
	for _, f := range s.weights.files {
		if err := f.mapped(); err != nil {
			return err
		}
		if o.FetchAhead {
			fetchAhead(f.mem.bytes)
		}
	}
	for i, slot := range slots {
		if err := b.bind(slot, plans[i]); err != nil {
			return err
		}
	}
	for i, slot := range slots {
		if p := plans[i]; p.kind == fromSlot {
			*slot.Field = *slots[p.slot].Field
		}
	}
	return nil
}

// plan is where a slot's weight comes from.
type plan struct {
	kind   planKind
	at     source
	second place // fromHalves: v_b, at being k_b
	slot   int   // fromSlot: which
	first  bool  // fromMerged: this slot binds the whole field
}

type planKind uint8

const (
	fromNothing planKind = iota // a problem has been noted
	fromTensor                  // a tensor of the slot's name
	fromMerged                  // one tensor of all experts
	fromHalves                  // kv_b_proj from GGUF's k_b and v_b
	fromSlot                    // another slot's weight
)

// binder fills slots.
type binder struct {
	loader
	set      *tensorSet
	ar       *compute.Arena
	act      compute.Activations
	used     map[string]bool
	problems []Problem
}

var expertNumber = regexp.MustCompile(`\.experts\.\d+\.`)

// mergedName is the name of all experts' weights in one tensor.
func mergedName(name string) string { return expertNumber.ReplaceAllLiteralString(name, ".experts.*.") }

// match finds the source of one slot and notes what does not fit.
func (b *binder) match(s nn.Slot) plan {
	if at, ok := b.set.where[s.Name]; ok {
		return b.matchTensor(s, s.Shape, at, fromTensor)
	}
	if at, ok := b.set.where[mergedName(s.Name)]; ok && s.Experts > 1 {
		p := b.matchTensor(s, []int{s.Shape[0] * s.Experts, s.Shape[1]}, at, fromMerged)
		p.first = s.Expert == 0
		return p
	}
	if stem, ok := strings.CutSuffix(s.Name, "kv_b_proj.weight"); ok {
		k, haveK := b.set.where[stem+"k_b_proj.weight"]
		v, haveV := b.set.where[stem+"v_b_proj.weight"]
		if haveK && haveV {
			return b.matchHalves(s, k, v)
		}
	}
	if !s.Shared {
		b.problems = append(b.problems, Problem{b.set.fileFor(), s.Name, fmt.Sprint(s.Shape), ""})
	}
	return plan{}
}

func (b *binder) matchTensor(s nn.Slot, shape []int, at place, kind planKind) plan {
	b.used[at.info.Name] = true
	if !slices.Equal(at.info.Shape, shape) || !isWeight(at.info) {
		b.problems = append(b.problems, Problem{at.file.path, at.info.Name, fmt.Sprintf("weights %v", shape), at.info.String()})
		return plan{}
	}
	p := plan{kind: kind, at: source{place: at}}
	if at.info.DType.IsFP8() {
		var problem *Problem
		if p.at.scale, p.at.block, problem = b.set.matchScale(at, b.used); problem != nil {
			b.problems = append(b.problems, *problem)
		}
	}
	return p
}

// matchHalves checks k_b [H*C, N] and v_b [H*V, C] against kv_b [H*(N+V), C].
func (b *binder) matchHalves(s nn.Slot, k, v place) plan {
	b.used[k.info.Name], b.used[v.info.Name] = true, true
	rows, c := s.Shape[0], s.Shape[1]
	ok := len(k.info.Shape) == 2 && len(v.info.Shape) == 2 && isWeight(k.info) && isWeight(v.info) &&
		!k.info.DType.IsFP8() && !v.info.DType.IsFP8() && k.info.Shape[0] > 0 && k.info.Shape[0]%c == 0 && v.info.Shape[1] == c &&
		k.info.Shape[0]/c*k.info.Shape[1]+v.info.Shape[0] == rows && v.info.Shape[0]%(k.info.Shape[0]/c) == 0
	if !ok {
		b.problems = append(b.problems, Problem{k.file.path, k.info.Name, fmt.Sprintf("with v_b_proj the two halves of kv_b_proj %v", s.Shape), k.info.String() + " and " + v.info.String()})
		return plan{}
	}
	return plan{kind: fromHalves, at: source{place: k}, second: v}
}

// isWeight reports whether the format holds numbers that a model can use.
func isWeight(x Info) bool {
	if x.DType.IsFP8() {
		return len(x.Shape) == 2
	}
	_, block := x.DType.Block()
	return block || x.DType == F32 || x.DType == F16 || x.DType == BF16 || x.DType == F64
}

// aliases gives shared slots without a tensor of their own that of the slot whose
// memory they stand for.
func (b *binder) aliases(slots []nn.Slot, plans []plan) {
	for i, s := range slots {
		if plans[i].kind != fromNothing || !s.Shared {
			continue
		}
		j := slices.IndexFunc(slots, func(o nn.Slot) bool { return !o.Shared && o.T == s.T })
		if j < 0 {
			b.problems = append(b.problems, Problem{b.set.fileFor(), s.Name, fmt.Sprint(s.Shape), ""})
			continue
		}
		plans[i] = plan{kind: fromSlot, slot: j}
	}
}

// unused notes what no slot asked for. A head in the file of a model that takes its
// embedding for one is passed over, as transformers does.
func (b *binder) unused() {
	for name, at := range b.set.where {
		if !b.used[name] && !harmless(name) && name != "lm_head.weight" {
			b.problems = append(b.problems, Problem{at.file.path, name, "", at.info.String()})
		}
	}
}

// bind fills one slot as planned.
func (b *binder) bind(s nn.Slot, p plan) error {
	switch p.kind {
	case fromTensor:
		return b.bindTensor(s, p)
	case fromMerged:
		if !p.first {
			return nil
		}
		t, err := b.tensor(s, p.at, s.Shape[0]*s.Experts, s.Shape[1])
		if err == nil {
			*s.Field = t
		}
		return err
	case fromHalves:
		t := b.ar.F32(s.Shape[0], s.Shape[1])
		*s.Field = t
		return b.join(t, p.at.place, p.second)
	}
	return nil
}

func (b *binder) bindTensor(s nn.Slot, p plan) error {
	rows, cols := s.T.NumRows(), s.T.NumCols()
	t, err := b.tensor(s, p.at, rows, cols)
	switch {
	case err != nil:
		return err
	case s.Experts == 1:
		*s.Field = t
		return nil
	}
	if s.Expert == 0 {
		*s.Parts = make([]compute.Tensor, s.Experts)
		*s.Field = compute.Tensor{}
	}
	if first := (*s.Parts)[0]; s.Expert > 0 && first.DType() != t.DType() {
		return &FormatError{Path: p.at.file.path, Tensor: s.Name, Problem: fmt.Sprintf("is %v, the first expert's is %v", t.DType(), first.DType()),
			Try: "convert the model to one format for all experts of a layer"}
	}
	(*s.Parts)[s.Expert] = t
	return nil
}

// tensor is the weight at src: over the file's memory where it can be, else a copy.
func (b *binder) tensor(s nn.Slot, src source, rows, cols int) (compute.Tensor, error) {
	raw, err := src.file.Bytes(src.info)
	if err != nil {
		return compute.Tensor{}, err
	}
	dt, ok := computeType(src.info.DType)
	plain := dt == compute.F32 || dt == compute.BF16
	switch {
	case !ok || len(s.Shape) == 1 || s.FP32 && dt != compute.F32 || s.Plain && !plain:
		t := b.ar.F32(rows, cols)
		return t, b.load(t, src)
	case len(raw) > 0 && uintptr(unsafe.Pointer(&raw[0]))%uintptr(max(1, dt.Size())) == 0:
		return b.dress(compute.NewTensor(unsafe.Pointer(&raw[0]), dt, rows, cols), src)
	}
	t := b.ar.Alloc(dt, rows, cols)
	if err := b.copyRaw(t, src); err != nil {
		return t, err
	}
	return b.dress(t, src)
}

// copyRaw copies a tensor as it is.
func (b *binder) copyRaw(t compute.Tensor, src source) error {
	if t.Len() == 0 {
		return nil
	}
	return src.file.Read(src.info, 0, unsafe.Slice((*byte)(t.Ptr()), src.info.Bytes))
}

// dress gives t what its format needs beside its bytes.
func (b *binder) dress(t compute.Tensor, src source) (compute.Tensor, error) {
	if t.DType() == compute.E4M3 {
		factors, err := b.readScales(src.scale)
		if err != nil {
			return t, err
		}
		s := &compute.Scales{BlockRows: src.block[0], BlockCols: src.block[1],
			T: b.ar.F32(ceilDiv(t.NumRows(), src.block[0]), ceilDiv(t.NumCols(), src.block[1]))}
		b.be.UploadF32(s.T, factors)
		return compute.FP8(t, s), nil
	}
	if _, block := t.DType().Block(); block {
		t = t.WithActivations(b.act)
	}
	return t, nil
}

// join fills kv_b [H*(N+V), C] from k_b [H*C, N], which is transposed, and v_b [H*V, C].
func (b *binder) join(t compute.Tensor, k, v place) error {
	c, n := t.NumCols(), k.info.Shape[1]
	heads := k.info.Shape[0] / c
	width := v.info.Shape[0] / heads
	in, out := make([]float32, c*n), make([]float32, n*c)
	values := make([]float32, width*c)
	for h := range heads {
		if err := readRows(in, k, h*c, c); err != nil {
			return err
		}
		for i := range c {
			for j := range n {
				out[j*c+i] = in[i*n+j]
			}
		}
		if err := readRows(values, v, h*width, width); err != nil {
			return err
		}
		from := h * (n + width)
		b.be.UploadF32(t.Rows(from, from+n), out)
		b.be.UploadF32(t.Rows(from+n, from+n+width), values)
	}
	return nil
}

// readRows widens count rows from row on of a matrix without factors to float32.
func readRows(dst []float32, at place, row, count int) error {
	per, _ := at.info.DType.RowBytes(at.info.Shape[1])
	raw := make([]byte, count*per)
	if err := at.file.Read(at.info, int64(row)*int64(per), raw); err != nil {
		return err
	}
	widen(dst, at.info.DType, raw)
	return nil
}

// computeType is compute's name of d, where operations can read it.
func computeType(d DType) (compute.DType, bool) {
	switch d {
	case F32:
		return compute.F32, true
	case BF16:
		return compute.BF16, true
	case F16:
		return compute.F16, true
	case F8E4M3:
		return compute.E4M3, true
	case I32:
		return compute.I32, true
	}
	b, ok := d.Block()
	return compute.BlockDType(b), ok
}
