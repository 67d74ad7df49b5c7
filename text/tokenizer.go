package text

import (
	"encoding/json"
	"strings"
	"sync"
)

// Tokenizer is a byte-level BPE tokenizer, or one of SentencePiece's. It is safe for concurrent use once
// [Tokenizer.UseConfig] has been called, if it is.
type Tokenizer struct {
	pre          *preTokenizer
	normalize    func(string) string // nil: none
	ignoreMerges bool                // a piece that is a token is that token, whatever the merges say
	spm          *spmModel           // nil: byte-level BPE

	bytes  []string         // what an id decodes to; "" where there is no such token
	vocab  map[string]int32 // the model's tokens by their bytes
	odd    map[string]int32 // the model's tokens whose spelling is not byte-level, by spelling
	byteID [256]int32       // the tokens of single bytes, noByte where there is none
	merges *mergeTable

	added        []AddedToken // by id
	addedID      map[string]int32
	rawTrie      *trie // added tokens looked for before normalisation
	normTrie     *trie // and after it
	bos, eos     int32
	placeholders int

	parts   fileParts
	cache   *pieceCache
	scratch sync.Pool
}

// fileParts are the parts of tokenizer.json that are written back as they were read.
type fileParts struct {
	normalizer, preTokenizer, postProcessor, decoder json.RawMessage
}

// VocabSize is the number of ids: the highest one and one.
func (t *Tokenizer) VocabSize() int { return len(t.bytes) }

// BOS is the id of the token that begins a text, -1 if there is none.
func (t *Tokenizer) BOS() int32 { return t.bos }

// EOS is the id of the token that ends a text, -1 if there is none.
func (t *Tokenizer) EOS() int32 { return t.eos }

// Placeholders is the number of ids without a use: TrainBPE fills a vocabulary up with
// them when the text has fewer merges to offer than were asked for, and published
// vocabularies keep some in reserve.
func (t *Tokenizer) Placeholders() int { return t.placeholders }

// ID is the id of a token by its spelling in tokenizer.json: a control token's text,
// or a token's bytes in the byte-level spelling ("Ġthe").
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.addedID[token]; ok {
		return id, true
	}
	if t.spm != nil {
		id, ok := t.spm.ids[token]
		return id, ok
	}
	if b, ok := unspell(token); ok {
		id, ok := t.vocab[b]
		return id, ok
	}
	id, ok := t.odd[token]
	return id, ok
}

// Token is the spelling of an id in tokenizer.json, "" if there is no such id.
func (t *Tokenizer) Token(id int32) string {
	if a := t.Added(id); a != nil {
		return a.Content
	}
	if id < 0 || int(id) >= len(t.bytes) || t.bytes[id] == "" {
		return ""
	}
	if own, ok := t.vocab[t.bytes[id]]; ok && own == id {
		return spell(t.bytes[id])
	}
	if t.spm != nil {
		return strings.ReplaceAll(t.bytes[id], " ", spmSpace)
	}
	return t.bytes[id]
}

// Encode turns plain text into ids. Text that spells a control token is text like any
// other. Bytes that are not UTF-8 are kept: every string comes back from its ids. (A
// tokenizer with a normaliser, such as Qwen's NFC, gives back the normalised text; one
// whose vocabulary lacks some bytes, such as SmolLM's, leaves those out.)
func (t *Tokenizer) Encode(s string) []int32 { return t.AppendEncode(nil, s) }

// AppendEncode is Encode that appends to dst.
func (t *Tokenizer) AppendEncode(dst []int32, s string) []int32 {
	if t.normalize != nil {
		s = t.normalize(s)
	}
	return t.appendText(dst, s)
}

// EncodeWithSpecial turns text into ids and recognises every added token in it, as
// Hugging Face's encode(text, add_special_tokens=False) does. It is for text whose
// author may write control tokens; what users write goes through Encode.
func (t *Tokenizer) EncodeWithSpecial(s string) []int32 {
	var out []int32
	t.rawTrie.split(s, func(part string, id int32) {
		if id >= 0 {
			out = append(out, id)
			return
		}
		if t.normalize != nil {
			part = t.normalize(part)
		}
		t.normTrie.split(part, func(part string, id int32) {
			if id >= 0 {
				out = append(out, id)
				return
			}
			out = t.appendText(out, part)
		})
	})
	return out
}

// appendText encodes normalised text without added tokens.
func (t *Tokenizer) appendText(dst []int32, s string) []int32 {
	if t.spm != nil {
		return t.appendSPM(dst, s)
	}
	w, _ := t.scratch.Get().(*scratch)
	if w == nil {
		w = new(scratch)
	}
	cls := classes()
	for i := 0; i < len(s); {
		j := t.pre.next(cls, s, i)
		dst = t.appendPiece(dst, s[i:j], w)
		i = j
	}
	if cap(w.ids) <= 1<<16 { // the memory of an unusual piece goes back
		t.scratch.Put(w)
	}
	return dst
}

// appendPiece encodes one piece of the pre-tokeniser.
func (t *Tokenizer) appendPiece(dst []int32, p string, w *scratch) []int32 {
	if len(p) == 1 {
		if id := t.byteID[p[0]]; id != noByte {
			dst = append(dst, id)
		}
		return dst
	}
	if len(p) > cachePiece {
		return append(dst, t.bpe(p, w)...)
	}
	slot := t.cache.slot(p)
	if e := slot.Load(); e != nil && e.piece == p {
		return append(dst, e.ids...)
	}
	ids := t.bpe(p, w)
	t.cache.store(slot, p, ids)
	return append(dst, ids...)
}

// bpe merges the bytes of a piece into tokens.
func (t *Tokenizer) bpe(p string, w *scratch) []int32 {
	w.ids = w.ids[:0]
	if t.ignoreMerges {
		if id, ok := t.vocab[p]; ok {
			w.ids = append(w.ids, id)
			return w.ids
		}
	}
	for i := range len(p) {
		if id := t.byteID[p[i]]; id != noByte {
			w.ids = append(w.ids, id)
		}
	}
	if len(w.ids) == 0 {
		return w.ids
	}
	return t.merges.mergePiece(w)
}
