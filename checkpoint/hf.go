package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"sonde/compute"
	"sonde/nn"
)

// DefaultShardBytes is the size of a shard that Hugging Face's tools use.
const DefaultShardBytes = 5 << 30

// HF is the small files of a model's folder; nil ones are not written.
type HF struct {
	ConfigJSON           []byte
	TokenizerJSON        []byte
	TokenizerConfigJSON  []byte
	GenerationConfigJSON []byte
	ChatTemplate         []byte
}

// ptMetadata is what Hugging Face's tools demand of a file's metadata.
var ptMetadata = map[string]string{"format": "pt"}

// SaveHF writes a model's folder in Hugging Face's layout: params, each in its
// tensor's format, as model.safetensors or, where they take more than shardBytes (0:
// DefaultShardBytes), as shards with an index. All files are written beside the old
// ones and put in their places at the end, so that a failure leaves the old model
// whole; the error is a *SaveError.
func SaveHF(dir string, hf HF, params []nn.Param, be compute.Backend, shardBytes int64) error {
	if err := checkParams(params); err != nil {
		return fmt.Errorf("saving %s: %w", dir, err)
	}
	return saveFolder(dir, hf, outTensors(params, be, make([]byte, pieceBytes)), shardBytes)
}

// saveFolder is SaveHF of tensors from anywhere.
func saveFolder(dir string, hf HF, tensors []outTensor, shardBytes int64) error {
	if err := makeDir(dir); err != nil {
		return &SaveError{File: dir, Err: err}
	}
	if shardBytes <= 0 {
		shardBytes = DefaultShardBytes
	}
	r := &replacement{dir: dir}
	fail := func(err error) error {
		file := filepath.Join(dir, r.names[len(r.names)-1])
		r.discard()
		return &SaveError{File: file, LastGood: newestState(dir), Err: err}
	}
	weights, err := saveWeights(r, tensors, shardBytes)
	if err != nil {
		return fail(err)
	}
	for _, m := range []struct {
		name string
		raw  []byte
	}{
		{"generation_config.json", hf.GenerationConfigJSON}, {"chat_template.jinja", hf.ChatTemplate}, {"tokenizer_config.json", hf.TokenizerConfigJSON},
		{"tokenizer.json", hf.TokenizerJSON}, {"config.json", hf.ConfigJSON},
	} {
		if m.raw == nil {
			continue
		}
		if err := r.write(m.name, writeBytes(m.raw)); err != nil {
			return fail(err)
		}
	}
	if err := r.commit(); err != nil {
		return &SaveError{File: dir, LastGood: newestState(dir), Err: err}
	}
	return removeStale(dir, weights)
}

// saveWeights writes the files of weights and returns their names.
func saveWeights(r *replacement, tensors []outTensor, shardBytes int64) ([]string, error) {
	shards, total := split(tensors, shardBytes)
	var names []string
	index := map[string]string{}
	for i, shard := range shards {
		name := singleName
		if len(shards) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		names = append(names, name)
		for _, t := range shard {
			index[t.name] = name
		}
		err := r.write(name, func(w io.Writer) error { return writeTensors(w, shard, ptMetadata) })
		if err != nil {
			return nil, err
		}
	}
	if len(shards) == 1 {
		return names, nil
	}
	raw, err := json.MarshalIndent(map[string]any{"metadata": map[string]int64{"total_size": total}, "weight_map": index}, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(names, indexName), r.write(indexName, writeBytes(raw))
}

// split cuts tensors, in their order, into shards of at most limit bytes each, larger
// only where one tensor alone is.
func split(tensors []outTensor, limit int64) (shards [][]outTensor, total int64) {
	var size int64
	for i, t := range tensors {
		n := t.size()
		if i == 0 || size+n > limit {
			shards = append(shards, nil)
			size = 0
		}
		last := len(shards) - 1
		shards[last] = append(shards[last], t)
		size += n
		total += n
	}
	if len(shards) == 0 {
		shards = [][]outTensor{nil}
	}
	return shards, total
}

var shardName = regexp.MustCompile(`^model-\d{5}-of-\d{5}\.safetensors$`)

// removeStale removes the weights that an earlier save in another number of shards
// left: a reader would find two models.
func removeStale(dir string, keep []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		if (name == singleName || name == indexName || shardName.MatchString(name)) && !slices.Contains(keep, name) {
			errs = append(errs, os.Remove(filepath.Join(dir, name)))
		}
	}
	return errors.Join(append(errs, syncDir(dir))...)
}

func writeBytes(raw []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	}
}
