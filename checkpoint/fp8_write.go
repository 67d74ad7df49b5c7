package checkpoint

import (
	"encoding/binary"
	"io"
	"math"
	"runtime"
	"strings"
	"sync"

	"sonde/num"
)

// fp8 is the block of FP8 weights in these files.
func (s *tensorSet) fp8() [2]int {
	if s.block[0] > 0 {
		return s.block
	}
	return fp8Block
}

// inFP8 names the matrices that DeepSeek's FP8 checkpoints hold in FP8: those of
// attention and feed-forward, not the router or the weights of the indexer's heads.
func inFP8(m rows) bool {
	return len(m.shape) == 2 && !isRouter(m.name) && !strings.HasSuffix(m.name, ".indexer.weights_proj.weight") &&
		(strings.Contains(m.name, ".self_attn.") || strings.Contains(m.name, ".mlp."))
}

// addFP8 adds a matrix in FP8 and its factors. One that is FP8 already is copied.
func (j *job) addFP8(m rows) error {
	name := m.name + scaleSuffix
	if at, ok := j.s.weights.where[m.name]; ok && at.info.DType == F8E4M3 && !m.changed {
		scale, block, problem := j.s.weights.matchScale(at, map[string]bool{})
		if problem == nil && block == j.s.weights.fp8() {
			j.copy(m.name, at)
			j.copy(name, scale)
			return nil
		}
	}
	q := &fp8Matrix{rows: m, block: j.s.weights.fp8()}
	j.tensors = append(j.tensors,
		outTensor{name, F32, []int{ceilDiv(m.rows, q.block[0]), ceilDiv(m.cols, q.block[1])}, func(w io.Writer) error {
			raw, err := q.factors()
			if err == nil {
				_, err = w.Write(raw)
			}
			j.wrote(int64(len(raw)))
			return err
		}},
		outTensor{m.name, F8E4M3, m.shape, func(w io.Writer) error { return q.codes(w, j) }})
	return nil
}

// copy adds a tensor as it is.
func (j *job) copy(name string, at place) {
	j.tensors = append(j.tensors, outTensor{name, at.info.DType, at.info.Shape, func(w io.Writer) error {
		buf := make([]byte, pieceBytes)
		for off := int64(0); off < at.info.Bytes; {
			part := buf[:min(int64(len(buf)), at.info.Bytes-off)]
			if err := at.file.Read(at.info, off, part); err != nil {
				return err
			}
			if _, err := w.Write(part); err != nil {
				return err
			}
			off += int64(len(part))
			j.wrote(int64(len(part)))
		}
		return j.ctx.Err()
	}})
}

// fp8Matrix is a matrix on its way into FP8 (V3 report, section 3.3.2): a factor
// amax/448 per block.
type fp8Matrix struct {
	rows
	block [2]int
	once  sync.Once
	scale []float32
	err   error
}

// strips calls each for every strip of blocks, in parallel.
func (q *fp8Matrix) strips(from, to int, each func(strip int, v []float32) error) error {
	errs := make([]error, to-from)
	var wg sync.WaitGroup
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := from; i < to; i++ {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			n := min(q.block[0], q.rows.rows-i*q.block[0])
			v := make([]float32, n*q.cols)
			if errs[i-from] = q.read(v, i*q.block[0], n); errs[i-from] == nil {
				errs[i-from] = each(i, v)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// measure finds the factors.
func (q *fp8Matrix) measure() {
	perRow := ceilDiv(q.cols, q.block[1])
	strips := ceilDiv(q.rows.rows, q.block[0])
	q.scale = make([]float32, strips*perRow)
	q.err = q.strips(0, strips, func(i int, v []float32) error {
		line := q.scale[i*perRow : (i+1)*perRow]
		for k, x := range v {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return &FormatError{Path: q.file, Tensor: q.name, Problem: "holds a number that is not finite", Try: "the file is damaged: fetch it again"}
			}
			b := k % q.cols / q.block[1]
			line[b] = max(line[b], float32(math.Abs(float64(x))))
		}
		for b, amax := range line {
			const smallest = 0x1p-126 // a factor below would lose its own bits
			if line[b] = max(amax/448, smallest); amax == 0 {
				line[b] = 1
			}
		}
		return nil
	})
}

// factors is weight_scale_inv.
func (q *fp8Matrix) factors() ([]byte, error) {
	q.once.Do(q.measure)
	raw := make([]byte, 0, 4*len(q.scale))
	for _, s := range q.scale {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(s))
	}
	return raw, q.err
}

// codes writes the matrix. The factors may be written before or after.
func (q *fp8Matrix) codes(w io.Writer, j *job) error {
	if q.once.Do(q.measure); q.err != nil {
		return q.err
	}
	perRow, strips := ceilDiv(q.cols, q.block[1]), ceilDiv(q.rows.rows, q.block[0])
	const together = 8
	for from := 0; from < strips; from += together {
		to := min(from+together, strips)
		out := make([][]byte, to-from)
		err := q.strips(from, to, func(i int, v []float32) error {
			line := q.scale[i*perRow : (i+1)*perRow]
			for k := range v {
				v[k] /= line[k%q.cols/q.block[1]]
			}
			out[i-from] = make([]byte, len(v))
			num.E4M3SliceFromF32(out[i-from], v)
			return nil
		})
		if err != nil {
			return err
		}
		for _, b := range out {
			if _, err := w.Write(b); err != nil {
				return err
			}
			j.wrote(int64(len(b)))
		}
		if err := j.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}
