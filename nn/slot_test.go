package nn

import (
	"fmt"
	"strings"
	"testing"

	"sonde/compute"
)

type slotLayer struct {
	Norm    compute.Tensor `weight:"norm.weight,norm"`
	Router  compute.Tensor `weight:"gate.weight,fp32"`
	KVB     compute.Tensor `weight:"kv_b.weight,plain"`
	Experts int
	Up      compute.Tensor   `weight:"experts.%d.up.weight,experts=Experts"`
	UpParts []compute.Tensor // [E] of [F, D]
	Tied    compute.Tensor   `weight:"tied.weight,shared"`
	Absent  compute.Tensor   `weight:"absent.weight"`
}

func newSlotLayer(ar *compute.Arena) *slotLayer {
	l := &slotLayer{Norm: ar.F32(1, 8), Router: ar.F32(3, 8), KVB: ar.F32(4, 8), Experts: 3, Up: ar.F32(6, 8)}
	l.Tied = l.Router
	return l
}

func TestSlots(t *testing.T) {
	be := compute.NewReference()
	ar := be.NewArena("test")
	defer ar.Free()
	l := newSlotLayer(ar)
	var got []string
	for _, s := range Slots(l, "x.") {
		got = append(got, fmt.Sprintln(s.Name, s.Shape, s.T, s.Expert, s.Experts, s.Plain, s.FP32, s.Shared, s.Parts != nil))
	}
	want := `x.norm.weight [8] F32[1,8] 0 1 true true false false
x.gate.weight [3 8] F32[3,8] 0 1 true true false false
x.kv_b.weight [4 8] F32[4,8] 0 1 true false false false
x.experts.0.up.weight [2 8] F32[2,8] 0 3 false false false true
x.experts.1.up.weight [2 8] F32[2,8] 1 3 false false false true
x.experts.2.up.weight [2 8] F32[2,8] 2 3 false false false true
x.tied.weight [3 8] F32[3,8] 0 1 false false true false`
	if s := strings.TrimSpace(strings.Join(got, "")); s != want {
		t.Errorf("got\n%s\nexpected\n%s", s, want)
	}
}

// TestSlotsOfParts gives a layer its experts one by one: they are listed as before.
func TestSlotsOfParts(t *testing.T) {
	be := compute.NewReference()
	ar := be.NewArena("test")
	defer ar.Free()
	l := newSlotLayer(ar)
	before := Slots(l, "")
	for _, s := range before {
		if s.Parts != nil {
			*s.Parts = append(*s.Parts, ar.Alloc(compute.BF16, 2, 8))
		}
		if s.Field == &l.Up {
			*s.Field = compute.Tensor{}
		}
	}
	after := Slots(l, "")
	if len(after) != len(before) {
		t.Fatalf("%d slots, then %d", len(before), len(after))
	}
	for i, s := range after {
		parted := s.Parts != nil
		if s.Name != before[i].Name || fmt.Sprint(s.Shape) != fmt.Sprint(before[i].Shape) || (s.T == before[i].T) == parted {
			t.Errorf("%s %v %v became %s %v %v", before[i].Name, before[i].Shape, before[i].T, s.Name, s.Shape, s.T)
		}
		if parted && s.T != l.UpParts[s.Expert] {
			t.Errorf("%s is %v, not the expert's tensor", s.Name, s.T)
		}
	}
	n := 0
	Walk(l, "", true, func(p Param, _ *compute.Tensor, _ bool) { n++ })
	if n != len(after) {
		t.Errorf("merged, %d parts are %d tensors", len(after), n)
	}
}
