package checkpoint

import (
	"bytes"
	"os"
	"path"
)

// Files are the files of a model's folder in Hugging Face's layout, in memory: their
// contents by name. A missing one is absent.
type Files map[string][]byte

// OpenMemory opens a model whose files are in memory already, such as one that is part of
// the program: config.json, the tokenizer's files and model.safetensors, in one piece. name
// stands for the folder in errors. Nothing is copied, so the files must not change until
// Close, and they may be memory that cannot be written. They are checked as Open checks
// those on a disk.
func OpenMemory(name string, files Files) (*Source, error) {
	s := &Source{Path: name, Kind: KindSafetensors, weights: tensorSet{path: name}}
	for _, m := range s.members() {
		*m.to = files[m.name]
	}
	for _, needed := range []string{"config.json", singleName} {
		if files[needed] == nil {
			return nil, &FormatError{Path: name, Problem: "has no " + needed, Try: "give every file of the model's folder", Err: os.ErrNotExist}
		}
	}
	var err error
	if s.weights.block, err = readBlock(path.Join(name, "config.json"), s.Config); err != nil {
		return nil, err
	}
	w := memory{bytes.NewReader(files[singleName]), files[singleName]}
	file, err := readFile(path.Join(name, singleName), w, int64(len(w.all)))
	if err := s.weights.add(file, err); err != nil {
		return nil, err
	}
	return s, nil
}

// memory is a file that is bytes of this process.
type memory struct {
	*bytes.Reader
	all []byte
}

// member is one of the small files beside the weights, and its place in a Source.
type member struct {
	name string
	to   *[]byte
}

// members are the small files of a folder.
func (s *Source) members() []member {
	return []member{
		{"config.json", &s.Config}, {"tokenizer.json", &s.Tokenizer},
		{"tokenizer_config.json", &s.TokenizerConfig}, {"generation_config.json", &s.GenerationConfig},
		{"chat_template.jinja", &s.ChatTemplate},
	}
}
