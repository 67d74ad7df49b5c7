// Package nn holds the models' layers, each with its forward, its
// backward to the input and its backward to the weights side by side in one file.
//
// A layer is a struct of weights and nothing else. What the backward needs is
// written to a record that the caller owns, so that several may be in flight; the
// gradients of a layer are another value of the same struct type.
package nn

import (
	"fmt"
	"reflect"
	"strings"

	"sonde/compute"
)

// Param is one named weight as it stands in a file.
type Param struct {
	// Name is Hugging Face's name.
	Name string
	// T is the weight in device memory: [rows, cols], or [1, n] for a vector.
	T compute.Tensor
	// Shape is the shape in a file: one number for vectors, two for matrices.
	Shape []int
	// Decay says whether weight decay applies (matrices, not norms).
	Decay bool
	// Shared marks a second name of a weight that an earlier Param already
	// holds (the embedding and head of MTP modules): saved and loaded, not trained.
	Shared bool
	// Buffer marks what no gradient reaches (the router's selection bias).
	Buffer bool
	// Experts, where not 0, is how many experts' weights T holds one after another; Name
	// has %d in the place of an expert's number then.
	Experts int
}

// Each lists the weight as it stands in a file: of several experts, one by one.
func (p Param) Each() []Param {
	if p.Experts == 0 {
		return []Param{p}
	}
	out := make([]Param, p.Experts)
	rows := p.T.NumRows() / p.Experts
	for e := range out {
		out[e] = p
		out[e].Name, out[e].Experts = fmt.Sprintf(p.Name, e), 0
		out[e].T, out[e].Shape = p.T.Rows(e*rows, (e+1)*rows), []int{rows, p.T.NumCols()}
	}
	return out
}

// Walk lists the weights of a layer: the fields of the struct that v points to, by
// their `weight` tags, each prefixed. A tag is a name and options:
//
//	norm    a vector; no weight decay
//	fp32    kept in F32 whatever the compute format
//	buffer  not trained
//	shared  another name of a weight held elsewhere
//	experts=Field  rows split evenly among the experts counted by that int field;
//	        the name holds %d for the expert; a field X of experts may have a field
//	        XParts []compute.Tensor beside it that holds their matrices one by one where
//	        they do not lie one after another: X is zero then
//	plain   F32 or BF16 in memory, see Slot
//
// Fields that are structs, pointers to structs or slices of them are walked with
// their tag as a prefix; a nil pointer or a zero tensor is absent. With merge set,
// experts are listed as one tensor, unless they are in parts.
func Walk(v any, prefix string, merge bool, visit func(p Param, field *compute.Tensor, fp32 bool)) {
	walk(reflect.ValueOf(v).Elem(), prefix, func(l leaf) {
		if merge && l.whole() {
			p := l.Param
			if strings.Contains(p.Name, "%d") {
				p.Experts = l.Experts
			}
			visit(p, l.Field, l.FP32)
			return
		}
		l.each(func(s Slot) { visit(s.Param, s.Field, s.FP32) })
	})
}

// Slots lists the weights of the layer that v points to as places to fill, in Walk's
// order, experts one by one. Its tag options are Walk's.
func Slots(v any, prefix string) []Slot {
	var out []Slot
	walk(reflect.ValueOf(v).Elem(), prefix, func(l leaf) { l.each(func(s Slot) { out = append(out, s) }) })
	return out
}

var tensorType = reflect.TypeFor[compute.Tensor]()

func walk(v reflect.Value, prefix string, visit func(leaf)) {
	t := v.Type()
	for i := range t.NumField() {
		tag, ok := t.Field(i).Tag.Lookup("weight")
		if !ok {
			continue
		}
		f := v.Field(i)
		name, opts, _ := strings.Cut(tag, ",")
		switch {
		case f.Type() == tensorType:
			if l := newLeaf(v, i, prefix+name, opts); l.whole() || l.parted() {
				visit(l)
			}
		case f.Kind() == reflect.Slice:
			for j := range f.Len() {
				walk(deref(f.Index(j)), prefix+fmt.Sprintf(name, j)+".", visit)
			}
		case f.Kind() == reflect.Pointer && f.IsNil():
		default:
			walk(deref(f), join(prefix, name), visit)
		}
	}
}

func join(prefix, name string) string {
	if name == "" {
		return prefix
	}
	return prefix + name + "."
}

func deref(v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Pointer {
		return v.Elem()
	}
	return v
}

// leaf is a field of weights: Slot with the whole field as its Param, whose name
// holds %d where it is of experts.
type leaf struct{ Slot }

func newLeaf(parent reflect.Value, i int, name, opts string) leaf {
	field := parent.Field(i).Addr().Interface().(*compute.Tensor)
	t := *field
	l := leaf{Slot{Field: field, Experts: 1, Param: Param{Name: name, T: t, Shape: []int{t.NumRows(), t.NumCols()}, Decay: true}}}
	for _, o := range strings.Split(opts, ",") {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "norm":
			l.Decay, l.Shape, l.Plain, l.FP32 = false, []int{t.NumCols()}, true, true
		case "fp32":
			l.Plain, l.FP32 = true, true
		case "plain":
			l.Plain = true
		case "buffer":
			l.Decay, l.Buffer = false, true
		case "shared":
			l.Shared = true
		case "experts":
			l.Experts = int(parent.FieldByName(value).Int())
			if parts := parent.FieldByName(parent.Type().Field(i).Name + "Parts"); parts.IsValid() {
				l.Parts = parts.Addr().Interface().(*[]compute.Tensor)
			}
		}
	}
	return l
}

// whole reports whether the field holds its weight in one piece.
func (l leaf) whole() bool { return !l.T.IsZero() }

// parted reports whether the experts are held one by one.
func (l leaf) parted() bool { return l.Parts != nil && len(*l.Parts) > 0 }

// each visits the field as one slot, or as one for each of its experts.
func (l leaf) each(visit func(Slot)) {
	if !strings.Contains(l.Name, "%d") {
		visit(l.Slot)
		return
	}
	rows := l.T.NumRows() / l.Experts
	for e := range l.Experts {
		s := l.Slot
		s.Name, s.Expert = fmt.Sprintf(l.Name, e), e
		if l.whole() {
			s.T = l.T.Rows(e*rows, (e+1)*rows)
		} else {
			s.T = (*l.Parts)[e]
		}
		s.Shape = []int{s.T.NumRows(), s.T.NumCols()}
		visit(s)
	}
}
