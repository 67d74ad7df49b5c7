package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sonde/text"
)

// ConvertOptions say what a converted model is like. The zero value keeps every
// number that the new container can hold.
type ConvertOptions struct {
	// DType is the format of the matrices: F32, F16, BF16, and in safetensors F8_E4M3.
	// "" keeps theirs; FP8 and, in safetensors, block formats become BF16. Vectors and
	// the router keep what they have.
	DType DType
	// ShardBytes cuts the weights into files of about this size; 0 means
	// DefaultShardBytes for safetensors and one file for GGUF.
	ShardBytes int64
	// Overwrite replaces a model that is there already.
	Overwrite bool
	// Progress is told now and then how many bytes of how many are written.
	Progress func(done, total int64)
}

// Convert writes the model at dst: a GGUF file where dst ends in .gguf, otherwise a
// folder in Hugging Face's layout. Tensor after tensor passes through; what was there
// before stays until everything is written. The error is ctx's where it ends early.
func (s *Source) Convert(ctx context.Context, dst string, o ConvertOptions) error {
	list, err := s.matrices()
	if err != nil {
		return err
	}
	j := &job{ctx: ctx, s: s, dst: dst, o: o}
	if isGGUFName(dst) {
		if o.DType.IsFP8() {
			return fmt.Errorf("%s: GGUF files cannot hold %s: choose BF16, or a folder for the model", dst, o.DType)
		}
		if list, err = s.ggufForm(list); err != nil {
			return err
		}
		for _, m := range list {
			j.add(m, convertedType(m, o.DType), nil)
		}
		return j.saveGGUF(fileTypeOf(j.tensors))
	}
	if strings.HasSuffix(dst, ".safetensors") {
		return fmt.Errorf("%s: a model in safetensors is a folder: name the folder", dst)
	}
	for _, m := range list {
		if err := j.addHF(m); err != nil {
			return err
		}
	}
	return j.saveFolder()
}

func isGGUFName(path string) bool { return strings.EqualFold(filepath.Ext(path), ".gguf") }

// job is a model on its way into new files.
type job struct {
	ctx     context.Context
	s       *Source
	dst     string
	o       ConvertOptions
	tensors []outTensor

	done, total int64
}

// add writes m in the format dt.
func (j *job) add(m rows, dt DType, importance func(row int) []float32) {
	j.tensors = append(j.tensors, outTensor{m.name, dt, m.shape, func(w io.Writer) error {
		return m.writeTo(w, encoding{j.ctx, dt, importance, j.wrote})
	}})
}

func (j *job) wrote(n int64) {
	j.done += n
	if j.o.Progress != nil {
		j.o.Progress(j.done, j.total)
	}
}

// addHF adds a matrix to a folder of safetensors.
func (j *job) addHF(m rows) error {
	dt := m.dtype
	_, block := dt.Block()
	switch {
	case j.o.DType.IsFP8() && inFP8(m):
		return j.addFP8(m)
	case len(m.shape) == 2 && j.o.DType != "" && !j.o.DType.IsFP8() && !isRouter(m.name):
		dt = j.o.DType
	case dt.IsFP8() || block:
		dt = BF16
	}
	j.add(m, dt, nil)
	return nil
}

// isRouter names the matrices that choose experts, whose every bit counts.
func isRouter(name string) bool { return strings.HasSuffix(name, ".mlp.gate.weight") }

// convertedType is the format of a matrix in a converted GGUF file: vectors and routers are
// F32, which llama.cpp wants.
func convertedType(m rows, want DType) DType {
	b, block := m.dtype.Block()
	switch {
	case len(m.shape) < 2 || isRouter(m.name) || strings.Contains(m.name, "norm"):
		return F32
	case want != "":
		return want
	case m.dtype.IsFP8() || block && m.raw == nil && !b.Writable():
		return BF16
	case m.dtype == F64:
		return F32
	}
	return m.dtype
}

// check refuses to write over a model, and to begin what the disk cannot hold.
func (j *job) check(present ...string) error {
	for _, path := range present {
		if _, err := os.Lstat(path); err == nil && !j.o.Overwrite {
			return fmt.Errorf("%s is there already: choose another place, or allow to overwrite it", path)
		}
	}
	for _, t := range j.tensors {
		j.total += t.size()
	}
	dir := filepath.Dir(j.dst)
	if err := makeDir(dir); err != nil {
		return err
	}
	free, err := FreeBytes(dir)
	if err != nil {
		return fmt.Errorf("asking for the free space at %s: %w", dir, err)
	}
	const beside = 64 << 20 // header, tokenizer, and what others write meanwhile
	if need := j.total + beside; free >= 0 && free < need {
		return fmt.Errorf("%s: the model takes %d MB, and its disk has %d MB left: free some space or choose another disk", j.dst, need/1e6, free/1e6)
	}
	return nil
}

func (j *job) saveGGUF(fileType uint32) error {
	if err := j.check(j.dst); err != nil {
		return err
	}
	return saveGGUF(j.dst, j.s, fileType, j.tensors, j.o.ShardBytes)
}

func (j *job) saveFolder() error {
	if err := j.check(filepath.Join(j.dst, "config.json"), filepath.Join(j.dst, singleName), filepath.Join(j.dst, indexName)); err != nil {
		return err
	}
	hf, err := j.s.hf(j.o.DType)
	if err != nil {
		return err
	}
	err = saveFolder(j.dst, hf, j.tensors, j.o.ShardBytes)
	var failed *SaveError
	if errors.As(err, &failed) && failed.LastGood == "" && j.ctx.Err() != nil {
		return j.ctx.Err()
	}
	return err
}

// hf is the small files of the model as a folder has them.
func (s *Source) hf(dt DType) (HF, error) {
	hf := HF{TokenizerJSON: s.Tokenizer, TokenizerConfigJSON: s.TokenizerConfig, GenerationConfigJSON: s.GenerationConfig, ChatTemplate: s.ChatTemplate}
	var err error
	if hf.ConfigJSON, err = s.hfConfig(dt); err != nil || s.GGUF == nil {
		return hf, err
	}
	tok, cfg, err := text.FromGGUF(s.Path, s.GGUF.Values)
	if errors.Is(err, text.ErrNoVocabulary) {
		return hf, nil
	}
	if err != nil {
		return hf, err
	}
	if hf.TokenizerJSON, err = tok.JSON(); err != nil {
		return hf, fmt.Errorf("%s: its tokenizer as tokenizer.json: %w", s.Path, err)
	}
	hf.TokenizerConfigJSON, err = cfg.JSON()
	return hf, err
}

// hfConfig is config.json for weights of format dt.
func (s *Source) hfConfig(dt DType) ([]byte, error) {
	c := map[string]json.RawMessage{}
	if err := json.Unmarshal(s.Config, &c); err != nil {
		return nil, &FormatError{Path: s.Path, Problem: "its config is not JSON", Try: "fetch it again", Err: err}
	}
	delete(c, "quantization_config")
	if dt.IsFP8() {
		c["quantization_config"] = json.RawMessage(fmt.Sprintf(
			`{"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [%d, %d]}`, s.weights.fp8()[0], s.weights.fp8()[1]))
	}
	if string(c["model_type"]) == `"llama"` { // the rows are in Hugging Face's order now
		delete(c, "rope_interleave")
	}
	if err := namedScaling(c); err != nil {
		return nil, &FormatError{Path: s.Path, Problem: err.Error(), Try: "convert to GGUF, or keep the file"}
	}
	return json.MarshalIndent(c, "", "  ")
}

// namedScaling turns frequency factors of a GGUF file into the scaling of Llama 3.1
// that they come from, the only one that transformers has a name for.
func namedScaling(c map[string]json.RawMessage) error {
	var given struct {
		Theta   float64 `json:"rope_theta"`
		Scaling scaling `json:"rope_scaling"`
	}
	for key, to := range map[string]any{"rope_theta": &given.Theta, "rope_scaling": &given.Scaling} {
		if raw := c[key]; raw != nil {
			if err := json.Unmarshal(raw, to); err != nil {
				return err
			}
		}
	}
	want := given.Scaling.FactorList
	if given.Scaling.RopeType != "factors" || len(want) == 0 {
		return nil
	}
	try := hfConfig{HeadDim: 2 * len(want), Theta: given.Theta, Scaling: &scaling{RopeType: "llama3", Factor: slices.Max(want), Low: 1, High: 4}}
	for try.Scaling.Original = 1 << 20; try.Scaling.Original > 1; try.Scaling.Original /= 2 {
		if slices.EqualFunc(try.factors(), want, func(x, y float64) bool { return math.Abs(x/y-1) < 1e-5 }) {
			c["rope_scaling"] = json.RawMessage(fmt.Sprintf(
				`{"rope_type": "llama3", "factor": %g, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": %d}`,
				try.Scaling.Factor, try.Scaling.Original))
			return nil
		}
	}
	return errors.New("its frequency factors are not those of Llama 3.1, and safetensors' configs have no others")
}
