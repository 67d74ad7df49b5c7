package nn

import "sonde/compute"

// cacheRows is the least that a Cache makes room for.
const cacheRows = 256

// Cache holds what a sequence keeps of each token: one F32 tensor [rows, width] for
// each of its widths, such as a layer's latents. It grows as the sequence does, so a
// long context costs nothing before it is used.
type Cache struct {
	be     compute.Backend
	name   string
	ar     *compute.Arena
	widths []int
	t      []compute.Tensor
	max    int
}

// NewCache makes an empty cache for at most max rows; nothing is allocated yet. name
// says in errors what it is.
func NewCache(be compute.Backend, name string, max int, widths ...int) *Cache {
	return &Cache{be: be, name: name, widths: widths, max: max, t: make([]compute.Tensor, len(widths))}
}

// Reserve makes room for n rows, keeping the first used. It panics with
// *compute.OutOfMemory, the cache as it was, where there is none.
func (c *Cache) Reserve(n, used int) {
	if c.ar != nil && n <= c.t[0].NumRows() {
		return
	}
	// A quarter more than asked for: after a prompt the tokens that follow one by one
	// should not begin with a copy of all of it.
	n = max(n+n/4, cacheRows)
	if c.ar != nil {
		n = max(n, 2*c.t[0].NumRows())
	}
	n = min(n, c.max)
	ar, t := c.be.NewArena(c.name), make([]compute.Tensor, len(c.t))
	done := false
	defer func() {
		if !done {
			ar.Free()
		}
	}()
	for i, w := range c.widths {
		t[i] = ar.F32(n, w)
		if used > 0 {
			c.be.Copy(t[i].Rows(0, used), c.t[i].Rows(0, used))
		}
	}
	done = true
	c.Free()
	c.ar, c.t = ar, t
}

// T is the tensor of width i, as long as the rows reserved; valid until the next
// Reserve.
func (c *Cache) T(i int) compute.Tensor { return c.t[i] }

// Free gives back the memory; the cache is empty then.
func (c *Cache) Free() {
	if c.ar != nil {
		c.ar.Free()
		c.ar = nil
	}
	c.t = make([]compute.Tensor, len(c.widths))
}
