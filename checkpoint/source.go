// Package checkpoint reads and writes files of weights: safetensors, alone or in
// shards, as Hugging Face lays them out in a folder, and the state of a training run,
// which is committed as a whole or not at all. Files are hostile until checked: every
// size is verified before it is used, and every error names file, tensor, what was
// expected and what to do.
package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Source is a model's files, opened: headers are read and checked, weights are still
// on disk.
type Source struct {
	Path string
	Kind Kind
	// Config is config.json, or what a GGUF file says in config.json's form. The others
	// are nil where there are no such files.
	Config           []byte
	Tokenizer        []byte // tokenizer.json
	TokenizerConfig  []byte // tokenizer_config.json
	GenerationConfig []byte // generation_config.json
	ChatTemplate     []byte // chat_template.jinja, which counts before the tokenizer config's
	// GGUF is the metadata of a GGUF file, with its vocabulary; nil for other kinds.
	GGUF *GGUF

	weights tensorSet
	adapter *Adapter // merged into what is written, see Adapt
}

// Kind is the container of a model's weights.
type Kind string

// The kinds that Open reads.
const (
	KindSafetensors Kind = "safetensors"
	KindGGUF        Kind = "gguf"
)

// Open opens the model at path: a folder with config.json, the tokenizer's files, and
// model.safetensors or the shards that model.safetensors.index.json names (where both
// exist the single file counts); a .safetensors file beside its config.json; a .gguf
// file. Any part of a split model stands for the whole. Call Close when the weights are no longer used.
func Open(path string) (*Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	s := &Source{Path: path, Kind: KindSafetensors, weights: tensorSet{path: path}}
	switch ext := strings.ToLower(filepath.Ext(path)); {
	case info.IsDir():
		err = s.openFolder(path, "")
	case ext == ".safetensors":
		err = s.openFolder(filepath.Dir(path), filepath.Base(path))
	case ext == ".gguf" || isGGUF(path):
		s.Kind = KindGGUF
		err = openGGUF(s, path)
	case ext == ".bin" || ext == ".pt" || ext == ".pth" || ext == ".ckpt":
		err = &FormatError{Path: path, Problem: "is no file of weights that is read here", Try: pickleHint}
	default:
		err = &FormatError{Path: path, Problem: "is neither a folder nor a .gguf or .safetensors file",
			Try: "name the folder that holds config.json and model.safetensors, or a .gguf file"}
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// isGGUF reports whether the file begins as GGUF files do; files of the hub's cache
// have no extension.
func isGGUF(path string) bool {
	f, err := openRegular(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [4]byte
	_, err = f.ReadAt(magic[:], 0)
	return err == nil && string(magic[:]) == "GGUF"
}

// openFolder opens Hugging Face's layout; only is the one file of weights to read, or
// "" for those that the folder's names say.
func (s *Source) openFolder(dir, only string) (err error) {
	for _, m := range s.members() {
		if *m.to, err = readMember(dir, m.name, maxJSON); err != nil {
			return err
		}
	}
	if s.Config == nil {
		return &FormatError{Path: dir, Problem: "has no config.json", Try: hintNoModel(dir), Err: os.ErrNotExist}
	}
	if s.weights.block, err = readBlock(filepath.Join(dir, "config.json"), s.Config); err != nil {
		return err
	}
	if only != "" && !shardName.MatchString(only) { // a shard stands for all
		return s.weights.add(OpenFile(filepath.Join(dir, only)))
	}
	return s.openWeights(dir)
}

// pickleHint stands where weights are pickled alone.
const pickleHint = "pickled weights (.bin, .pt) are never read, since reading them can run code: fetch the model's safetensors, or have its authors convert it"

func hintNoModel(path string) string {
	if IsAdapter(path) {
		return "it holds an adapter and not its model: merge the two first (sonde merge MODEL " + path + " FOLDER)"
	}
	if _, err := os.Stat(filepath.Join(path, stateDir)); err == nil {
		return "it holds a training run that has not saved a model yet: go on training it first"
	}
	if pickles, _ := filepath.Glob(filepath.Join(path, "*.bin")); len(pickles) > 0 {
		return pickleHint
	}
	return "name a folder in Hugging Face's layout, or the folder of a finished training run"
}

func (s *Source) openWeights(dir string) error {
	single, err := openMember(dir, singleName)
	if err == nil {
		return s.weights.add(newFile(filepath.Join(dir, singleName), single))
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	raw, err := readMember(dir, indexName, maxIndex)
	if err != nil {
		return err
	}
	if raw == nil {
		return &FormatError{Path: dir, Problem: fmt.Sprintf("has neither %s nor %s", singleName, indexName),
			Try: hintNoModel(dir), Err: os.ErrNotExist}
	}
	return s.openShards(dir, raw)
}

// openShards opens every file the index names and makes sure that index and files
// tell the same story.
func (s *Source) openShards(dir string, raw []byte) error {
	indexPath := filepath.Join(dir, indexName)
	index, err := readIndex(indexPath, raw)
	if err != nil {
		return err
	}
	names := make([]string, 0, 8)
	for _, file := range index {
		names = append(names, file)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		file, err := openMember(dir, name)
		if errors.Is(err, os.ErrNotExist) {
			return &FormatError{Path: indexPath, Problem: fmt.Sprintf("names the shard %s, which does not exist", name),
				Try: "fetch the missing file", Err: os.ErrNotExist}
		}
		if err != nil {
			return err
		}
		if err := s.weights.add(newFile(filepath.Join(dir, name), file)); err != nil {
			return err
		}
	}
	for tensor, name := range index {
		if at, ok := s.weights.where[tensor]; !ok || at.file.path != filepath.Join(dir, name) {
			return &FormatError{Path: filepath.Join(dir, name), Tensor: tensor,
				Problem: "the index places it in this file, which does not have it", Try: "index and shards are of different versions: fetch them again"}
		}
	}
	for tensor, at := range s.weights.where {
		if _, ok := index[tensor]; !ok {
			return &FormatError{Path: at.file.path, Tensor: tensor, Problem: "the index does not name it",
				Try: "index and shards are of different versions: fetch them again"}
		}
	}
	return nil
}

// Tensors lists every tensor of the model, ordered by name.
func (s *Source) Tensors() []Info {
	list := make([]Info, 0, len(s.weights.where))
	for _, at := range s.weights.where {
		list = append(list, at.info)
	}
	slices.SortFunc(list, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Close closes the files and gives their memory back.
func (s *Source) Close() error { return s.weights.close() }

// tensorSet is one or several files whose tensors have distinct names.
type tensorSet struct {
	path  string
	block [2]int // of FP8 weights
	files []*File
	where map[string]place
}

type place struct {
	file *File
	info Info
}

// add takes the result of opening a file.
func (s *tensorSet) add(file *File, err error) error {
	if err != nil {
		return err
	}
	s.files = append(s.files, file)
	if s.where == nil {
		s.where = make(map[string]place, len(file.tensors))
	}
	for _, x := range file.tensors {
		if other, twice := s.where[x.Name]; twice {
			return &FormatError{Path: file.path, Tensor: x.Name, Problem: fmt.Sprintf("is in %s too", other.file.path),
				Try: "shards of different versions are mixed: fetch them again"}
		}
		s.where[x.Name] = place{file, x}
	}
	return nil
}

func (s *tensorSet) close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	s.files = nil
	return errors.Join(errs...)
}
