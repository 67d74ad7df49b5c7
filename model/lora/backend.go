package lora

import (
	"fmt"
	"unsafe"

	"sonde/compute"
	"sonde/nn"
)

// Backend is another backend whose products with adapted weights include their adapters'
// share. It serves one model, whose calls do not overlap.
type Backend struct {
	compute.Backend
	work     *compute.Arena              // what lies between A and B
	adapters map[unsafe.Pointer]*adapted // by where the weight lies
	grads    map[*Adapter]pair           // where gradients go, nil but during a backward
	muted    bool
}

// adapted is an adapter with the weight it belongs to.
type adapted struct {
	*Adapter
	w compute.Tensor
}

var (
	_ compute.Backend   = (*Backend)(nil)
	_ nn.WeightObserver = (*Backend)(nil)
)

// New makes a Backend over be, without adapters: it computes as be does. Closing it closes
// be.
func New(be compute.Backend) *Backend {
	return &Backend{Backend: be, work: be.NewArena("what lies between the matrices of adapters"), adapters: map[unsafe.Pointer]*adapted{}}
}

// Free gives back the working memory and leaves the backend below open; a later call takes
// it anew.
func (b *Backend) Free() { b.work.Free() }

// Close is Free, and closes the backend below.
func (b *Backend) Close() {
	b.Free()
	b.Backend.Close()
}

// adapt enters the adapter of weight w.
func (b *Backend) adapt(w compute.Tensor, a *Adapter) { b.adapters[w.Ptr()] = &adapted{a, w} }

// mute switches the adapters off or on and returns what they were.
func (b *Backend) mute(off bool) (before bool) {
	before, b.muted = b.muted, off
	return before
}

// collect has gradients go to grads until the function it returns is called.
func (b *Backend) collect(grads map[*Adapter]pair) (end func()) {
	b.grads = grads
	return func() { b.grads = nil }
}

// of is the adapter of weight w, nil where it has none.
func (b *Backend) of(w compute.Tensor) *adapted {
	if b.muted || len(b.adapters) == 0 {
		return nil
	}
	a := b.adapters[w.Ptr()]
	if a != nil && (a.w.NumRows() != w.NumRows() || a.w.NumCols() != w.NumCols()) {
		panic(fmt.Sprintf("lora: %v of %s is multiplied as %v: a part of an adapted weight has no adapter", a.w, a.Module, w))
	}
	return a
}

// MatMul is the backend's and, where B is an adapted weight, the adapter's share.
func (b *Backend) MatMul(a compute.MatMulArgs) {
	b.Backend.MatMul(a)
	b.add(a)
}

// MatMuls is MatMul of each.
func (b *Backend) MatMuls(as []compute.MatMulArgs) {
	b.Backend.MatMuls(as)
	for _, a := range as {
		b.add(a)
	}
}

// add is C += s (A's rows through the adapter): forward (NT) x A^T, then B^T; backward to
// the input (NN) dy B, then A.
func (b *Backend) add(m compute.MatMulArgs) {
	if m.Form == compute.TN {
		return
	}
	a := b.of(m.B)
	if a == nil || m.C.NumRows() == 0 {
		return
	}
	mark := b.work.Mark()
	defer b.work.Release(mark)
	first, second := a.A, a.B
	if m.Form == compute.NN {
		first, second = a.B, a.A
	}
	u := b.work.F32(m.A.NumRows(), a.Rank)
	b.Backend.MatMul(compute.MatMulArgs{Form: m.Form, C: u, A: m.A, B: first})
	b.Scale(u, a.Scale)
	b.Backend.MatMul(compute.MatMulArgs{Form: m.Form, C: m.C, A: u, B: second, Accumulate: true})
}

// HeadMatMul is the backend's and, where B is an adapted weight, the adapter's share: head
// h's rows of the weight are B's rows of that head times A.
func (b *Backend) HeadMatMul(m compute.HeadMatMulArgs) {
	b.Backend.HeadMatMul(m)
	a := b.of(m.B)
	if a == nil || m.C.NumRows() == 0 {
		return
	}
	mark := b.work.Mark()
	defer b.work.Release(mark)
	if m.Form == compute.NN {
		b.absorbKeys(m, a)
	} else {
		b.absorbValues(m, a)
	}
}

// absorbKeys adds, for every head, s (A_h B_h) A.
func (b *Backend) absorbKeys(m compute.HeadMatMulArgs, a *adapted) {
	t, r := m.C.NumRows(), a.Rank
	u := b.work.F32(t, m.Heads*r)
	h := m
	h.C, h.B, h.CCols, h.CWidth, h.BF16 = u, a.B, r, r, false
	b.Backend.HeadMatMul(h)
	b.Scale(u, a.Scale)
	each := m.C.Reshape(t*m.Heads, m.CCols).Cols(0, m.CWidth)
	b.Backend.MatMul(compute.MatMulArgs{Form: compute.NN, C: each, A: u.Reshape(t*m.Heads, r), B: a.A, Accumulate: true})
}

// absorbValues adds, for every head, s (A_h A^T) B_h^T.
func (b *Backend) absorbValues(m compute.HeadMatMulArgs, a *adapted) {
	t, r := m.C.NumRows(), a.Rank
	u, y := b.work.F32(t, m.Heads*r), b.work.F32(t, m.C.NumCols())
	each := m.A.Reshape(t*m.Heads, m.ACols).Cols(m.AOff, m.AOff+m.AWidth)
	b.Backend.MatMul(compute.MatMulArgs{Form: compute.NT, C: u.Reshape(t*m.Heads, r), A: each, B: a.A})
	b.Scale(u, a.Scale)
	h := m
	h.C, h.A, h.B, h.ACols, h.AOff, h.AWidth, h.BF16 = y, u, a.B, r, 0, r, false
	if m.CCols != m.CWidth { // columns between the heads' are not written
		b.Zero(y)
	}
	b.Backend.HeadMatMul(h)
	b.Add(m.C, y)
}

// ObserveWeight adds to the gradients of w's adapter, where it has one:
//
//	dB += s dy^T (x A^T),  dA += s (dy B)^T x
func (b *Backend) ObserveWeight(dy, x, w compute.Tensor) {
	if b.grads == nil {
		return
	}
	a := b.of(w)
	if a == nil {
		return
	}
	g, ok := b.grads[a.Adapter]
	if !ok {
		panic("lora: gradients for the adapters of another model")
	}
	mark := b.work.Mark()
	defer b.work.Release(mark)
	u := b.work.F32(x.NumRows(), a.Rank)
	b.Backend.MatMul(compute.MatMulArgs{Form: compute.NT, C: u, A: x, B: a.A})
	b.Scale(u, a.Scale)
	b.Backend.MatMul(compute.MatMulArgs{Form: compute.TN, C: g.b, A: dy, B: u, Accumulate: true})
	b.Backend.MatMul(compute.MatMulArgs{Form: compute.NN, C: u, A: dy, B: a.B})
	b.Scale(u, a.Scale)
	b.Backend.MatMul(compute.MatMulArgs{Form: compute.TN, C: g.a, A: u, B: x, Accumulate: true})
}
