package text

import (
	"bytes"
	"encoding/json"
	"sort"
	"strings"
)

// JSON is the tokenizer as a tokenizer.json, which Hugging Face's tokenizers loads
// with equal ids. The same tokenizer always gives the same bytes.
func (t *Tokenizer) JSON() ([]byte, error) {
	if t.spm != nil {
		return nil, errSPM
	}
	var b bytes.Buffer
	w := jsonWriter{b: &b}
	b.WriteString("{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [")
	for i, a := range t.added {
		w.item(i, "    ")
		w.value(a)
	}
	b.WriteString("\n  ]")
	w.part("normalizer", t.parts.normalizer)
	w.part("pre_tokenizer", t.parts.preTokenizer)
	w.part("post_processor", t.parts.postProcessor)
	w.part("decoder", t.parts.decoder)
	b.WriteString(",\n  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n" +
		"    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n    \"ignore_merges\": ")
	w.value(t.ignoreMerges)
	b.WriteString(",\n    \"vocab\": {")
	n := 0
	for id := range t.bytes {
		if tok := t.modelToken(int32(id)); tok != "" {
			w.item(n, "      ")
			w.value(tok)
			b.WriteString(": ")
			w.value(id)
			n++
		}
	}
	b.WriteString("\n    },\n    \"merges\": [")
	for i, m := range t.mergesByRank() {
		w.item(i, "      ")
		w.value(strings.Join([]string{t.modelToken(m.left), t.modelToken(m.right)}, " "))
	}
	b.WriteString("\n    ]\n  }\n}\n")
	return b.Bytes(), w.err
}

// modelToken is the spelling of an id in the model's vocabulary, "" if it is not there.
func (t *Tokenizer) modelToken(id int32) string {
	b := t.bytes[id]
	if own, ok := t.vocab[b]; ok && own == id {
		return spell(b)
	}
	if own, ok := t.odd[b]; ok && own == id {
		return b
	}
	return ""
}

// mergesByRank lists the merges in order.
func (t *Tokenizer) mergesByRank() []merge {
	out := make([]merge, 0, t.merges.n)
	for _, m := range t.merges.slots {
		if m.rank >= 0 {
			out = append(out, m)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].rank < out[j].rank })
	return out
}

// jsonWriter writes JSON values without HTML's escapes and keeps the first error.
type jsonWriter struct {
	b   *bytes.Buffer
	err error
}

func (w *jsonWriter) item(i int, indent string) {
	if i > 0 {
		w.b.WriteByte(',')
	}
	w.b.WriteByte('\n')
	w.b.WriteString(indent)
}

func (w *jsonWriter) value(v any) {
	e := json.NewEncoder(w.b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil && w.err == nil {
		w.err = err
		return
	}
	w.b.Truncate(w.b.Len() - 1) // the line break
}

// part writes a part of the file as it was read.
func (w *jsonWriter) part(name string, raw json.RawMessage) {
	w.b.WriteString(",\n  \"" + name + "\": ")
	if isNull(raw) {
		w.b.WriteString("null")
		return
	}
	if err := json.Compact(w.b, raw); err != nil && w.err == nil {
		w.err = err
	}
}
