package checkpoint

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// shapes are the figures of a config that say how weights are cut into heads and
// experts.
type shapes struct {
	Heads   int  `json:"num_attention_heads"`
	Nope    int  `json:"qk_nope_head_dim"`
	V       int  `json:"v_head_dim"`
	Lora    int  `json:"kv_lora_rank"`
	Experts int  `json:"n_routed_experts"`
	Tied    bool `json:"tie_word_embeddings"`
}

func (s *Source) shapes() (c shapes, err error) {
	if err := json.Unmarshal(s.Config, &c); err != nil {
		return c, &FormatError{Path: s.Path, Problem: "its config is not understood", Try: "fetch it again", Err: err}
	}
	return c, nil
}

// matrices lists the model's weights in Hugging Face's form whatever the file's: rows
// of heads in its order, experts one by one, kv_b_proj whole; FP8 with its factors.
func (s *Source) matrices() ([]rows, error) {
	c, err := s.shapes()
	if err != nil {
		return nil, err
	}
	var list []rows
	for _, x := range s.Tensors() {
		if harmless(x.Name) || s.isScale(x.Name) || strings.HasSuffix(x.Name, ".v_b_proj.weight") {
			continue
		}
		m, err := s.weights.fileRows(s.weights.where[x.Name])
		if err != nil {
			return nil, err
		}
		switch {
		case x.Heads > 0:
			if m.rows%(2*x.Heads) != 0 {
				return nil, &FormatError{Path: m.file, Tensor: x.Name, Problem: fmt.Sprintf("%v does not divide into %d heads", x.Shape, x.Heads), Try: damaged}
			}
			list = append(list, m.halves(x.Heads))
		case strings.Contains(x.Name, ".experts.*."):
			if c.Experts < 1 || m.rows%c.Experts != 0 {
				return nil, &FormatError{Path: m.file, Tensor: x.Name, Problem: fmt.Sprintf("%v does not divide into %d experts", x.Shape, c.Experts), Try: damaged}
			}
			n := m.rows / c.Experts
			for e := range c.Experts {
				list = append(list, m.part(strings.Replace(x.Name, ".*.", "."+strconv.Itoa(e)+".", 1), e*n, n))
			}
		case strings.HasSuffix(x.Name, ".k_b_proj.weight"):
			if m, err = s.joined(m, c); err != nil {
				return nil, err
			}
			list = append(list, m)
		default:
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(a, b rows) int { return compareNames(a.name, b.name) })
	return s.adapted(list)
}

// adapted is list with the adapter merged into it, where there is one.
func (s *Source) adapted(list []rows) (_ []rows, err error) {
	if s.adapter == nil {
		return list, nil
	}
	for i := range list {
		if list[i], err = s.adapter.onto(list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// isScale reports whether a tensor is the factors of an FP8 weight.
func (s *Source) isScale(name string) bool {
	for _, suffix := range []string{scaleSuffix, strings.TrimSuffix(scaleSuffix, "_inv")} {
		if weight, ok := strings.CutSuffix(name, suffix); ok && s.weights.where[weight].info.DType.IsFP8() {
			return true
		}
	}
	return false
}

// joined is kv_b_proj of a k_b_proj and the v_b_proj beside it.
func (s *Source) joined(k rows, c shapes) (rows, error) {
	stem := strings.TrimSuffix(k.name, "k_b_proj.weight")
	at, ok := s.weights.where[stem+"v_b_proj.weight"]
	if !ok {
		return k, &FormatError{Path: k.file, Tensor: k.name, Problem: "has no v_b_proj beside it", Try: "fetch the file again"}
	}
	v, err := s.weights.fileRows(at)
	if err != nil {
		return k, err
	}
	d := kvHeads{c.Heads, c.Nope, c.V, c.Lora}
	if k.rows != d.heads*d.lora || k.cols != d.nope || v.rows != d.heads*d.v || v.cols != d.lora || d.lora < 1 {
		return k, &FormatError{Path: k.file, Tensor: k.name, Problem: fmt.Sprintf("is %v beside v_b_proj %v, expected [%d %d] and [%d %d]",
			k.shape, v.shape, d.heads*d.lora, d.nope, d.heads*d.v, d.lora), Try: "the metadata is of another model: fetch the file again"}
	}
	return joinHalves(stem+"kv_b_proj.weight", k, v, d), nil
}

// ggufForm turns Hugging Face's form into llama.cpp's, under Source's names.
func (s *Source) ggufForm(list []rows) ([]rows, error) {
	c, err := s.shapes()
	if err != nil {
		return nil, err
	}
	var out []rows
	experts := map[string][]rows{}
	for _, m := range list {
		heads := ggufHeads(s.Config, m.name)
		switch merged := mergedName(m.name); {
		case heads > 0:
			out = append(out, m.adjacent(heads))
		case merged != m.name:
			if experts[merged] = append(experts[merged], m); len(experts[merged]) == c.Experts {
				if out, err = appendStack(out, merged, experts[merged]); err != nil {
					return nil, err
				}
			}
		case strings.HasSuffix(m.name, ".kv_b_proj.weight"):
			d := kvHeads{c.Heads, c.Nope, c.V, c.Lora}
			if m.rows != d.heads*(d.nope+d.v) || m.cols != d.lora || d.lora < 1 {
				return nil, &FormatError{Path: m.file, Tensor: m.name, Problem: fmt.Sprintf("is %v, expected [%d %d]", m.shape, d.heads*(d.nope+d.v), d.lora), Try: tryLoad}
			}
			stem := strings.TrimSuffix(m.name, "kv_b_proj.weight")
			out = append(out, m.keyHalf(stem+"k_b_proj.weight", d), m.valueHalf(stem+"v_b_proj.weight", d))
		case m.name == "lm_head.weight" && c.Tied:
		default:
			out = append(out, m)
		}
	}
	for merged, some := range experts {
		if len(some) != c.Experts {
			return nil, &FormatError{Path: s.Path, Tensor: merged, Problem: fmt.Sprintf("there are %d of %d experts", len(some), c.Experts), Try: "fetch the missing files"}
		}
	}
	return out, nil
}

// appendStack appends the experts of a layer as one tensor, in the order of their
// numbers.
func appendStack(out []rows, name string, list []rows) ([]rows, error) {
	for _, m := range list {
		if m.rows != list[0].rows || m.cols != list[0].cols || m.dtype != list[0].dtype {
			return nil, &FormatError{Path: m.file, Tensor: m.name, Problem: fmt.Sprintf("is %s %v, another expert %s %v", m.dtype, m.shape, list[0].dtype, list[0].shape),
				Try: "llama.cpp's files have all experts of a layer in one tensor: convert them to one format first"}
		}
	}
	return append(out, stack(name, list)), nil
}

// compareNames orders names as people do: layer 2 before layer 10.
func compareNames(a, b string) int {
	for a != "" && b != "" {
		m, restA := leadingNumber(a)
		n, restB := leadingNumber(b)
		if restA != a && restB != b {
			if m != n {
				return cmp.Compare(m, n)
			}
			a, b = restA, restB
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// leadingNumber reads the number that s begins with; the rest is s where there is none.
func leadingNumber(s string) (n int, rest string) {
	for rest = s; rest != "" && rest[0] >= '0' && rest[0] <= '9'; rest = rest[1:] {
		n = n*10 + int(rest[0]-'0')
	}
	return n, rest
}
