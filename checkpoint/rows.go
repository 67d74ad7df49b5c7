package checkpoint

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"

	"sonde/num"
)

// rows is a weight that is read a few rows at a time, as numbers or, where bytes of a
// file stand for them, as they are. Reading is safe for concurrent use. Of a vector
// each element is a row.
type rows struct {
	name       string
	file       string // for errors
	shape      []int  // [rows, cols], or [rows] of a vector
	rows, cols int
	dtype      DType // of the bytes
	read       func(dst []float32, from, n int) error
	raw        func(dst []byte, from, n int) error // nil where no bytes stand for the rows
	changed    bool                                // the numbers are not the file's any more
}

// fileRows is a tensor of a file; an FP8 weight's numbers include its factors.
func (s *tensorSet) fileRows(at place) (rows, error) {
	x := at.info
	m := rows{name: x.Name, file: at.file.path, shape: x.Shape, cols: 1, dtype: x.DType}
	if len(x.Shape) > 2 {
		return m, &FormatError{Path: m.file, Tensor: x.Name, Problem: fmt.Sprintf("has the shape %v, expected a vector or a matrix", x.Shape)}
	}
	if !isWeight(x) {
		return m, &FormatError{Path: m.file, Tensor: x.Name, Problem: fmt.Sprintf("is %v, which is no weight", x), Try: "convert the original model"}
	}
	m.rows = 1
	if len(x.Shape) > 0 {
		m.rows = x.Shape[0]
	}
	if len(x.Shape) == 2 {
		m.cols = x.Shape[1]
	}
	per, ok := x.DType.RowBytes(m.cols)
	if !ok { // blocks along a vector; no file has them
		return m, &FormatError{Path: m.file, Tensor: x.Name, Problem: fmt.Sprintf("is %v: its rows are not whole blocks", x)}
	}
	m.raw = func(dst []byte, from, n int) error {
		return at.file.Read(x, int64(from)*int64(per), dst[:n*per])
	}
	m.read = func(dst []float32, from, n int) error {
		raw := make([]byte, n*per)
		if err := m.raw(raw, from, n); err != nil {
			return err
		}
		widen(dst[:n*m.cols], x.DType, raw)
		return nil
	}
	if x.DType.IsFP8() {
		return s.withFactors(m, at)
	}
	return m, nil
}

// withFactors multiplies the numbers of an FP8 weight by its blocks' factors; its
// bytes do not stand for it alone.
func (s *tensorSet) withFactors(m rows, at place) (rows, error) {
	scale, block, problem := s.matchScale(at, map[string]bool{})
	if problem != nil {
		return m, s.misfit([]Problem{*problem})
	}
	factors, err := (&loader{}).readScales(scale)
	if err != nil {
		return m, err
	}
	codes, perRow := m.read, ceilDiv(m.cols, block[1])
	m.raw = nil
	m.read = func(dst []float32, from, n int) error {
		if err := codes(dst, from, n); err != nil {
			return err
		}
		for r := range n {
			line := factors[(from+r)/block[0]*perRow:]
			for c := range m.cols {
				dst[r*m.cols+c] *= line[c/block[1]]
			}
		}
		return nil
	}
	return m, nil
}

// reorder is m with row i taken from row at(i).
func (m rows) reorder(at func(i int) int) rows {
	read, raw := m.read, m.raw
	m.read = func(dst []float32, from, n int) error {
		for i := range n {
			if err := read(dst[i*m.cols:(i+1)*m.cols], at(from+i), 1); err != nil {
				return err
			}
		}
		return nil
	}
	if raw != nil {
		per, _ := m.dtype.RowBytes(m.cols)
		m.raw = func(dst []byte, from, n int) error {
			for i := range n {
				if err := raw(dst[i*per:(i+1)*per], at(from+i), 1); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return m
}

// adjacent is m, whose rows are heads in Hugging Face's order (pairs half a head
// apart), in the order in which the pairs are adjacent.
func (m rows) adjacent(heads int) rows {
	dim := m.rows / heads
	return m.reorder(func(i int) int {
		h, r := i/dim, i%dim
		return h*dim + r%2*(dim/2) + r/2
	})
}

// halves undoes adjacent.
func (m rows) halves(heads int) rows {
	dim := m.rows / heads
	return m.reorder(func(i int) int {
		h, r := i/dim, i%dim
		return h*dim + r%(dim/2)*2 + r/(dim/2)
	})
}

// part is rows [from, from+n) of m under another name.
func (m rows) part(name string, from, n int) rows {
	read, raw := m.read, m.raw
	m.name, m.rows, m.shape = name, n, []int{n, m.cols}
	m.read = func(dst []float32, at, k int) error { return read(dst, from+at, k) }
	if raw != nil {
		m.raw = func(dst []byte, at, k int) error { return raw(dst, from+at, k) }
	}
	return m
}

// stack is the matrices one after the other; they have one shape and format.
func stack(name string, list []rows) rows {
	m := list[0]
	each := m.rows
	m.name, m.rows = name, each*len(list)
	m.shape = []int{m.rows, m.cols}
	m.read = func(dst []float32, from, n int) error {
		return spans(from, n, each, func(i, at, skip, k int) error {
			return list[i].read(dst[skip*m.cols:(skip+k)*m.cols], at, k)
		})
	}
	if m.raw != nil {
		per, _ := m.dtype.RowBytes(m.cols)
		m.raw = func(dst []byte, from, n int) error {
			return spans(from, n, each, func(i, at, skip, k int) error {
				return list[i].raw(dst[skip*per:(skip+k)*per], at, k)
			})
		}
	}
	return m
}

// spans cuts rows [from, from+n) at multiples of each: k rows from row at of part i
// follow skip others.
func spans(from, n, each int, visit func(i, at, skip, k int) error) error {
	for skip := 0; skip < n; {
		i, at := (from+skip)/each, (from+skip)%each
		k := min(each-at, n-skip)
		if err := visit(i, at, skip, k); err != nil {
			return err
		}
		skip += k
	}
	return nil
}

// kvHeads are the shapes of MLA's kv_b_proj [H*(N+V), C].
type kvHeads struct{ heads, nope, v, lora int }

// keyHalf is k_b [H*C, N] of kv_b: each head's keys, transposed.
func (m rows) keyHalf(name string, d kvHeads) rows {
	kv := m.read
	m.name, m.rows, m.cols, m.raw = name, d.heads*d.lora, d.nope, nil
	m.shape = []int{m.rows, m.cols}
	m.read = func(dst []float32, from, n int) error {
		head := make([]float32, d.nope*d.lora)
		return spans(from, n, d.lora, func(h, at, skip, k int) error {
			if err := kv(head, h*(d.nope+d.v), d.nope); err != nil {
				return err
			}
			for r := range k {
				for c := range d.nope {
					dst[(skip+r)*d.nope+c] = head[c*d.lora+at+r]
				}
			}
			return nil
		})
	}
	return m
}

// valueHalf is v_b [H*V, C] of kv_b.
func (m rows) valueHalf(name string, d kvHeads) rows {
	m = m.reorder(func(i int) int { return i/d.v*(d.nope+d.v) + d.nope + i%d.v })
	m.name, m.rows = name, d.heads*d.v
	m.shape = []int{m.rows, m.cols}
	return m
}

// joinHalves is kv_b of k_b and v_b.
func joinHalves(name string, k, v rows, d kvHeads) rows {
	m := rows{name: name, file: k.file, rows: d.heads * (d.nope + d.v), cols: d.lora, dtype: F32}
	m.shape = []int{m.rows, m.cols}
	m.read = func(dst []float32, from, n int) error {
		head := make([]float32, d.lora*d.nope)
		return spans(from, n, d.nope+d.v, func(h, at, skip, count int) error {
			if at < d.nope {
				if err := k.read(head, h*d.lora, d.lora); err != nil {
					return err
				}
			}
			for r := range count {
				line := dst[(skip+r)*d.lora : (skip+r+1)*d.lora]
				if at+r >= d.nope {
					if err := v.read(line, h*d.v+at+r-d.nope, 1); err != nil {
						return err
					}
					continue
				}
				for c := range line {
					line[c] = head[c*d.nope+at+r]
				}
			}
			return nil
		})
	}
	return m
}

// encoding says how rows are written.
type encoding struct {
	ctx   context.Context
	dtype DType
	// importance gives the weights of a row's columns in what is made small; nil, or nil
	// for a row, where all count the same.
	importance func(row int) []float32
	progress   func(bytes int64)
}

// chunkElements is how much of a matrix a worker takes at a time.
const chunkElements = 1 << 18

// writeTo writes m in another format, or as it is where it has it already. Chunks are
// converted in parallel and written in order.
func (m rows) writeTo(w io.Writer, e encoding) error {
	per, ok := e.dtype.RowBytes(m.cols)
	if !ok {
		return &FormatError{Path: m.file, Tensor: m.name, Problem: fmt.Sprintf("rows of %d numbers are not whole blocks of %s", m.cols, e.dtype)}
	}
	step := max(1, chunkElements/max(1, m.cols))
	buffers := make([][]byte, runtime.GOMAXPROCS(0))
	errs := make([]error, len(buffers))
	for from := 0; from < m.rows; {
		if err := e.ctx.Err(); err != nil {
			return err
		}
		var wg sync.WaitGroup
		used := 0
		for ; used < len(buffers) && from < m.rows; used++ {
			i, at, n := used, from, min(step, m.rows-from)
			buffers[i] = grow(buffers[i], n*per)
			wg.Go(func() { errs[i] = m.chunk(buffers[i], at, n, e) })
			from += n
		}
		wg.Wait()
		for i, b := range buffers[:used] {
			if errs[i] != nil {
				return errs[i]
			}
			if _, err := w.Write(b); err != nil {
				return err
			}
			e.progress(int64(len(b)))
		}
	}
	return nil
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// chunk converts n rows.
func (m rows) chunk(dst []byte, from, n int, e encoding) error {
	if e.dtype == m.dtype && m.raw != nil {
		return m.raw(dst, from, n)
	}
	v := make([]float32, n*m.cols)
	if err := m.read(v, from, n); err != nil {
		return err
	}
	var weights []float32
	if e.importance != nil {
		for r := range n {
			weights = append(weights, e.importance(from+r)...)
		}
	}
	return m.encode(dst, v, weights, e.dtype)
}

// encode narrows numbers to a format that can be written.
func (m rows) encode(dst []byte, v, weights []float32, to DType) error {
	le := binary.LittleEndian
	b, block := to.Block()
	if block || to == F16 {
		const largest = 65504 // blocks have factors in half precision
		for _, x := range v {
			if !(x <= largest && x >= -largest) {
				return &FormatError{Path: m.file, Tensor: m.name, Problem: fmt.Sprintf("holds %v, which %s cannot", x, to),
					Try: "choose BF16 or F32; where it is not a number the file is damaged"}
			}
		}
	}
	switch {
	case block:
		b.Encode(dst, v, weights)
	case to == F32:
		for i, x := range v {
			le.PutUint32(dst[4*i:], math.Float32bits(x))
		}
	case to == F16:
		for i, x := range v {
			le.PutUint16(dst[2*i:], num.F16FromF32(x))
		}
	case to == BF16:
		for i, x := range v {
			le.PutUint16(dst[2*i:], num.BF16FromF32(x))
		}
	default:
		return &FormatError{Path: m.file, Tensor: m.name, Problem: fmt.Sprintf("%s is not written", to), Try: "choose F32, F16, BF16 or a block format"}
	}
	return nil
}
