package nn

import (
	"testing"

	"sonde/compute"
)

// TestCacheGrows: what was kept stays however the cache grows; it leaves room for some
// tokens after a prompt, grows by doubling and never beyond its bound.
func TestCacheGrows(t *testing.T) {
	be := compute.NewReference()
	c := NewCache(be, "test", 5000, 3, 2)
	defer c.Free()
	value := func(row, i int) float32 { return float32(10*row + i) }
	fill := func(from, to int) {
		for i := range 2 {
			for r := from; r < to; r++ {
				for j := range c.T(i).RowF32(r) {
					c.T(i).RowF32(r)[j] = value(r, i)
				}
			}
		}
	}
	used := 0
	for _, n := range []int{1, 256, 257, 1000, 5000} {
		c.Reserve(n, used)
		if rows := c.T(1).NumRows(); rows < n || rows > 5000 || c.T(0).NumCols() != 3 || c.T(1).NumCols() != 2 {
			t.Fatalf("%v and %v for %d rows", c.T(0), c.T(1), n)
		}
		for r := range used {
			if c.T(0).RowF32(r)[2] != value(r, 0) || c.T(1).RowF32(r)[0] != value(r, 1) {
				t.Fatalf("row %d was not kept at %d rows", r, n)
			}
		}
		fill(used, n)
		used = n
	}
	d := NewCache(be, "test", 5000, 4)
	defer d.Free()
	d.Reserve(1024, 0)
	rows := d.T(0).NumRows()
	d.Reserve(1100, 1024)
	if d.T(0).NumRows() != rows {
		t.Errorf("76 tokens after a prompt of 1024 copied it")
	}
	d.Reserve(rows+1, rows)
	if got := d.T(0).NumRows(); got < 2*rows {
		t.Errorf("%d rows grew to %d, not by doubling", rows, got)
	}
	d.Free()
	if d.Reserve(2, 0); d.T(0).NumRows() < 2 {
		t.Error("a freed cache holds nothing any more")
	}
}
