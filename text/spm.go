package text

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// spmSpace is how SentencePiece spells a space.
const spmSpace = "▁"

// spmModel is a SentencePiece vocabulary in the BPE of Llama 2: characters, not bytes,
// are merged, in the whole text and not in pieces of it, and a character without a
// token falls back to the tokens of its bytes.
type spmModel struct {
	ids     map[string]int32 // the model's tokens by their spelling
	unknown int32            // where even a byte has no token; noByte: left out
	prefix  bool             // a space stands before each text
}

// appendSPM encodes text without added tokens.
func (t *Tokenizer) appendSPM(dst []int32, s string) []int32 {
	if s == "" {
		return dst
	}
	s = strings.ReplaceAll(s, " ", spmSpace)
	if t.spm.prefix {
		s = spmSpace + s
	}
	w := new(scratch)
	for i := 0; i < len(s); {
		_, n := utf8.DecodeRuneInString(s[i:])
		if id, ok := t.spm.ids[s[i:i+n]]; ok {
			w.ids = append(w.ids, id)
		} else {
			w.ids = t.appendBytes(w.ids, s[i:i+n])
		}
		i += n
	}
	if len(w.ids) == 0 {
		return dst
	}
	return append(dst, t.merges.mergePiece(w)...)
}

// appendBytes appends the tokens of a character's bytes.
func (t *Tokenizer) appendBytes(ids []int32, char string) []int32 {
	for i := range len(char) {
		if t.byteID[char[i]] == noByte {
			if t.spm.unknown != noByte {
				ids = append(ids, t.spm.unknown)
			}
			return ids
		}
	}
	for i := range len(char) {
		ids = append(ids, t.byteID[char[i]])
	}
	return ids
}

// errSPM: a SentencePiece vocabulary is read from GGUF files and left there.
var errSPM = errors.New("a SentencePiece vocabulary cannot be written as a tokenizer.json or made anew as a GGUF file's: keep the model in its GGUF file")

// The keys of a SentencePiece vocabulary beside the common ones.
const (
	ggufScores  = "tokenizer.ggml.scores"
	ggufUnk     = "tokenizer.ggml.unknown_token_id"
	ggufPrefix  = "tokenizer.ggml.add_space_prefix"
	ggufSPMByte = 6 // the kind of "<0x0A>"
)

// spmDefaults are the ids of SentencePiece's first tokens, which files may leave out.
var spmDefaults = map[string]uint32{ggufUnk: 0, ggufBOS: 1, ggufEOS: 2}

// sentencePiece makes the tokenizer of a vocabulary with scores.
func (g *ggufVocab) sentencePiece() (*Tokenizer, *TokenizerConfig, error) {
	if err := g.read(); err != nil {
		return nil, nil, err
	}
	scores, ok := g.meta[ggufScores].([]float32)
	if !ok || len(scores) != len(g.tokens) || g.kinds == nil {
		return nil, nil, g.damaged(ggufScores, "has %d scores and %d kinds for %d tokens", len(scores), len(g.kinds), len(g.tokens))
	}
	for key, id := range spmDefaults {
		if _, ok := g.meta[key]; !ok && int(id) < len(g.tokens) {
			g.set(key, id)
		}
	}
	t := &Tokenizer{pre: &preTokenizer{name: "sentencepiece"}, spm: &spmModel{ids: map[string]int32{}, unknown: noByte, prefix: true}, cache: newPieceCache()}
	if v, ok := g.meta[ggufPrefix].(bool); ok {
		t.spm.prefix = v
	}
	if err := g.spmTokens(t); err != nil {
		return nil, nil, err
	}
	if err := g.spmMerges(t, scores); err != nil {
		return nil, nil, err
	}
	c, err := g.config(t, true)
	return t, c, err
}

// set adds a value without changing the caller's map.
func (g *ggufVocab) set(key string, value any) {
	meta := make(map[string]any, len(g.meta)+1)
	for k, v := range g.meta {
		meta[k] = v
	}
	meta[key] = value
	g.meta = meta
}

// spmTokens enters the tokens by their kinds.
func (g *ggufVocab) spmTokens(t *Tokenizer) error {
	t.bytes = make([]string, len(g.tokens))
	t.vocab, t.odd = map[string]int32{}, map[string]int32{}
	for b := range t.byteID {
		t.byteID[b] = noByte
	}
	var added []AddedToken
	for i, token := range g.tokens {
		id := int32(i)
		switch kind := g.kinds[i]; {
		case token == "" || kind == ggufUnused:
		case kind == ggufSPMByte:
			var b byte
			if n, err := fmt.Sscanf(token, "<0x%02X>", &b); n != 1 || err != nil || len(token) != len("<0x00>") {
				return g.damaged(fmt.Sprintf("%s[%d]", ggufTokens, i), "%q is no byte, such as \"<0x0A>\"", clip(token))
			}
			t.byteID[b], t.bytes[id] = id, string([]byte{b})
		case kind == ggufControl || kind == ggufUser || kind == ggufUnknown:
			added = append(added, AddedToken{ID: id, Content: token, Special: kind != ggufUser})
		default:
			t.spm.ids[token], t.bytes[id] = id, strings.ReplaceAll(token, spmSpace, " ")
		}
	}
	if id, ok := integer(g.meta[ggufUnk]); ok && id >= 0 && id < int64(len(g.tokens)) {
		t.spm.unknown = int32(id)
	}
	if err := t.enterAdded(added, nil); err != nil {
		return err
	}
	for _, a := range t.added {
		t.bytes[a.ID] = strings.ReplaceAll(a.Content, spmSpace, " ")
	}
	return nil
}

// spmMerges makes a merge of every way to put a token together from two others. The
// token with the best score is made first.
func (g *ggufVocab) spmMerges(t *Tokenizer, scores []float32) error {
	byScore := make([]int32, 0, len(t.spm.ids))
	for _, id := range t.spm.ids {
		byScore = append(byScore, id)
	}
	slices.SortFunc(byScore, func(a, b int32) int { return cmp.Or(-cmp.Compare(scores[a], scores[b]), cmp.Compare(a, b)) })
	var list []merge
	rank := int32(0)
	for i, id := range byScore {
		if i > 0 && scores[id] != scores[byScore[i-1]] {
			rank++
		}
		token := g.tokens[id]
		for cut := range token {
			left, ok1 := t.spm.ids[token[:cut]]
			right, ok2 := t.spm.ids[token[cut:]]
			if ok1 && ok2 {
				list = append(list, merge{left, right, rank, id})
			}
		}
		if len(list) > ggufMaxMerges {
			return g.damaged(ggufTokens, "the tokens can be put together in more than %d ways", ggufMaxMerges)
		}
	}
	t.merges = newMergeTable(len(list))
	for _, m := range list {
		t.merges.add(m)
	}
	return nil
}
