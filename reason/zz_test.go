package reason

import (
	"fmt"
	"testing"
)

func TestZZ(t *testing.T) {
	s, err := HeldOutSets("all", 7, 200)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range s {
		fmt.Println(x.Task, x.Difficulty, x.Hard, len(x.Problems))
	}
}
