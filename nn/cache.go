package nn

import (
	"math/bits"

	"sonde/compute"
)

// cacheRows is the least that a Cache makes room for.
const cacheRows = 256

// Cache holds what a sequence keeps of each token: one tensor [rows, width], F32 or F16,
// for each of its widths, such as a layer's latents. It grows as the sequence does, so a
// long context costs nothing before it is used.
type Cache struct {
	be     compute.Backend
	name   string
	ar     *compute.Arena
	dt     compute.DType
	pool   *CachePool // where set, the memory is its, and ar is nil
	widths []int
	t      []compute.Tensor // nil tensors where nothing is held
	max    int
}

// NewCache makes an empty cache for at most max rows; nothing is allocated yet. name
// says in errors what it is.
func NewCache(be compute.Backend, name string, max int, widths ...int) *Cache {
	return &Cache{be: be, name: name, dt: compute.F32, widths: widths, max: max, t: make([]compute.Tensor, len(widths))}
}

// NewHalfCache is NewCache with numbers of 16 bits, F16.
func NewHalfCache(be compute.Backend, name string, max int, widths ...int) *Cache {
	c := NewCache(be, name, max, widths...)
	c.dt = compute.F16
	return c
}

// Reserve makes room for n rows, keeping the first used. It panics with
// *compute.OutOfMemory, the cache as it was, where there is none.
func (c *Cache) Reserve(n, used int) {
	if n <= c.t[0].NumRows() {
		return
	}
	ar, t := c.take(n)
	for i := range t {
		if used > 0 {
			c.be.Copy(t[i].Rows(0, used), c.t[i].Rows(0, used))
		}
	}
	c.release()
	c.ar, c.t = ar, t
}

// take allocates tensors of at least n rows, in an arena of their own or the pool's.
func (c *Cache) take(n int) (*compute.Arena, []compute.Tensor) {
	if c.pool != nil {
		return nil, c.pool.take(n, c.max)
	}
	// A quarter more than asked for: after a prompt the tokens that follow one by one
	// should not begin with a copy of all of it.
	n = min(max(n+n/4, cacheRows, 2*c.t[0].NumRows()), c.max)
	ar := c.be.NewArena(c.name)
	done := false
	defer func() {
		if !done {
			ar.Free()
		}
	}()
	t := make([]compute.Tensor, len(c.widths))
	for i, w := range c.widths {
		t[i] = ar.Alloc(c.dt, n, w)
	}
	done = true
	return ar, t
}

// release gives back what the cache holds.
func (c *Cache) release() {
	switch {
	case c.ar != nil:
		c.ar.Free()
		c.ar = nil
	case c.pool != nil && !c.t[0].IsZero():
		c.pool.give(c.t)
	}
}

// CopyFrom makes the cache's first n rows those of from, a cache of the same widths.
func (c *Cache) CopyFrom(from *Cache, n int) {
	c.Reserve(n, 0)
	if n == 0 {
		return
	}
	for i := range c.t {
		c.be.Copy(c.t[i].Rows(0, n), from.t[i].Rows(0, n))
	}
}

// T is the tensor of width i, as long as the rows reserved; valid until the next
// Reserve.
func (c *Cache) T(i int) compute.Tensor { return c.t[i] }

// Free gives back the memory; the cache is empty then.
func (c *Cache) Free() {
	c.release()
	c.t = make([]compute.Tensor, len(c.widths))
}

// CachePool is the memory of many caches of the same widths: hundreds of short texts
// written side by side. What one gives back, the next takes, so that nothing is mapped
// anew; all of it goes back to the system when the last cache is freed.
type CachePool struct {
	be     compute.Backend
	ar     *compute.Arena
	widths []int
	free   map[int][][]compute.Tensor // by rows
	held   int                        // tensors' sets in use
}

// NewCachePool makes an empty pool; name says in errors what it is.
func NewCachePool(be compute.Backend, name string, widths ...int) *CachePool {
	return &CachePool{be: be, ar: be.NewArena(name), widths: widths, free: map[int][][]compute.Tensor{}}
}

// NewCache makes an empty cache for at most max rows whose memory is the pool's.
func (p *CachePool) NewCache(max int) *Cache {
	return &Cache{be: p.be, pool: p, widths: p.widths, max: max, t: make([]compute.Tensor, len(p.widths))}
}

// Bytes is the memory that the pool holds.
func (p *CachePool) Bytes() int { return p.ar.Bytes() }

// take gives tensors of at least n rows to a cache of at most max. Rows come in powers of
// two, or in max's own number, so that what one cache leaves fits the next.
func (p *CachePool) take(n, most int) []compute.Tensor {
	rows := min(max(cacheRows, 1<<bits.Len(uint(n-1))), most)
	if l := p.free[rows]; len(l) > 0 {
		p.free[rows] = l[:len(l)-1]
		p.held++
		return l[len(l)-1]
	}
	mark, done := p.ar.Mark(), false
	defer func() {
		if !done {
			p.ar.Release(mark)
		}
	}()
	t := make([]compute.Tensor, len(p.widths))
	for i, w := range p.widths {
		t[i] = p.ar.F32(rows, w)
	}
	done = true
	p.held++
	return t
}

// give takes back what take gave.
func (p *CachePool) give(t []compute.Tensor) {
	rows := t[0].NumRows()
	p.free[rows] = append(p.free[rows], t)
	if p.held--; p.held == 0 {
		p.ar.Free()
		clear(p.free)
	}
}
