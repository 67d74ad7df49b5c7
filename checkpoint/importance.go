package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Importance says how much each column of each matrix matters: the mean square of the
// numbers that it meets while the model reads a text (an importance matrix).
type Importance struct {
	// Columns are by Hugging Face's names, experts one by one; of matrices that met
	// nothing there are none.
	Columns map[string][]float32
	Tokens  int // of the text
}

const (
	importanceFormat = "1"
	importanceKind   = "importance"
)

// Save writes it to path, a safetensors file of one vector per matrix.
func (m *Importance) Save(path string) error {
	var tensors []outTensor
	for name, v := range m.Columns {
		tensors = append(tensors, outTensor{name, F32, []int{len(v)}, func(w io.Writer) error {
			raw := make([]byte, 0, 4*len(v))
			for _, x := range v {
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
			}
			_, err := w.Write(raw)
			return err
		}})
	}
	r := &replacement{dir: filepath.Dir(path)}
	meta := map[string]string{"kind": importanceKind, "format": importanceFormat, "tokens": strconv.Itoa(m.Tokens)}
	err := r.write(filepath.Base(path), func(w io.Writer) error { return writeTensors(w, tensors, meta) })
	if err == nil {
		err = r.commit()
	}
	if err != nil {
		r.discard()
		return fmt.Errorf("saving %s: %w", path, err)
	}
	return nil
}

// LoadImportance reads what Save wrote.
func LoadImportance(path string) (*Importance, error) {
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	meta := f.Metadata()
	if meta["kind"] != importanceKind {
		return nil, &FormatError{Path: path, Problem: "is not an importance matrix", Try: "name a file that sonde quantize --save-imatrix wrote"}
	}
	if meta["format"] != importanceFormat {
		return nil, fmt.Errorf("%s: %w: format %s, this program reads format %s", path, ErrFormat, quote(meta["format"]), importanceFormat)
	}
	m := &Importance{Columns: map[string][]float32{}}
	m.Tokens, _ = strconv.Atoi(meta["tokens"])
	for _, x := range f.Tensors() {
		if x.DType != F32 || len(x.Shape) != 1 {
			return nil, &FormatError{Path: path, Tensor: x.Name, Problem: fmt.Sprintf("is %v, expected a vector of F32", x), Try: "make it again"}
		}
		raw := make([]byte, x.Bytes)
		if err := f.Read(x, 0, raw); err != nil {
			return nil, err
		}
		v := make([]float32, x.Shape[0])
		widen(v, F32, raw)
		for _, w := range v {
			if !(w >= 0) || !finite(w) {
				return nil, &FormatError{Path: path, Tensor: x.Name, Problem: fmt.Sprintf("holds %v, expected numbers from 0 on", w), Try: "make it again"}
			}
		}
		m.Columns[x.Name] = v
	}
	return m, nil
}

// IsImportance reports whether raw is the beginning of a file that Save wrote, and not
// of a text.
func IsImportance(raw []byte) bool {
	return len(raw) > 9 && raw[8] == '{' && bytes.Contains(raw, []byte(`"kind":"`+importanceKind+`"`))
}

// check makes sure that it is of the same model.
func (m *Importance) check(list []rows) error {
	if m == nil {
		return nil
	}
	found := 0
	for _, x := range list {
		for _, name := range m.namesOf(x) {
			v, ok := m.Columns[name]
			if ok && len(v) != x.cols {
				return fmt.Errorf("the importance matrix has %d columns of %s, the model %d: it is of another model", len(v), quote(name), x.cols)
			}
			if ok {
				found++
			}
		}
	}
	if found == 0 {
		return fmt.Errorf("the importance matrix has none of the model's %d matrices: it is of another model", len(list))
	}
	return nil
}

var starred = regexp.MustCompile(`\.experts\.\*\.`)

// namesOf are the matrices that x is made of.
func (m *Importance) namesOf(x rows) []string {
	if !starred.MatchString(x.name) {
		return []string{x.name}
	}
	var list []string
	for e := 0; ; e++ {
		name := starred.ReplaceAllLiteralString(x.name, ".experts."+strconv.Itoa(e)+".")
		if _, ok := m.Columns[name]; !ok && e >= m.experts() {
			return list
		}
		list = append(list, name)
	}
}

// experts is one more than the highest number of an expert.
func (m *Importance) experts() int {
	most := 0
	for name := range m.Columns {
		if _, after, ok := strings.Cut(name, ".experts."); ok {
			e, _ := leadingNumber(after)
			most = max(most, e+1)
		}
	}
	return most
}

// of gives the weights of x's rows, nil where there are none. Matrices that met the
// same numbers share theirs: a head that is tied to the embedding, the halves of kv_b.
func (m *Importance) of(x rows) func(row int) []float32 {
	if m == nil {
		return nil
	}
	names := m.namesOf(x)
	per := x.rows / max(1, len(names))
	flat := make([]float32, x.cols)
	for i := range flat {
		flat[i] = 1
	}
	weights := make([][]float32, len(names))
	any := false
	for i, name := range names {
		weights[i] = flat
		if v, ok := m.Columns[name]; ok {
			weights[i], any = positive(v), true
		}
	}
	if !any {
		return nil
	}
	return func(row int) []float32 { return weights[row/per] }
}

// positive is v with a little added where a column met nothing but zeros: it may yet
// meet something.
func positive(v []float32) []float32 {
	var sum float64
	for _, x := range v {
		sum += float64(x)
	}
	least := float32(sum / float64(len(v)) * 1e-5)
	if least == 0 {
		least = 1
	}
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = max(x, least)
	}
	return out
}
