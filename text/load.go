package text

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
)

// tokenizerJSON is the file as Hugging Face writes it.
type tokenizerJSON struct {
	AddedTokens   []AddedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         struct {
		Type          string           `json:"type"`
		Dropout       *float64         `json:"dropout"`
		SubwordPrefix string           `json:"continuing_subword_prefix"`
		WordSuffix    string           `json:"end_of_word_suffix"`
		ByteFallback  bool             `json:"byte_fallback"`
		IgnoreMerges  bool             `json:"ignore_merges"`
		Vocab         map[string]int32 `json:"vocab"`
		Merges        json.RawMessage  `json:"merges"`
	} `json:"model"`
}

// LoadTokenizer reads a tokenizer.json: byte-level BPE with one of the pre-tokenisers
// that are built in. What it cannot take is an error that names the part of the file,
// a *[FileError]; [ErrUnsupported] tells what is not built from what is damaged.
// Memory stays in proportion to the file.
//
// The file does not say which tokens begin and end a text. The usual spellings are
// tried.
func LoadTokenizer(tokenizerJSON []byte) (*Tokenizer, error) {
	f, err := parseTokenizer(tokenizerJSON)
	if err != nil {
		return nil, err
	}
	return fromJSON(f)
}

// fromJSON builds the tokenizer of a file or of a training run.
func fromJSON(f *tokenizerJSON) (*Tokenizer, error) {
	t := &Tokenizer{
		ignoreMerges: f.Model.IgnoreMerges,
		parts:        fileParts{f.Normalizer, f.PreTokenizer, f.PostProcessor, f.Decoder},
		cache:        newPieceCache(),
	}
	for _, set := range []func(*tokenizerJSON) error{t.setPipeline, t.setVocab, t.setMerges} {
		if err := set(f); err != nil {
			return nil, err
		}
	}
	t.setEnds()
	return t, nil
}

// parseTokenizer reads the JSON and refuses other kinds of models.
func parseTokenizer(data []byte) (*tokenizerJSON, error) {
	f := new(tokenizerJSON)
	if err := json.Unmarshal(data, f); err != nil {
		part := ""
		if e := (*json.UnmarshalTypeError)(nil); errors.As(err, &e) {
			part = e.Field
		}
		return nil, damaged(part, "not a tokenizer's JSON: "+err.Error())
	}
	m := &f.Model
	switch {
	case m.Type != "BPE" && m.Type != "":
		return nil, unsupported("model.type", fmt.Sprintf("%q", clip(m.Type)), "only byte-level BPE is built")
	case m.Type == "" && m.Vocab == nil:
		return nil, damaged("model", "there is no model")
	case m.ByteFallback:
		return nil, unsupported("model.byte_fallback", "true", "only byte-level BPE is built; this is a SentencePiece vocabulary")
	case m.SubwordPrefix != "" || m.WordSuffix != "":
		return nil, unsupported("model", "continuing_subword_prefix or end_of_word_suffix is set", "only byte-level BPE is built")
	case m.Dropout != nil && *m.Dropout != 0:
		return nil, unsupported("model.dropout", fmt.Sprint(*m.Dropout), "set it to null: ids would be random")
	}
	return f, nil
}

// clip shortens text from a file for an error.
func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "..."
	}
	return s
}

// setVocab enters the model's tokens and the added ones.
func (t *Tokenizer) setVocab(f *tokenizerJSON) error {
	n := len(f.Model.Vocab) + len(f.AddedTokens)
	limit := int32(2*n + 1024) // room for holes, not for an id that asks for gigabytes
	top := int32(-1)
	for tok, id := range f.Model.Vocab {
		if id < 0 || id >= limit {
			return damaged("model.vocab", fmt.Sprintf("%q has id %d, outside 0..%d for %d tokens", clip(tok), id, limit-1, n))
		}
		top = max(top, id)
	}
	for i, a := range f.AddedTokens {
		if a.ID < 0 || a.ID >= limit {
			return damaged(fmt.Sprintf("added_tokens[%d]", i), fmt.Sprintf("%q has id %d, outside 0..%d for %d tokens", clip(a.Content), a.ID, limit-1, n))
		}
		top = max(top, a.ID)
	}
	t.bytes = make([]string, top+1)
	t.vocab = make(map[string]int32, len(f.Model.Vocab))
	t.odd = map[string]int32{}
	if err := t.enterVocab(f.Model.Vocab); err != nil {
		return err
	}
	return t.enterAdded(f.AddedTokens, f.Model.Vocab)
}

// enterVocab fills bytes, vocab, odd and byteID.
func (t *Tokenizer) enterVocab(vocab map[string]int32) error {
	for tok, id := range vocab {
		if tok == "" {
			return damaged("model.vocab", fmt.Sprintf("id %d is an empty token", id))
		}
		if t.bytes[id] != "" {
			return damaged("model.vocab", fmt.Sprintf("id %d is given twice, once to %q", id, clip(tok)))
		}
		if b, ok := unspell(tok); ok {
			t.bytes[id] = b
			t.vocab[b] = id
		} else {
			t.bytes[id] = tok
			t.odd[tok] = id
		}
	}
	for b := range 256 {
		id, ok := t.vocab[string([]byte{byte(b)})]
		if !ok && (b == '\n' || ' ' <= b && b <= '~') {
			return unsupported("model.vocab", fmt.Sprintf("there is no token for byte 0x%02x (%q)", b, byteSpelling[b]),
				"only byte-level BPE, whose vocabulary has a token for every byte of plain text, is built")
		}
		if !ok { // SmolLM's lacks some that no text has, or few
			id = noByte
		}
		t.byteID[b] = id
	}
	return nil
}

// noByte stands for a byte that the vocabulary lacks: it is left out of the ids, as in
// Hugging Face's library.
const noByte = -1

// enterAdded fills added, addedID and the tries.
func (t *Tokenizer) enterAdded(added []AddedToken, vocab map[string]int32) error {
	t.addedID = make(map[string]int32, len(added))
	t.added = append([]AddedToken(nil), added...)
	sort.SliceStable(t.added, func(i, j int) bool { return t.added[i].ID < t.added[j].ID })
	t.rawTrie, t.normTrie = newTrie(), newTrie()
	for i := range t.added {
		a := &t.added[i]
		part := fmt.Sprintf("added_tokens: id %d", a.ID)
		if a.Content == "" || len(a.Content) > maxAdded {
			return damaged(part, fmt.Sprintf("its content is %d bytes long, not 1..%d", len(a.Content), maxAdded))
		}
		if _, twice := t.addedID[a.Content]; twice || i > 0 && t.added[i-1].ID == a.ID {
			return damaged(part, fmt.Sprintf("it or its content %q is given twice", a.Content))
		}
		own, inVocab := vocab[a.Content]
		if inVocab && own != a.ID || !inVocab && t.bytes[a.ID] != "" {
			return damaged(part, fmt.Sprintf("%q contradicts model.vocab", a.Content))
		}
		t.addedID[a.Content] = a.ID
		if strings.HasPrefix(a.Content, placeholderPrefix) {
			t.placeholders++
		}
		if b, ok := unspell(a.Content); ok { // Hugging Face's decoder takes it for byte-level, too
			t.bytes[a.ID] = b
		} else {
			t.bytes[a.ID] = a.Content
		}
		if a.Normalized {
			t.normTrie.add(a)
		} else {
			t.rawTrie.add(a)
		}
	}
	return nil
}

// setMerges reads the merges, given as "a b" or as ["a", "b"], ranked by their order.
func (t *Tokenizer) setMerges(f *tokenizerJSON) error {
	pairs, err := parseMerges(f.Model.Merges)
	if err != nil {
		return err
	}
	return t.enterMerges(len(pairs), func(i int) (string, string) { return pairs[i][0], pairs[i][1] }, f.Model.Vocab)
}

// enterMerges fills merges with n pairs, ranked by their order.
func (t *Tokenizer) enterMerges(n int, pair func(i int) (left, right string), vocab map[string]int32) error {
	t.merges = newMergeTable(n)
	for rank := range n {
		a, b := pair(rank)
		left, ok1 := vocab[a]
		right, ok2 := vocab[b]
		id, ok3 := vocab[a+b]
		if !ok1 || !ok2 || !ok3 {
			return damaged(fmt.Sprintf("model.merges[%d]", rank),
				fmt.Sprintf("%q + %q: one of them or the two together are not in model.vocab", clip(a), clip(b)))
		}
		t.merges.add(merge{left, right, int32(rank), id})
	}
	return nil
}

func parseMerges(raw json.RawMessage) ([][2]string, error) {
	var lines []string
	if json.Unmarshal(raw, &lines) == nil {
		out := make([][2]string, len(lines))
		for i, l := range lines {
			a, b, ok := strings.Cut(l, " ")
			if !ok || a == "" || b == "" || strings.Contains(b, " ") {
				return nil, damaged(fmt.Sprintf("model.merges[%d]", i), fmt.Sprintf("%q is not two tokens with a space between", clip(l)))
			}
			out[i] = [2]string{a, b}
		}
		return out, nil
	}
	var lists [][]string
	if err := json.Unmarshal(raw, &lists); err != nil {
		return nil, damaged("model.merges", "neither a list of \"a b\" nor of [\"a\", \"b\"]: "+err.Error())
	}
	out := make([][2]string, len(lists))
	for i, l := range lists {
		if len(l) != 2 || l[0] == "" || l[1] == "" {
			return nil, damaged(fmt.Sprintf("model.merges[%d]", i), "not a pair of tokens")
		}
		out[i] = [2]string{l[0], l[1]}
	}
	return out, nil
}

// setEnds tries the usual spellings of the tokens that begin and end a text.
func (t *Tokenizer) setEnds() {
	first := func(names ...string) int32 {
		for _, n := range names {
			if id, ok := t.addedID[n]; ok {
				return id
			}
		}
		return -1
	}
	t.bos = first(bosToken, "<|begin_of_text|>", "<s>")
	t.eos = first(eosToken, "<|eot_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>", "</s>")
}

// isNull reports a JSON value that is absent or null.
func isNull(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) == 0 || bytes.Equal(raw, []byte("null"))
}
