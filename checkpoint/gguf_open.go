package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
)

// ggufPart is how the files of a split model are called.
var ggufPart = regexp.MustCompile(`^(.+)-(\d{5})-of-(\d{5})\.gguf$`)

// The keys of a split model's parts.
const (
	splitNo      = "split.no"
	splitCount   = "split.count"
	splitTensors = "split.tensors.count"
)

// openGGUF opens the model that path is, or is a part of, and says in config.json's
// form what it is. What it opened is closed with s, also when there is an error.
func openGGUF(s *Source, path string) error {
	parts, err := openGGUFParts(path)
	for _, p := range parts {
		s.weights.files = append(s.weights.files, p.file)
	}
	if err != nil {
		return err
	}
	return s.takeGGUF(parts)
}

// takeGGUF makes s the model of these parts.
func (s *Source) takeGGUF(parts []openPart) error {
	s.GGUF = &parts[0].head.GGUF
	var all []Info
	for _, p := range parts {
		s.GGUF.Parts = append(s.GGUF.Parts, p.file.path)
		all = append(all, p.head.tensors...)
	}
	if err := distinct(parts); err != nil {
		return err
	}
	factors, err := ropeFactors(parts)
	if err != nil {
		return err
	}
	if s.Config, err = ggufConfig(parts[0].file.path, s.GGUF, all, factors); err != nil {
		return err
	}
	s.GGUF.nameEnds()
	if template, ok := s.GGUF.Values["tokenizer.chat_template"].(string); ok {
		s.ChatTemplate = []byte(template)
	}
	return s.nameGGUF(parts)
}

// The keys of tokens that end an answer beside the end-of-text one.
const (
	ggufEOT = "tokenizer.ggml.eot_token_id" // of a turn
	ggufEOM = "tokenizer.ggml.eom_token_id" // of a message that calls a tool
)

// turnEnds are the spellings of such tokens. Older files do not name their ids, and
// some name <|end_of_text|> as the end of a chat model's answers.
var turnEnds = map[string]string{"<|eot_id|>": ggufEOT, "<|im_end|>": ggufEOT, "<|eom_id|>": ggufEOM}

// nameEnds adds the ids of tokens that end an answer where the file has the tokens and
// not the keys.
func (g *GGUF) nameEnds() {
	const control = 3
	tokens, _ := g.Values["tokenizer.ggml.tokens"].([]string)
	kinds, _ := g.Values["tokenizer.ggml.token_type"].([]int32)
	for id, token := range tokens {
		if key, ok := turnEnds[token]; ok && id < len(kinds) && kinds[id] == control && !g.has(key) {
			g.set(key, uint32(id))
		}
	}
}

// nameGGUF enters the parts' tensors under Hugging Face's names.
func (s *Source) nameGGUF(parts []openPart) error {
	arch, _ := s.GGUF.Values["general.architecture"].(string)
	heads := headsIn(s.Config)
	s.weights.files = nil // add enters them again
	var err error
	for _, p := range parts {
		if err == nil {
			p.file.tensors, err = hfTensors(p.file.path, arch, p.head.tensors, heads)
		}
		if e := s.weights.add(p.file, nil); err == nil {
			err = e
		}
	}
	return err
}

// headsIn are the heads of q and of k in a config whose rows llama.cpp's order
// concerns, zeros otherwise.
func headsIn(config []byte) [2]int {
	var c struct {
		Type  string `json:"model_type"`
		Heads int    `json:"num_attention_heads"`
		KV    *int   `json:"num_key_value_heads"`
	}
	if json.Unmarshal(config, &c) != nil || c.Type != "llama" {
		return [2]int{}
	}
	if c.KV == nil {
		return [2]int{c.Heads, c.Heads}
	}
	return [2]int{c.Heads, *c.KV}
}

// ggufHeads is the number of heads by which llama.cpp orders the rows of a tensor of
// this model, 0 where it takes them as they are.
func ggufHeads(config []byte, name string) int { return headsOf(name, headsIn(config)) }

type openPart struct {
	file *File
	head *ggufHead
}

// openGGUFParts opens path, and where it is a part, all parts in order. It returns
// what it opened beside an error.
func openGGUFParts(path string) ([]openPart, error) {
	p, err := openGGUFFile(path)
	if err != nil {
		return nil, err
	}
	v, ok := p.head.Values[splitCount]
	n, isInt := ggufInteger(v)
	switch {
	case !ok || isInt && n == 1:
		return []openPart{p}, nil
	case !isInt || n < 1 || n > ggufMaxParts:
		return []openPart{p}, &FormatError{Path: path, Problem: fmt.Sprintf("%s is %s, expected 1 to %d", splitCount, clipValue(v), ggufMaxParts), Try: ggufDamaged}
	}
	m := ggufPart.FindStringSubmatch(path)
	if m == nil || m[3] != fmt.Sprintf("%05d", n) {
		return []openPart{p}, &FormatError{Path: path, Problem: fmt.Sprintf("is one of %d parts of a model, but not called so", n),
			Try: fmt.Sprintf("call the parts NAME-00001-of-%05d.gguf and so on", n)}
	}
	p.file.Close()
	parts := make([]openPart, 0, n)
	tensors := 0
	for i := range int(n) {
		name := partName(m[1], i, int(n))
		p, err := openGGUFFile(name)
		if errors.Is(err, os.ErrNotExist) {
			err = &FormatError{Path: name, Problem: fmt.Sprintf("is missing: it is part %d of %d of the model", i+1, n), Try: "fetch the missing part", Err: os.ErrNotExist}
		}
		if err != nil {
			return parts, err
		}
		parts = append(parts, p)
		if err := p.check(splitNo, int64(i)); err != nil {
			return parts, err
		}
		if err := p.check(splitCount, n); err != nil {
			return parts, err
		}
		tensors += len(p.head.tensors)
	}
	if parts[0].head.has(splitTensors) {
		return parts, parts[0].check(splitTensors, int64(tensors))
	}
	return parts, nil
}

// partName is the file of part i of n.
func partName(prefix string, i, n int) string {
	return fmt.Sprintf("%s-%05d-of-%05d.gguf", prefix, i+1, n)
}

// check makes sure that a key of a part has the value it must have.
func (p openPart) check(key string, want int64) error {
	v := p.head.Values[key]
	if got, ok := ggufInteger(v); !ok || got != want {
		return &FormatError{Path: p.file.path, Problem: fmt.Sprintf("%s is %s, expected %d", key, clipValue(v), want),
			Try: "parts of different models or versions are mixed: fetch them again"}
	}
	return nil
}

// openGGUFFile opens one file and reads its header.
func openGGUFFile(path string) (openPart, error) {
	f, err := openRegular(path)
	if err != nil {
		return openPart{}, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return openPart{}, err
	}
	head, err := readGGUF(path, f, info.Size())
	if err != nil {
		f.Close()
		return openPart{}, err
	}
	return openPart{&File{path: path, f: f, close: f.Close, size: info.Size(), data: head.data, tensors: head.tensors}, head}, nil
}

// distinct makes sure that no tensor is in two parts.
func distinct(parts []openPart) error {
	where := map[string]string{}
	for _, p := range parts {
		for _, x := range p.head.tensors {
			if other, twice := where[x.Name]; twice {
				return &FormatError{Path: p.file.path, Tensor: x.Name, Problem: fmt.Sprintf("is in %s too", other),
					Try: "parts of different models or versions are mixed: fetch them again"}
			}
			where[x.Name] = p.file.path
		}
	}
	return nil
}

// ropeFactors reads the factors that divide the frequencies of rotations (Llama 3.1),
// nil where there are none.
func ropeFactors(parts []openPart) ([]float32, error) {
	for _, p := range parts {
		i := slices.IndexFunc(p.head.tensors, func(x Info) bool { return x.Name == ropeFactorsName })
		if i < 0 {
			continue
		}
		x := p.head.tensors[i]
		const most = 1 << 16
		if x.DType != F32 || len(x.Shape) != 1 || x.Shape[0] > most {
			return nil, &FormatError{Path: p.file.path, Tensor: x.Name, Problem: fmt.Sprintf("is %v, expected a vector of F32", x), Try: ggufDamaged}
		}
		raw := make([]byte, x.Bytes)
		if err := p.file.Read(x, 0, raw); err != nil {
			return nil, err
		}
		factors := make([]float32, x.Shape[0])
		widen(factors, F32, raw)
		for i, f := range factors {
			if !(f > 0 && f <= 1e30) {
				return nil, &FormatError{Path: p.file.path, Tensor: x.Name, Problem: "factor " + strconv.Itoa(i) + " is " + strconv.FormatFloat(float64(f), 'g', -1, 32) + ", expected a positive number", Try: ggufDamaged}
			}
		}
		return factors, nil
	}
	return nil, nil
}
