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
	weights, err := saveWeights(r, params, be, shardBytes)
	if err != nil {
		return fail(err)
	}
	for _, m := range []struct {
		name string
		raw  []byte
	}{
		{"generation_config.json", hf.GenerationConfigJSON}, {"tokenizer_config.json", hf.TokenizerConfigJSON},
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
func saveWeights(r *replacement, params []nn.Param, be compute.Backend, shardBytes int64) ([]string, error) {
	buf := make([]byte, pieceBytes)
	shards, total := split(params, shardBytes)
	var names []string
	index := map[string]string{}
	for i, shard := range shards {
		name := singleName
		if len(shards) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		names = append(names, name)
		for _, p := range shard {
			index[p.Name] = name
		}
		err := r.write(name, func(w io.Writer) error { return writeTensors(w, shard, ptMetadata, be, buf) })
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

// split cuts params, in their order, into shards of at most limit bytes each, larger
// only where one parameter alone is.
func split(params []nn.Param, limit int64) (shards [][]nn.Param, total int64) {
	var size int64
	for i, p := range params {
		n := paramBytes(p)
		if i == 0 || size+n > limit {
			shards = append(shards, nil)
			size = 0
		}
		last := len(shards) - 1
		shards[last] = append(shards[last], p)
		size += n
		total += n
	}
	if len(shards) == 0 {
		shards = [][]nn.Param{nil}
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
