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
)

// Folder is a model's folder in Hugging Face's layout, opened: headers are read and
// checked, weights are still on disk.
type Folder struct {
	Path string
	// Config is config.json. The others are nil where the file does not exist.
	Config           []byte
	Tokenizer        []byte // tokenizer.json
	TokenizerConfig  []byte // tokenizer_config.json
	GenerationConfig []byte // generation_config.json
	ChatTemplate     []byte // chat_template.jinja, which counts before the tokenizer config's

	weights tensorSet
}

// Open opens the folder at path: config.json, the tokenizer's files, and
// model.safetensors or the shards that model.safetensors.index.json names. Where both
// exist the single file counts. Call Close when the weights are loaded.
func Open(path string) (*Folder, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &FormatError{Path: path, Problem: "is not a folder", Try: "name the folder that holds config.json and model.safetensors"}
	}
	f := &Folder{Path: path, weights: tensorSet{path: path}}
	for _, m := range []struct {
		name string
		to   *[]byte
	}{
		{"config.json", &f.Config}, {"tokenizer.json", &f.Tokenizer},
		{"tokenizer_config.json", &f.TokenizerConfig}, {"generation_config.json", &f.GenerationConfig},
		{"chat_template.jinja", &f.ChatTemplate},
	} {
		if *m.to, err = readMember(path, m.name, maxJSON); err != nil {
			return nil, err
		}
	}
	if f.Config == nil {
		return nil, &FormatError{Path: path, Problem: "has no config.json", Try: hintNoModel(path), Err: os.ErrNotExist}
	}
	if f.weights.block, err = readBlock(filepath.Join(path, "config.json"), f.Config); err != nil {
		return nil, err
	}
	if err := f.openWeights(); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func hintNoModel(path string) string {
	if _, err := os.Stat(filepath.Join(path, stateDir)); err == nil {
		return "it holds a training run that has not saved a model yet: go on training it first"
	}
	return "name a folder in Hugging Face's layout, or the folder of a finished training run"
}

func (f *Folder) openWeights() error {
	single, err := openMember(f.Path, singleName)
	if err == nil {
		return f.weights.add(newFile(filepath.Join(f.Path, singleName), single))
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	raw, err := readMember(f.Path, indexName, maxIndex)
	if err != nil {
		return err
	}
	if raw == nil {
		return &FormatError{Path: f.Path, Problem: fmt.Sprintf("has neither %s nor %s", singleName, indexName),
			Try: hintNoModel(f.Path), Err: os.ErrNotExist}
	}
	return f.openShards(raw)
}

// openShards opens every file the index names and makes sure that index and files
// tell the same story.
func (f *Folder) openShards(raw []byte) error {
	indexPath := filepath.Join(f.Path, indexName)
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
		file, err := openMember(f.Path, name)
		if errors.Is(err, os.ErrNotExist) {
			return &FormatError{Path: indexPath, Problem: fmt.Sprintf("names the shard %s, which does not exist", name),
				Try: "fetch the missing file", Err: os.ErrNotExist}
		}
		if err != nil {
			return err
		}
		if err := f.weights.add(newFile(filepath.Join(f.Path, name), file)); err != nil {
			return err
		}
	}
	for tensor, name := range index {
		if at, ok := f.weights.where[tensor]; !ok || at.file.path != filepath.Join(f.Path, name) {
			return &FormatError{Path: filepath.Join(f.Path, name), Tensor: tensor,
				Problem: "the index places it in this file, which does not have it", Try: "index and shards are of different versions: fetch them again"}
		}
	}
	for tensor, at := range f.weights.where {
		if _, ok := index[tensor]; !ok {
			return &FormatError{Path: at.file.path, Tensor: tensor, Problem: "the index does not name it",
				Try: "index and shards are of different versions: fetch them again"}
		}
	}
	return nil
}

// Tensors lists every tensor of the folder, ordered by name.
func (f *Folder) Tensors() []Info {
	list := make([]Info, 0, len(f.weights.where))
	for _, at := range f.weights.where {
		list = append(list, at.info)
	}
	slices.SortFunc(list, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Close closes the folder's files.
func (f *Folder) Close() error { return f.weights.close() }

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
