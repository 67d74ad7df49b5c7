// Package nn holds the layers of DeepSeek's models, each with its forward, its
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
}

// Walk lists the weights of a layer: the fields of the struct that v points to, by
// their `weight` tags, each prefixed. A tag is a name and options:
//
//	norm    a vector; no weight decay
//	fp32    kept in F32 whatever the compute format
//	buffer  not trained
//	shared  another name of a weight held elsewhere
//	experts=Field  rows split evenly among the experts counted by that int field;
//	        the name holds %d for the expert
//
// Fields that are structs, pointers to structs or slices of them are walked with
// their tag as a prefix; a nil pointer or a zero tensor is absent. With merge set,
// experts are listed as one tensor.
func Walk(v any, prefix string, merge bool, visit func(p Param, field *compute.Tensor, fp32 bool)) {
	walk(reflect.ValueOf(v).Elem(), prefix, merge, visit)
}

var tensorType = reflect.TypeFor[compute.Tensor]()

func walk(v reflect.Value, prefix string, merge bool, visit func(Param, *compute.Tensor, bool)) {
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
			leaf(v, f, prefix+name, opts, merge, visit)
		case f.Kind() == reflect.Slice:
			for j := range f.Len() {
				walk(deref(f.Index(j)), prefix+fmt.Sprintf(name, j)+".", merge, visit)
			}
		case f.Kind() == reflect.Pointer && f.IsNil():
		default:
			walk(deref(f), join(prefix, name), merge, visit)
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

func leaf(parent, f reflect.Value, name, opts string, merge bool, visit func(Param, *compute.Tensor, bool)) {
	field := f.Addr().Interface().(*compute.Tensor)
	t := *field
	if t.IsZero() {
		return
	}
	p := Param{Name: name, T: t, Shape: []int{t.NumRows(), t.NumCols()}, Decay: true}
	fp32, experts := false, 1
	for _, o := range strings.Split(opts, ",") {
		switch {
		case o == "norm":
			p.Decay, p.Shape, fp32 = false, []int{t.NumCols()}, true
		case o == "fp32":
			fp32 = true
		case o == "buffer":
			p.Decay, p.Buffer = false, true
		case o == "shared":
			p.Shared = true
		case strings.HasPrefix(o, "experts="):
			experts = int(parent.FieldByName(strings.TrimPrefix(o, "experts=")).Int())
		}
	}
	if !strings.Contains(name, "%d") || merge {
		visit(p, field, fp32)
		return
	}
	rows := t.NumRows() / experts
	for e := range experts {
		q := p
		q.Name = fmt.Sprintf(name, e)
		q.T = t.Rows(e*rows, (e+1)*rows)
		q.Shape = []int{rows, t.NumCols()}
		visit(q, field, fp32)
	}
}
