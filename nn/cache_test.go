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

// TestCachePool: caches of a pool keep their rows however they and others grow, what one
// leaves is the next one's, and the last one's end frees all.
func TestCachePool(t *testing.T) {
	be := compute.NewReference()
	p := NewCachePool(be, "test", 3, 2)
	write := func(c *Cache, row int, v float32) {
		for i := range 2 {
			for j := range c.T(i).RowF32(row) {
				c.T(i).RowF32(row)[j] = v + float32(i)
			}
		}
	}
	caches := make([]*Cache, 4)
	for k := range caches {
		caches[k] = p.NewCache(700)
		caches[k].Reserve(1, 0)
	}
	for row := range 700 {
		for k, c := range caches {
			c.Reserve(row+1, row)
			write(c, row, float32(1000*k+row))
		}
	}
	fork := p.NewCache(700)
	fork.CopyFrom(caches[2], 300)
	for row := range 700 {
		for k, c := range caches {
			if got := c.T(1).RowF32(row)[1]; got != float32(1000*k+row)+1 {
				t.Fatalf("cache %d row %d is %g", k, row, got)
			}
		}
		if row < 300 && fork.T(0).RowF32(row)[2] != float32(2000+row) {
			t.Fatalf("the fork's row %d is %g", row, fork.T(0).RowF32(row)[2])
		}
	}
	if rows := caches[0].T(0).NumRows(); rows != 700 {
		t.Errorf("%d rows for at most 700", rows)
	}
	before := p.Bytes()
	caches[1].Free()
	again := p.NewCache(700)
	again.Reserve(700, 0)
	if p.Bytes() != before {
		t.Errorf("%d bytes, %d before a cache took what another left", p.Bytes(), before)
	}
	for _, c := range []*Cache{caches[0], caches[2], caches[3], again, fork} {
		c.Free()
	}
	if p.Bytes() != 0 {
		t.Errorf("%d bytes held by nobody", p.Bytes())
	}
}
