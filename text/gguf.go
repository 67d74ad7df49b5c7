package text

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
)

// The keys of a GGUF file's vocabulary.
const (
	ggufModel    = "tokenizer.ggml.model"
	ggufPre      = "tokenizer.ggml.pre"
	ggufTokens   = "tokenizer.ggml.tokens"
	ggufTypes    = "tokenizer.ggml.token_type"
	ggufMerges   = "tokenizer.ggml.merges"
	ggufBOS      = "tokenizer.ggml.bos_token_id"
	ggufEOS      = "tokenizer.ggml.eos_token_id"
	ggufPad      = "tokenizer.ggml.padding_token_id"
	ggufAddBOS   = "tokenizer.ggml.add_bos_token"
	ggufAddEOS   = "tokenizer.ggml.add_eos_token"
	ggufTemplate = "tokenizer.chat_template"
)

// The kinds of tokens in a GGUF file. The others are parts of text.
const (
	ggufNormal  = 1
	ggufUnknown = 2
	ggufControl = 3
	ggufUser    = 4 // found in text as a whole, as content
	ggufUnused  = 5
)

// Limits on a vocabulary, far above what models have: they bound the memory that a
// file can ask for.
const (
	ggufMaxTokens = 1 << 19
	ggufMaxMerges = 1 << 20
)

// ggufPreTokenizers are llama.cpp's names of the pre-tokenisers that are built. Of
// several names of one, the first that is not "" is the one written.
var ggufPreTokenizers = []struct {
	pre, own     string
	normalize    bool // NFC
	ignoreMerges bool
	addBOS       bool // where the file does not say
}{
	{pre: "deepseek-v3", own: "deepseek-v3"},
	{pre: "joyai-llm", own: "deepseek-v3"},
	{pre: "deepseek-llm", own: "deepseek-llm"},
	{pre: "deepseek-coder", own: "deepseek-coder"},
	{pre: "llama-bpe", own: "llama-3", ignoreMerges: true, addBOS: true},
	{pre: "llama3", own: "llama-3", ignoreMerges: true, addBOS: true},
	{pre: "llama-v3", own: "llama-3", ignoreMerges: true, addBOS: true},
	{pre: "qwen2", own: "qwen2", normalize: true},
	{pre: "deepseek-r1-qwen", own: "qwen2", normalize: true},
	{pre: "gpt-2", own: "gpt-2"},
	{pre: "smollm", own: "smollm"},
}

// FromGGUF makes the tokenizer that the metadata of a GGUF file describe, and its
// configuration. path is the file's name for errors, which are *[FileError]s. Values
// are of Go's types for GGUF's ([]string, []int32, uint32, bool, ...). Ids are those
// of the tokenizer.json that the file was made from. A file that says that it has none
// is [ErrNoVocabulary].
func FromGGUF(path string, meta map[string]any) (*Tokenizer, *TokenizerConfig, error) {
	g := &ggufVocab{path: path, meta: meta}
	t, c, err := g.build()
	var fe *FileError
	if errors.As(err, &fe) && fe.File != path {
		err = g.translate(*fe)
	}
	return t, c, err
}

// ggufVocab is a vocabulary being read.
type ggufVocab struct {
	path   string
	meta   map[string]any
	tokens []string
	kinds  []int32 // nil where the file has none
	ids    map[string]int32

	special map[string]int32 // those of ids that are control tokens and the like
	lines   []string         // of the merges
	merged  map[int32]bool   // special tokens that take part in merges
}

// translate makes an error about a tokenizer.json one about the GGUF file.
func (g *ggufVocab) translate(fe FileError) error {
	fe.File = g.path
	for _, p := range [][2]string{{"model.vocab", ggufTokens}, {"model.merges", ggufMerges}, {"added_tokens", ggufTypes}} {
		if rest, ok := strings.CutPrefix(fe.Part, p[0]); ok {
			fe.Part = p[1] + rest
		}
	}
	if !fe.Unsupported {
		fe.Hint = "the file is damaged: fetch it again"
	}
	return &fe
}

func (g *ggufVocab) damaged(part, format string, args ...any) error {
	return &FileError{File: g.path, Part: part, What: fmt.Sprintf(format, args...), Hint: "the file is damaged: fetch it again"}
}

func (g *ggufVocab) unsupported(part, what, hint string) error {
	return &FileError{File: g.path, Part: part, What: what, Hint: hint, Unsupported: true}
}

func (g *ggufVocab) build() (*Tokenizer, *TokenizerConfig, error) {
	model, _ := g.meta[ggufModel].(string)
	if model == noVocab || model == "none" {
		return nil, nil, fmt.Errorf("%s: %w", g.path, ErrNoVocabulary)
	}
	if model == "llama" {
		return g.sentencePiece()
	}
	if model != "gpt2" {
		return nil, nil, g.unsupported(ggufModel, fmt.Sprintf("%q", clip(model)), "built are byte-level BPE, \"gpt2\", and SentencePiece's BPE, \"llama\"")
	}
	if err := g.read(); err != nil {
		return nil, nil, err
	}
	pre, _ := g.meta[ggufPre].(string)
	names := make([]string, 0, len(ggufPreTokenizers))
	for _, p := range ggufPreTokenizers {
		if p.pre != pre {
			names = append(names, p.pre)
			continue
		}
		t, err := g.bpe(findNamed(p.own), p.normalize, p.ignoreMerges)
		if err != nil {
			return nil, nil, err
		}
		c, err := g.config(t, p.addBOS)
		return t, c, err
	}
	if _, ok := g.meta[ggufPre]; !ok {
		return nil, nil, g.unsupported(ggufPre, "is missing", "the file is from before it was known how to cut text for each model: fetch a newer one")
	}
	return nil, nil, g.unsupported(ggufPre, fmt.Sprintf("%q", clip(pre)), "built in are "+strings.Join(names, ", "))
}

// findNamed is the pre-tokeniser of our name.
func findNamed(name string) *preTokenizer {
	for _, p := range preTokenizers {
		if p.name == name {
			return p
		}
	}
	return nil
}

// read takes the tokens and their kinds.
func (g *ggufVocab) read() error {
	g.tokens, _ = g.meta[ggufTokens].([]string)
	if n := len(g.tokens); n == 0 || n > ggufMaxTokens {
		return g.damaged(ggufTokens, "has %d tokens, expected a list of 1 to %d", n, ggufMaxTokens)
	}
	if v, ok := g.meta[ggufTypes]; ok {
		kinds, isList := v.([]int32)
		if !isList || len(kinds) != len(g.tokens) {
			return g.damaged(ggufTypes, "has %d entries, expected one for each of %d tokens", len(kinds), len(g.tokens))
		}
		g.kinds = kinds
	}
	g.ids, g.special = make(map[string]int32, len(g.tokens)), map[string]int32{}
	for id, token := range g.tokens {
		if other, twice := g.ids[token]; twice {
			return g.damaged(ggufTokens, "%q is given twice, as %d and %d", clip(token), other, id)
		}
		g.ids[token] = int32(id)
		switch g.kind(int32(id)) {
		case ggufControl, ggufUser, ggufUnknown, ggufUnused:
			g.special[token] = int32(id)
		}
	}
	return nil
}

// kind is what a token is. Without a list, the tokens with a role are control tokens.
func (g *ggufVocab) kind(id int32) int32 {
	if g.kinds != nil {
		return g.kinds[id]
	}
	for _, key := range []string{ggufBOS, ggufEOS, ggufPad} {
		if n, ok := integer(g.meta[key]); ok && n == int64(id) {
			return ggufControl
		}
	}
	return ggufNormal
}

// bpe makes the tokenizer.
func (g *ggufVocab) bpe(pre *preTokenizer, normalize, ignoreMerges bool) (*Tokenizer, error) {
	f := new(tokenizerJSON)
	pair, err := g.merges()
	if err != nil {
		return nil, err
	}
	for token, id := range g.special {
		if kind := g.kind(id); kind != ggufUnused {
			f.AddedTokens = append(f.AddedTokens, AddedToken{ID: id, Content: token, Special: kind != ggufUser})
		}
		if !g.merged[id] {
			delete(g.ids, token)
		}
	}
	f.Model.Vocab = g.ids
	f.PreTokenizer = pre.json()
	f.Decoder = json.RawMessage(`{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}`)
	t := &Tokenizer{pre: pre, ignoreMerges: ignoreMerges, cache: newPieceCache()}
	if normalize {
		f.Normalizer, t.normalize = json.RawMessage(`{"type":"NFC"}`), nfc
	}
	t.parts = fileParts{normalizer: f.Normalizer, preTokenizer: f.PreTokenizer, decoder: f.Decoder}
	if err := t.setVocab(f); err != nil {
		return nil, err
	}
	if err := t.enterMerges(len(g.lines), pair, f.Model.Vocab); err != nil {
		return nil, err
	}
	t.setEnds()
	return t, nil
}

// merges checks the merges and returns how to read one. A token that takes part in one
// belongs to the model whatever kind the file says it is.
func (g *ggufVocab) merges() (pair func(i int) (string, string), err error) {
	lines, ok := g.meta[ggufMerges].([]string)
	if !ok || len(lines) > ggufMaxMerges {
		return nil, g.damaged(ggufMerges, "has %d merges, expected a list of up to %d", len(lines), ggufMaxMerges)
	}
	g.lines, g.merged = lines, map[int32]bool{}
	for i, l := range lines {
		a, b, ok := strings.Cut(l, " ")
		if !ok || a == "" || b == "" || strings.Contains(b, " ") {
			return nil, g.damaged(fmt.Sprintf("%s[%d]", ggufMerges, i), "%q is not two tokens with a space between", clip(l))
		}
		g.keep(a)
		g.keep(b)
		g.keep(a + b)
	}
	return func(i int) (string, string) { a, b, _ := strings.Cut(lines[i], " "); return a, b }, nil
}

// keep notes a token of a merge that its kind would keep out of the model.
func (g *ggufVocab) keep(token string) {
	if id, ok := g.special[token]; ok {
		g.merged[id] = true
	}
}

// config reads which tokens begin and end a text, and the template.
func (g *ggufVocab) config(t *Tokenizer, addBOS bool) (*TokenizerConfig, error) {
	c := &TokenizerConfig{AddBOS: addBOS, Class: "PreTrainedTokenizerFast"}
	for _, e := range []struct {
		key string
		to  *string
	}{{ggufBOS, &c.BOS}, {ggufEOS, &c.EOS}, {ggufPad, &c.Pad}} {
		v, ok := g.meta[e.key]
		if !ok {
			continue
		}
		id, ok := integer(v)
		if !ok || id < 0 || id >= int64(len(g.tokens)) {
			return nil, g.damaged(e.key, "is %v, expected the id of one of %d tokens", v, len(g.tokens))
		}
		*e.to = g.tokens[id]
	}
	for _, e := range []struct {
		key string
		to  *bool
	}{{ggufAddBOS, &c.AddBOS}, {ggufAddEOS, &c.AddEOS}} {
		if v, ok := g.meta[e.key]; ok {
			b, isBool := v.(bool)
			if !isBool {
				return nil, g.damaged(e.key, "is not a boolean")
			}
			*e.to = b
		}
	}
	c.ChatTemplate, _ = g.meta[ggufTemplate].(string)
	if arch, ok := g.meta["general.architecture"].(string); ok {
		if n, ok := integer(g.meta[arch+".context_length"]); ok && n > 0 && n <= math.MaxInt32 {
			c.MaxLength = int(n)
		}
	}
	return c, t.UseConfig(c)
}

// integer reads a number of any of GGUF's integer kinds.
func integer(v any) (int64, bool) {
	switch n := v.(type) {
	case uint8:
		return int64(n), true
	case int8:
		return int64(n), true
	case uint16:
		return int64(n), true
	case int16:
		return int64(n), true
	case uint32:
		return int64(n), true
	case int32:
		return int64(n), true
	case uint64:
		return int64(n), n <= math.MaxInt64
	case int64:
		return n, true
	}
	return 0, false
}

// json is the pre-tokeniser as a tokenizer.json has it.
func (p *preTokenizer) json() json.RawMessage {
	type split struct {
		Type     string            `json:"type"`
		Pattern  map[string]string `json:"pattern,omitempty"`
		Behavior string            `json:"behavior,omitempty"`
		Invert   *bool             `json:"invert,omitempty"`
		Each     bool              `json:"individual_digits,omitempty"`
		Prefix   *bool             `json:"add_prefix_space,omitempty"`
		Trim     bool              `json:"trim_offsets,omitempty"`
		UseRegex *bool             `json:"use_regex,omitempty"`
	}
	no, regex := false, false
	var list []split
	for _, pattern := range p.patterns {
		switch pattern {
		case byteLevelRegex:
			regex = true
		case eachDigit:
			list = append(list, split{Type: "Digits", Each: true})
		default:
			list = append(list, split{Type: "Split", Pattern: map[string]string{"Regex": pattern}, Behavior: "Isolated", Invert: &no})
		}
	}
	list = append(list, split{Type: "ByteLevel", Prefix: &no, Trim: true, UseRegex: &regex})
	raw, err := marshal(map[string]any{"type": "Sequence", "pretokenizers": list})
	if err != nil {
		panic(err) // strings and booleans marshal
	}
	return raw
}
