// Package opcheck compares backends of package compute: each operation over swept
// shapes, ragged ones and strided views among them, against the reference within
// stated tolerances (Run), one backend against another bit for bit (Bitwise), rows
// computed together against rows computed alone (RowsAlone), and strided operands
// against dense ones (Layouts). Short tests (go test -short) take fewer shapes of the
// operations that have many.
package opcheck

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"sonde/compute"
	"sonde/num"
)

// exact is the tolerance of results that must be equal bit for bit.
const exact = 0

// operand is one tensor of a problem: its contents before, and how far its contents
// after may be from the reference's.
type operand struct {
	name       string
	dt         compute.DType
	rows, cols int
	data       []float32 // F32 and BF16
	ints       []int32   // I32
	out        bool
	tol        float64 // relative, in the norm; exact means equal bits
	left, gap  int     // columns of the parent tensor before and after this view
	product    bool    // a chain of fused multiply-adds
	file       *file   // a weight in a format that only files have
}

// problem is one call of an operation.
type problem struct {
	name     string
	operands []*operand
	call     func(be compute.Backend, t map[string]compute.Tensor)
	rng      *rand.Rand
	strided  bool
	skipped  bool // has no data and is not to be solved
}

func newProblem(strided bool, format string, args ...any) *problem {
	name := fmt.Sprintf(format, args...)
	if strided {
		name += "/strided"
	}
	seed := uint64(14695981039346656037)
	for _, c := range []byte(name) {
		seed = (seed ^ uint64(c)) * 1099511628211
	}
	return &problem{name: name, rng: rand.New(rand.NewPCG(seed, 1)), strided: strided}
}

// oneIn leaves short tests one in n of such problems.
func (p *problem) oneIn(n uint64) *problem {
	left := p.rng.Uint64()%n == 0
	p.skipped = testing.Short() && !left
	return p
}

func (p *problem) add(o *operand) *operand {
	if p.strided {
		o.left, o.gap = p.rng.IntN(6), 1+p.rng.IntN(20)
	}
	p.operands = append(p.operands, o)
	return o
}

// in is an F32 operand with normal values of the given deviation.
func (p *problem) in(name string, rows, cols int, deviation float64) *operand {
	o := &operand{name: name, rows: rows, cols: cols}
	if !p.skipped {
		o.data = make([]float32, rows*cols)
	}
	for i := range o.data {
		o.data[i] = float32(p.rng.NormFloat64() * deviation)
	}
	return p.add(o)
}

// inBF16 is in, in BF16.
func (p *problem) inBF16(name string, rows, cols int, deviation float64) *operand {
	o := p.in(name, rows, cols, deviation)
	o.dt = compute.BF16
	for i := range o.data {
		o.data[i] = num.RoundBF16(o.data[i])
	}
	return o
}

// ids is an I32 operand with values from [low, high).
func (p *problem) ids(name string, rows, cols, low, high int) *operand {
	o := &operand{name: name, dt: compute.I32, rows: rows, cols: cols, ints: make([]int32, rows*cols)}
	for i := range o.ints {
		o.ints[i] = int32(low + p.rng.IntN(high-low))
	}
	return p.add(o)
}

// given is an I32 operand with these values.
func (p *problem) given(name string, rows, cols int, v []int32) *operand {
	return p.add(&operand{name: name, dt: compute.I32, rows: rows, cols: cols, ints: v})
}

// result marks an operand as written to. Its contents before are what in gave, so
// that an operation which must overwrite is seen to do so.
func (o *operand) result(tol float64) *operand {
	o.out, o.tol = true, tol
	return o
}

// isProduct marks a result that is a product of matrices.
func (o *operand) isProduct() { o.product = true }

// outcome is what an operand holds afterwards, in its own format.
type outcome map[string][]byte

// solve runs the problem on a backend. The memory around each view is filled with a
// value that no result has; it is an error to change it.
func (p *problem) solve(be compute.Backend) (outcome, error) {
	ar := be.NewArena("opcheck")
	defer ar.Free()
	views := map[string]compute.Tensor{}
	parents := map[string]compute.Tensor{}
	fence := map[string][]byte{}
	for _, o := range p.operands {
		if o.file != nil {
			parents[o.name], views[o.name] = o.upload(be, ar)
			fence[o.name] = o.fileImage()
			continue
		}
		parent := ar.Alloc(o.dt, o.rows, o.left+o.cols+o.gap)
		fence[o.name] = o.image()
		be.Upload(parent, o.dt, fence[o.name])
		parents[o.name], views[o.name] = parent, parent.Cols(o.left, o.left+o.cols)
	}
	p.call(be, views)
	got := outcome{}
	for _, o := range p.operands {
		after := make([]byte, len(fence[o.name]))
		be.Download(after, parents[o.name])
		if o.file != nil {
			if string(after) != string(fence[o.name]) {
				return nil, fmt.Errorf("%s: the weight %s was changed, where nothing may be written", p.name, o.name)
			}
			continue
		}
		inside, err := o.split(fence[o.name], after)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		got[o.name] = inside
	}
	return got, nil
}

// image is the parent tensor's contents: the fence and the operand within it.
func (o *operand) image() []byte {
	size, width := o.dt.Size(), o.left+o.cols+o.gap
	raw := make([]byte, o.rows*width*size)
	for r := range o.rows {
		for c := range width {
			put(raw[(r*width+c)*size:], o.dt, o.element(r, c-o.left))
		}
	}
	return raw
}

// element is the bits of one element, or of the fence.
func (o *operand) element(r, c int) uint32 {
	inside := c >= 0 && c < o.cols
	switch {
	case o.dt == compute.I32 && inside:
		return uint32(o.ints[r*o.cols+c])
	case o.dt == compute.I32:
		return 0x7ffffff1
	case !inside:
		return 0x7fc05a5a // a NaN: whoever reads it shows it
	}
	return math.Float32bits(o.data[r*o.cols+c])
}

func put(b []byte, dt compute.DType, bits uint32) {
	if dt == compute.BF16 {
		binary.LittleEndian.PutUint16(b, uint16(bits>>16))
		return
	}
	binary.LittleEndian.PutUint32(b, bits)
}

// split takes the operand out of its parent's contents and sees that the fence
// stands, and that an operand which is no result is unchanged.
func (o *operand) split(before, after []byte) ([]byte, error) {
	size, width := o.dt.Size(), o.left+o.cols+o.gap
	var inside []byte
	for r := range o.rows {
		for c := range width {
			i := (r*width + c) * size
			in := c >= o.left && c < o.left+o.cols
			if in {
				inside = append(inside, after[i:i+size]...)
			}
			if (!in || !o.out) && string(before[i:i+size]) != string(after[i:i+size]) {
				return nil, fmt.Errorf("operand %s was changed at row %d, column %d of a view of %d columns, where nothing may be written",
					o.name, r, c-o.left, o.cols)
			}
		}
	}
	return inside, nil
}
