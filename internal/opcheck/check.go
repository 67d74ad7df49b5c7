package opcheck

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"sonde/compute"
)

// Run compares every operation of be with ref's: integers and float32 products bit
// for bit, the rest within each result's tolerance in the norm. It also sees that
// nothing is written outside the views.
//
// A backend named "generic" is plain Go without fused multiply-adds; its products are
// compared within unfused instead.
func Run(t *testing.T, be, ref compute.Backend) {
	each(t, func(t *testing.T, p *problem) {
		got, want := p.must(t, be), p.expected(t, ref)
		for _, o := range p.operands {
			if !o.out {
				continue
			}
			tol := o.tol
			if o.product && be.Name() == "generic" {
				tol = unfused
			}
			if err := o.near(got[o.name], want[o.name], tol); err != nil {
				t.Errorf("%s: %s of %s against %s: %v", p.name, o.name, be.Name(), ref.Name(), err)
			}
		}
	})
}

// Bitwise compares every operation of two backends bit for bit: one and several
// threads, two widths of vectors.
func Bitwise(t *testing.T, a, b compute.Backend) {
	each(t, func(t *testing.T, p *problem) {
		x, y := p.must(t, a), p.must(t, b)
		for _, o := range p.operands {
			if err := o.equal(x[o.name], y[o.name]); o.out && err != nil {
				t.Errorf("%s: %s of %s (%d threads) against %s (%d threads): %v",
					p.name, o.name, a.Name(), a.Threads(), b.Name(), b.Threads(), err)
			}
		}
	})
}

// Layouts sees that it makes no difference to be where its operands lie: views with
// gaps between their rows give the same bits as tensors without.
func Layouts(t *testing.T, be compute.Backend) {
	each(t, func(t *testing.T, p *problem) {
		if !p.strided {
			return
		}
		apart := p.must(t, be)
		for _, o := range p.operands {
			o.left, o.gap = 0, 0
		}
		dense := p.must(t, be)
		for _, o := range p.operands {
			if err := o.equal(apart[o.name], dense[o.name]); o.out && err != nil {
				t.Errorf("%s: %s of %s, strided against dense: %v", p.name, o.name, be.Name(), err)
			}
		}
	})
}

func each(t *testing.T, f func(*testing.T, *problem)) {
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			tried := 0
			for _, p := range op.problems() {
				if !p.skipped {
					f(t, p)
					tried++
				}
			}
			if tried == 0 {
				t.Errorf("short tests leave no problem of %s", op.name)
			}
		})
	}
}

func (p *problem) must(t *testing.T, be compute.Backend) outcome {
	t.Helper()
	got, err := p.solve(be)
	if err != nil {
		t.Fatalf("%s: %v", be.Name(), err)
	}
	return got
}

// unfused is how far products may be from the fused chain where the processor's
// fused multiply-add is not used: for sums of up to 600 terms.
const unfused = 3e-6

// solved keeps what references gave, for the next backend that is compared with them.
var solved = struct {
	sync.Mutex
	outcomes map[[2]string]outcome
}{outcomes: map[[2]string]outcome{}}

// expected is must, solved once.
func (p *problem) expected(t *testing.T, ref compute.Backend) outcome {
	t.Helper()
	solved.Lock()
	defer solved.Unlock()
	key := [2]string{ref.Name(), t.Name() + p.name}
	key[1] = key[1][strings.LastIndex(t.Name(), "/")+1:] // the operation, whatever the test
	if _, ok := solved.outcomes[key]; !ok {
		solved.outcomes[key] = p.must(t, ref)
	}
	return solved.outcomes[key]
}

// near compares one result with the reference's.
func (o *operand) near(got, want []byte, tol float64) error {
	if tol == exact || o.dt == compute.I32 {
		return o.equal(got, want)
	}
	var diff, norm, worst float64
	at := 0
	g, w := o.floats(got), o.floats(want)
	for i := range w {
		d := math.Abs(g[i] - w[i])
		switch {
		case g[i] == w[i] || math.IsNaN(g[i]) && math.IsNaN(w[i]):
			d = 0 // infinities and NaNs alike
		case math.IsNaN(d):
			return fmt.Errorf("%s is %v, expected %v", o.place(i), g[i], w[i])
		}
		diff, norm = diff+d*d, norm+w[i]*w[i]
		if d > worst {
			worst, at = d, i
		}
	}
	diff, norm = math.Sqrt(diff), math.Sqrt(norm)
	if diff != 0 && !math.IsInf(tol, 1) && !(diff <= tol*norm) {
		return fmt.Errorf("off by %.3g of the norm %.3g, at most %.3g allowed; the worst is %s: %v, expected %v",
			diff/norm, norm, tol, o.place(at), g[at], w[at])
	}
	return nil
}

// equal compares bits.
func (o *operand) equal(a, b []byte) error {
	size, bad, first := o.dt.Size(), 0, -1
	for i := 0; i < len(a); i += size {
		if string(a[i:i+size]) != string(b[i:i+size]) {
			if bad++; first < 0 {
				first = i / size
			}
		}
	}
	if bad == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d elements differ; the first is %s: %v, expected %v",
		bad, len(a)/size, o.place(first), o.floats(a)[first], o.floats(b)[first])
}

func (o *operand) place(i int) string {
	return fmt.Sprintf("[%d,%d] of [%d,%d]", i/o.cols, i%o.cols, o.rows, o.cols)
}

func (o *operand) floats(raw []byte) []float64 {
	out := make([]float64, 0, len(raw)/o.dt.Size())
	for i := 0; i < len(raw); i += o.dt.Size() {
		switch o.dt {
		case compute.BF16:
			out = append(out, float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[i:]))<<16)))
		case compute.F32:
			out = append(out, float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[i:]))))
		default:
			out = append(out, float64(int32(binary.LittleEndian.Uint32(raw[i:]))))
		}
	}
	return out
}
