package text

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// GGUFValue is one value of a GGUF file's metadata.
type GGUFValue struct {
	Key   string
	Value any
}

// ErrNoVocabulary: a GGUF file says that it has no vocabulary. Test with errors.Is.
var ErrNoVocabulary = errors.New("the file has no vocabulary")

// NoVocabulary are the metadata of a model without a tokenizer.
func NoVocabulary() []GGUFValue { return []GGUFValue{{ggufModel, noVocab}} }

// noVocab is llama.cpp's name of no tokenizer.
const noVocab = "no_vocab"

// GGUF is the tokenizer as metadata of a GGUF file, for a model of size logits;
// [FromGGUF] and llama.cpp read it with equal ids. An id without a token becomes one
// that is not used.
func (t *Tokenizer) GGUF(c *TokenizerConfig, size int) ([]GGUFValue, error) {
	if t.spm != nil {
		return nil, errSPM
	}
	if t.VocabSize() > size {
		return nil, fmt.Errorf("the tokenizer has %d ids, the model %d logits: they belong to different models", t.VocabSize(), size)
	}
	pre := ""
	for _, p := range ggufPreTokenizers {
		if p.own == t.pre.name && pre == "" {
			pre = p.pre
		}
	}
	if pre == "" {
		return nil, fmt.Errorf("llama.cpp has no pre-tokeniser %s", t.pre.name)
	}
	tokens, kinds := make([]string, size), make([]int32, size)
	for i := range tokens {
		tokens[i], kinds[i] = t.ggufToken(int32(i))
	}
	byRank := t.mergesByRank()
	merges := make([]string, len(byRank))
	for i, m := range byRank {
		merges[i] = t.modelToken(m.left) + " " + t.modelToken(m.right)
	}
	list := []GGUFValue{{ggufModel, "gpt2"}, {ggufPre, pre}, {ggufTokens, tokens}, {ggufTypes, kinds}, {ggufMerges, merges}}
	for _, e := range []struct{ key, token string }{{ggufBOS, c.BOS}, {ggufEOS, c.EOS}, {ggufPad, c.Pad}} {
		id, err := t.named(e.key, e.token)
		if err != nil {
			return nil, err
		}
		if id >= 0 {
			list = append(list, GGUFValue{e.key, uint32(id)})
		}
	}
	list = append(list, GGUFValue{ggufAddBOS, c.AddBOS || t.beginsTexts()}, GGUFValue{ggufAddEOS, c.AddEOS})
	if c.ChatTemplate != "" {
		list = append(list, GGUFValue{ggufTemplate, c.ChatTemplate})
	}
	return list, nil
}

// beginsTexts reports that the file's post-processor puts a token before each text, as
// Llama 3's does in place of add_bos_token.
func (t *Tokenizer) beginsTexts() bool {
	list := []json.RawMessage{t.parts.postProcessor}
	var sequence struct{ Processors []json.RawMessage }
	if json.Unmarshal(t.parts.postProcessor, &sequence) == nil {
		list = append(list, sequence.Processors...)
	}
	for _, raw := range list {
		var p struct {
			Type   string
			Single []struct{ SpecialToken *json.RawMessage }
		}
		if json.Unmarshal(raw, &p) == nil && p.Type == "TemplateProcessing" && len(p.Single) > 0 && p.Single[0].SpecialToken != nil {
			return true
		}
	}
	return false
}

// ggufToken is the spelling and the kind of an id.
func (t *Tokenizer) ggufToken(id int32) (string, int32) {
	a := t.Added(id)
	switch {
	case a != nil && (a.Special || looksSpecial(a.Content)):
		return a.Content, ggufControl
	case a != nil:
		return a.Content, ggufUser
	case int(id) < t.VocabSize():
		if token := t.modelToken(id); token != "" {
			return token, ggufNormal
		}
	}
	return fmt.Sprintf("[PAD%d]", id), ggufUnused
}

// looksSpecial tells control tokens whose makers did not mark them so, as DeepSeek's
// are not, by their spelling: llama.cpp's files have them as control tokens.
func looksSpecial(s string) bool {
	return strings.HasPrefix(s, "<|") && strings.HasSuffix(s, "|>") || strings.HasPrefix(s, "<｜") && strings.HasSuffix(s, "｜>") || s == "<pad>" || s == "<mask>"
}
