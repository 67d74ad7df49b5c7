package checkpoint

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
)

// QuantizeOptions say how a model is quantised.
type QuantizeOptions struct {
	// Type names a recipe, see Recipes.
	Type string
	// Importance weighs the columns of matrices, see Importance; nil weighs all the same.
	Importance *Importance
	ShardBytes int64 // as in ConvertOptions, and so the others
	Overwrite  bool
	Progress   func(done, total int64)
}

// Quantize writes the model as the GGUF file dst, its matrices in the types of a
// recipe. Weights that are quantised already are quantised once more, from what they
// stand for.
func (s *Source) Quantize(ctx context.Context, dst string, o QuantizeOptions) error {
	r, err := findRecipe(o.Type)
	if err != nil {
		return err
	}
	if !isGGUFName(dst) {
		return fmt.Errorf("%s: quantised models are GGUF files, safetensors has no such formats: name a file that ends in .gguf", dst)
	}
	list, err := s.matrices()
	if err == nil {
		list, err = s.ggufForm(list)
	}
	if err != nil {
		return err
	}
	var c quantShapes
	if err := json.Unmarshal(s.Config, &c); err != nil {
		return &FormatError{Path: s.Path, Problem: "its config is not understood", Try: "fetch it again", Err: err}
	}
	if err := o.Importance.check(list); err != nil {
		return err
	}
	j := &job{ctx: ctx, s: s, dst: dst, o: ConvertOptions{ShardBytes: o.ShardBytes, Overwrite: o.Overwrite, Progress: o.Progress}}
	types := r.types(list, c, o.Importance != nil)
	for i, m := range list {
		j.add(m, types[i], o.Importance.of(m))
	}
	return j.saveGGUF(r.file)
}

// fileTypeOf is general.file_type of a converted model: the format of most of it.
func fileTypeOf(tensors []outTensor) uint32 {
	bytes := map[DType]int64{}
	most := F32
	for _, t := range tensors {
		if bytes[t.dtype] += t.size(); bytes[t.dtype] > bytes[most] {
			most = t.dtype
		}
	}
	switch most {
	case F32:
		return 0
	case F16:
		return 1
	case BF16:
		return 32
	}
	for _, r := range recipes {
		if DType(r.base.String()) == most {
			return r.file
		}
	}
	const guessed = 1024
	return guessed
}

// finite reports whether x is a number.
func finite(x float32) bool { return !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0) }
