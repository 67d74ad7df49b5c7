package train

import (
	"reflect"
	"testing"
)

func TestAddLoads(t *testing.T) {
	var sum [][]int64
	for _, loads := range [][][]int64{nil, {{1, 2}, {3, 4}}, nil, {{10, 20}, {30, 40}}} {
		sum = AddLoads(sum, loads)
	}
	if want := [][]int64{{11, 22}, {33, 44}}; !reflect.DeepEqual(sum, want) {
		t.Errorf("%v, not %v", sum, want)
	}
	if w := WorstLoad(sum); w != float64(22)*2/33 {
		t.Errorf("the worst load is %v", w)
	}
	if w := WorstLoad(nil); w != 0 {
		t.Errorf("without experts the worst load is %v", w)
	}
}
